// Package docs_test holds the reference pages of docs/kinds against the API, the compiler and the schema: a field, a reason
// or an example that the pages do not have right fails here.
package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/config/crd"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
)

const (
	index      = "kinds/README.md"
	conditions = "../api/v1alpha1/conditions.go"
	// unused is the section of the index with the reasons and conditions that no code gives.
	unused = "## Reasons and conditions that nothing gives yet"
)

// field of the schema of a kind.
type field struct {
	// path as the pages write it: "sla[].severity".
	path     string
	depth    int
	required bool
	schema   apiextensionsv1.JSONSchemaProps
}

// kind of the API with its page.
type kind struct {
	page         string
	spec, status []field
	// shown are the paths of the columns of kubectl get, such as ".spec.displayName".
	shown []string
}

// kinds reads the CRDs and the page of each.
func kinds(t *testing.T) map[string]kind {
	t.Helper()
	out := map[string]kind{}
	paths, err := fs.Glob(crd.FS, "*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	for _, path := range paths {
		raw, err := fs.ReadFile(crd.FS, path)
		if err != nil {
			t.Fatal(err)
		}
		var def apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(raw, &def); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		name := def.Spec.Names.Kind
		page := filepath.Join("kinds", strings.ToLower(name)+".md")
		text, err := os.ReadFile(page)
		if err != nil {
			t.Errorf("kind %s has no page: write docs/%s", name, page)
			continue
		}
		top := def.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
		of := kind{page: string(text), spec: fields(nil, "", 1, top["spec"]), status: fields(nil, "", 1, top["status"])}
		for _, c := range def.Spec.Versions[0].AdditionalPrinterColumns {
			of.shown = append(of.shown, c.JSONPath)
		}
		out[name] = of
	}
	return out
}

