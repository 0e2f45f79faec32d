package rules

import (
	"maps"
	"math"
	"slices"
)

const (
	// forever is later than every time, in Unix milliseconds.
	forever = math.MaxInt64
	// maxOpen bounds the open alarms of a key; the oldest is forgotten then.
	maxOpen = 8
	// clearDedup joins signals while an alarm is open: a lost "clear" must not silence a detector for ever.
	clearDedup = 3_600_000
	// maxTerms of a trigger, maxRaises of a scenario: their answers are bits of an observation.
	maxTerms, maxRaises = 8, 4
)

// mode is the kind of a term.
type mode string

const (
	modeWhen    mode = "when"
	modeFor     mode = "for"
	modeCount   mode = "count"
	modeAbsent  mode = "absent"
	modeOffline mode = "offline"
)

// Flags of an observation. Two bits a term: what its condition says.
const (
	termTrue    uint32 = 1
	termFalse   uint32 = 2
	termMask    uint32 = 3
	flagClear   uint32 = 1 << 16 // the clear condition holds
	flagOut     uint32 = 1 << 17 // the scenario is not about this device at that time
	flagUnless  uint32 = 1 << 18 // suppressed
	flagRaise0  uint32 = 1 << 20 // the condition of raise[0] holds; raise[i] is i bits on
	flagAllTrue uint32 = 0x5555
)

// observation is what one message said about a rule. Times are Unix milliseconds.
type observation struct {
	T int64  `json:"t"`
	H uint64 `json:"h,omitempty"` // identity of the message
	F uint32 `json:"f,omitempty"`
	K uint64 `json:"k,omitempty"` // what count tells apart
	R uint64 `json:"r,omitempty"` // what raise tells apart
	// Cause is the device, where the key is not one.
	Cause string `json:"c,omitempty"`
	// V are the fields that expressions of a stateful rule use: a replay evaluates them again.
	V map[string]any `json:"v,omitempty"`
}

func (o observation) term(i int) uint32 { return o.F >> (2 * i) & termMask }

// compare orders observations by time, and those of one instant by identity, so that the order of arrival never matters.
func (o observation) compare(p observation) int {
	switch {
	case o.T < p.T || o.T == p.T && o.H < p.H:
		return -1
	case o.T == p.T && o.H == p.H:
		return 0
	}
	return 1
}

// alarm is one alarm of a key.
type alarm struct {
	Began int64 `json:"b"`
	// Name is the start under which it was told; 0 before that.
	Name    int64  `json:"s,omitempty"`
	Count   int64  `json:"n,omitempty"` // signals that joined
	Last    int64  `json:"l,omitempty"` // the last of them
	Cleared int64  `json:"c,omitempty"`
	By      uint8  `json:"y,omitempty"` // the terms that hold it open
	Raise   uint8  `json:"w,omitempty"` // the raises by condition that came true
	R       uint64 `json:"r,omitempty"`
	Cause   string `json:"d,omitempty"`
}

// termHead is the state of one term after some observations.
type termHead struct {
	Since  int64          `json:"s,omitempty"` // since when the condition holds; of absent: that the clock runs
	Acc    int64          `json:"a,omitempty"` // of absent: the silence so far, without the time offline
	Rounds int64          `json:"n,omitempty"` // of absent: alarms since the last event
	Fired  bool           `json:"f,omitempty"`
	Window int64          `json:"w,omitempty"` // opening of the window that Since, Acc and Hits are of
	Hits   []hit          `json:"h,omitempty"` // of the count window
	First  map[string]any `json:"v,omitempty"` // what state.first shows
}

type hit struct {
	T int64  `json:"t"`
	K uint64 `json:"k"`
}

// head is the state of a key after some observations.
type head struct {
	T     int64      `json:"t,omitempty"` // up to when it is settled: the last observation
	Live  int64      `json:"l,omitempty"` // until when the last message proves that the device is there
	Last  string     `json:"d,omitempty"` // the device that spoke last, where the key is not one
	R     uint64     `json:"r,omitempty"` // of the last observation
	Terms []termHead `json:"m,omitempty"`
	Open  []alarm    `json:"a,omitempty"` // oldest first: those that are open, and the last
}

