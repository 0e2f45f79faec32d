package offline

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/compile"
)

// write puts files into a folder of the test.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadFolders(t *testing.T) {
	dir := write(t, map[string]string{
		"b.yaml": "kind: B", "a.yml": "kind: A", "c.json": `{"kind":"C"}`, "notes.txt": "kind: No", "sub/d.yaml": "kind: D",
	})
	for recursive, want := range map[bool]string{false: "A B C", true: "A B C D"} {
		docs, findings, err := Read(Source{Paths: []string{dir}, Recursive: recursive})
		if err != nil || len(findings) > 0 {
			t.Fatal(err, findings)
		}
		var kinds []string
		for _, d := range docs {
			kinds = append(kinds, d.Object["kind"].(string))
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("recursive %v: got %s, want %s", recursive, got, want)
		}
	}
	if _, _, err := Read(Source{Paths: []string{t.TempDir()}}); err == nil {
		t.Error("an empty folder must be an error: a mistyped path would pass for fine")
	}
	docs, _, err := Read(Source{Paths: []string{"-"}, Stdin: strings.NewReader("kind: In")})
	if err != nil || len(docs) != 1 {
		t.Errorf("standard input: %v %v", docs, err)
	}
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		kinds string
		wrong string
	}{
		"documents":                {"kind: A\n---\nkind: B\n--- # comment\nkind: C\n", "A B C", ""},
		"empty ones":               {"---\n# nothing\n---\nkind: A\n---\n", "A", ""},
		"content on the marker":    {"--- {kind: A}\n", "A", ""},
		"List":                     {"kind: List\nitems:\n- kind: A\n- kind: B\n", "A B", ""},
		"typed list":               {"kind: CommunityList\nitems:\n- kind: Community\n", "Community", ""},
		"marker in a block text":   {"kind: A\ntext: |\n  ---\n  x\n", "A", ""},
		"duplicate key":            {"kind: A\nkind: B\n", "", `f:2: yaml: unmarshal errors: key "kind" already set in map`},
		"not a map":                {"- a\n", "", "f:1: is no Kubernetes object; write a map with apiVersion, kind and metadata"},
		"bad item":                 {"kind: List\nitems:\n- kind: A\n- 7\n", "A", "f:4: is no Kubernetes object; write a map with apiVersion, kind and metadata"},
		"second is bad":            {"kind: A\n---\nkind: A\nkind: B\n", "A", `f:4: yaml: unmarshal errors: key "kind" already set in map`},
		"YAML 1.1, as kubectl has": {"kind: A\nyes: on\n", "A", ""},
	} {
		t.Run(name, func(t *testing.T) {
			docs, findings := Parse("f", []byte(c.text))
			var kinds, wrong []string
			for _, d := range docs {
				kinds = append(kinds, d.Object["kind"].(string))
			}
			for _, f := range findings {
				wrong = append(wrong, f.String())
			}
			if got := strings.Join(kinds, " "); got != c.kinds {
				t.Errorf("kinds: got %q, want %q", got, c.kinds)
			}
			if got := strings.Join(wrong, "|"); got != c.wrong {
				t.Errorf("findings: got %q, want %q", got, c.wrong)
			}
		})
	}
	docs, _ := Parse("f", []byte("kind: A\nflag: yes\n"))
	if docs[0].Object["flag"] != true {
		t.Errorf("a bare yes is %v here and true for kubectl", docs[0].Object["flag"])
	}
}

func TestLinesOfFields(t *testing.T) {
	docs, _ := Parse("f", []byte(`kind: Z
---
# comment
kind: List
items:
- kind: A
  spec:
    list: [a,
      b]
    map:
      key: 1
`))
	o := &Object{Document: docs[1]}
	for field, want := range map[string]int{
		"": 6, "spec": 7, "spec.list[1]": 9, "spec.map.key": 11, "spec.map.other": 10, "spec.nothing.below": 7, "spec.list[7]": 8,
	} {
		if _, got := o.At(field); got != want {
			t.Errorf("%q: line %d, want %d", field, got, want)
		}
	}
}

