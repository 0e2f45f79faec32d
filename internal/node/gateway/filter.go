package gateway

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxFilters is how many conditions a request may have of its own, maxFilterValues how many values one of them.
const (
	maxFilters      = 8
	maxFilterValues = 128
)

// Reasons of filters, and of a source that has its readers already.
const (
	reasonSourceBusy       = "SourceBusy"
	reasonInvalidFilter    = "InvalidFilter"
	reasonFilterNotGranted = "FilterNotGranted"
)

// filterError says what is wrong with a filter. It repeats no value: errors are logged.
type filterError struct{ message string }

// Error implements error.
func (e filterError) Error() string { return e.message }

// parseFilter reads the parameters `where`, each of which is field:Operator or field:Operator:value. In and NotIn take several values,
// separated by commas; a backslash before a comma or a backslash makes it a part of the value.
func parseFilter(list []string) ([]contract.Requirement, error) {
	if len(list) > maxFilters {
		return nil, filterError{fmt.Sprintf("where: %d conditions, at most %d are taken", len(list), maxFilters)}
	}
	var out []contract.Requirement
	for i, text := range list {
		r, wrong := parseCondition(text)
		if wrong != "" {
			return nil, filterError{fmt.Sprintf("where[%d]: %s", i, wrong)}
		}
		out = append(out, r)
	}
	return out, nil
}

func parseCondition(text string) (r contract.Requirement, wrong string) {
	field, rest, ok := strings.Cut(text, ":")
	if !ok || field == "" {
		return r, "is not field:Operator:value"
	}
	operator, value, given := strings.Cut(rest, ":")
	r = contract.Requirement{Field: field, Operator: operator}
	switch wants := valuesOf[operator]; {
	case wants == "":
		return r, "the operator is not known: write In, NotIn, Exists, DoesNotExist, AtLeast or AtMost"
	case wants == "none" && given:
		return r, operator + " takes no value"
	case wants != "none" && !given:
		return r, operator + " needs a value, as in field:" + operator + ":value"
	case wants == "one":
		r.Values = []string{value}
	case wants == "some":
		r.Values = splitValues(value)
	}
	switch {
	case len(r.Values) > maxFilterValues:
		return r, fmt.Sprintf("%d values, at most %d are taken", len(r.Values), maxFilterValues)
	case slices.ContainsFunc(r.Values, func(v string) bool { return strings.ContainsRune(v, 0) }):
		return r, "a value holds the character NUL"
	}
	return r, ""
}

// splitValues cuts at commas that no backslash stands before.
func splitValues(text string) []string {
	var out []string
	var value strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == ',' || text[i+1] == '\\'):
			i++
			value.WriteByte(text[i])
		case c == ',':
			out = append(out, value.String())
			value.Reset()
		default:
			value.WriteByte(c)
		}
	}
	return append(out, value.String())
}

// filterGranted says whether every field of a filter leaves unmasked under the decision: a filter on a masked field would tell its
// value by halves. The access policy says the same; this holds whatever its text. Counts and sums are picked from groups that are told
// anyhow, by masked values: aggregateWithin holds those.
func filterGranted(d contract.Decision, filter []contract.Requirement) bool {
	return !slices.ContainsFunc(filter, func(r contract.Requirement) bool {
		mask, given := d.Fields[r.Field]
		return !given || mask.Method != maskNone
	})
}
