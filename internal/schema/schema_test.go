package schema

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func prepare(t *testing.T, kind, text string) (*Kind, Prepared) {
	t.Helper()
	k, err := For(kind)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	p, err := k.Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	return k, p
}

func head(kind string) string {
	return "apiVersion: dizuo.io/v1alpha1\nkind: " + kind + "\nmetadata: {name: x, namespace: ns}\n"
}

func TestKinds(t *testing.T) {
	want := []string{"Community", "DataSharingAgreement", "Dataset", "DeviceFleet", "DeviceProfile", "EdgeNode", "GridPlatform", "Organization", "Scenario"}
	if diff := cmp.Diff(want, Kinds()); diff != "" {
		t.Error(diff)
	}
	if _, err := For("Village"); err == nil || !strings.Contains(err.Error(), "Village") {
		t.Errorf("unknown kind: %v", err)
	}
}

// Strict defaults are what the whole policy rests on: an unmarked field must come out as sensitive.
func TestDefaultsAreStrict(t *testing.T) {
	_, p := prepare(t, "Dataset", head("Dataset")+"spec: {provider: {name: a}, divisionColumn: d, subjectColumn: s, fields: [{name: note}]}")
	taken := map[string]any{}
	for _, d := range p.Defaults {
		taken[d.Path] = d.Value
	}
	for path, want := range map[string]any{
		"spec.fields[0].personal": "Sensitive", "spec.fields[0].grade": "General4", "spec.sharing": "Conditional", "spec.category": "Ordinary",
	} {
		if taken[path] != want {
			t.Errorf("%s: got %v, want %v", path, taken[path], want)
		}
	}
	if _, written := taken["spec.fields[0].name"]; written {
		t.Error("a value that was written is listed as a default")
	}
}

func TestDefaultCarriesItsDoc(t *testing.T) {
	_, p := prepare(t, "GridPlatform", head("GridPlatform")+`spec: {divisions: ["41"]}`)
	i := slices.IndexFunc(p.Defaults, func(d Default) bool { return d.Path == "spec.broker.listener.port" })
	if i < 0 || !strings.Contains(p.Defaults[i].Doc, "port") || strings.Contains(p.Defaults[i].Doc, "Default:") {
		t.Errorf("spec.broker.listener.port: got %+v", p.Defaults)
	}
}

func TestPreparePrunesWhatTheServerPrunes(t *testing.T) {
	_, p := prepare(t, "Community", head("Community")+"spec: {division: '410221001001', displayNam: x, grids: [{name: g, kode: '1'}]}\nstatus: {openCases: 4}")
	if diff := cmp.Diff([]string{"spec.displayNam", "spec.grids[0].kode"}, p.Unknown); diff != "" {
		t.Error(diff)
	}
	if p.Object["status"] != nil {
		t.Error("status was kept; creation drops it")
	}
	if spec := p.Object["spec"].(map[string]any); spec["displayNam"] != nil {
		t.Error("unknown field was kept")
	}
}

func TestPrepareKeepsItsInput(t *testing.T) {
	k, err := For("GridPlatform")
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]any{"apiVersion": "dizuo.io/v1alpha1", "kind": "GridPlatform", "metadata": map[string]any{"name": "x"}, "spec": map[string]any{"divisions": []any{"41"}, "nope": "x"}}
	if _, err := k.Prepare(in); err != nil {
		t.Fatal(err)
	}
	if spec := in["spec"].(map[string]any); len(spec) != 2 {
		t.Errorf("input was changed: %v", spec)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		kind, spec  string
		field, says string
	}{
		"good":            {"Community", "{division: '410221001001'}", "", ""},
		"pattern":         {"Community", "{division: '41'}", "spec.division", "12-digit"},
		"required":        {"Community", "{}", "spec.division", "is missing"},
		"enum":            {"Community", "{division: '410221001001', committee: Rural}", "spec.committee", `"Rural" is not one of the values allowed; write "Urban"`},
		"type":            {"Community", "{division: 410221001001}", "spec.division", "string"},
		"duplicate key":   {"Community", "{division: '410221001001', grids: [{name: a}, {name: a}]}", "spec.grids[1]", "twice"},
		"CEL":             {"Dataset", "{provider: {name: a}, divisionColumn: d, fields: [{name: note}]}", "spec", "subjectColumn"},
		"CEL on defaults": {"GridPlatform", "{divisions: ['41'], profile: HighAvailability}", "spec", "CloudNativePG"},
	} {
		t.Run(name, func(t *testing.T) {
			k, p := prepare(t, c.kind, head(c.kind)+"spec: "+c.spec)
			errs := k.Validate(context.Background(), p.Object)
			if c.field == "" {
				if len(errs) > 0 {
					t.Fatal(errs)
				}
				return
			}
			for _, e := range errs {
				if e.Field == c.field && strings.Contains(k.Message(e), c.says) {
					return
				}
			}
			t.Errorf("want %s: ...%s...; got %v", c.field, c.says, errs)
		})
	}
}

func TestMetadataIsChecked(t *testing.T) {
	k, p := prepare(t, "Community", "apiVersion: dizuo.io/v1alpha1\nkind: Community\nmetadata: {name: Upper_Case, namespace: ns}\nspec: {division: '410221001001'}")
	errs := k.Validate(context.Background(), p.Object)
	if len(errs) == 0 || errs[0].Field != "metadata.name" {
		t.Errorf("got %v", errs)
	}
}

func TestUnknownSuggests(t *testing.T) {
	k, err := For("GridPlatform")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"spec.profil": "did you mean profile?", "spec.broker.listner": "did you mean listener?", "spec.zzzzzzzzzz": "remove it",
		"spec.members[0].rolle": "did you mean role?",
	} {
		if got := k.Unknown(path); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want ...%s", path, got, want)
		}
	}
}

func TestPathRoundTrip(t *testing.T) {
	for _, text := range []string{"spec.datasets[0].fields[12]", "spec", "metadata.labels[a.b/c]", "spec.parameters.x", "spec.rows[3]"} {
		if got := ParsePath(text).String(); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func TestFirstSentence(t *testing.T) {
	for in, want := range map[string]string{
		"one. Default: `x`.":      "one",
		"a, e.g. b, c. More.":     "a, e.g. b, c",
		"only one":                "only one",
		"breaks\nover lines. Two": "breaks over lines",
	} {
		if got := firstSentence(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
