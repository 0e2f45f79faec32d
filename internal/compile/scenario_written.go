package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// ScenarioWritten says of a Scenario that is about to be written what is wrong with it whatever else there is, and what only others make wrong
// as they stand in s: fields that the profile does not have, what this version does not serve. What heals by itself it leaves out.
func ScenarioWritten(s *Snapshot, o *v1alpha1.Scenario) (wrong, told Problems) {
	for _, x := range expressions(o) {
		if err := rules.CheckExpression(x.text, x.condition); err != nil {
			wrong = append(wrong, Problem{Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidExpression, Field: x.field, Message: err.Error()})
		}
	}
	alone := *s
	alone.Platform, alone.Scenarios, alone.Communities = &v1alpha1.GridPlatform{}, nil, nil // what the platform sets and who else has the name is between objects
	if s.Platform != nil {
		alone.Platform.Spec.TimeZone = s.Platform.Spec.TimeZone
	}
	_, found := Scenario(&alone, o)
	for _, p := range found {
		said := slices.ContainsFunc(wrong, func(w Problem) bool { return w.Field == p.Field })
		switch {
		case p.Waiting || said:
		case p.Reason == v1alpha1.ReasonInvalidExpression, p.Reason == v1alpha1.ReasonDisabled, strings.HasPrefix(p.Field, "spec.commands"):
			told = append(told, p)
		default:
			wrong = append(wrong, p)
		}
	}
	return wrong.Sorted(), told.Sorted()
}

// written is an expression of a Scenario.
type written struct {
	field, text string
	// condition is set where it must be true or false.
	condition bool
}

// expressions lists all expressions of a Scenario.
func expressions(o *v1alpha1.Scenario) (out []written) {
	add := func(field, text string, condition bool) { out = append(out, written{field, text, condition}) }
	count := func(at string, n *v1alpha1.CountTrigger) {
		if n != nil {
			add(at+".distinctBy", n.DistinctBy, false)
		}
	}
	term := func(at string, t v1alpha1.Term) {
		add(at+".when", t.When, true)
		count(at+".count", t.Count)
		if t.Absent != nil {
			add(at+".absent.event", t.Absent.Event, true)
		}
	}
	t := o.Spec.Trigger
	term("spec.trigger", v1alpha1.Term{When: t.When, Absent: t.Absent, Count: t.Count})
	for i, one := range t.AnyOf {
		term(fmt.Sprintf("spec.trigger.anyOf[%d]", i), one)
	}
	add("spec.trigger.unless", t.Unless, true)
	add("spec.trigger.clear", t.Clear, true)
	if o.Spec.Subject != nil {
		add("spec.subject.appliesTo", o.Spec.Subject.AppliesTo, true)
	}
	for i, b := range o.Spec.Baselines {
		add(fmt.Sprintf("spec.baselines[%d].value", i), b.Value, false)
	}
	if l := o.Spec.Ledger; l != nil {
		add("spec.ledger.subject", l.Subject, false)
		add("spec.ledger.amount", l.Amount, false)
	}
	for i, r := range o.Spec.Raise {
		at := fmt.Sprintf("spec.raise[%d]", i)
		add(at+".when", r.When, true)
		count(at+".count", r.Count)
	}
	return out
}
