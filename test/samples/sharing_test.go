// Package samples holds the twelve agreements of config/samples/sharing, and what must be denied beside them, against the compiler
// and the guardrails.
package samples

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
)

const dir = "../../config/samples/sharing"

// now lies within the validity of the samples' agreements.
var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// expectation is what a file of deny/ says of itself: `# expect: KIND WHAT on OBJECT [REQUEST]`.
type expectation struct{ kind, what, object string }

var expectLine = regexp.MustCompile(`(?m)^# expect: (finding|reason|schema|phase|decision|rows) (\S+) on (\S+)(?: (\{.*\}))?$`)

func expectations(t *testing.T, path string) (out []expectation) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range expectLine.FindAllStringSubmatch(string(raw), -1) {
		out = append(out, expectation{m[1], m[2], m[3]})
	}
	if lines := strings.Count(string(raw), "# expect:"); len(out) == 0 || len(out) != lines {
		t.Fatalf("%s: %d of %d lines `# expect: KIND WHAT on OBJECT` can be read, want all and at least one", path, len(out), lines)
	}
	return out
}

// world compiles the samples, and with them further files, as `dizuo lint` does.
func world(t *testing.T, more ...string) (*offline.Platform, []offline.Finding) {
	t.Helper()
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	set, err := offline.Load(t.Context(), offline.Source{Paths: append([]string{dir}, more...)}, "sharing")
	if err != nil {
		t.Fatal(err)
	}
	r, err := offline.Compile(t.Context(), set, offline.Options{Now: now, Images: compile.Images{Node: "node", Postgres: "postgres"}, Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Platforms) != 1 {
		t.Fatalf("%d platforms, want 1; findings: %v", len(r.Platforms), r.Findings)
	}
	return r.Platforms[0], r.Findings
}

func agreements(p *offline.Platform) map[string]compile.AgreementPlan {
	out := map[string]compile.AgreementPlan{}
	for _, m := range p.Members {
		if plan, ok := m.Plan.(compile.AgreementPlan); ok {
			out[m.Object.Object.GetName()] = plan
		}
	}
	return out
}

// TestAgreements: each of the twelve is there, is signed by all, breaks no guardrail and is in force. What is read under them is in
// gateway.TestSamples.
func TestAgreements(t *testing.T) {
	p, found := world(t)
	for _, f := range found {
		t.Errorf("%s", f)
	}
	numbers := map[string]bool{}
	for name, plan := range agreements(p) {
		numbers[name[:3]] = true
		if len(plan.Findings) > 0 || len(plan.Pending) > 0 {
			t.Errorf("%s: guardrails %v, pending %v; want none (config/samples/sign.sh sharing signs)", name, plan.Findings, plan.Pending)
		}
		if want := v1alpha1.AgreementInForce; plan.Phase != want || len(plan.Grants) == 0 {
			t.Errorf("%s is %s and grants %d datasets, want %s", name, plan.Phase, len(plan.Grants), want)
		}
	}
	if len(numbers) != 12 {
		t.Errorf("agreements of %d of the twelve numbers", len(numbers))
	}
}

// TestMustDeny: each file of deny/ is refused for exactly the reasons that it names, although everybody signed it.
func TestMustDeny(t *testing.T) {
	_, base := world(t)
	files, err := filepath.Glob(dir + "/deny/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, found := world(t, file)
			var got, want []string
			for _, f := range offline.Brought(base, found) {
				switch {
				case f.Reason == offline.ReasonSchema:
					got = append(got, "schema "+strings.SplitN(f.Field, "[", 2)[0]+" on "+f.Name)
				case f.Reason != v1alpha1.ReasonGuardrailViolated:
					got = append(got, "reason "+f.Reason+" on "+f.Name)
				}
			}
			plans := agreements(p)
			for _, e := range expectations(t, file) {
				plan := plans[e.object]
				switch e.kind {
				case "decision", "rows": // gateway.TestSamplesMustDeny
					continue
				case "phase":
					if string(plan.Phase) != e.what || (len(plan.Grants) > 0) != (plan.Phase == v1alpha1.AgreementInForce) {
						t.Errorf("%s is %s and grants %d datasets, want %s", e.object, plan.Phase, len(plan.Grants), e.what)
					}
					continue
				default:
					want = append(want, e.kind+" "+e.what+" on "+e.object)
				}
				if e.kind == "finding" {
					for _, v := range plan.Findings {
						if v.Rule == e.what && !slices.Contains(got, "finding "+v.Rule+" on "+e.object) {
							got = append(got, "finding "+v.Rule+" on "+e.object)
						}
					}
				}
				if len(plan.Grants) > 0 || (e.kind == "finding" && len(plan.Pending) > 0) {
					t.Errorf("%s grants %d datasets, pending %v; want nothing granted, and everybody's signature", e.object, len(plan.Grants), plan.Pending)
				}
				for _, v := range plan.Findings {
					if e.kind == "finding" && !strings.Contains(fileText(t, file), "finding "+v.Rule+" on "+e.object) {
						t.Errorf("%s breaks %s, which the file does not say", e.object, v.Rule)
					}
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
