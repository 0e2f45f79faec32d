package rules

import (
	"cmp"
	"math"
	"slices"
)

const (
	// maxSpans bounds the intervals of life of a key.
	maxSpans = 32
	// maxEpisodes bounds the told alarms that late evidence can still take back.
	maxEpisodes = 8
)

// absence is the state of a key whose trigger is "absent". It counts the time since the last event during which the device
// was alive. What it knows is a maximum (the last event) and a union (of the intervals in which the device was alive), so
// the order of messages does not matter. Times are Unix milliseconds.
type absence struct {
	// Since is the last event, or the first message if there was none.
	Since int64 `json:"s"`
	// Event says that there was one.
	Event bool `json:"e,omitempty"`
	// Spans in which the device was alive, sorted, disjoint.
	Spans []span `json:"p,omitempty"`
	// Folded is observed time before Spans.
	Folded int64 `json:"f,omitempty"`
	// Told alarms, oldest first.
	Told []episode `json:"a,omitempty"`
	// Rounds is how many alarms were raised since Since: one for every full period.
	Rounds int64 `json:"n,omitempty"`
}

// span is an interval of life.
type span [2]int64

// episode is an alarm that was told.
type episode struct {
	From    int64 `json:"f"` // Since when it was raised
	Due     int64 `json:"d"`
	Cleared int64 `json:"c,omitempty"`
}

// observe takes a message at t. event says that it is what must not be absent.
func (a *absence) observe(r *rule, t int64, event bool, tell func(Kind, alarm, int64)) {
	end := int64(math.MaxInt64)
	if r.alive > 0 {
		end = t + r.alive
	}
	if a.Since == 0 || !a.Event && t < a.Since {
		a.Since = t
	}
	a.live(span{t, end})
	if !event {
		return
	}
	a.takeBack(t, tell)
	if a.Event && t <= a.Since {
		return
	}
	a.restart(t)
	a.Event = true
}

// restart lets the clock begin at t.
func (a *absence) restart(t int64) {
	a.Since, a.Rounds, a.Folded = t, 0, 0
	a.cut()
}

// cut drops life before Since.
func (a *absence) cut() {
	a.Spans = slices.DeleteFunc(a.Spans, func(s span) bool { return s[1] <= a.Since })
	if len(a.Spans) > 0 {
		a.Spans[0][0] = max(a.Spans[0][0], a.Since)
	}
}

// takeBack ends the alarms that an event at t contradicts or clears.
func (a *absence) takeBack(t int64, tell func(Kind, alarm, int64)) {
	kept := a.Told[:0]
	for _, e := range a.Told {
		switch {
		case e.From < t && t < e.Due:
			tell(Retracted, alarm{Start: e.Due}, t)
			continue
		case e.Due <= t && e.Cleared == 0:
			tell(Cleared, alarm{Start: e.Due}, t)
			e.Cleared = t
		}
		kept = append(kept, e)
	}
	a.Told = kept
}

// live adds an interval of life.
func (a *absence) live(s span) {
	if s[1] <= a.Since {
		return
	}
	s[0] = max(s[0], a.Since)
	if n := len(a.Spans); n > 0 && a.Spans[n-1][0] <= s[0] && s[0] <= a.Spans[n-1][1] {
		a.Spans[n-1][1] = max(a.Spans[n-1][1], s[1]) // the usual case: one more heartbeat
		return
	}
	at, _ := slices.BinarySearchFunc(a.Spans, s, func(x, y span) int { return cmp.Compare(x[0], y[0]) })
	a.Spans = slices.Insert(a.Spans, at, s)
	out := a.Spans[:1]
	for _, x := range a.Spans[1:] {
		if last := &out[len(out)-1]; x[0] <= last[1] {
			last[1] = max(last[1], x[1])
			continue
		}
		out = append(out, x)
	}
	a.Spans = out
	if len(a.Spans) > maxSpans {
		a.Folded += a.Spans[0][1] - a.Spans[0][0]
		a.Spans = slices.Delete(a.Spans, 0, 1)
	}
}

// due is when the next period of silence is full; 0 if the device is offline before that.
func (a *absence) due(r *rule) int64 {
	missing := (a.Rounds+1)*r.absent - a.Folded
	for _, s := range a.Spans {
		length := s[1] - s[0]
		if missing <= length {
			return s[0] + missing
		}
		missing -= length
	}
	return 0
}

// tick raises what is due at the time now, unless it is suppressed: then the clock starts anew.
func (a *absence) tick(r *rule, now int64, suppressed func() bool, tell func(Kind, alarm, int64)) {
	for due := a.due(r); due != 0 && due <= now; due = a.due(r) {
		if suppressed() {
			a.restart(now)
			return
		}
		a.Rounds++
		a.Told = append(a.Told, episode{From: a.Since, Due: due})
		if n := len(a.Told) - maxEpisodes; n > 0 {
			a.Told = slices.Delete(a.Told, 0, n)
		}
		tell(Raised, alarm{Start: due}, due)
	}
}
