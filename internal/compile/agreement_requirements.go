package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

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
