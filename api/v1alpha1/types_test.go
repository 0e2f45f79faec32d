// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var kinds = []string{
	"Community", "DataSharingAgreement", "Dataset", "DeviceFleet", "DeviceProfile", "EdgeNode", "GridPlatform", "Organization", "Scenario",
}

// object is what every kind of the group is.
type object interface {
	metav1.Object
	runtime.Object
	GetCommonStatus() *CommonStatus
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemeHasEveryKindAndItsList(t *testing.T) {
	s := newScheme(t)
	var got []string
	for name, typ := range s.KnownTypes(SchemeGroupVersion) {
		if typ.PkgPath() == "github.com/dizuo/dizuo/api/v1alpha1" {
			got = append(got, name)
		}
	}
	var want []string
	for _, k := range kinds {
		want = append(want, k, k+"List")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("kinds in the scheme:\n got %v\nwant %v", got, want)
	}
}

// An object that a client writes must not carry zero values of its own: they would be taken for choices, and the defaults
// of the schema would not be applied.
func TestEmptyObjectCarriesNoZeroValues(t *testing.T) {
	s := newScheme(t)
	// These fields are required by the schema, so an empty object has them.
	required := map[string][]string{
		"Community":            {"division"},
		"DataSharingAgreement": {"consumer", "datasets", "purposes"},
		"Dataset":              {"fields", "provider"},
		"DeviceFleet":          {"profileRef"},
		"DeviceProfile":        {"category", "fields"},
		"EdgeNode":             {"communities"},
		"GridPlatform":         {"divisions"},
		"Organization":         {"type"},
		"Scenario":             {"trigger"},
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			o, err := s.New(SchemeGroupVersion.WithKind(kind))
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(m["spec"])); !slices.Equal(got, required[kind]) {
				t.Errorf("spec of an empty object has %v, want only the required %v", got, required[kind])
			}
			if _, ok := m["status"]; ok {
				t.Errorf("an empty object has a status: %s", b)
			}
		})
	}
}

func TestCommonStatusIsTheStatusItself(t *testing.T) {
	s := newScheme(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ro, err := s.New(SchemeGroupVersion.WithKind(kind))
			if err != nil {
				t.Fatal(err)
			}
			o, ok := ro.(object)
			if !ok {
				t.Fatalf("%T is not an object with a common status", ro)
			}
			o.GetCommonStatus().ObservedGeneration = 7
			o.GetCommonStatus().Conditions = []metav1.Condition{{Type: ConditionReady, Status: metav1.ConditionTrue, Reason: ReasonSucceeded}}

			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				Status struct {
					ObservedGeneration int64
					Conditions         []metav1.Condition
				}
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if m.Status.ObservedGeneration != 7 || len(m.Status.Conditions) != 1 || m.Status.Conditions[0].Type != ConditionReady {
				t.Errorf("status as JSON: %s", b)
			}

			c, ok := o.DeepCopyObject().(object)
			if !ok {
				t.Fatalf("the copy of %T is another type", o)
			}
			c.GetCommonStatus().Conditions[0].Status = metav1.ConditionFalse
			if o.GetCommonStatus().Conditions[0].Status != metav1.ConditionTrue {
				t.Error("a change of the copy changed the original")
			}
		})
	}
}

func TestRanks(t *testing.T) {
	if !(SeverityLow.Rank() < SeverityMedium.Rank() && SeverityMedium.Rank() < SeverityHigh.Rank() && SeverityHigh.Rank() < SeverityCritical.Rank()) {
		t.Error("severities are not in order")
	}
	if Severity("Grave").Rank() != -1 || DataClass("").Rank() != -1 || Grade("General5").Rank() != -1 {
		t.Error("a value outside the list has a rank")
	}
	if !(GradeGeneral4.Rank() < GradeImportant.Rank() && GradeImportant.Rank() < GradeCore.Rank()) {
		t.Error("grades are not in order")
	}
}

func TestEffectiveClearance(t *testing.T) {
	for _, tc := range []struct {
		spec OrganizationSpec
		want DataClass
	}{
		{OrganizationSpec{Type: OrganizationPolice}, DataClassC3},
		{OrganizationSpec{Type: OrganizationHealth}, DataClassC2},
		{OrganizationSpec{Type: OrganizationPropertyCompany}, DataClassC1},
		{OrganizationSpec{Type: OrganizationPolice, Clearance: DataClassC0}, DataClassC0},
		{OrganizationSpec{Type: "Unheard"}, DataClassC0},
	} {
		if got := tc.spec.EffectiveClearance(); got != tc.want {
			t.Errorf("%s (clearance %q): got %s, want %s", tc.spec.Type, tc.spec.Clearance, got, tc.want)
		}
	}
}

func TestMayHold(t *testing.T) {
	may := map[MemberRole][]string{
		MemberCounty:   {"Community", "DataSharingAgreement", "Dataset", "DeviceFleet", "DeviceProfile", "EdgeNode", "Organization", "Scenario"},
		MemberVendor:   {"DeviceFleet"},
		MemberProvider: {"DataSharingAgreement", "Dataset"},
		"":             nil,
	}
	for role, want := range may {
		for _, kind := range kinds {
			if got := role.MayHold(kind); got != slices.Contains(want, kind) {
				t.Errorf("role %q, kind %s: got %v", role, kind, got)
			}
		}
	}
}

func TestDefaultSLACoversEverySeverity(t *testing.T) {
	last := metav1.Duration{}
	for _, sla := range DefaultSLA() {
		if sla.Acknowledge.Duration <= last.Duration || sla.OnSite.Duration < sla.Acknowledge.Duration || sla.Resolve.Duration <= sla.OnSite.Duration {
			t.Errorf("%s: acknowledge %s, on site %s, resolve %s, after %s", sla.Severity, sla.Acknowledge.Duration, sla.OnSite.Duration, sla.Resolve.Duration, last.Duration)
		}
		last = sla.Acknowledge
	}
	if n := len(DefaultSLA()); n != 4 {
		t.Errorf("%d severities", n)
	}
}
