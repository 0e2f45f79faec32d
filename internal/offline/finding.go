package offline

import (
	"cmp"
	"fmt"
	"slices"
)

// Finding is something wrong in the files.
type Finding struct {
	// File and Line say where; Line counts from 1 and is 0 if the place cannot be told.
	File string `json:"file"`
	Line int    `json:"line"`
	// Kind, Namespace and Name of the object; empty if the file holds none.
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Field is the path in the object, such as "spec.division"; empty if the finding is about the whole object.
	Field string `json:"field,omitempty"`
	// Message says what is wrong and what to write.
	Message string `json:"message"`
	// Reason is the reason that the operator would give in a condition; "Schema" for what the API server would refuse.
	Reason string `json:"reason"`
}

// ReasonSchema marks findings for which the API server would refuse the object.
const ReasonSchema = "Schema"

// String gives "file:line: Kind/name: field: message".
func (f Finding) String() string {
	text := fmt.Sprintf("%s:%d: ", f.File, f.Line)
	if f.Kind != "" {
		text += f.Kind + "/" + f.Name + ": "
	}
	if f.Field != "" {
		text += f.Field + ": "
	}
	return text + f.Message
}

// sorted orders findings by place, and drops repeats.
func sorted(list []Finding) []Finding {
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(list)
}
