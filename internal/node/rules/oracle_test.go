package rules

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The oracle says which alarms a trace gives. It knows the whole trace and walks through time second by second, looking at all messages
// again and again: no log, no folding, no due times, and nothing of the engine's evaluation. Times are seconds since t0.

// said is what one message says, whatever field it says it with; nil is not said.
type said struct {
	t     int
	id    string
	dev   string
	on    *bool
	ev    bool
	clear bool // only said where the rule has a clear condition of its own
	zone  string
	place string // household
}

// known is a fact of the household from a time on.
type known struct {
	t     int
	place string
	name  string
	value bool
}

// oracleTerm is one term, in seconds.
type oracleTerm struct {
	mode         string // when, for, count, absent, offline
	hold, within int
	absent       int
	whole        bool
	atLeast      int
	distinct     bool
}

// oracleRule is one scenario.
type oracleRule struct {
	name      string
	terms     []oracleTerm
	household bool // scope
	dedup     int
	clear     bool // clear: msg.clear
	unless    bool // unless: context.away
	applies   bool // appliesTo: context.lives
	alive     int
	windows   [][2]int // minutes of the day in zone; nil is always
	zone      *time.Location
	// then is what counts from the second since on: another mode. Its terms are the same.
	then  *oracleRule
	since int
}

type oracleAlarm struct {
	rule, key string
	began     int
	cleared   int // -1 is open
	by        map[int]bool
}

func (a oracleAlarm) String() string {
	return fmt.Sprintf("%s %s began %d cleared %d", a.rule, a.key, a.began, a.cleared)
}

// oracle gives the alarms of one rule up to the second end.
func oracle(r oracleRule, messages []said, facts []known, end int) []oracleAlarm {
	byKey := map[string][]said{}
	for _, m := range messages {
		k := m.dev
		if r.household {
			k = m.place
		}
		if k != "" {
			byKey[k] = append(byKey[k], m)
		}
	}
	var out []oracleAlarm
	for key, list := range byKey {
		slices.SortFunc(list, func(a, b said) int { return cmp.Or(a.t-b.t, cmp.Compare(a.id, b.id)) })
		list = slices.CompactFunc(list, func(a, b said) bool { return a.id == b.id })
		w := &walk{r: r, key: key, list: list, facts: facts, part: make([]int, len(list)), acc: make([]int, len(r.terms)), rounds: make([]int, len(r.terms)), begun: make([]bool, len(r.terms))}
		w.parts()
		for t := 0; t <= end; t++ {
			w.second(t)
		}
		out = append(out, w.alarms...)
	}
	return out
}

type walk struct {
	r      oracleRule
	key    string
	list   []said
	facts  []known
	part   []int // of every message: heard, leaves or idle
	alarms []oracleAlarm
	acc    []int
	rounds []int
	begun  []bool
}

// at gives the rule that counts at a second.
func (w *walk) at(t int) oracleRule {
	if w.r.then != nil && t >= w.r.since {
		return *w.r.then
	}
	return w.r
}

// side says on which side of a change of windows a second lies.
func (w *walk) side(t int) int {
	if w.r.then != nil && t >= w.r.since && !slices.Equal(w.r.windows, w.r.then.windows) {
		return 1
	}
	return 0
}

// window names the window at a second, and gives its end; false outside of all. One in which other windows begin to count is two.
func (w *walk) window(t int) (name, to int, in bool) {
	from, to, in := w.span(t)
	return from*2 + w.side(t), to, in
}

// span gives the opening of the window at a second, and its end.
func (w *walk) span(t int) (from, to int, in bool) {
	r := w.at(t)
	if r.windows == nil {
		return -1 << 40, 1 << 40, true
	}
	l := t0.Add(time.Duration(t) * time.Second).In(r.zone)
	for day := -1; day <= 0; day++ {
		for _, x := range r.windows {
			a := time.Date(l.Year(), l.Month(), l.Day()+day, x[0]/60, x[0]%60, 0, 0, r.zone)
			b := time.Date(l.Year(), l.Month(), l.Day()+day, x[1]/60, x[1]%60, 0, 0, r.zone)
			if x[1] <= x[0] {
				b = time.Date(l.Year(), l.Month(), l.Day()+day+1, x[1]/60, x[1]%60, 0, 0, r.zone)
			}
			if !l.Before(a) && l.Before(b) {
				return int(a.Sub(t0).Seconds()), int(b.Sub(t0).Seconds()), true
			}
		}
	}
	return 0, 0, false
}

