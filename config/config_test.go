package config

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// read decodes every object of a folder of the catalogue, strictly: a field that the API does not have is an error.
func read[T any](t *testing.T, dir string, kind string) map[string]*T {
	t.Helper()
	files, err := fs.Glob(FS, dir+"/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", dir, err, len(files))
	}
	out := map[string]*T{}
	for _, f := range files {
		raw, err := fs.ReadFile(FS, f)
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal(raw, &head); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if head.APIVersion != v1alpha1.SchemeGroupVersion.String() || head.Kind != kind {
			t.Errorf("%s: is %s %s, want %s %s", f, head.APIVersion, head.Kind, v1alpha1.SchemeGroupVersion, kind)
		}
		if name := strings.TrimSuffix(path.Base(f), ".yaml"); head.Metadata.Name != name || head.Metadata.Namespace != "" {
			t.Errorf("%s: is named %q in namespace %q, want %q in none", f, head.Metadata.Name, head.Metadata.Namespace, name)
		}
		o := new(T)
		if err := yaml.UnmarshalStrict(raw, o); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		out[head.Metadata.Name] = o
	}
	return out
}

// numbers are those of the scenes that ship.
func numbers() (out []string) {
	for n := 1; n <= 40; n++ {
		if n != 27 && n != 38 {
			out = append(out, fmt.Sprintf("S%02d", n))
		}
	}
	return out
}

// face is what a field, a command or an expression of the catalogue must not be about; a surface is none.
var face = regexp.MustCompile(`(^|[^A-Za-z])([Ff]ace|[Ff]acial)|[a-z](Face|Facial)|FACE|人脸|面部`)

// TestNoFaces: nothing that runs knows of faces: no name of a field, a command or a parameter, no value, no expression, and no mapping. What a file says for people
// ("no face is looked at") may.
func TestNoFaces(t *testing.T) {
	for name, s := range read[v1alpha1.Scenario](t, ScenariosDir, "Scenario") {
		noFace(t, name, s.Spec)
	}
	for name, p := range read[v1alpha1.DeviceProfile](t, ProfilesDir, "DeviceProfile") {
		noFace(t, name, p.Spec)
	}
	for text, is := range map[string]bool{"msg.faceId == '1'": true, "userFace": true, "FACE_ID": true, "人脸": true, "facialFeature": true, "msg.surface > 1": false, "interface": false} {
		if face.MatchString(text) != is {
			t.Errorf("%q: %v, want %v", text, !is, is)
		}
	}
}

// forPeople are fields of the API that nothing reads but people.
var forPeople = []string{"description", "disabledReason", "displayName", "displayNameEN", "source", "citation", "closing"}

// noFace looks through all that a spec says, but for what it says to people.
func noFace(t *testing.T, name string, spec any) {
	t.Helper()
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var all any
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	var look func(path string, v any)
	look = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, x := range v {
				if !slices.Contains(forPeople, key) {
					look(path+"."+key, x)
				}
			}
		case []any:
			for i, x := range v {
				look(fmt.Sprintf("%s[%d]", path, i), x)
			}
		case string:
			if face.MatchString(v) {
				t.Errorf("%s: spec%s: %q is about faces, and the catalogue has none", name, path, v)
			}
		}
	}
	look("", all)
}

// TestCatalogue checks what a release promises of its catalogue beyond the schema.
func TestCatalogue(t *testing.T) {
	profiles := read[v1alpha1.DeviceProfile](t, ProfilesDir, "DeviceProfile")
	scenarios := read[v1alpha1.Scenario](t, ScenariosDir, "Scenario")
	ids := map[string]string{}
	for name, s := range scenarios {
		if ref := s.Spec.ProfileRef; ref != nil && profiles[ref.Name] == nil {
			t.Errorf("%s: profile %s is not in the catalogue", name, ref.Name)
		}
		if !strings.HasPrefix(name, strings.ToLower(s.Spec.CatalogueID)+"-") || ids[s.Spec.CatalogueID] != "" {
			t.Errorf("%s: catalogueID %q must begin the name and be its own", name, s.Spec.CatalogueID)
		}
		ids[s.Spec.CatalogueID] = name
		if s.Spec.Source == "" || s.Spec.DisplayName == "" || s.Spec.DisplayNameEN == "" {
			t.Errorf("%s: write source, displayName and displayNameEN", name)
		}
		if s.Spec.DefaultEnabled() != (s.Spec.DataClass == v1alpha1.DataClassC0) {
			t.Errorf("%s: only scenes without personal data are on by default, and all of them are", name)
		}
		if !s.Spec.DefaultEnabled() && s.Spec.DisabledReason == "" {
			t.Errorf("%s: is off: write disabledReason", name)
		}
		for _, p := range s.Spec.Parameters {
			if !slices.Contains([]v1alpha1.Origin{v1alpha1.OriginText, v1alpha1.OriginOurs}, p.Origin) {
				t.Errorf("%s: parameter %s: write origin Text or Ours", name, p.Name)
			}
		}
	}
	if want := numbers(); !slices.Equal(slices.Sorted(maps.Keys(ids)), want) {
		t.Errorf("the catalogue has %v, want S01 to S40 without S27 and S38, which profile people: %v", slices.Sorted(maps.Keys(ids)), want)
	}
	for _, id := range []string{"S16", "S26", "S39"} {
		if s := scenarios[ids[id]]; s != nil && (s.Spec.Enabled == nil || *s.Spec.Enabled || s.Spec.LegalBasis == nil) {
			t.Errorf("%s: needs enabled: false, written out, and legalBasis", ids[id])
		}
	}
	for name, p := range profiles {
		for _, f := range p.Spec.Fields {
			if f.Personal == "" || f.Grade == "" {
				t.Errorf("%s: field %s: mark personal and grade; the catalogue is read by lawyers", name, f.Name)
			}
		}
	}
}
