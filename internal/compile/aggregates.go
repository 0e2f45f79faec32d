package compile

import (
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// aggregates gives what of an agreement's aggregates is of one of its datasets: the dimensions and measures that are fields given of it.
func aggregates(o *v1alpha1.DataSharingAgreement, want *v1alpha1.AgreementDataset) *contract.Aggregates {
	a := o.Spec.Aggregates
	if a == nil {
		return nil
	}
	out := &contract.Aggregates{Only: isTrue(a.Only), SmallCell: int(a.SmallCell)}
	for _, name := range a.Dimensions {
		if told(want, name) {
			out.Dimensions = append(out.Dimensions, name)
		}
	}
	for _, name := range a.Measures {
		if told(want, name) {
			out.Measures = append(out.Measures, name)
		}
	}
	return out
}

// told says whether something of a field leaves.
func told(want *v1alpha1.AgreementDataset, field string) bool {
	m := maskOf(want, field)
	return slices.Contains(want.Fields, field) && (m == nil || m.Method != v1alpha1.MaskDrop)
}

// checkAggregates checks the aggregates of an agreement against what it gives. datasets are in the order of the spec.
func checkAggregates(c *problems, o *v1alpha1.DataSharingAgreement, datasets []*v1alpha1.Dataset) {
	a := o.Spec.Aggregates
	if a == nil {
		return
	}
	invalid := func(field, message string) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, message)
	}
	for i, name := range a.Dimensions {
		if !anyTells(o, name) {
			invalid(fmt.Sprintf("spec.aggregates.dimensions[%d]", i), name+" is no field that the agreement gives; add it to spec.datasets[].fields, without mask Drop")
		}
	}
	for i, name := range a.Measures {
		at := fmt.Sprintf("spec.aggregates.measures[%d]", i)
		if !anyTells(o, name) {
			invalid(at, name+" is no field that the agreement gives; add it to spec.datasets[].fields, without mask Drop")
		}
		for j, d := range datasets {
			if wrong := measure(&o.Spec.Datasets[j], d, name); wrong != "" {
				invalid(at, wrong)
			}
		}
	}
	for i, d := range datasets {
		if rows := o.Spec.Datasets[i].Rows; rows != nil && isTrue(rows.Roster) {
			invalid(fmt.Sprintf("spec.datasets[%d].rows.roster", i), "each person would count other rows, and two counts differ by what one may see; leave it out where aggregates are given")
		}
		if asksConsent(o, d) && len(o.Spec.Purposes) > 1 {
			invalid("spec.purposes", "a consent covers purposes, and counts for two of them differ by whose consent covers one; write one purpose where aggregates of Dataset "+d.Name+" are given")
		}
	}
}

// asksConsent says whether the rows of a dataset that count are those of subjects who consented.
func asksConsent(o *v1alpha1.DataSharingAgreement, d *v1alpha1.Dataset) bool {
	if ConsentScope(d) != "" {
		return true
	}
	b := o.Spec.LegalBasis
	return b != nil && (b.Kind == v1alpha1.LegalBasisConsent || b.Kind == v1alpha1.LegalBasisSeparateConsent)
}

func anyTells(o *v1alpha1.DataSharingAgreement, field string) bool {
	return slices.ContainsFunc(o.Spec.Datasets, func(d v1alpha1.AgreementDataset) bool { return told(&d, field) })
}

// measure says why a field cannot be summed, or nothing.
func measure(want *v1alpha1.AgreementDataset, d *v1alpha1.Dataset, name string) string {
	f := fieldOf(d, name)
	if f == nil || !told(want, name) {
		return ""
	}
	if f.Type != v1alpha1.DatasetNumber && f.Type != v1alpha1.DatasetInteger {
		return fmt.Sprintf("%s of Dataset %s is of type %s and cannot be summed; write a field of type Number or Integer", name, d.Name, f.Type)
	}
	if m := maskOf(want, name); m != nil && m.Method != v1alpha1.MaskGeneralise {
		return fmt.Sprintf("%s of Dataset %s is masked by %s and cannot be summed; use mask Generalise, or none", name, d.Name, m.Method)
	}
	return ""
}