// fact says what is known of the place at a second: yes, no or nothing.
func (w *walk) fact(name, place string, t int) (value, there bool) {
	best := -1 << 40
	for _, f := range w.facts {
		if f.name == name && f.place == place && f.t <= t && f.t >= best {
			best, value, there = f.t, f.value, true
		}
	}
	return value, there
}

func (w *walk) place() string {
	if w.r.household {
		return w.key
	}
	return w.list[0].place
}

func (w *walk) in(t int) bool {
	v, there := w.fact("lives", w.place(), t)
	return !w.r.applies || v && there
}

func (w *walk) suppressed(t int) bool {
	v, there := w.fact("away", w.place(), t)
	return w.r.unless && v && there
}

// What a message does: it is heard, it says that the rule is not about this key any more, or nothing.
const (
	heard = iota
	leaves
	idle
)

// parts finds what every message does. A place is left with the device that was heard last: another that the rule is not about says nothing.
func (w *walk) parts() {
	speaker := ""
	for n, m := range w.list {
		switch {
		case w.in(m.t):
			speaker = m.dev
		case !w.r.household || speaker == m.dev:
			w.part[n], speaker = leaves, ""
		default:
			w.part[n] = idle
		}
	}
}

// last is the last message that was heard before a second, or at it; none where the device has left since.
func (w *walk) last(t int, including bool) (m said, ok bool) {
	for n, x := range w.list {
		if x.t > t || x.t == t && !including {
			break
		}
		if w.part[n] != idle {
			m, ok = x, w.part[n] == heard
		}
	}
	return m, ok
}

// here says whether the device is known to be there from one second to the next.
func (w *walk) here(t int) bool {
	m, ok := w.last(t, true)
	return ok && (w.r.alive == 0 || t+1 <= m.t+w.r.alive)
}

// second is one second: first what time brings, then what is said.
func (w *walk) second(t int) {
	if t > 0 {
		w.silence(t)
	}
	for i, x := range w.r.terms {
		due := false
		switch x.mode {
		case "for":
			due = w.held(i, t)
		case "absent":
			due = w.silent(i, t)
		case "offline":
			m, ok := w.last(t, false)
			_, here := w.last(t, true)
			again := slices.ContainsFunc(w.list, func(y said) bool { return y.t == t })
			due = ok && here && !again && w.r.alive > 0 && t == m.t+w.r.alive
		}
		if due {
			w.fire(i, t)
		}
	}
	for n, m := range w.list {
		if m.t == t {
			w.say(n, m)
		}
	}
}

// silence counts the second that ended at t.
func (w *walk) silence(t int) {
	a, _, in1 := w.window(t - 1)
	for i := range w.r.terms {
		if t >= 2 {
			if b, _, in2 := w.window(t - 2); in1 && (!in2 || a != b) {
				w.acc[i], w.rounds[i] = 0, 0
			}
		}
		if w.begun[i] && in1 && w.here(t-1) {
			w.acc[i]++
		}
	}
}

func (w *walk) silent(i, t int) bool {
	x := w.r.terms[i]
	if !w.begun[i] || t == 0 {
		return false
	}
	from, to, in := w.span(t - 1)
	if !in || !w.here(t-1) || w.side(t-1) != w.side(t) {
		return false
	}
	need := x.absent
	if x.whole {
		need = to - from
	}
	if w.r.windows != nil && w.rounds[i] > 0 || w.acc[i] != need*(w.rounds[i]+1) {
		return false
	}
	if w.suppressed(t) || !w.in(t) {
		w.acc[i], w.rounds[i] = 0, 0
		return false
	}
	w.rounds[i]++
	return true
}

// truth is what a message says of the condition: 1 true, 0 false, -1 nothing.
func (w *walk) truth(m said) int {
	switch {
	case m.on == nil:
		return -1
	case *m.on && !w.suppressed(m.t):
		return 1
	}
	return 0
}

// held says whether the condition has held long enough at t, for the first time since it began to.
func (w *walk) held(i, t int) bool {
	hold := w.r.terms[i].hold
	for n, s := range w.list {
		if s.t >= t || !w.in(s.t) || w.truth(s) != 1 || (t-s.t)%hold != 0 || !w.beginning(n) {
			continue
		}
		_, to, in := w.window(s.t)
		if !in || t > to || w.side(s.t) != w.side(t) || !w.unbroken(n, t) {
			continue
		}
		first := true
		for at := s.t + hold; at < t; at += hold {
			first = first && (w.suppressed(at) || !w.in(at))
		}
		if first && !w.suppressed(t) && w.in(t) {
			return true
		}
	}
	return false
}

