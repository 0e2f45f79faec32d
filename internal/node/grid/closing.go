package grid

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// ClosingStep is a step to check before a case may be closed (结案): as the scenario had it when the case was opened.
type ClosingStep struct {
	Text string `json:"text"`
	// DoneAt and the organisation and the pseudonym of who says so; not there while it is not done.
	DoneAt       *time.Time `json:"doneAt,omitempty"`
	Organization string     `json:"organization,omitempty"`
	Person       string     `json:"person,omitempty"`
}

// closingSteps gives the steps of a new case.
func closingSteps(texts []string) []ClosingStep {
	out := make([]ClosingStep, len(texts))
	for i, t := range texts {
		out[i].Text = t
	}
	return out
}

// takesSteps are the actions with which steps may be said to be done.
var takesSteps = []Action{Handle, RequestVerification, Verify, Close}

// checkSteps marks the steps of numbers, from 1 on, as done, and refuses to close a case while one is left. Reopening a case begins them anew.
func checkSteps(c *Case, a Action, numbers []int, by Actor, now time.Time) error {
	if a == Reopen {
		for i := range c.Closing {
			c.Closing[i] = ClosingStep{Text: c.Closing[i].Text}
		}
	}
	if len(numbers) > 0 && !slices.Contains(takesSteps, a) {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.closing: %s does no closing steps; leave it out, or send it with Handle, RequestVerification, Verify or Close", a))
	}
	for i, n := range numbers {
		if n < 1 || n > len(c.Closing) {
			return huma.Error422UnprocessableEntity(fmt.Sprintf("body.closing[%d]: case %s has no step %d; it has %d: %s", i, c.Number, n, len(c.Closing), stepsLeft(c, false)))
		}
		if s := &c.Closing[n-1]; s.DoneAt == nil {
			s.DoneAt, s.Organization, s.Person = &now, by.Organization, by.Person
		}
	}
	if left := stepsLeft(c, true); a == Close && left != "" {
		return errAction{fmt.Errorf("case %s cannot be closed while these steps are not done: %s; do them and name their numbers in closing", c.Number, left)}
	}
	return nil
}

// stepsLeft writes the steps of a case with their numbers; only those that are not done, if left.
func stepsLeft(c *Case, left bool) string {
	var out []string
	for i, s := range c.Closing {
		if !left || s.DoneAt == nil {
			out = append(out, fmt.Sprintf("%d %s", i+1, s.Text))
		}
	}
	return strings.Join(out, ", ")
}

// orNone writes no steps as an empty list, which the column wants.
func orNone(steps []ClosingStep) []ClosingStep {
	if steps == nil {
		return []ClosingStep{}
	}
	return steps
}
