package compile

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// TestACountysCompanyStaysInItsCounty: whatever compounds it names, a company acts where its namespace may speak for.
func TestACountysCompanyStaysInItsCounty(t *testing.T) {
	s := &Snapshot{Platform: &v1alpha1.GridPlatform{Spec: v1alpha1.GridPlatformSpec{
		Divisions: []string{"41"}, Members: []v1alpha1.Member{{Namespace: "county", Role: v1alpha1.MemberCounty, Divisions: []string{"410103"}}}}}}
	d := contract.Directory{Communities: map[string]contract.Community{
		"ours": {Division: "410103014006", Compounds: []string{"east"}}, "theirs": {Division: "410303003003", Compounds: []string{"east"}}, "outside": {Division: "110101001001", Compounds: []string{"east"}},
	}}
	for _, c := range []struct {
		namespace    string
		jurisdiction []string
		want         []string
	}{
		{"county", nil, []string{"ours"}}, {"city", nil, []string{"ours", "theirs"}}, {"city", []string{"4103"}, []string{"theirs"}},
	} {
		o := &v1alpha1.Organization{ObjectMeta: metav1.ObjectMeta{Name: "estate", Namespace: c.namespace}, Spec: v1alpha1.OrganizationSpec{
			Type: v1alpha1.OrganizationPropertyCompany, Jurisdiction: c.jurisdiction, Duties: []string{"property"},
			Compounds: []v1alpha1.CompoundRef{{Community: "theirs", Compound: "east"}, {Community: "ours", Compound: "east"}, {Community: "outside", Compound: "east"}}}}
		doc := contract.Organization{Jurisdiction: o.Spec.Jurisdiction}
		actsInCompounds(s, o, &doc)
		var acts []string
		for name := range d.Communities {
			if d.Reach(doc, contract.Place{Community: name, Compound: "east"}) > 0 {
				acts = append(acts, name)
			}
		}
		if slices.Sort(acts); !slices.Equal(acts, c.want) {
			t.Errorf("of namespace %s with jurisdiction %v it acts in %v, want %v", c.namespace, c.jurisdiction, acts, c.want)
		}
	}
}
