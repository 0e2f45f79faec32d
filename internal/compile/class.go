package compile

import (
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// classOfField is the least class of data with such a field; ours, as the classes are.
func classOfField(p v1alpha1.Personal) v1alpha1.DataClass {
	switch p {
	case v1alpha1.PersonalNone:
		return v1alpha1.DataClassC0
	case v1alpha1.PersonalOrdinary:
		return v1alpha1.DataClassC1
	case v1alpha1.PersonalSensitive:
		return v1alpha1.DataClassC2
	case v1alpha1.PersonalBiometric:
	}
	return v1alpha1.DataClassC3 // what is not known is taken as the gravest
}

// classOfCategory is the least class of a dataset of a category: being listed in some says more than any field.
func classOfCategory(c v1alpha1.DatasetCategory) v1alpha1.DataClass {
	switch c {
	case v1alpha1.CategoryOrdinary:
		return v1alpha1.DataClassC0
	case v1alpha1.CategoryHealth, v1alpha1.CategoryMinor, v1alpha1.CategoryFinancial, v1alpha1.CategoryLocation:
		return v1alpha1.DataClassC2
	case v1alpha1.CategoryKeyPopulation, v1alpha1.CategoryBiometric, v1alpha1.CategoryVideo:
	}
	return v1alpha1.DataClassC3
}

func graver(a, b v1alpha1.DataClass) v1alpha1.DataClass {
	if a.Rank() > b.Rank() {
		return a
	}
	return b
}

// ClassOf gives the class of a dataset, or of those of its fields for which given is true. A mask lowers no class, but a field that is
// dropped is not given.
func ClassOf(d *v1alpha1.Dataset, given func(field string) bool) v1alpha1.DataClass {
	out := classOfCategory(d.Spec.Category)
	for _, f := range d.Spec.Fields {
		if given(f.Name) {
			out = graver(out, classOfField(f.Personal))
		}
	}
	return out
}

func whole(string) bool { return true }

// leaves reports of a field whether an agreement gives it, or picks records by it: whoever gets the records is told its value then, or about.
func leaves(want *v1alpha1.AgreementDataset) func(field string) bool {
	return func(field string) bool {
		m := maskOf(want, field)
		return slices.Contains(want.Fields, field) && (m == nil || m.Method != v1alpha1.MaskDrop) || slices.Contains(picked(want), field)
	}
}

// picked gives the fields by whose values an agreement picks records, in the order of its requirements.
func picked(want *v1alpha1.AgreementDataset) (out []string) {
	if want.Rows != nil {
		for _, r := range want.Rows.Requirements {
			out = append(out, r.Column)
		}
	}
	return out
}

// selfDeclared tells what an Organization says of itself that only the platform's namespace may say of it: a type that opens more than
// others, and a clearance above its type's. Whoever writes the others would else raise what they themselves are given.
func selfDeclared(s *Snapshot, o *v1alpha1.Organization, tell func(field, reason, message string)) {
	if o.Namespace == s.Platform.Namespace {
		return
	}
	if o.Spec.Type == v1alpha1.OrganizationPolice || o.Spec.Type == v1alpha1.OrganizationDataOffice {
		tell("spec.type", v1alpha1.ReasonOrganizationTypeNotAllowed, fmt.Sprintf(
			"Organization %s/%s is of type %s, which only one in namespace %s of GridPlatform %s may be; whoever runs the platform writes it there", o.Namespace, o.Name, o.Spec.Type, s.Platform.Namespace, s.Platform.Name))
		return
	}
	ofType := (&v1alpha1.OrganizationSpec{Type: o.Spec.Type}).EffectiveClearance()
	if o.Spec.Clearance.Rank() > ofType.Rank() {
		tell("spec.clearance", v1alpha1.ReasonClearanceTooLow, fmt.Sprintf(
			"Organization %s/%s writes clearance %s, above %s of its type %s; only one in namespace %s of GridPlatform %s may have that: whoever runs the platform writes it there",
			o.Namespace, o.Name, o.Spec.Clearance, ofType, o.Spec.Type, s.Platform.Namespace, s.Platform.Name))
	}
}

// checkClearance gives the class of the data that an agreement gives, and refuses what is above the consumer's clearance.
func checkClearance(c *problems, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset) v1alpha1.DataClass {
	out, clearance := v1alpha1.DataClassC0, consumer.Spec.EffectiveClearance()
	for i, d := range datasets {
		class := ClassOf(d, leaves(&o.Spec.Datasets[i]))
		out = graver(out, class)
		if class.Rank() > clearance.Rank() {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonClearanceTooLow, fmt.Sprintf("spec.datasets[%d]", i), fmt.Sprintf(
				"gives data of class %s of Dataset %s (category %s), and Organization %s may have %s; take the fields out, or raise spec.clearance of the Organization",
				class, d.Name, d.Spec.Category, consumer.Name, clearance))
		}
	}
	return out
}
