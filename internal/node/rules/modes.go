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

// modesChanged has the keys looked at whose numbers may be others now.
func (e *Engine) modesChanged() {
	for _, r := range e.set.inOrder {
		if len(r.variants) > 0 {
			e.stale(r)
		}
	}
}
