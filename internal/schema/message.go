package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// inBody is how the API server's OpenAPI validation begins: "spec.x in body must be ...".
var inBody = regexp.MustCompile(`^\S* ?in body `)

// Message says in one line what is wrong with a field and what to write instead. It repeats a short scalar value, never a
// whole object. Rules (CEL) bring their own text.
func (k *Kind) Message(e *field.Error) string {
	about := ""
	if doc := k.Doc(e.Field); doc != "" && strings.HasPrefix(e.Field, "spec") {
		about = " (" + doc + ")"
	}
	switch e.Type {
	case field.ErrorTypeRequired:
		if e.Detail != "" {
			return e.Detail
		}
		return "is missing; write it" + about
	case field.ErrorTypeNotSupported:
		return short(e.BadValue) + "is not one of the values allowed; write " + strings.TrimPrefix(e.Detail, "supported values: ")
	case field.ErrorTypeDuplicate:
		return "stands here twice; remove one, or give it another name"
	case field.ErrorTypeTypeInvalid:
		return sentence(inBody.ReplaceAllString(e.Detail, ""))
	case field.ErrorTypeTooLong, field.ErrorTypeTooMany:
		return sentence(e.Detail) + about
	}
	if !inBody.MatchString(e.Detail) {
		return e.Detail // a rule of ours, or of metadata
	}
	return short(e.BadValue) + sentence(inBody.ReplaceAllString(e.Detail, "")) + about
}

func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return "is not valid"
	}
	return text
}

func short(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" || len(v) > 64 {
			return ""
		}
		return fmt.Sprintf("%q ", v)
	case int64, float64, bool, int:
		return fmt.Sprint(v) + " "
	}
	return ""
}

// Unknown says what is wrong with a field that the schema does not have, with the nearest names that it has.
func (k *Kind) Unknown(path string) string {
	steps := ParsePath(path)
	if len(steps) == 0 {
		return "is not a field of " + k.name
	}
	last := steps[len(steps)-1].Key
	if best := Nearest(last, k.siblings(steps[:len(steps)-1])); len(best) > 0 {
		return "is not a field of " + k.name + "; did you mean " + strings.Join(best, " or ") + "?"
	}
	return "is not a field of " + k.name + "; remove it, or see `kubectl explain`"
}

// Nearest gives, sorted, those of the names that somebody who wrote name may have meant: at most two letters away, in either case.
func Nearest(name string, names []string) []string {
	var best []string
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d <= 2 && d < len(n) {
			best = append(best, n)
		}
	}
	slices.Sort(best)
	return best
}

func (k *Kind) siblings(parent Path) []string {
	s := k.structural
	for _, step := range parent {
		if s == nil {
			return nil
		}
		if step.List {
			s = s.Items
		} else {
			s = property(s, step.Key)
		}
	}
	if s == nil {
		return nil
	}
	var names []string
	for name := range s.Properties {
		names = append(names, name)
	}
	return names
}

// distance is Levenshtein's, over bytes: field names are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
