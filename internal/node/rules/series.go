package rules

import "slices"

const (
	// maxLog bounds the observations of a key.
	maxLog = 128
	// maxAlarms bounds the alarms that a key remembers; more than maxLog, so evaluating the log again never loses one.
	maxAlarms = maxLog + 32
	// exact is how far back (ms) observations are kept one by one before equal neighbours are merged.
	exact = 600_000
	// compactStep is after how many new observations a log is compacted.
	compactStep = 16
)

// Flags of an observation.
const (
	flagTrue  uint8 = 1 << iota // the trigger's condition holds
	flagFalse                   // it does not
	flagClear                   // the clear condition holds
)

// observation is what one message said about a rule. Times are Unix milliseconds.
type observation struct {
	T int64  `json:"t"`
	E int64  `json:"e,omitempty"` // end of a run of equal observations; 0 means T
	H uint64 `json:"h,omitempty"` // identity of the message
	K uint64 `json:"k,omitempty"` // what count tells apart
	F uint8  `json:"f,omitempty"`
}

func (o observation) end() int64 { return max(o.T, o.E) }

// before orders observations by time, and those of one instant by identity, so that the order of arrival never matters.
func (o observation) before(p observation) bool { return o.T < p.T || o.T == p.T && o.H < p.H }

// alarm is one alarm of a key.
type alarm struct {
	Start   int64 `json:"s"`
	Count   int64 `json:"n,omitempty"` // signals that joined
	Cleared int64 `json:"c,omitempty"`
	last    int64
}

// head is the state of a trigger after some observations.
type head struct {
	T      int64   `json:"t,omitempty"` // end of the last observation
	Since  int64   `json:"s,omitempty"` // since when the condition holds
	Fired  bool    `json:"f,omitempty"` // the alarm of this hold is raised
	Hits   []hit   `json:"h,omitempty"` // of the count window
	Alarms []alarm `json:"a,omitempty"`
}

type hit struct {
	T int64  `json:"t"`
	K uint64 `json:"k"`
}

func (h head) clone() head {
	h.Hits, h.Alarms = slices.Clone(h.Hits), slices.Clone(h.Alarms)
	return h
}

// series is the state of a key whose trigger is "when", "for" or "count". Base is the state before Log; now is the state
// after it, and what it holds as alarms has been told.
type series struct {
	Base head          `json:"b"`
	Log  []observation `json:"l,omitempty"`
	// Clock is up to when Tick fired something: evaluating again must not take that back.
	Clock int64 `json:"c,omitempty"`
	// Moved gives the start under which an alarm was told, where late evidence moved it.
	Moved map[int64]int64 `json:"m,omitempty"`

	now     head
	compact int
}

// reopen computes what a snapshot does not hold.
func (s *series) reopen(r *rule) { s.now = s.replay(r) }

// replay evaluates the log from the base.
func (s *series) replay(r *rule) head {
	h := s.Base.clone()
	for _, o := range s.Log {
		h.advance(r, o)
	}
	h.settle(r, s.Clock)
	return h
}

// observe takes an observation. It reports false if the observation is older than what is still known exactly.
func (s *series) observe(r *rule, o observation, tell func(Kind, alarm, int64)) bool {
	if o.T < s.Base.T {
		return false
	}
	at, found := slices.BinarySearchFunc(s.Log, o, func(a, b observation) int {
		switch {
		case a.before(b):
			return -1
		case b.before(a):
			return 1
		}
		return 0
	})
	if found || s.repeats(o) {
		return true
	}
	if at == len(s.Log) && o.T >= s.now.T && o.T >= s.Clock {
		s.Log = append(s.Log, o)
		s.step(r, func() { s.now.advance(r, o) }, tell)
	} else {
		s.insert(at, o)
		s.again(r, tell)
	}
	s.trim(r)
	return true
}

// repeats says whether a message with the same id was seen at another time.
func (s *series) repeats(o observation) bool {
	for i := len(s.Log) - 1; i >= 0; i-- {
		if s.Log[i].H == o.H {
			return true
		}
	}
	return false
}

