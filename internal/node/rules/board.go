package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxEntries bounds the alarms of a board; the oldest go first.
const maxEntries = 128

// board holds the alarms of a place of scenarios whose alarms make each other graver. What it says is a function of the alarms that stand.
type board struct {
	Entries []entry `json:"e"`
}

// entry is an alarm on a board.
type entry struct {
	Scenario string `json:"n"`
	Scope    Scope  `json:"o"`
	ID       string `json:"i"`
	Cause    string `json:"d,omitempty"`
	// Community of the device, whose variant counts.
	Community string            `json:"m,omitempty"`
	Name      int64             `json:"s"`
	Began     int64             `json:"b"`
	Cleared   int64             `json:"c,omitempty"`
	R         uint64            `json:"r,omitempty"`
	Own       contract.Severity `json:"w"`
	Told      contract.Severity `json:"t"`
	With      []string          `json:"x,omitempty"`
}

// pair is a combination as one of its two scenarios sees it.
type pair struct {
	other string
	combine
	// at is its place in combines of the scenario that lists it; mine says that this is the scenario itself, not other.
	at   int
	mine bool
}

// pairs enters every combination for both of its scenarios.
func (s *set) pairs() {
	s.combined = map[string][]pair{}
	for _, r := range s.inOrder {
		for i, c := range r.base.combines {
			if s.rules[c.other] == nil || c.other == r.name {
				continue // it does not run: its alarms are not there
			}
			s.combined[r.name] = append(s.combined[r.name], pair{c.other, c, i, true})
			s.combined[c.other] = append(s.combined[c.other], pair{r.name, c, i, false})
		}
	}
}

// places gives the scopes on whose boards a rule's alarms stand.
func (s *set) places(r *rule) (out []Scope) {
	add := func(x Scope) {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	for _, x := range r.base.raises {
		if x.count {
			add(x.scope)
		}
	}
	for _, p := range s.combined[r.name] {
		add(p.scope)
	}
	return out
}

// board notes what an event says on the boards of the alarm's places.
func (e *Engine) board(r *rule, x *Event, a alarm) {
	for _, scope := range e.set.places(r) {
		id, ok := Place(scope, e.in.fleet, e.in.name, e.in.row)
		if !ok {
			continue
		}
		k := placeKey{scope, id}
		b := e.boards[k]
		if b == nil {
			b = &board{}
			e.boards[k] = b
		}
		b.note(r, x, a, e.in.row.Community)
		if !slices.Contains(e.touched, k) {
			e.touched = append(e.touched, k)
		}
	}
}

// note puts an event on a board.
func (b *board) note(r *rule, x *Event, a alarm, community string) {
	at := slices.IndexFunc(b.Entries, func(n entry) bool { return n.Scenario == r.name && n.ID == x.ID && n.Name == a.Name })
	if x.Kind == Retracted {
		if at >= 0 {
			b.Entries = slices.Delete(b.Entries, at, at+1)
		}
		return
	}
	if at < 0 {
		if x.Kind != Raised {
			return
		}
		b.Entries = append(b.Entries, entry{Scenario: r.name, Scope: r.scope, ID: x.ID, Name: a.Name, Told: x.Severity})
		at = len(b.Entries) - 1
	}
	n := &b.Entries[at]
	n.Began, n.Cleared, n.R, n.Own, n.Cause, n.Community = a.Began, a.Cleared, a.R, x.Severity, x.Fleet+"/"+x.Device, community
	if x.Kind == Raised {
		n.Cleared = 0
	}
	if Graver(n.Told, x.Severity) {
		x.Severity = n.Told
	}
}

// settleBoards tells what alarms on boards that changed are now.
func (e *Engine) settleBoards() {
	if len(e.touched) == 0 {
		return
	}
	slices.SortFunc(e.touched, func(a, b placeKey) int { return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.id, b.id)) })
	for _, k := range e.touched {
		b := e.boards[k]
		e.dirty[keyRef{"", k.scope, k.id}] = struct{}{}
		slices.SortFunc(b.Entries, func(x, y entry) int {
			return cmp.Or(cmp.Compare(x.Began, y.Began), cmp.Compare(x.Scenario, y.Scenario), cmp.Compare(x.ID, y.ID), cmp.Compare(x.Name, y.Name))
		})
		for i := range b.Entries {
			e.weigh(b, &b.Entries[i], k)
		}
		if b.prune(e.set); len(b.Entries) == 0 {
			delete(e.boards, k)
		}
	}
	e.touched = e.touched[:0]
}

// weigh tells the severity of an alarm if that changed.
func (e *Engine) weigh(b *board, n *entry, k placeKey) {
	severity, with := e.graver(b, n, k.scope)
	if severity == n.Told && slices.Equal(with, n.With) {
		return
	}
	kind := Worse
	if Graver(n.Told, severity) {
		kind = Moved
	} else if severity == n.Told {
		n.With = with
		return
	}
	n.Told, n.With = severity, with
	fleet, device, _ := cutCause(n.Cause)
	e.events = append(e.events, Event{
		Kind: kind, Scenario: n.Scenario, Scope: n.Scope, ID: n.ID, Fleet: fleet, Device: device, Start: time.UnixMilli(n.Name).UTC(),
		Began: time.UnixMilli(n.Began).UTC(), At: e.lastAt(b), Severity: severity, With: with,
	})
}

// lastAt is when the board last changed, in event time: that of its youngest alarm.
func (e *Engine) lastAt(b *board) time.Time {
	last := int64(0)
	for _, n := range b.Entries {
		last = max(last, n.Began)
	}
	return time.UnixMilli(last).UTC()
}

