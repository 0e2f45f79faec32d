package rules

import (
	"cmp"
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
)

// SetModes says all switches of the mode (平战), in any order, in place of those that were told before: one that was taken to have ended by
// itself may have been prolonged. Of an end that is to come it says nothing. What waits for time is looked at in the next tick.
func (e *Engine) SetModes(list []contract.ModeSwitch) {
	var all []modeAt
	for _, m := range list {
		all = append(all, modeAt{m.Since.UnixMilli(), m.Mode})
	}
	slices.SortStableFunc(all, func(a, b modeAt) int { return cmp.Compare(a.at, b.at) })
	all = all[max(0, len(all)-MaxModes):]
	if slices.Equal(all, e.modes) {
		return
	}
	e.modes = all
	e.modesChanged()
}

// ForgetFacts forgets all facts, as one who does not know whether they still hold. Nothing is judged anew: what comes is judged without them.
func (e *Engine) ForgetFacts() { clear(e.facts) }

// Facts gives the names of the facts that a scenario asks for, consents and registers among them.
func (e *Engine) Facts(scenario string) []string {
	if r := e.set.rules[scenario]; r != nil {
		return r.facts
	}
	return nil
}

// modesChanged has the keys looked at whose numbers may be others now.
func (e *Engine) modesChanged() {
	for _, r := range e.set.inOrder {
		if len(r.variants) > 0 {
			e.stale(r)
		}
	}
}