func (h head) clone() head {
	h.Terms, h.Open = slices.Clone(h.Terms), slices.Clone(h.Open)
	for i := range h.Terms {
		h.Terms[i].Hits, h.Terms[i].First = slices.Clone(h.Terms[i].Hits), maps.Clone(h.Terms[i].First)
	}
	return h
}

// world is what a machine may ask while it runs over one key.
type world struct {
	r *rule
	// alive is how long a message proves that the device is there; 0 means for ever.
	alive int64
	// plan gives the numbers in force at a time; changes are when they change, oldest first.
	plan    func(t int64) *plan
	changes []int64
	// unless says whether a term that is due is suppressed.
	unless func(term int, due int64) bool
	// flags evaluates an observation of a stateful rule against the state before it.
	flags func(o *observation, h *head)
}

// advance applies the next observation.
func (h *head) advance(w *world, o *observation) {
	h.settle(w, o.T, true, 0)
	if len(h.Terms) == 0 {
		h.Terms = make([]termHead, len(w.r.base.terms))
	}
	if w.r.stateful && w.flags != nil {
		w.flags(o, h)
	}
	p := w.plan(o.T)
	if o.F&flagOut != 0 {
		if w.r.scope == ScopeDevice || o.Cause == h.Last { // else another device of the place keeps it
			h.leave(o.T)
		}
		h.T = max(h.T, o.T)
		return
	}
	offline := h.Live != 0 && o.T > h.Live
	h.T, h.Last, h.R = o.T, o.Cause, o.R
	alive := int64(forever)
	if w.alive > 0 {
		alive = o.T + w.alive
	}
	h.Live = max(h.Live, alive)
	h.terms(w, p, o, offline)
	if o.F&flagClear != 0 && (o.F&w.r.conditions == 0 || o.F&flagUnless != 0) {
		h.close(^uint8(0), o.T)
	}
	if n := len(h.Open); n > 0 && h.Open[n-1].Cleared == 0 {
		h.Open[n-1].Raise |= uint8(o.F / flagRaise0 & (1<<maxRaises - 1))
	}
}

// terms applies an observation to every term.
func (h *head) terms(w *world, p *plan, o *observation, offline bool) {
	w0, _, in := p.schedule.at(o.T)
	for i := range p.terms {
		t, s := &p.terms[i], &h.Terms[i]
		h.enter(p, t, s, w0, in, offline)
		f := o.term(i)
		switch {
		case t.mode == modeOffline:
			s.Fired = false
			h.close(1<<i, o.T)
		case t.mode == modeAbsent:
			h.event(s, i, o, f)
		case !in:
		case f == termFalse:
			s.Since, s.Fired = 0, false
			if w.r.closes {
				h.close(1<<i, o.T)
			}
		case f == termTrue && o.F&flagUnless != 0:
			s.Since, s.Fired = 0, false
		case f == termTrue:
			h.hold(w.r, p, t, s, i, o)
		}
		if len(t.remember) > 0 && in && (s.First == nil || t.mode == modeAbsent && f == termTrue && p.schedule == nil) {
			s.First = pick(o.V, t.remember)
		}
	}
}

func pick(from map[string]any, names []string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		if v, ok := from[name]; ok {
			out[name] = v
		}
	}
	return out
}

// enter begins anew what ended with the window before, or while the device was offline.
func (h *head) enter(p *plan, t *term, s *termHead, w0 int64, in, offline bool) {
	if offline && t.mode == modeFor {
		s.Since, s.Fired = 0, false // nobody knows that the condition held
	}
	if p.schedule == nil || in && s.Window == w0 || !in && t.mode == modeAbsent {
		return
	}
	since := s.Since
	*s = termHead{}
	if in {
		s.Window = w0
	}
	if t.mode == modeAbsent {
		s.Since = since
	}
}

// event applies an observation to a term that waits for one.
func (h *head) event(s *termHead, i int, o *observation, f uint32) {
	if s.Since == 0 {
		s.Since = o.T
	}
	if f == termTrue {
		h.close(1<<i, o.T)
		s.Since, s.Acc, s.Rounds = o.T, 0, 0
	}
}

