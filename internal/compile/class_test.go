package compile

import (
	"fmt"
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/policies"
)

// TestClassIsOne holds ClassOf, the guardrail on clearance and the access policy together, for every category, mark, mask and clearance,
// also those that nobody knows.
func TestClassIsOne(t *testing.T) {
	guard, err := policies.Guardrails(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compiler, err := policies.Compile(policies.Access())
	if err != nil {
		t.Fatal(err)
	}
	access, err := rego.New(rego.Query("data.dizuo.access.cleared(input.about, {x | some x in input.leaving})"), rego.Compiler(compiler)).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	categories := []v1alpha1.DatasetCategory{v1alpha1.CategoryOrdinary, v1alpha1.CategoryHealth, v1alpha1.CategoryMinor, v1alpha1.CategoryFinancial, v1alpha1.CategoryLocation,
		v1alpha1.CategoryKeyPopulation, v1alpha1.CategoryBiometric, v1alpha1.CategoryVideo, "Unheard"}
	marks := []v1alpha1.Personal{v1alpha1.PersonalNone, v1alpha1.PersonalOrdinary, v1alpha1.PersonalSensitive, v1alpha1.PersonalBiometric, "Unheard"}
	n := 0
	for _, category := range categories {
		for _, mark := range marks {
			for _, mask := range []v1alpha1.MaskMethod{"", v1alpha1.MaskPseudonym, v1alpha1.MaskKeepLast, v1alpha1.MaskDrop} {
				d := &v1alpha1.Dataset{Spec: v1alpha1.DatasetSpec{Category: category, Fields: []v1alpha1.DatasetField{{Name: "division", Personal: v1alpha1.PersonalNone}, {Name: "x", Personal: mark}}}}
				want := v1alpha1.AgreementDataset{Fields: []string{"division", "x"}}
				if mask != "" {
					want.Masks = []v1alpha1.FieldMask{{Field: "x", Method: mask}}
				}
				class := ClassOf(d, leaves(&want))
				if got := accessClass(t, access, d, &want); got != class.Rank() {
					t.Errorf("category %s, mark %s, mask %q: access.rego has rank %d, Go %s", category, mark, mask, got, class)
				}
				for _, clearance := range []v1alpha1.DataClass{v1alpha1.DataClassC0, v1alpha1.DataClassC1, v1alpha1.DataClassC2, v1alpha1.DataClassC3} {
					n++
					consumer := &v1alpha1.Organization{Spec: v1alpha1.OrganizationSpec{Type: v1alpha1.OrganizationDepartment, Clearance: clearance}}
					o := &v1alpha1.DataSharingAgreement{Spec: v1alpha1.DataSharingAgreementSpec{Datasets: []v1alpha1.AgreementDataset{want}}}
					found, err := guard.Check(t.Context(), GuardInput(&Snapshot{}, o, consumer, []*v1alpha1.Dataset{d}))
					if err != nil {
						t.Fatal(err)
					}
					refused := slices.ContainsFunc(found, func(v policies.Violation) bool { return v.Rule == "clearance" })
					var c problems
					checkClearance(&c, o, consumer, []*v1alpha1.Dataset{d})
					if above := class.Rank() > clearance.Rank(); above != (len(c.list) > 0) || refused != above {
						t.Errorf("category %s, mark %s, mask %q, clearance %s: guardrail refuses %t, compile %v; the class is %s", category, mark, mask, clearance, refused, c.list, class)
					}
				}
			}
		}
	}
	if n != 9*5*4*4 {
		t.Errorf("%d cases", n)
	}
}

// accessClass asks the access policy for the lowest clearance that opens what leaves, as a rank; -1 if none does.
func accessClass(t *testing.T, q rego.PreparedEvalQuery, d *v1alpha1.Dataset, want *v1alpha1.AgreementDataset) int {
	t.Helper()
	fields, leaving := map[string]any{}, []string{}
	for _, f := range d.Spec.Fields {
		fields[f.Name] = map[string]any{"personal": string(f.Personal)}
		if leaves(want)(f.Name) {
			leaving = append(leaving, f.Name)
		}
	}
	lowest := -1
	for rank := 3; rank >= 0; rank-- {
		results, err := q.Eval(t.Context(), rego.EvalInput(map[string]any{
			"about": map[string]any{"category": string(d.Spec.Category), "fields": fields}, "leaving": leaving, "clearance": fmt.Sprintf("C%d", rank),
		}))
		if err != nil {
			t.Fatal(err)
		}
		if !results.Allowed() {
			continue
		}
		if lowest != -1 && lowest != rank+1 || lowest == -1 && rank != 3 {
			t.Errorf("C%d opens what a higher clearance does not", rank)
		}
		lowest = rank
	}
	return lowest
}

// Counts of groups are of nobody, so no person is asked for; where single records leave beside them, or the roster decides, one is.
// TestWhatIsPickedByIsTold: who gets the places of the sick is told where they are, though the illness is not given.
func TestWhatIsPickedByIsTold(t *testing.T) {
	d := &v1alpha1.Dataset{Spec: v1alpha1.DatasetSpec{Category: v1alpha1.CategoryOrdinary, Fields: []v1alpha1.DatasetField{
		{Name: "grid", Personal: v1alpha1.PersonalNone, Type: v1alpha1.DatasetString}, {Name: "ill", Personal: v1alpha1.PersonalSensitive, Type: v1alpha1.DatasetString}}}}
	d.Name, d.Spec.DivisionColumn, d.Spec.SubjectColumn = "residents", "division", "subject"
	consumer := &v1alpha1.Organization{Spec: v1alpha1.OrganizationSpec{Type: v1alpha1.OrganizationDepartment, Clearance: v1alpha1.DataClassC1, Jurisdiction: []string{"41"}}}
	o := &v1alpha1.DataSharingAgreement{Spec: v1alpha1.DataSharingAgreementSpec{Datasets: []v1alpha1.AgreementDataset{{Name: "residents", Fields: []string{"grid"}}}}}
	given := func() (class v1alpha1.DataClass, refused bool, grant contract.Grant) {
		var c problems
		class = checkClearance(&c, o, consumer, []*v1alpha1.Dataset{d})
		return class, len(c.list) > 0, grants(&c, &Snapshot{}, o, consumer, []*v1alpha1.Dataset{d})["residents"]
	}
	if class, refused, grant := given(); class != v1alpha1.DataClassC0 || refused || grant.PersonRequired {
		t.Errorf("places: class %s, refused %t, %+v", class, refused, grant)
	}
	o.Spec.Datasets[0].Rows = &v1alpha1.RowSelector{Requirements: []v1alpha1.RowRequirement{{Column: "ill", Operator: v1alpha1.RowIn, Values: []string{"yes"}}}}
	if class, refused, grant := given(); class != v1alpha1.DataClassC2 || !refused || !grant.PersonRequired {
		t.Errorf("places of the sick: class %s, refused %t, %+v", class, refused, grant)
	}
	guard, err := policies.Guardrails(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := guard.Check(t.Context(), GuardInput(&Snapshot{}, o, consumer, []*v1alpha1.Dataset{d}))
	for _, rule := range []string{"clearance", "personal-legal-basis", "sensitive-impact-assessment"} {
		if err != nil || !slices.ContainsFunc(found, func(v policies.Violation) bool { return v.Rule == rule }) {
			t.Errorf("no finding %s in %v, %v", rule, found, err)
		}
	}
}

func TestCountsNeedNoPerson(t *testing.T) {
	yes := true
	d := &v1alpha1.Dataset{Spec: v1alpha1.DatasetSpec{DivisionColumn: "division", Fields: []v1alpha1.DatasetField{{Name: "level", Personal: v1alpha1.PersonalSensitive}}}}
	consumer := &v1alpha1.Organization{Spec: v1alpha1.OrganizationSpec{Jurisdiction: []string{"41"}}}
	for name, c := range map[string]struct {
		aggregates *v1alpha1.Aggregates
		want       bool
	}{
		"records": {nil, true}, "records and counts": {&v1alpha1.Aggregates{Dimensions: []string{"level"}}, true},
		"counts alone": {&v1alpha1.Aggregates{Only: &yes, Dimensions: []string{"level"}}, false},
	} {
		o := &v1alpha1.DataSharingAgreement{Spec: v1alpha1.DataSharingAgreementSpec{Aggregates: c.aggregates, Datasets: []v1alpha1.AgreementDataset{{Fields: []string{"level"}}}}}
		var p problems
		if g := grant(&p, &Snapshot{}, o, 0, consumer, d, agreementTerms(&p, &Snapshot{}, o)); g.PersonRequired != c.want {
			t.Errorf("%s: personRequired %t (%s)", name, g.PersonRequired, fmt.Sprint(p.list))
		}
	}
}
