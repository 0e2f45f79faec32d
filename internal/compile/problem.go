package compile

import (
	"cmp"
	"slices"
)

// Problem is what is wrong with one object, as a value that status, CLI and tests read alike.
type Problem struct {
	// Condition is the condition type that the problem makes False, such as v1alpha1.ConditionAccepted.
	Condition string
	// Reason is a constant of v1alpha1.
	Reason string
	// Field is the path in the object, such as "spec.division"; empty if the problem is with the whole object.
	Field string
	// Message says what is wrong and what to write instead. It holds no personal data.
	Message string
	// Waiting is set when the problem heals without a change of this object, such as a reference that is not there yet.
	Waiting bool
	// Partial is set when the rest of the object is in force nevertheless, such as one bad row of an inventory.
	Partial bool
}

// Text gives the message with its field in front.
func (p Problem) Text() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// Problems of one object.
type Problems []Problem

// Fatal reports whether one of the problems keeps the object's plan from being made.
func (ps Problems) Fatal() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return !p.Partial })
}

// Sorted gives the problems by condition, field and message, so that the same problems always read the same.
func (ps Problems) Sorted() Problems {
	return slices.SortedFunc(slices.Values(ps), func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Condition, b.Condition), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
}

// problems collects what a compile function finds.
type problems struct{ list Problems }

func (c *problems) invalid(condition, reason, field, message string) {
	c.list = append(c.list, Problem{Condition: condition, Reason: reason, Field: field, Message: message})
}

func (c *problems) waiting(condition, reason, field, message string) {
	c.list = append(c.list, Problem{Condition: condition, Reason: reason, Field: field, Message: message, Waiting: true})
}

func (c *problems) partial(condition, reason, field, message string) {
	c.list = append(c.list, Problem{Condition: condition, Reason: reason, Field: field, Message: message, Partial: true})
}
