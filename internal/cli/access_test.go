package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const countySample = "../../config/samples/county"

func TestCatalogPrintsTheSharingList(t *testing.T) {
	for name, args := range map[string][]string{
		"catalog.en.txt": {"--lang", "en"}, "catalog.zh.txt": {"--lang", "zh"}, "catalog.zh.csv": {"--lang", "zh", "-o", "csv"}, "catalog.json": {"-o", "json"},
	} {
		r := run(t, "", append([]string{"catalog", "-f", countySample, "-f", "../../config/samples/henan-pilots"}, args...)...)
		if r.code != 0 {
			t.Errorf("%s: exit %d: %s", name, r.code, r.err)
		}
		golden(t, name, r.out)
	}
	if r := run(t, "", "catalog", "-f", countySample, "--lang", "fr"); r.code != ExitUsage {
		t.Errorf("exit %d", r.code)
	}
}

func TestAccessMatrix(t *testing.T) {
	for name, args := range map[string][]string{
		"matrix.field.txt": nil, "matrix.class.txt": {"--by", "class"}, "matrix.csv": {"-o", "csv"},
	} {
		r := run(t, "", append([]string{"access", "matrix", "-f", "../../config/samples/henan-pilots"}, args...)...)
		if r.code != 0 {
			t.Errorf("%s: exit %d: %s", name, r.code, r.err)
		}
		golden(t, name, r.out)
	}
	for _, args := range [][]string{{"--by", "person"}, {"-o", "pdf"}} {
		if r := run(t, "", append([]string{"access", "matrix", "-f", countySample}, args...)...); r.code != ExitUsage {
			t.Errorf("%v: exit %d", args, r.code)
		}
	}
}

// A change that voids no signature, because it is of the consumer: a wider jurisdiction; and the agreement's end.
func TestAccessDiff(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(countySample, "county.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	side := func(change ...string) string {
		text := strings.NewReplacer(change...).Replace(string(raw))
		if len(change) > 0 && text == string(raw) {
			t.Fatalf("the sample has no %q", change[0])
		}
		path := filepath.Join(t.TempDir(), "county.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	same, revoked := side(), side("  purposes: [FireResponse]\n  approvals:", "  purposes: [FireResponse]\n  suspended: true\n  approvals:")
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"diff.same.en.txt":   {[]string{same, side()}, 0},
		"diff.closes.en.txt": {[]string{same, revoked}, 0},
		"diff.opens.en.txt":  {[]string{revoked, same}, ExitWider},
		"diff.opens.zh.txt":  {[]string{revoked, same, "--lang", "zh"}, ExitWider},
		"diff.opens.json":    {[]string{revoked, same, "-o", "json"}, ExitWider},
	} {
		r := run(t, "", append([]string{"access", "diff"}, c.args...)...)
		if r.code != c.code {
			t.Errorf("%s: exit %d, want %d: %s", name, r.code, c.code, r.err)
		}
		golden(t, name, r.out)
	}
}

// A pull request that widens a text voids its signatures: the reviewer is told what signing it again would open.
func TestAccessDiffOnceSigned(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(countySample, "county.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	side := func(change ...string) string {
		text := strings.NewReplacer(change...).Replace(string(raw))
		path := filepath.Join(t.TempDir(), "county.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const purposes = "  purposes: [FireResponse]\n  approvals:"
	wider := side(purposes, "  purposes: [FireResponse, Audit]\n  approvals:")
	r := run(t, "", "access", "diff", side(), wider)
	if r.code != ExitWider || !strings.Contains(r.out, "closes") || !strings.Contains(r.out, "once signed: ") || !strings.Contains(r.out, "opens Audit") {
		t.Errorf("wider, not signed: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	broken := side("name: fire-addresses", "name: fire-addresses", "consumer: {name: helan-fire}", "consumer: {name: ghost}")
	if r := run(t, "", "access", "diff", side(), broken); r.code != ExitFailed || !strings.Contains(r.err, "after the change 1 objects do not compile") {
		t.Errorf("a side that does not compile: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	if r := run(t, "", "access", "diff", wider, wider); r.code != ExitOK {
		t.Errorf("no change: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
}

func TestCSVIsNoFormula(t *testing.T) {
	var b strings.Builder
	if err := writeCSV(&b, [][]string{{"=1+1", "a,b", "@x", "plain"}}); err != nil || b.String() != "'=1+1,\"a,b\",'@x,plain\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
