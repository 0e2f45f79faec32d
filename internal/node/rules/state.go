package rules

import (
	"slices"
)

// maxLog bounds the observations of a key; beyond it the oldest are folded before their time.
const maxLog = 512

// maxVerdicts bounds the verdicts of a key that hears nothing.
const maxVerdicts = 64

// state of one key, the long form. Base is the state before Log; what is told is what the alarms were after it. Base lies at least the
// scenario's lateness before the newest observation, so whatever comes in time finds its place, and everything here is a function of the
// set of messages, not of their order.
type state struct {
	Base head          `json:"b"`
	Log  []observation `json:"l,omitempty"`
	// Told are the alarms as told, oldest first.
	Told []alarm `json:"t,omitempty"`
	// Clock is up to when time fired something: evaluating again must not take that back.
	Clock int64 `json:"c,omitempty"`
	// Verdicts on terms that were due: what the registry said then counts, not what it says when the log is evaluated again.
	Verdicts []verdict `json:"u,omitempty"`
	// Cause is the device that spoke last by arrival, where the key is not one: its row says where the key is.
	Cause string `json:"d,omitempty"`
	// Days are the histories of the baselines.
	Days []history `json:"y,omitempty"`

	now   head
	fresh bool // now is what base and log give
}

// verdict says whether a term that was due was suppressed.
type verdict struct {
	Due  int64 `json:"d"`
	Term int   `json:"t,omitempty"`
	Off  bool  `json:"o,omitempty"`
}

// change is what became of an alarm of a key.
type change struct {
	kind  Kind
	a     alarm
	at    int64
	along bool
}

// judged keeps what unless says.
func (s *state) judged(w *world) func(int, int64) bool {
	ask := w.unless
	return func(term int, due int64) bool {
		for _, v := range s.Verdicts {
			if v.Due == due && v.Term == term {
				return v.Off
			}
		}
		off := ask(term, due)
		if len(s.Verdicts) >= maxVerdicts {
			s.Verdicts = slices.Delete(s.Verdicts, 0, 1)
		}
		s.Verdicts = append(s.Verdicts, verdict{due, term, off})
		return off
	}
}

// run gives the world in which unless is asked once.
func (s *state) run(w *world) *world {
	if w.unless == nil {
		return w
	}
	own := *w
	own.unless = s.judged(w)
	return &own
}

// replay evaluates the log from the base.
func (s *state) replay(w *world) {
	s.now, s.fresh = s.Base.clone(), true
	for i := range s.Log {
		s.now.advance(w, &s.Log[i])
	}
	s.now.settle(w, s.Clock, false, forever)
}

// newest is the time of the newest observation.
func (s *state) newest() int64 {
	if n := len(s.Log); n > 0 {
		return s.Log[n-1].T
	}
	return s.Base.T
}

// observe takes an observation. It reports false if that is older than what is still known exactly.
func (s *state) observe(w *world, o observation, tell func(change)) bool {
	w = s.run(w)
	at, found := slices.BinarySearchFunc(s.Log, o, observation.compare)
	if found || s.repeats(o) {
		return true
	}
	if o.T <= s.Base.T && s.Base.T != 0 {
		return false
	}
	last := at == len(s.Log)
	s.Log = slices.Insert(s.Log, at, o)
	if last && s.fresh && o.T >= s.now.T && o.T >= s.Clock {
		s.now.advance(w, &s.Log[at])
	} else {
		s.replay(w)
	}
	s.diff(w, tell)
	return s.fold(w)
}

// repeats says whether a message with the same id was seen at another time.
func (s *state) repeats(o observation) bool {
	for i := len(s.Log) - 1; i >= 0; i-- {
		if s.Log[i].H == o.H {
			return true
		}
	}
	return false
}

// tick moves the clock and raises what was due long enough ago.
func (s *state) tick(w *world, now int64, tell func(change)) {
	w = s.run(w)
	if !s.fresh {
		s.replay(w)
	}
	fired := false
	for range maxFires {
		due := s.now.ripe(w)
		if due == 0 || due > now {
			break
		}
		// Not further than what it raised: a clock that was ahead must not make what comes after it due.
		s.Clock, fired = max(s.Clock, due), true
		s.now.settle(w, s.Clock, false, forever)
	}
	if fired {
		s.diff(w, tell)
	}
}

// again evaluates everything anew, after something changed that is no message.
func (s *state) again(w *world, tell func(change)) {
	w = s.run(w)
	s.replay(w)
	s.diff(w, tell)
}

// ripe is when time alone will raise something, late evidence waited for; 0 if it will not. What is due first goes first, though another
// may wait less.
func (h *head) ripe(w *world) (at int64) {
	if len(h.Terms) == 0 {
		return 0
	}
	from := h.T
	for _, c := range w.changes {
		if c <= from {
			continue
		}
		if was, is := w.plan(c-1), w.plan(c); was.schedule != is.schedule {
			if due, at := h.first(was, from); due != 0 && due < c {
				return at
			}
			other := h.clone()
			other.reopen(is, c)
			h = &other
		}
		from = c
	}
	_, at = h.first(w.plan(from), from)
	return at
}

