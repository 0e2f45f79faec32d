package config

import (
	"io/fs"
	"path"
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
	for name, p := range profiles {
		for _, f := range p.Spec.Fields {
			if f.Personal == "" || f.Grade == "" {
				t.Errorf("%s: field %s: mark personal and grade; the catalogue is read by lawyers", name, f.Name)
			}
		}
	}
}
