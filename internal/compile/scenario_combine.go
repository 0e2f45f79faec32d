package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// scenarioNamed gives the scenario that holds a name: the platform's own, else the catalogue's; nil if there is none.
func scenarioNamed(s *Snapshot, name string) *v1alpha1.Scenario {
	if o, ok := s.Scenarios.Get(name); ok {
		return o
	}
	return s.Catalog.Scenarios[name]
}

// combinations checks what a Scenario combines with: each must be there, its alarms must lie in places of the combination's scope, and no chain of
// combinations may come back, for a combination counts for both.
func combinations(c *problems, s *Snapshot, o *v1alpha1.Scenario) {
	for i, x := range o.Spec.Combines {
		at := fmt.Sprintf("spec.combines[%d].", i)
		if x.Scenario == o.Name {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"scenario", "is this scenario itself; name another, or write raise")
			continue
		}
		other := scenarioNamed(s, x.Scenario)
		if other == nil {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonScenarioNotFound, at+"scenario",
				"Scenario "+x.Scenario+" is neither on the platform nor in the catalogue; create it, or correct the name")
			continue
		}
		if theirs := alarmScope(other); !rules.Contains(rules.Scope(combined(x)), theirs) {
			c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"scope",
				fmt.Sprintf("%s does not hold a whole %s, which the alarms of %s are of; write a scope that holds the places of both", combined(x), theirs, x.Scenario))
		}
		if chain := chainBack(s, o.Name, other, nil); chain != nil {
			c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"scenario",
				fmt.Sprintf("comes back to this scenario (%s); a combination counts for both scenarios: write it in one of them", strings.Join(append([]string{o.Name}, chain...), " → ")))
		}
	}
}

// combined gives the scope that both must share.
func combined(x v1alpha1.Combination) v1alpha1.Scope {
	if x.Scope == "" {
		return v1alpha1.ScopeHousehold
	}
	return x.Scope
}

// alarmScope gives what the alarms of a scenario are of. Its terms share their scope; where they do not, it does not compile.
func alarmScope(o *v1alpha1.Scenario) rules.Scope {
	t := o.Spec.Trigger
	for _, one := range append([]v1alpha1.Term{{Absent: t.Absent, Count: t.Count}}, t.AnyOf...) {
		switch {
		case one.Absent != nil && !ofDevice(one.Absent.Scope):
			return rules.Scope(one.Absent.Scope)
		case one.Count != nil && !ofDevice(one.Count.Scope):
			return rules.Scope(one.Count.Scope)
		}
	}
	return rules.ScopeDevice
}

// chainBack gives the names from a scenario to the one named, along combinations; nil if there is no way.
func chainBack(s *Snapshot, to string, from *v1alpha1.Scenario, seen []string) []string {
	if from == nil || slices.Contains(seen, from.Name) {
		return nil
	}
	seen = append(seen, from.Name)
	for _, x := range from.Spec.Combines {
		if x.Scenario == to {
			return []string{from.Name, to}
		}
		if rest := chainBack(s, to, scenarioNamed(s, x.Scenario), seen); rest != nil {
			return append([]string{from.Name}, rest...)
		}
	}
	return nil
}
