package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// narrow adds what of a row selector hangs on the dataset: grids and roster, which need a column to be told by.
func narrow(c *problems, field string, want *v1alpha1.RowSelector, d *v1alpha1.Dataset, out *contract.Rows) {
	if want == nil {
		return
	}
	out.Grids = slices.Clone(want.Grids)
	out.Roster = want.Roster != nil && *want.Roster
	if d.Spec.GridColumn != "" || ownSources[d.Spec.Source.Type] != nil {
		return
	}
	missing := func(part string) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field+"."+part,
			"Dataset "+d.Name+" has no gridColumn, so nobody can tell in which grid a record is; write it there, or leave "+part+" out")
	}
	if len(out.Grids) > 0 {
		missing("grids")
	}
	if out.Roster {
		missing("roster")
	}
}

var (
	wholeNumber   = regexp.MustCompile(`^-?[0-9]{1,18}$`)
	decimalNumber = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,20})?$`)
)

// checkRequirement holds the values of a row requirement against the type of the field: the gateway reads them as that.
func checkRequirement(c *problems, field string, r v1alpha1.RowRequirement, f *v1alpha1.DatasetField) {
	ranks := r.Operator == v1alpha1.RowAtLeast || r.Operator == v1alpha1.RowAtMost
	if ranks && !slices.Contains([]v1alpha1.DatasetFieldType{v1alpha1.DatasetNumber, v1alpha1.DatasetInteger, v1alpha1.DatasetDate, v1alpha1.DatasetTime}, f.Type) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field+".operator",
			fmt.Sprintf("%s compares numbers, dates and times, and field %s is of type %s; use In or NotIn", r.Operator, f.Name, f.Type))
	}
	for i, v := range r.Values {
		if want := misfit(f, v); want != "" {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("%s.values[%d]", field, i), fmt.Sprintf("does not fit field %s of type %s; write %s", f.Name, f.Type, want))
		}
	}
}

// misfit says what a value of the field would look like, or nothing where this is one.
func misfit(f *v1alpha1.DatasetField, v string) string {
	switch f.Type {
	case v1alpha1.DatasetInteger:
		if !wholeNumber.MatchString(v) {
			return "a whole number"
		}
	case v1alpha1.DatasetNumber:
		if !decimalNumber.MatchString(v) {
			return "a number such as 12.5"
		}
	case v1alpha1.DatasetBoolean:
		if _, err := strconv.ParseBool(v); err != nil || v != "true" && v != "false" {
			return "true or false"
		}
	case v1alpha1.DatasetDate:
		if _, err := time.Parse(time.DateOnly, v); err != nil {
			return "a date such as 2026-01-31"
		}
	case v1alpha1.DatasetTime:
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return "a time such as 2026-01-31T08:00:00+08:00"
		}
	case v1alpha1.DatasetEnum:
		if !slices.Contains(f.Enum, v) {
			return fmt.Sprintf("one of %q", f.Enum)
		}
	}
	return ""
}

// consentScope gives the scope that each subject must have consented to: the dataset's, or where the agreement rests on a consent its
// own name.
func consentScope(c *problems, field string, o *v1alpha1.DataSharingAgreement, d *v1alpha1.Dataset) string {
	if k := d.Spec.Consent; k != nil && (k.Required == nil || *k.Required) {
		if k.Scope == "" {
			return d.Name
		}
		return k.Scope
	}
	if b := o.Spec.LegalBasis; b == nil || b.Kind != v1alpha1.LegalBasisConsent && b.Kind != v1alpha1.LegalBasisSeparateConsent {
		return ""
	}
	if d.Spec.SubjectColumn == "" {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
			"the legal basis is a consent, and Dataset "+d.Name+" does not say whose record it is; write its subjectColumn, or another legal basis")
	}
	return o.Name
}