// beginning says whether message n is the first of those that hold.
func (w *walk) beginning(n int) bool {
	for p := n - 1; p >= 0; p-- {
		a, b := w.list[p], w.list[p+1]
		wa, _, ina := w.window(a.t)
		wb, _, _ := w.window(b.t)
		if !w.in(a.t) || !ina || wa != wb || w.r.alive > 0 && b.t-a.t > w.r.alive || w.truth(a) == 0 {
			return true
		}
		if w.truth(a) == 1 {
			return false
		}
	}
	return true
}

// unbroken says whether nothing after message n speaks against the condition before t.
func (w *walk) unbroken(n, t int) bool {
	from, _, _ := w.window(w.list[n].t)
	at := w.list[n].t
	for _, m := range w.list[n+1:] {
		if m.t >= t {
			break
		}
		f, _, in := w.window(m.t)
		if !w.in(m.t) || !in || f != from || w.truth(m) == 0 || w.r.alive > 0 && m.t-at > w.r.alive {
			return false
		}
		at = m.t
	}
	return w.r.alive == 0 || t <= at+w.r.alive
}

// say applies message n.
func (w *walk) say(n int, m said) {
	if w.part[n] == idle {
		return
	}
	if w.part[n] == leaves {
		w.end(m.t, nil)
		for i := range w.r.terms {
			w.acc[i], w.rounds[i], w.begun[i] = 0, 0, false
		}
		return
	}
	from, _, in := w.window(m.t)
	truth := w.truth(m)
	for i, x := range w.r.terms {
		switch {
		case x.mode == "offline":
			w.end(m.t, &i)
		case x.mode == "absent":
			w.begun[i] = true
			if m.ev {
				w.acc[i], w.rounds[i] = 0, 0
				w.end(m.t, &i)
			}
		case !in:
		case truth == 0 && !*m.on && !w.r.clear && !w.r.household:
			w.end(m.t, &i)
		case truth == 1 && x.mode == "when":
			w.fire(i, m.t)
		case truth == 1 && x.mode == "count":
			hits := map[string]bool{}
			for k, y := range w.list[:n+1] {
				f, _, in := w.window(y.t)
				if y.t > m.t-x.within && w.part[k] == heard && in && f == from && w.truth(y) == 1 && w.stays(k, n) {
					z := y.zone
					if !x.distinct {
						z = y.id
					}
					hits[z] = true
				}
			}
			if len(hits) >= x.atLeast {
				w.fire(i, m.t)
			}
		}
	}
	conditions := m.on != nil && *m.on && slices.ContainsFunc(w.r.terms, func(x oracleTerm) bool { return x.mode != "absent" && x.mode != "offline" })
	if w.r.clear && m.clear && (!conditions || w.suppressed(m.t)) {
		w.end(m.t, nil)
	}
}

// stays says that the device did not leave between two messages.
func (w *walk) stays(a, b int) bool {
	for _, p := range w.part[a:b] {
		if p == leaves {
			return false
		}
	}
	return true
}

// fire raises an alarm at t, or joins the last.
func (w *walk) fire(i, t int) {
	dedup := w.at(t).dedup
	if dedup == 0 {
		for _, x := range w.r.terms {
			dedup = max(dedup, x.hold, x.within)
		}
	}
	if n := len(w.alarms); n > 0 {
		a := &w.alarms[n-1]
		endable := w.r.clear || !w.r.household
		if t-a.began < max(dedup, 1) || dedup == 0 && endable && w.r.terms[i].mode != "absent" && a.cleared < 0 && t-a.began < 3600 {
			a.cleared, a.by[i] = -1, true
			return
		}
	}
	w.alarms = append(w.alarms, oracleAlarm{w.r.name, w.key, t, -1, map[int]bool{i: true}})
	open := 0
	for k := len(w.alarms) - 1; k >= 0; k-- {
		if w.alarms[k].cleared == -1 {
			if open++; open > 8 {
				w.alarms[k].cleared = -2 // forgotten: nothing ends it
			}
		}
	}
}

// end ends what a term holds open; nil ends all.
func (w *walk) end(t int, term *int) {
	for k := range w.alarms {
		a := &w.alarms[k]
		if a.cleared != -1 {
			continue
		}
		if term != nil {
			if !a.by[*term] {
				continue
			}
			delete(a.by, *term)
		}
		if term == nil || len(a.by) == 0 {
			a.cleared, a.by = t, map[int]bool{}
		}
	}
}
