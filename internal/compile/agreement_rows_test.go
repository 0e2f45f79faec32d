package compile

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// TestCountyGivesItsOwnCases: a county offers the platform's cases as a Dataset of its own, and a consumer for the whole province reads those
// of the county by it and not its neighbours'.
func TestCountyGivesItsOwnCases(t *testing.T) {
	s := &Snapshot{Platform: &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan"}, Spec: v1alpha1.GridPlatformSpec{
		Divisions: []string{"41"}, Members: []v1alpha1.Member{{Namespace: "county", Role: v1alpha1.MemberCounty, Divisions: []string{"4101", "410203"}}}}}}
	for _, c := range []struct {
		namespace    string
		source       v1alpha1.DatasetSourceType
		jurisdiction []string
		narrowed     []string
		want         []string
	}{
		{"henan", v1alpha1.SourceCases, []string{"41"}, nil, []string{"41"}},
		{"county", v1alpha1.SourceCases, []string{"41"}, nil, []string{"4101", "410203"}},
		{"county", v1alpha1.SourceDevices, []string{"410102", "4102"}, nil, []string{"410102", "410203"}},
		{"county", v1alpha1.SourceTelemetry, []string{"41"}, []string{"4103", "410105"}, []string{"410105"}},
		{"county", v1alpha1.SourceCases, []string{"4103"}, nil, nil},
		{"county", v1alpha1.SourceTable, []string{"41"}, nil, []string{"41"}},
	} {
		d := &v1alpha1.Dataset{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "cases"}, Spec: v1alpha1.DatasetSpec{Source: v1alpha1.DatasetSource{Type: c.source}}}
		consumer := &v1alpha1.Organization{Spec: v1alpha1.OrganizationSpec{Type: v1alpha1.OrganizationDepartment, Jurisdiction: c.jurisdiction}}
		var found problems
		got := rows(&found, s, "rows", &v1alpha1.RowSelector{Divisions: c.narrowed}, consumer, d)
		if !slices.Equal(got.Divisions, c.want) || found.list.Fatal() != (len(c.want) == 0) {
			t.Errorf("%+v: divisions %q, %+v", c, got.Divisions, found.list)
		}
	}
}