// hold applies an observation whose condition holds.
func (h *head) hold(r *rule, p *plan, t *term, s *termHead, i int, o *observation) {
	switch t.mode {
	case modeWhen:
		h.trigger(r, p, i, o.T, true, o.R, o.Cause)
	case modeFor:
		if s.Since == 0 {
			s.Since, s.Fired = o.T, false
		}
	case modeCount:
		s.Hits = slices.DeleteFunc(s.Hits, func(x hit) bool { return x.T <= o.T-t.within })
		if t.distinct != nil {
			s.Hits = slices.DeleteFunc(s.Hits, func(x hit) bool { return x.K == o.K }) // the newest of each is enough
		}
		s.Hits = append(s.Hits, hit{o.T, o.K})
		if len(s.Hits) >= t.atLeast {
			h.trigger(r, p, i, o.T, true, o.R, o.Cause)
			s.Hits = s.Hits[max(0, len(s.Hits)-maxAtLeast):]
		}
	}
}

// leave is for a device that the scenario is not about at that time.
func (h *head) leave(t int64) {
	h.close(^uint8(0), t)
	open := h.Open
	*h = head{T: t, Terms: make([]termHead, len(h.Terms)), Open: open}
}

// close takes away what holds alarms open.
func (h *head) close(by uint8, t int64) {
	for i := range h.Open {
		a := &h.Open[i]
		if a.Cleared != 0 || a.By&by == 0 {
			continue
		}
		if a.By &^= by; a.By == 0 {
			a.Cleared = t
		}
	}
}

// trigger raises an alarm, or joins the last one. joins says that an open alarm takes it in.
func (h *head) trigger(r *rule, p *plan, term int, t int64, joins bool, raise uint64, cause string) {
	if n := len(h.Open); n > 0 {
		a := &h.Open[n-1]
		waits := joins && p.dedup == 0 && (r.closes || r.clear != nil) && a.Cleared == 0 && t-a.Began < clearDedup
		if waits || t-a.Began < max(p.dedup, 1) { // two alarms of one instant would have one name
			a.Count, a.Last, a.Cleared, a.By = a.Count+1, t, 0, a.By|1<<term
			return
		}
	}
	h.Open = append(h.Open, alarm{Began: t, Last: t, By: 1 << term, R: raise, Cause: cause})
	open := 0
	for i := len(h.Open) - 1; i >= 0; i-- {
		if h.Open[i].Cleared == 0 {
			open++
		}
		if open > maxOpen {
			h.Open = slices.Delete(h.Open, i, i+1)
			return
		}
	}
}

// settle moves time to t: it raises what is due, in order. Before a message, exclusive, a device that speaks in time is not offline. With a
// waiting above 0, only what was due long enough ago is raised: late evidence may be on its way.
func (h *head) settle(w *world, t int64, exclusive bool, waiting int64) {
	if len(h.Terms) == 0 || t < h.T {
		return
	}
	floor := int64(0)
	for _, c := range w.changes {
		if h.T < c && c <= t {
			was, is := w.plan(c-1), w.plan(c)
			h.fire(w, was, c-1, floor, exclusive, 0)
			if floor = c; is.off {
				h.leave(c)
			} else if was.schedule != is.schedule {
				h.reopen(is, c)
			}
		}
	}
	h.fire(w, w.plan(t), t, floor, exclusive, waiting)
}

// reopen begins anew at a time from which other windows count. What is waited for goes on being waited for, from nothing.
func (h *head) reopen(p *plan, t int64) {
	w0, _, _ := p.schedule.at(t) // 0 outside
	for i := range h.Terms {
		s := &h.Terms[i]
		if p.terms[i].mode == modeOffline {
			continue // of all of time
		}
		since := s.Since
		if *s = (termHead{Window: w0}); p.terms[i].mode == modeAbsent {
			s.Since = since
		}
	}
	h.T = max(h.T, t)
}

// maxFires bounds what one look at a key raises; a clock that is years ahead goes on with the next.
const maxFires = 4096