// insert puts an observation at its place, splitting the run that it falls into.
func (s *series) insert(at int, o observation) {
	if at > 0 && s.Log[at-1].end() > o.T {
		run := s.Log[at-1]
		if run.F == o.F {
			return // the run says so already
		}
		rest := observation{T: run.end(), H: run.H + 1, F: run.F, K: run.K}
		s.Log[at-1].E = o.T - 1
		s.Log = slices.Insert(s.Log, at, o, rest)
		return
	}
	s.Log = slices.Insert(s.Log, at, o)
}

// tick moves the clock.
func (s *series) tick(r *rule, now int64, tell func(Kind, alarm, int64)) {
	if due := s.now.due(r); due == 0 || due > now {
		return
	}
	s.step(r, func() { s.now.settle(r, now) }, tell)
	s.Clock = max(s.Clock, now)
}

// step applies a change that can only touch the last alarm or add some, and tells what changed.
func (s *series) step(r *rule, change func(), tell func(Kind, alarm, int64)) {
	n := len(s.now.Alarms)
	var was alarm
	if n > 0 {
		was = s.now.Alarms[n-1]
	}
	change()
	tell = s.named(s.Moved, tell)
	if n > 0 {
		tellChange(was, s.now.Alarms[n-1], tell)
	}
	for _, a := range s.now.Alarms[n:] {
		tell(Raised, a, a.Start)
		tellChange(alarm{}, a, tell)
	}
}

// named lets an alarm keep the start under which it was told first: that is its name.
func (s *series) named(moved map[int64]int64, tell func(Kind, alarm, int64)) func(Kind, alarm, int64) {
	if len(moved) == 0 {
		return tell
	}
	return func(k Kind, a alarm, at int64) {
		if start, ok := moved[a.Start]; ok {
			a.Start = start
		}
		tell(k, a, at)
	}
}

// tellChange tells how an alarm that was told before differs now.
func tellChange(was, is alarm, tell func(Kind, alarm, int64)) {
	if is.Count > was.Count {
		tell(Joined, is, is.last)
	}
	if is.Cleared != 0 && was.Cleared == 0 {
		tell(Cleared, is, is.Cleared)
	}
}

// again evaluates the whole log and tells the difference to what was told before.
func (s *series) again(r *rule, tell func(Kind, alarm, int64)) {
	old, moved := s.now.Alarms, s.Moved
	tellOld := s.named(moved, tell)
	s.now, s.Moved = s.replay(r), nil
	used := make([]bool, len(old))
	for _, a := range s.now.Alarms {
		i := match(old, used, a, max(r.dedup, 1))
		if i < 0 {
			tell(Raised, a, a.Start)
			tellChange(alarm{}, a, tell)
			continue
		}
		used[i] = true
		s.move(a.Start, old[i].Start, moved)
		tellChange(old[i], a, s.named(s.Moved, tell))
	}
	for i, o := range old {
		if !used[i] && o.Start >= s.Base.T {
			tellOld(Retracted, o, o.Start)
		}
	}
}

// match finds the first unused alarm that starts within the tolerance; -1 if there is none.
func match(old []alarm, used []bool, a alarm, tolerance int64) int {
	for i, o := range old {
		if !used[i] && abs(o.Start-a.Start) < tolerance {
			return i
		}
	}
	return -1
}

// move notes that the alarm that was at old starts at start now.
func (s *series) move(start, old int64, moved map[int64]int64) {
	if told, ok := moved[old]; ok {
		old = told
	}
	if old == start {
		return
	}
	if s.Moved == nil {
		s.Moved = map[int64]int64{}
	}
	s.Moved[start] = old
}

func abs(x int64) int64 { return max(x, -x) }

