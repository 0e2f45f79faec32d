package compile

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// TestProfileResolved: the platform's own profile goes before that of the catalogue.
func TestProfileResolved(t *testing.T) {
	profile := func(name string, version int32) *v1alpha1.DeviceProfile {
		return &v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.DeviceProfileSpec{SchemaVersion: version}}
	}
	s := &Snapshot{Profiles: Named[*v1alpha1.DeviceProfile]{}, Catalog: Catalog{Profiles: map[string]*v1alpha1.DeviceProfile{"lamp": profile("lamp", 1), "lift": profile("lift", 2)}}}
	s.Profiles.Add(profile("lamp", 3))
	for name, want := range map[string]string{"lamp": "lamp@3", "lift": "lift@2", "none": ""} {
		o := &v1alpha1.DeviceFleet{}
		o.Spec.ProfileRef.Name = name
		if got := ProfileResolved(s, o); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