func load(t *testing.T, dir string) (*Set, *Result) {
	t.Helper()
	set, err := Load(context.Background(), Source{Paths: []string{dir}}, "default")
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := Catalog()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Compile(context.Background(), set, Options{
		Now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Catalog: catalog, Images: compile.Images{Node: "node", Postgres: "postgres"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set, r
}

const twoPlatforms = `apiVersion: v1
kind: Namespace
metadata: {name: vendor, labels: {dizuo.io/platform: b}}
---
apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: b, namespace: b}
spec: {divisions: ["4102"], members: [{namespace: vendor, role: Vendor}]}
---
apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: a, namespace: a}
spec: {divisions: ["4103"]}
---
apiVersion: dizuo.io/v1alpha1
kind: Community
metadata: {name: one, namespace: a}
spec: {division: "410302001001"}
---
apiVersion: dizuo.io/v1alpha1
kind: Community
metadata: {name: two, namespace: b}
spec: {division: "410202001001"}
---
apiVersion: dizuo.io/v1alpha1
kind: DeviceFleet
metadata: {name: smoke, namespace: vendor}
spec: {profileRef: {name: smoke-detector}, inventory: {rows: [{device: d1, community: two}]}}
`

func TestEachPlatformHasItsMembers(t *testing.T) {
	_, r := load(t, write(t, map[string]string{"x.yaml": twoPlatforms}))
	if len(r.Findings) > 0 {
		t.Fatal(r.Findings)
	}
	got := map[string][]string{}
	for _, p := range r.Platforms {
		for _, m := range p.Members {
			got[p.Object.GetName()] = append(got[p.Object.GetName()], m.Kind+"/"+m.GetName())
		}
	}
	if diff := cmp.Diff(map[string][]string{"a": {"Community/one"}, "b": {"Community/two", "DeviceFleet/smoke"}}, got); diff != "" {
		t.Error(diff)
	}
}

// A problem of one object must leave its neighbours alone, on its own platform and on others.
func TestNeighboursOfAProblemCompile(t *testing.T) {
	text := strings.Replace(twoPlatforms, `division: "410302001001"`, `division: "990302001001"`, 1)
	_, r := load(t, write(t, map[string]string{"x.yaml": text}))
	if len(r.Findings) != 1 || r.Findings[0].Field != "spec.division" || r.Findings[0].Line != 18 {
		t.Fatalf("got %v", r.Findings)
	}
	for _, p := range r.Platforms {
		for _, m := range p.Members {
			if m.Fatal != (m.GetName() == "one") {
				t.Errorf("%s/%s: fatal %v", m.Kind, m.GetName(), m.Fatal)
			}
		}
		if len(p.Render()) == 0 {
			t.Errorf("platform %s renders nothing", p.Object.GetName())
		}
	}
}

func TestSecretsInFilesAreUsed(t *testing.T) {
	secret := "---\napiVersion: v1\nkind: Secret\nmetadata: {name: rows, namespace: vendor}\nstringData:\n  inventory.csv: |\n    device,community\n    d1,two\n    d2,nowhere\n"
	text := strings.Replace(twoPlatforms, "rows: [{device: d1, community: two}]", "secrets: [{name: rows}]", 1)
	_, r := load(t, write(t, map[string]string{"x.yaml": text}))
	if len(r.Findings) > 0 || len(r.Platforms[1].Missing) != 1 {
		t.Errorf("without the Secret: findings %v, missing %v", r.Findings, r.Platforms[1].Missing)
	}
	_, r = load(t, write(t, map[string]string{"x.yaml": text + secret}))
	lines := strings.Count(text, "\n")
	if len(r.Findings) != 1 || r.Findings[0].Line != lines+9 || r.Findings[0].Name != "smoke" {
		t.Errorf("with the Secret: got %v, want one at line %d", r.Findings, lines+9)
	}
	if len(r.Platforms[1].Missing) != 0 {
		t.Errorf("missing: %v", r.Platforms[1].Missing)
	}
}

// The catalogue of the release must pass its own schema, or no platform starts.
func TestCatalog(t *testing.T) {
	c, err := Catalog()
	if err != nil {
		t.Fatal(err)
	}
	if c.Scenarios["s10-smoke"] == nil || c.Profiles["smoke-detector"] == nil {
		t.Errorf("scenarios %v, profiles %v", len(c.Scenarios), len(c.Profiles))
	}
	if s := c.Scenarios["s10-smoke"]; s.Namespace != "" || s.Spec.Input != "Device" {
		t.Errorf("namespace %q, input %q: want none, and the default Device", s.Namespace, s.Spec.Input)
	}
}