// fields lists the fields below a schema, in the order of their names.
func fields(list []field, below string, depth int, s apiextensionsv1.JSONSchemaProps) []field {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		sub := s.Properties[name]
		f := field{path: below + name, depth: depth, required: slices.Contains(s.Required, name), schema: sub}
		list = append(list, f)
		prefix := f.path
		for sub.Items != nil {
			prefix, sub = prefix+"[]", *sub.Items.Schema
		}
		list = fields(list, prefix+".", depth+1, sub)
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func mentions(text, word string) bool { return strings.Contains(text, "`"+word+"`") }

var (
	// same is a sentence by which a page explains a part of the spec by another.
	same = regexp.MustCompile("`([^`]+)` has the fields of `([^`]+)`")
	// row is a row of a table of fields of the spec.
	row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*?) \\| (.*?) \\| (.*) \\|$")
	// said is a row of a table of conditions.
	said = regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z]+)` \\| `([A-Z][A-Za-z]+)` \\| ((?:True|False)[a-z, ]*?) \\|")
)

// Every field of the spec is on its page, with the default that the schema has; what the schema does not have is not there.
func TestFields(t *testing.T) {
	for name, k := range kinds(t) {
		specPart, _, found := strings.Cut(k.page, "\n## Status\n")
		if !found {
			t.Errorf("%s: has no section Status", name)
		}
		aliases := map[string]string{}
		for _, m := range same.FindAllStringSubmatch(specPart, -1) {
			aliases[m[1]+"."] = m[2] + "."
		}
		rows := map[string]string{}
		for _, m := range row.FindAllStringSubmatch(specPart, -1) {
			rows[m[1]] = m[3]
		}
		known := map[string]bool{}
		for _, f := range k.spec {
			known[f.path] = true
			explained := f.path
			if f.depth > 2 {
				for part, other := range aliases {
					if rest, ok := strings.CutPrefix(f.path, part); ok {
						explained = other + rest
					}
				}
			}
			if !mentions(specPart, explained) {
				t.Errorf("%s: spec.%s is not on the page: say what it does, or that nothing acts on it", name, f.path)
			}
			if shown, ok := rows[f.path]; ok && shown != standard(t, f) {
				t.Errorf("%s: spec.%s has the default %q on the page, %q in the schema", name, f.path, shown, standard(t, f))
			}
		}
		for path := range rows {
			if !known[path] {
				t.Errorf("%s: the page has a row for spec.%s, which the schema has not", name, path)
			}
		}
	}
}

// standard gives the cell "default" of a field.
func standard(t *testing.T, f field) string {
	t.Helper()
	if f.required {
		return "required"
	}
	if f.schema.Default == nil {
		return ""
	}
	var value any
	if err := yaml.Unmarshal(f.schema.Default.Raw, &value); err != nil {
		t.Fatalf("%s: default: %v", f.path, err)
	}
	var parts []string
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, fmt.Sprintf("`%s: %v`", key, v[key]))
		}
	case []any:
		for _, item := range v {
			text := fmt.Sprint(item)
			if window, ok := item.(map[string]any); ok {
				text = fmt.Sprintf("%v–%v", window["from"], window["to"])
			}
			parts = append(parts, "`"+text+"`")
		}
	default:
		parts = append(parts, fmt.Sprintf("`%v`", v))
	}
	return strings.Join(parts, ", ")
}

// Every field of the status is on its page, or on the index if every kind has it.
func TestStatusFields(t *testing.T) {
	common := read(t, index)
	for name, k := range kinds(t) {
		for _, f := range k.status {
			if f.depth <= 2 && !mentions(k.page, f.path) && !mentions(common, f.path) && !mentions(k.page, "status."+topOf(f.path)) {
				t.Errorf("%s: status.%s is neither on the page nor on the index", name, f.path)
			}
		}
	}
}

func topOf(path string) string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' })[0]
}

// constants gives the values of the constants of conditions.go that begin with a prefix, by name.
func constants(t *testing.T, prefix string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), conditions, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		out[spec.Names[0].Name] = value
		return true
	})
	if len(out) == 0 {
		t.Fatalf("%s: no constants %s...", conditions, prefix)
	}
	return out
}

// given gives the code that makes conditions, joined.
func given(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	for _, dir := range []string{"../internal/compile", "../internal/status", "../controllers"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			all.Write(raw)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// Every reason and condition is explained: on the page of a kind if any code gives it, else in the list of those that none does.
func TestReasons(t *testing.T) {
	explained, later, found := strings.Cut(read(t, index), unused)
	if !found {
		t.Fatalf("%s has no section %q", index, unused)
	}
	for _, k := range kinds(t) {
		explained += k.page
	}
	code := given(t)
	for _, prefix := range []string{"Reason", "Condition"} {
		for name, value := range constants(t, prefix) {
			used := regexp.MustCompile(`v1alpha1\.` + name + `\b`).MatchString(code)
			switch {
			case used && !mentions(explained, value):
				t.Errorf("%s %s is given by the code and on no page: say when it appears and what to do", prefix, value)
			case used && mentions(later, value):
				t.Errorf("%s %s is given by the code: take it out of %q", prefix, value, unused)
			case !used && !mentions(later, value):
				t.Errorf("%s %s is given by no code: name it in %q of docs/%s", prefix, value, unused, index)
			}
		}
	}
}

// What the golden tests of the compiler show of a kind is in the table of conditions of its page, and heals as the page says.
func TestGoldenProblems(t *testing.T) {
	rows := map[string][][]string{}
	for name, k := range kinds(t) {
		rows[name] = said.FindAllStringSubmatch(k.page, -1)
	}
	files, err := filepath.Glob("../internal/compile/testdata/*.out.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		var results []struct {
			Object   string
			Problems []struct {
				Condition, Reason string
				Waiting, Partial  bool
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &results); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, r := range results {
			name, _, _ := strings.Cut(r.Object, " ")
			for _, p := range r.Problems {
				want := "False, stalls"
				switch {
				case p.Partial:
					want = "True"
				case p.Waiting:
					want = "False, waits"
				}
				if !slices.ContainsFunc(rows[name], func(m []string) bool {
					return m[1] == p.Condition && m[2] == p.Reason && m[3] == want
				}) {
					t.Errorf("%s: the page has no row for %s, %s, %s, as in %s", name, p.Condition, p.Reason, want, filepath.Base(file))
				}
			}
		}
	}
}

var example = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func load(t *testing.T, text string) *offline.Set {
	t.Helper()
	set, err := offline.Load(context.Background(), offline.Source{Paths: []string{"-"}, Stdin: strings.NewReader(text)}, "default")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Each example passes the schema by itself, and all of them together compile: only signatures are missing.
func TestExamples(t *testing.T) {
	pages, err := filepath.Glob("kinds/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	of := map[string]int{}
	for _, page := range pages {
		for i, m := range example.FindAllStringSubmatch(read(t, page), -1) {
			set := load(t, m[1])
			for _, f := range set.Findings {
				t.Errorf("docs/%s, example %d: %s", page, i+1, f)
			}
			for _, o := range set.Objects {
				of[o.Kind]++
			}
			all = append(all, m[1])
		}
	}
	for name := range kinds(t) {
		if of[name] < 2 {
			t.Errorf("%s has %d examples: write the shortest useful one and a fuller one", name, of[name])
		}
	}
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) // within the validity of the agreements
	result, err := offline.Compile(context.Background(), load(t, strings.Join(all, "\n---\n")),
		offline.Options{Now: now, Images: compile.Images{Node: "node", Postgres: "postgres"}, Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range result.Findings {
		if f.Reason != v1alpha1.ReasonDraft {
			t.Errorf("all examples together: %s", f)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\- ]`)
)

// Links between the pages lead somewhere.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("kinds/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md") {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("docs/%s: link to %s leads nowhere", page, m[1])
				continue
			}
			if m[2] != "" && !slices.Contains(anchors(read(t, target)), strings.TrimPrefix(m[2], "#")) {
				t.Errorf("docs/%s: %s has no heading for %s", page, target, m[2])
			}
		}
	}
}

// anchors gives the anchors of the headings of a page, as GitHub makes them.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

// The table of the catalogue has every shipped profile, with its heartbeat, fields and commands.
func TestCatalogueTable(t *testing.T) {
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../config/profiles/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range catalog.Profiles {
		code := func(list []string) string {
			var out []string
			for _, v := range list {
				out = append(out, "`"+v+"`")
			}
			return strings.Join(out, ", ")
		}
		var fields, commands []string
		for _, f := range p.Spec.Fields {
			fields = append(fields, f.Name)
		}
		for _, c := range p.Spec.Commands {
			commands = append(commands, c.Name)
		}
		beat := strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(p.Spec.Heartbeat.Duration.String())
		if row := fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, p.Spec.DisplayName, beat, code(fields), code(commands)); !bytes.Contains(raw, []byte(row)) {
			t.Errorf("config/profiles/README.md lacks the line\n%s", row)
		}
	}
}