// advance applies the next observation.
func (h *head) advance(r *rule, o observation) {
	h.settle(r, o.T)
	if r.alive > 0 && h.T > 0 && o.T-h.T > r.alive {
		h.Since, h.Fired = 0, false // it was offline: nobody knows that the condition held
	}
	h.T = max(h.T, o.end())
	switch {
	case o.F&flagTrue != 0:
		h.hit(r, o)
	case o.F&flagFalse != 0:
		h.Since, h.Fired = 0, false
	}
	if n := len(h.Alarms); o.F&flagClear != 0 && n > 0 && h.Alarms[n-1].Cleared == 0 {
		h.Alarms[n-1].Cleared = o.T
	}
	h.settle(r, o.end())
}

// hit applies an observation whose condition holds.
func (h *head) hit(r *rule, o observation) {
	switch r.mode {
	case modeWhen:
		h.trigger(r, o.T)
	case modeFor:
		if h.Since == 0 {
			h.Since, h.Fired = o.T, false
		}
	case modeCount:
		h.Hits = slices.DeleteFunc(h.Hits, func(x hit) bool { return x.T <= o.T-r.within })
		if r.distinct != nil {
			h.Hits = slices.DeleteFunc(h.Hits, func(x hit) bool { return x.K == o.K }) // the newest of each is enough
		}
		h.Hits = append(h.Hits, hit{o.T, o.K})
		if len(h.Hits) >= r.atLeast {
			h.trigger(r, o.T)
			h.Hits = h.Hits[max(0, len(h.Hits)-maxAtLeast):]
		}
	}
}

// due is when the condition will have held long enough; 0 if nothing runs, or the device is offline by then.
func (h *head) due(r *rule) int64 {
	if r.mode != modeFor || h.Since == 0 || h.Fired {
		return 0
	}
	due := h.Since + r.hold
	if r.alive > 0 && due > h.T+r.alive {
		return 0
	}
	return due
}

// settle raises what is due at the time now.
func (h *head) settle(r *rule, now int64) {
	if due := h.due(r); due != 0 && due <= now {
		h.trigger(r, due)
		h.Fired = true
	}
}

// trigger raises an alarm, or joins the last one.
func (h *head) trigger(r *rule, t int64) {
	if n := len(h.Alarms); n > 0 {
		a := &h.Alarms[n-1]
		waits := r.dedup == 0 && r.clear != nil && a.Cleared == 0 && t-a.Start < clearDedup
		if waits || t-a.Start < r.dedup {
			a.Count, a.last, a.Cleared = a.Count+1, t, 0
			return
		}
	}
	h.Alarms = append(h.Alarms, alarm{Start: t, last: t})
}

// trim keeps the log and the alarms within bounds.
func (s *series) trim(r *rule) {
	if len(s.Log) < s.compact && len(s.Log) <= maxLog {
		return
	}
	s.merge(r)
	if len(s.Log) > maxLog {
		s.fold(r, maxLog/2)
	}
	s.compact = len(s.Log) + compactStep
	for _, h := range []*head{&s.Base, &s.now} {
		if n := len(h.Alarms) - maxAlarms; n > 0 {
			h.Alarms = slices.Delete(h.Alarms, 0, n)
		}
	}
}

// merge joins equal neighbours to runs where nothing is lost: not what raises or counts, and not what is recent.
func (s *series) merge(r *rule) {
	newest := s.Log[len(s.Log)-1].end()
	out := s.Log[:1]
	for _, o := range s.Log[1:] {
		last := &out[len(out)-1]
		mergeable := r.mode == modeFor && o.end() < newest-exact || r.mode != modeFor && o.F&flagTrue == 0
		near := r.alive == 0 || o.T-last.end() <= r.alive || r.mode != modeFor
		if mergeable && near && last.F == o.F {
			last.E = o.end()
			continue
		}
		out = append(out, o)
	}
	s.Log = out
}

// fold moves the n oldest observations into the base.
func (s *series) fold(r *rule, n int) {
	base := s.Base.clone()
	for _, o := range s.Log[:n] {
		base.advance(r, o)
	}
	s.Base, s.Log = base, slices.Clone(s.Log[n:])
}
