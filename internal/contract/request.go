package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// platformCase is the form of the platform's case numbers: the day, and a number that runs on.
var platformCase = regexp.MustCompile(`^[0-9]{8}-[0-9]{6,}$`)

// PlatformCaseNumber says whether a case number has the platform's own form, such as "20270104-000123". The gateway looks such a number
// up, and refuses one that is not there; a number of another form is CaseForeign.
func PlatformCaseNumber(number string) bool { return platformCase.MatchString(number) }

// AggregateConditions reads the conditions of a request for counts and sums, each "dimension:In:value,value". The error names the one that
// is written otherwise.
func AggregateConditions(list []string) ([]Requirement, error) {
	var out []Requirement
	for _, text := range list {
		parts := strings.SplitN(text, ":", 3)
		if len(parts) != 3 || parts[0] == "" || parts[1] != "In" {
			return nil, fmt.Errorf("where=%.100q: write dimension:In:value,value", text)
		}
		out = append(out, Requirement{Field: parts[0], Operator: parts[1], Values: strings.Split(parts[2], ",")})
	}
	return out, nil
}

// Fields lists the fields that the answer to a request for counts and sums under these conditions is about.
func (a AggregateRequest) Fields(where []Requirement) []string {
	out := slices.Concat(a.By, a.Sum)
	for _, w := range where {
		out = append(out, w.Field)
	}
	return out
}

// NamesOf drops repeats and empty names from a list of a request, and keeps the order.
func NamesOf(names []string) []string {
	var out []string
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