// graver gives the severity of an alarm beside the others on its board.
func (e *Engine) graver(b *board, n *entry, scope Scope) (severity contract.Severity, with []string) {
	severity = n.Own
	take := func(s contract.Severity, name string) {
		if Graver(s, severity) {
			severity = s
		}
		if Graver(s, n.Own) && !slices.Contains(with, name) {
			with = append(with, name)
		}
	}
	r := e.set.rules[n.Scenario]
	if r == nil {
		return n.Told, n.With
	}
	for _, x := range e.planOf(n).raises {
		if x.count && x.scope == scope && b.enough(n, &x) {
			take(x.severity, x.name)
		}
	}
	for _, p := range e.set.combined[n.Scenario] {
		if p.scope != scope {
			continue
		}
		for i := range b.Entries {
			if o := &b.Entries[i]; o.Scenario == p.other && together(n, o, e.within(p, n, o)) {
				take(p.severity, p.other)
			}
		}
	}
	slices.Sort(with)
	return severity, with
}

// planOf gives what counts for an alarm: the variant of its community, in the mode in which it began.
func (e *Engine) planOf(n *entry) *plan {
	r, community := e.set.rules[n.Scenario], n.Community
	if r.scope == ScopePlatform {
		community = ""
	}
	return r.planFor(e.modeAt(n.Began), community)
}

// within gives how near two alarms must begin: as that of the scenario which lists the combination has it, so that both of them say the same.
func (e *Engine) within(p pair, n, other *entry) int64 {
	if p.mine {
		return e.planOf(n).combines[p.at].within
	}
	return e.planOf(other).combines[p.at].within
}

// together says whether two alarms stood at one time, or began near each other where within says how near.
func together(a, b *entry, within int64) bool {
	if within > 0 {
		d := a.Began - b.Began
		return max(d, -d) <= within
	}
	return (b.Cleared == 0 || a.Began < b.Cleared) && (a.Cleared == 0 || b.Began < a.Cleared)
}

// enough says whether an alarm lies in a window with as many alarms of its scenario as a raise asks for.
func (b *board) enough(n *entry, x *raise) bool {
	for i := range b.Entries { // the windows that end with an alarm
		end := b.Entries[i].Began
		if b.Entries[i].Scenario != n.Scenario || n.Began > end || n.Began <= end-x.within {
			continue
		}
		count, seen := 0, map[uint64]bool{}
		for _, o := range b.Entries {
			if o.Scenario != n.Scenario || o.Began > end || o.Began <= end-x.within {
				continue
			}
			if x.distinct == nil {
				count++
			} else if !seen[o.R] {
				seen[o.R] = true
				count++
			}
		}
		if count >= x.atLeast {
			return true
		}
	}
	return false
}

// prune forgets alarms that are over and that no other can meet any more. What an alarm was made graver by stays as long as it does.
func (b *board) prune(s *set) {
	newest := int64(0)
	for _, n := range b.Entries {
		newest = max(newest, n.Began, n.Cleared)
	}
	keep := make([]bool, len(b.Entries))
	for i := range b.Entries {
		n := &b.Entries[i]
		r := s.rules[n.Scenario]
		keep[i] = r != nil && (n.Cleared == 0 || max(n.Began, n.Cleared) >= newest-s.reach(r))
	}
	for changed := true; changed; {
		changed = false
		for i := range b.Entries {
			if !keep[i] && s.rules[b.Entries[i].Scenario] != nil && s.meetsKept(b.Entries, keep, i) {
				keep[i], changed = true, true
			}
		}
	}
	at := -1
	b.Entries = slices.DeleteFunc(b.Entries, func(entry) bool { at++; return !keep[at] })
	if n := len(b.Entries) - maxEntries; n > 0 {
		b.Entries = slices.Delete(b.Entries, 0, n)
	}
}

// reach is how far from an alarm's end another may begin, or come late, and still meet it.
func (s *set) reach(r *rule) int64 {
	reach := r.late
	for _, plan := range r.plans {
		for _, x := range plan.raises {
			reach = max(reach, x.within+r.late)
		}
	}
	for _, p := range s.combined[r.name] {
		for _, plan := range s.lister(r, p).plans {
			reach = max(reach, plan.combines[p.at].within+max(r.late, s.rules[p.other].late))
		}
	}
	return reach
}

// meetsKept says whether an alarm makes another graver that is kept.
func (s *set) meetsKept(all []entry, keep []bool, i int) bool {
	for j := range all {
		if keep[j] && j != i && s.meet(&all[i], &all[j]) {
			return true
		}
	}
	return false
}

// lister gives the rule that lists a combination of a rule.
func (s *set) lister(r *rule, p pair) *rule {
	if p.mine {
		return r
	}
	return s.rules[p.other]
}

// meet says whether two alarms of a board can count for each other, under any variant.
func (s *set) meet(a, b *entry) bool {
	if a.Scenario == b.Scenario {
		d := a.Began - b.Began
		return slices.ContainsFunc(s.rules[a.Scenario].plans, func(one *plan) bool {
			return slices.ContainsFunc(one.raises, func(x raise) bool { return x.count && max(d, -d) < x.within })
		})
	}
	return slices.ContainsFunc(s.combined[a.Scenario], func(p pair) bool {
		return p.other == b.Scenario && slices.ContainsFunc(s.lister(s.rules[a.Scenario], p).plans, func(one *plan) bool { return together(a, b, one.combines[p.at].within) })
	})
}