// first gives the first term that is due under a plan which counts from a time on, and when it is raised; 0 if none is.
func (h *head) first(p *plan, from int64) (due, at int64) {
	for i := range p.terms {
		if d := h.due(p, &p.terms[i], &h.Terms[i]); d != 0 && (due == 0 || d < due) {
			due, at = d, max(d, from)+p.terms[i].wait
		}
	}
	return due, at
}

// diff tells how the alarms differ from what was told before: old and new are matched in order of start, within the dedup time.
func (s *state) diff(w *world, tell func(change)) {
	if len(s.Told) == 0 && len(s.now.Open) == 0 {
		return
	}
	old := s.Told
	used := make([]bool, len(old))
	told := make([]alarm, len(s.now.Open))
	find := func(a alarm, tolerance int64) bool {
		for i, o := range old {
			if d := o.Began - a.Began; !used[i] && max(d, -d) < tolerance {
				used[i] = true
				return s.same(o, a, tell, &told[slices.IndexFunc(s.now.Open, func(x alarm) bool { return x.Began == a.Began })])
			}
		}
		return false
	}
	var fresh []alarm
	for _, a := range s.now.Open {
		if !find(a, 1) {
			fresh = append(fresh, a)
		}
	}
	left := fresh[:0]
	for _, a := range fresh {
		if !find(a, w.plan(a.Began).dedup) {
			left = append(left, a)
		}
	}
	for i, o := range old {
		forgotten := len(s.now.Open) >= maxOpen && o.Began < s.now.Open[0].Began
		if !used[i] && !forgotten {
			tell(change{kind: Retracted, a: o, at: o.Began})
		}
	}
	for _, a := range left {
		i := slices.IndexFunc(s.now.Open, func(x alarm) bool { return x.Began == a.Began })
		a.Name = a.Began
		tell(change{kind: Raised, a: a, at: a.Began})
		s.same(alarm{Began: a.Began, Name: a.Name}, a, tell, &told[i])
	}
	s.Told = told
}

// same tells how an alarm that was told differs now, and notes it.
func (s *state) same(was, is alarm, tell func(change), note *alarm) bool {
	is.Name = was.Name
	if is.Began != was.Began {
		tell(change{kind: Moved, a: is, at: is.Began})
	}
	joined := is.Count > was.Count || is.Cleared == 0 && was.Cleared != 0 // what cleared it may have come to lie before it
	if joined {
		tell(change{kind: Joined, a: is, at: is.Last})
	}
	if is.Raise&^was.Raise != 0 {
		tell(change{kind: Worse, a: is, at: is.Last})
	} else if is.Raise != was.Raise {
		tell(change{kind: Moved, a: is, at: is.Began})
	}
	if is.Cleared != 0 && (joined || is.Cleared != was.Cleared) {
		along := slices.ContainsFunc(s.now.Open, func(x alarm) bool { return x.Began > is.Began && x.Cleared == is.Cleared })
		tell(change{Cleared, is, is.Cleared, along}) // again, where a signal joined before that: Joined says that it is open
	}
	*note = is
	return true
}

// fold moves what nothing can come before any more into the base. It reports false where a log was too long to wait for that.
func (s *state) fold(w *world) bool {
	limit, n := s.newest()-w.r.late, 0
	for n < len(s.Log) && s.Log[n].T <= limit {
		n++
	}
	early := len(s.Log)-n > maxLog
	if early {
		n = len(s.Log) - maxLog/2
	}
	if n == 0 {
		return true
	}
	for n < len(s.Log) && s.Log[n].T == s.Log[n-1].T {
		n++ // what is of one instant stays together, or the rest of it would be too late
	}
	for i := range s.Log[:n] {
		s.Base.advance(w, &s.Log[i])
	}
	s.Log = slices.Delete(s.Log, 0, n)
	s.prune(w.r)
	return !early
}

// prune forgets alarms that nothing can touch any more.
func (s *state) prune(r *rule) {
	for i := len(s.Base.Open) - 1; i >= 0; i-- {
		a := s.Base.Open[i]
		if a.Cleared == 0 || i == len(s.Base.Open)-1 && s.Base.T-a.Began < r.dedupMost {
			continue
		}
		s.Base.Open = slices.Delete(s.Base.Open, i, i+1)
		gone := func(x alarm) bool { return x.Began == a.Began && x.Cleared == a.Cleared }
		s.now.Open = slices.DeleteFunc(s.now.Open, gone)
		s.Told = slices.DeleteFunc(s.Told, gone)
	}
	s.Verdicts = slices.DeleteFunc(s.Verdicts, func(v verdict) bool { return v.Due <= s.Base.T })
	if s.Clock <= s.Base.T {
		s.Clock = 0
	}
}
