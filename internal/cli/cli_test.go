package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// at is the time in these tests.
var at = time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)

type ran struct {
	out, err string
	code     int
}

// run runs a command line with nothing in its environment.
func run(t *testing.T, in string, args ...string) ran {
	t.Helper()
	return runAt(t, func() time.Time { return at }, in, args...)
}

func runAt(t *testing.T, now func() time.Time, in string, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot(&app{Streams: Streams{strings.NewReader(in), &out, &errs}, now: now, env: func(string) string { return "" }, wait: func(context.Context, time.Duration) error { return nil }})
	root.SetArgs(args)
	code := report(root.ExecuteContext(context.Background()), &errs)
	return ran{out.String(), errs.String(), code}
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
	}
}

func TestLintNamesEveryProblem(t *testing.T) {
	r := run(t, "", "lint", "-f", "testdata/bad")
	if r.code != ExitFailed {
		t.Errorf("exit code %d, want %d", r.code, ExitFailed)
	}
	golden(t, "lint.golden", r.out)
	for _, line := range strings.Split(strings.TrimSpace(r.out), "\n") {
		if !regexp.MustCompile(`^testdata/bad/\w+\.yaml:[1-9]\d*: `).MatchString(line) {
			t.Errorf("no file and line: %s", line)
		}
	}
}

func TestLintAsJSON(t *testing.T) {
	r := run(t, "", "lint", "-f", "testdata/bad", "-o", "json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(r.out), &list); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(run(t, "", "lint", "-f", "testdata/bad").out, "\n")
	if len(list) != lines || r.code != ExitFailed {
		t.Errorf("%d findings in JSON, %d as text; exit code %d", len(list), lines, r.code)
	}
	if r = run(t, "", "lint", "-f", "testdata/good", "-o", "json"); strings.TrimSpace(r.out) != "[]" || r.code != ExitOK {
		t.Errorf("good files: %q, exit code %d", r.out, r.code)
	}
}

func TestLintGood(t *testing.T) {
	r := run(t, "", "lint", "-f", "testdata/good")
	if r.out != "" || r.code != ExitOK {
		t.Errorf("exit code %d: %s", r.code, r.out)
	}
	if !strings.Contains(r.err, "fire-webhook: not in the files") {
		t.Errorf("a Secret that was taken on trust is not named: %q", r.err)
	}
}

// A vendor checks its own files, without the platform's.
func TestLintWithoutPlatform(t *testing.T) {
	r := run(t, "", "lint", "-f", "testdata/vendor")
	if r.code != ExitOK || !strings.Contains(r.err, "no GridPlatform in the files") {
		t.Errorf("exit code %d: %q", r.code, r.err)
	}
	bad := "apiVersion: dizuo.io/v1alpha1\nkind: DeviceFleet\nmetadata: {name: x}\nspec: {profile: smoke}\n"
	if r = run(t, bad, "lint", "-f", "-"); r.code != ExitFailed || !strings.Contains(r.out, "-:4: DeviceFleet/x: spec.profile: is not a field") {
		t.Errorf("exit code %d: %q", r.code, r.out)
	}
}

func TestRender(t *testing.T) {
	r := run(t, "", "render", "-f", "testdata/good")
	if r.code != ExitOK {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	if again := run(t, "", "render", "-f", "testdata/good"); again.out != r.out {
		t.Error("two runs print differently")
	}
	var list strings.Builder
	for _, doc := range strings.Split(r.out, "---\n")[1:] {
		var o struct {
			APIVersion, Kind string
			Metadata         struct{ Namespace, Name string }
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		list.WriteString(strings.Join([]string{o.APIVersion, o.Kind, o.Metadata.Namespace + "/" + o.Metadata.Name}, " ") + "\n")
	}
	// The objects in their order; what is in them is the matter of internal/render's own golden files.
	golden(t, "render.golden", list.String())
	golden(t, "render-notes.golden", r.err)
}

func TestRenderRefusesProblems(t *testing.T) {
	r := run(t, "", "render", "-f", "testdata/bad")
	if r.code != ExitFailed || r.out != "" {
		t.Errorf("exit code %d, and %d bytes of YAML", r.code, len(r.out))
	}
	if r.err != run(t, "", "lint", "-f", "testdata/bad").out {
		t.Error("render and lint name different problems")
	}
	r = run(t, "", "render", "-f", "testdata/bad", "--keep-going")
	if r.code != ExitFailed || !strings.Contains(r.out, "name: dizuo-broker") {
		t.Errorf("--keep-going: exit code %d, %d bytes of YAML", r.code, len(r.out))
	}
	if r = run(t, "", "render", "-f", "testdata/vendor"); r.code != ExitFailed {
		t.Errorf("without a platform: exit code %d", r.code)
	}
}

func TestExplain(t *testing.T) {
	r := run(t, "", "explain", "-f", "testdata/good", "--node-image", "node:1", "--postgres-image", "postgres:1")
	if r.code != ExitOK {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	golden(t, "explain.golden", r.out)
	for _, want := range []string{
		`Dataset/street-lamps: spec.fields[1].personal = "Sensitive"`,
		"Scenario/s01-no-exit: running = false",
		"Scenario/s10-smoke: running = true",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("missing: %s", want)
		}
	}
}

func TestExplainRows(t *testing.T) {
	r := run(t, "", "explain", "-f", "testdata/bad")
	want := `DataSharingAgreement/property-visits: spec.datasets[0].rows.divisions = ["410225001001"]`
	if !strings.Contains(r.out, want) {
		t.Errorf("missing: %s", want)
	}
}

func TestAdmit(t *testing.T) {
	golden(t, "admit.golden", run(t, "", "admit", "henan").out)
	if r := run(t, "", "admit", "He nan"); r.code != ExitUsage {
		t.Errorf("exit code %d", r.code)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{
		{"version", ExitOK},
		{"help exit-codes", ExitOK},
		{"no-such-command", ExitUsage},
		{"lint", ExitUsage},
		{"lint --no-such-flag", ExitUsage},
		{"lint -f testdata/good -o xml", ExitUsage},
		{"lint -f testdata/no-such-file", ExitFailed},
		{"admit", ExitUsage},
		{"token --organization o --subject s --role R --for broker --platform a/b --key k", ExitUsage},
		{"cases --server https://localhost:1", ExitUsage},
	} {
		if r := run(t, "", strings.Fields(c.args)...); r.code != c.code {
			t.Errorf("dizuo %s: exit code %d, want %d: %s", c.args, r.code, c.code, r.err)
		}
	}
}
