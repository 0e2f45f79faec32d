package policies

import (
	"context"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

func regoFiles(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range []string{"access", "guardrails"} {
		paths, err := fs.Glob(files, dir+"/*.rego")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			raw, err := files.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all[path] = string(raw)
		}
	}
	return all
}

// TestRego runs the *_test.rego files as `opa test` does.
func TestRego(t *testing.T) {
	modules := map[string]*ast.Module{}
	for path, text := range regoFiles(t) {
		m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		modules[path] = m
	}
	ctx := context.Background()
	results, err := tester.NewRunner().SetStore(inmem.New()).SetModules(modules).RunTests(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r := range results {
		n++
		if !r.Pass() {
			t.Errorf("%s.%s failed: %v", r.Package, r.Name, r.Error)
		}
	}
	if n < 60 {
		t.Errorf("%d Rego tests ran, want all of them (at least 60)", n)
	}
}

func TestRegoIsFormattedAndStrict(t *testing.T) {
	for path, text := range regoFiles(t) {
		formatted, err := format.Source(path, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if string(formatted) != text {
			t.Errorf("%s: run opa fmt -w", path)
		}
	}
	if _, err := Compile(regoFiles(t)); err != nil {
		t.Error(err)
	}
}

// TestEveryReasonAndRuleIsTested holds the test files against the policies: a reason or a rule without a test fails here.
func TestEveryReasonAndRuleIsTested(t *testing.T) {
	all := regoFiles(t)
	for _, c := range []struct{ policy, tests, pattern string }{
		{"access/access.rego", "access/access_test.rego", `(?:reasons|unmet) contains "(\w+)"`},
		{"guardrails/guardrails.rego", "guardrails/guardrails_test.rego", `(?m)^#   rule: (\S+)$`},
	} {
		names := regexp.MustCompile(c.pattern).FindAllStringSubmatch(all[c.policy], -1)
		if len(names) < 10 {
			t.Fatalf("%s: found %d names", c.policy, len(names))
		}
		for _, name := range names {
			if !strings.Contains(all[c.tests], `"`+name[1]+`"`) {
				t.Errorf("%s: %s has no test", c.policy, name[1])
			}
		}
	}
}

// helpers stand below the guardrail that uses them, whose METADATA speaks for them.
var helpers = map[string]bool{
	"has_legal_basis": true, "has_impact_assessment": true, "has_end_date": true, "has_roles": true, "police": true,
	"public_safety_only": true, "asks_for_case_number": true, "known_not_for_profit": true, "shared": true,
	"consented_or_entrusted": true, "no_onward": true, "other_relationship": true, "authority": true, "held_to_compounds": true,
	"provider_not_property": true, "consent_looked_up": true, "dimensions": true,
}

// TestEveryRuleIsAnnotated asks each rule for a title, and each guardrail for its origin.
func TestEveryRuleIsAnnotated(t *testing.T) {
	for _, modules := range []map[string]string{Access(), GuardrailModules()} {
		for path, text := range modules {
			m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{ProcessAnnotation: true})
			if err != nil {
				t.Fatal(err)
			}
			titled := map[string]bool{}
			for _, r := range m.Rules {
				for _, a := range r.Annotations {
					titled[r.Head.Ref().String()] = titled[r.Head.Ref().String()] || a.Title != ""
					if r.Head.Ref().String() == "deny" {
						checkOrigin(t, r, a)
					}
				}
			}
			for _, r := range m.Rules {
				name := r.Head.Ref().String()
				if !titled[name] && !helpers[name] {
					t.Errorf("%s: rule %s has no METADATA title", path, name)
				}
			}
		}
	}
}

func checkOrigin(t *testing.T, r *ast.Rule, a *ast.Annotations) {
	t.Helper()
	switch a.Custom["origin"] {
	case "ours":
	case "law":
		if a.Custom["citation"] == nil || a.Custom["article"] == nil {
			t.Errorf("%s: origin law needs a citation and an article", r.Location)
		}
	default:
		t.Errorf("%s: origin %v: write law or ours", r.Location, a.Custom["origin"])
	}
}

func TestModulesLeaveTestsOut(t *testing.T) {
	if got := keys(Access()); !slices.Equal(got, []string{"access/access.rego"}) {
		t.Errorf("Access() = %v", got)
	}
	if got := keys(GuardrailModules()); !slices.Equal(got, []string{"guardrails/guardrails.rego"}) {
		t.Errorf("GuardrailModules() = %v", got)
	}
}

func keys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestCapabilitiesAreRestricted(t *testing.T) {
	for _, call := range []string{
		`http.send({"method": "get", "url": "https://example.com"})`, `time.now_ns()`, `opa.runtime()`,
		`rand.intn("a", 9)`, `uuid.rfc4122("a")`, `net.lookup_ip_addr("example.com")`,
	} {
		if _, err := Compile(map[string]string{"x.rego": "package x\n\ny := " + call + "\n"}); err == nil {
			t.Errorf("%s compiles", call)
		}
	}
	if _, err := Compile(map[string]string{"x.rego": "package x\n\ny := upper(\"a\")\n"}); err != nil {
		t.Errorf("a pure function does not compile: %v", err)
	}
}

func faceCheckByPropertyCompany() GuardInput {
	return GuardInput{Agreement: GuardAgreement{
		Name:         "face-check",
		Consumer:     GuardConsumer{Name: "sunshine-property", Type: "PropertyCompany", Clearance: "C3", Compounds: []string{"jinghu/east"}},
		Relationship: "Provision", LegalBasis: &GuardLegalBasis{Kind: "SeparateConsent"},
		Datasets: []GuardDataset{
			{Name: "faces", Category: "Biometric", Sharing: "Conditional", CompoundColumn: "compound", Provider: GuardProvider{Name: "town", Type: "Township"}, Fields: []GuardField{{Name: "template", Grade: "Important", Personal: "Biometric"}}},
			{Name: "key-persons", Category: "KeyPopulation", Sharing: "Conditional", CompoundColumn: "compound", Provider: GuardProvider{Name: "police", Type: "Police"}, Fields: []GuardField{{Name: "kind", Grade: "General4", Personal: "Sensitive"}}},
		},
		Purposes: []string{"CoManagement"},
	}}
}

func TestGuardFindsEverythingSorted(t *testing.T) {
	g, err := Guardrails(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var first []Violation
	for range 20 {
		got, err := g.Check(t.Context(), faceCheckByPropertyCompany())
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Fatalf("two runs differ: %s", diff)
		}
	}
	var rules []string
	for _, v := range first {
		rules = append(rules, v.Field+" "+v.Rule)
	}
	want := []string{
		"spec.caseNumberRequired biometric-case-number", "spec.consumer biometric-consumer",
		"spec.datasets[1] key-population-company",
		"spec.impactAssessment sensitive-impact-assessment", "spec.impactAssessment sensitive-impact-assessment",
		"spec.legalBasis personal-legal-basis", "spec.purposes biometric-purpose",
		"spec.roles personal-roles", "spec.roles personal-roles",
		"spec.validity.notAfter sensitive-end-date", "spec.validity.notAfter sensitive-end-date",
	}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Error(diff)
	}
	if got := first[0].String(); !strings.Contains(got, "write caseNumberRequired: true") || !strings.Contains(got, "ours") {
		t.Errorf("String() = %q", got)
	}
}

func TestGuardPassesWhatIsFine(t *testing.T) {
	g, err := Guardrails(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Check(t.Context(), GuardInput{Agreement: GuardAgreement{
		Name:     "smoke-to-fire",
		Consumer: GuardConsumer{Name: "fire-xinxiang", Type: "Fire", Clearance: "C2"},
		Datasets: []GuardDataset{{Name: "alarms", Provider: GuardProvider{Name: "town", Type: "Township"}, Category: "Ordinary", Sharing: "Conditional", Fields: []GuardField{{Name: "level", Grade: "General1", Personal: "None"}}}},
		Purposes: []string{"EmergencyResponse"},
	}})
	if err != nil || len(got) != 0 {
		t.Errorf("Check() = %v, %v", got, err)
	}
}

func TestGuardCancelled(t *testing.T) {
	g, err := Guardrails(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := g.Check(ctx, faceCheckByPropertyCompany()); err == nil && len(got) == 0 {
		t.Error("a cancelled check must not pass an agreement")
	}
}