// fire raises what is due up to t under one plan, not before floor.
func (h *head) fire(w *world, p *plan, t, floor int64, exclusive bool, waiting int64) {
	for range maxFires {
		first, at := -1, int64(forever)
		for i := range p.terms {
			due := h.due(p, &p.terms[i], &h.Terms[i])
			if due == 0 || due > t || exclusive && due == t && p.terms[i].mode == modeOffline {
				continue
			}
			if due = max(due, floor); due < at {
				first, at = i, due
			}
		}
		if first < 0 {
			h.integrate(p, t)
			return
		}
		if at+min(waiting, p.terms[first].wait) > t {
			h.integrate(p, at) // time stands still before what is not told yet
			return
		}
		h.integrate(p, at)
		h.expire(w, p, first, at)
	}
}

// expire raises a term that is due, or restarts it.
func (h *head) expire(w *world, p *plan, i int, at int64) {
	t, s := &p.terms[i], &h.Terms[i]
	if t.mode != modeOffline && w.unless != nil && w.unless(i, at) {
		if t.mode == modeFor {
			s.Since = at
		} else {
			s.Acc, s.Rounds = 0, 0
		}
		return
	}
	if t.mode == modeAbsent {
		s.Rounds++
	}
	s.Fired = true
	h.trigger(w.r, p, i, at, t.mode != modeAbsent, h.R, h.Last)
}

// due is when time alone raises a term; 0 if it does not, or the device is offline by then.
func (h *head) due(p *plan, t *term, s *termHead) int64 {
	switch t.mode {
	case modeFor:
		if s.Since == 0 || s.Fired {
			return 0
		}
		due := s.Since + t.hold
		if due > h.Live {
			return 0
		}
		if p.schedule != nil {
			if _, w1, in := p.schedule.at(s.Window); !in || due > w1 {
				return 0
			}
		}
		return due
	case modeOffline:
		if s.Fired || h.Live == forever {
			return 0
		}
		return h.Live
	case modeAbsent:
		if s.Since != 0 {
			return h.dueAbsent(p, t, s)
		}
	}
	return 0
}

// maxAhead bounds the windows that are looked through for one with enough time.
const maxAhead = 32

func (h *head) dueAbsent(p *plan, t *term, s *termHead) int64 {
	if p.schedule == nil {
		if due := h.T + max(0, (s.Rounds+1)*t.absent-s.Acc); due <= h.Live {
			return due
		}
		return 0
	}
	at := h.T
	for range maxAhead {
		w0, w1, in := p.schedule.at(at)
		if !in {
			if w0, w1, in = p.schedule.next(at); !in {
				return 0
			}
			at = w0
		}
		need, acc := t.absent, int64(0)
		if t.whole {
			need = w1 - w0
		}
		if s.Window == w0 {
			acc = s.Acc
		}
		if s.Window != w0 || s.Rounds == 0 {
			if due := at + max(0, need-acc); due <= min(w1, h.Live) {
				return due
			}
		}
		if at = w1; at > h.Live {
			return 0
		}
	}
	return 0
}

// integrate moves the clocks of absent to t. Time in which the device was offline does not count, nor does time outside the windows.
func (h *head) integrate(p *plan, t int64) {
	for i := range p.terms {
		if s := &h.Terms[i]; p.terms[i].mode == modeAbsent && s.Since != 0 {
			h.silence(p, s, t)
		}
	}
	h.T = max(h.T, t)
}

func (h *head) silence(p *plan, s *termHead, t int64) {
	if p.schedule == nil {
		s.Acc += max(0, min(t, h.Live)-h.T)
		return
	}
	for at := h.T; at < t; {
		w0, w1, in := p.schedule.at(at)
		if !in {
			if w0, w1, in = p.schedule.next(at); !in || w0 >= t {
				return
			}
			at = w0
		}
		if s.Window != w0 {
			*s = termHead{Since: s.Since, Window: w0}
		}
		stop := min(t, w1)
		s.Acc += max(0, min(stop, h.Live)-at)
		at = stop
	}
}
