package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// effects writes what a scenario does beside alarms, and which profile stands for an input that is no device.
func (r reader) effects(o *v1alpha1.Scenario, doc *contract.Scenario) {
	switch o.Spec.Input {
	case v1alpha1.InputCase:
		doc.Profile = contract.CaseProfile
	case v1alpha1.InputCommand:
		doc.Profile = contract.CommandProfile
	}
	if l := o.Spec.Ledger; l != nil {
		doc.Ledger = &contract.Ledger{Name: l.Name, Subject: l.Subject, Amount: l.Amount, DailyCap: r.dailyCap(l.DailyCap)}
	}
	if o.Spec.Act != nil {
		doc.Act = string(o.Spec.Act.Action)
	}
}

// dailyCap reads the most that a subject gets in a day: a number or a ${parameter}; nil where there is no bound.
func (r reader) dailyCap(text string) *float64 {
	const field = "spec.ledger.dailyCap"
	if text == "" {
		return nil
	}
	if name, ok := parameterName(text); ok {
		switch v := r.params[name].(type) {
		case float64:
			return &v
		case int64: // a duration is one, too: its seconds would be read as points
			if slices.ContainsFunc(r.declared, func(p v1alpha1.ScenarioParameter) bool { return p.Name == name && p.Type == v1alpha1.ParameterInteger }) {
				return new(float64(v))
			}
		}
		r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, field, fmt.Sprintf("%s names no parameter of type Number or Integer", text))
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%q is not a number", text))
	}
	return &v
}

// checkOutputs refuses what does not go together, as the schema does: lint and the tests of scenarios have no API server.
func checkOutputs(c *problems, o *v1alpha1.Scenario) {
	wrong := func(field, message string) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, message)
	}
	devices := slices.Contains([]v1alpha1.ScenarioInput{"", v1alpha1.InputDevice, v1alpha1.InputRecord}, o.Spec.Input)
	for _, x := range []struct {
		field string
		there bool
	}{{"spec.profileRef", o.Spec.ProfileRef != nil}, {"spec.commands", len(o.Spec.Commands) > 0}, {"spec.ledger", o.Spec.Ledger != nil}} {
		if x.there && !devices {
			wrong(x.field, fmt.Sprintf("goes with input Device or Record, and input is %s; leave it out", o.Spec.Input))
		}
	}
	if o.Spec.Act != nil && (o.Spec.Input != v1alpha1.InputCase || o.Spec.Case != nil) {
		wrong("spec.act", "is done to the very case that changed; write input Case, and leave case out")
	}
	if k := o.Spec.Case; k != nil && o.Spec.Input == v1alpha1.InputCase && strings.Contains(k.Title+k.TitleEN, "${device}") {
		wrong("spec.case.title", "${device} is filled in by nothing where the input is Case; leave it out")
	}
}
