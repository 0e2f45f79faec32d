package rules

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"fmt"
	"slices"
)

// find gives a key's state, or nil.
func (e *Engine) find(key deviceKey, scenario string) *state {
	d := e.devices[key]
	if d == nil {
		return nil
	}
	for _, s := range d.states {
		if s.scenario == scenario {
			return s
		}
	}
	return nil
}

// state gives a key's state and, if asked to, makes one.
func (e *Engine) state(key deviceKey, r *rule, create bool) *state {
	s := e.find(key, r.name)
	if s != nil && s.mode == r.mode {
		return s
	}
	if s != nil {
		e.remove(key, r.name) // the scenario has another kind of trigger now
	}
	if !create {
		return nil
	}
	s = &state{scenario: r.name, mode: r.mode}
	if r.mode == modeAbsent {
		s.absence = &absence{}
	} else {
		s.series = &series{compact: compactStep}
	}
	d := e.devices[key]
	if d == nil {
		d = &device{}
		e.devices[key] = d
	}
	d.states = append(d.states, s)
	return s
}

// drop forgets a key that a scenario is about no more, and clears its alarm.
func (e *Engine) drop(key deviceKey, r *rule, at int64) {
	s := e.find(key, r.name)
	if s == nil {
		return
	}
	if a, open := s.open(); open {
		e.teller(key, r)(Cleared, a, at)
	}
	e.remove(key, r.name)
}

func (e *Engine) remove(key deviceKey, scenario string) {
	d := e.devices[key]
	d.states = slices.DeleteFunc(d.states, func(s *state) bool { return s.scenario == scenario })
	e.dirty[key] = struct{}{}
}

// open gives the last alarm of a key if it is not cleared.
func (s *state) open() (alarm, bool) {
	if s.absence != nil {
		if n := len(s.absence.Told); n > 0 && s.absence.Told[n-1].Cleared == 0 {
			return alarm{Start: s.absence.Told[n-1].Due}, true
		}
		return alarm{}, false
	}
	if n := len(s.series.now.Alarms); n > 0 && s.series.now.Alarms[n-1].Cleared == 0 {
		return s.series.now.Alarms[n-1], true
	}
	return alarm{}, false
}

// touch marks a key as changed and sees to its timer.
func (e *Engine) touch(key deviceKey, r *rule, s *state) {
	e.dirty[key] = struct{}{}
	e.queue(key, r, s)
}

// due is when time alone will move the key; 0 if it will not.
func (s *state) due(r *rule) int64 {
	if s.absence != nil {
		return s.absence.due(r)
	}
	return s.series.now.due(r)
}

// queue makes sure that a key is looked at when it is due. A later due time leaves the entry: it is moved when it comes up.
func (e *Engine) queue(key deviceKey, r *rule, s *state) {
	due := s.due(r)
	if due == 0 || s.queued != 0 && s.queued <= due {
		return
	}
	s.queued = due
	heap.Push(&e.timers, timer{due, key, s.scenario})
}

// holdFor is how long, in milliseconds, a key waits to be looked at again whose silence is not known to be one.
const holdFor = 5000

// hold looks at a key again later, though it is due: what would move it may be on its way.
func (e *Engine) hold(key deviceKey, s *state, now int64) {
	s.queued = now + holdFor
	heap.Push(&e.timers, timer{s.queued, key, s.scenario})
}

// requeue enters every key anew, after the rules changed.
func (e *Engine) requeue() {
	e.timers = e.timers[:0]
	for key, d := range e.devices {
		for _, s := range d.states {
			s.queued = 0
			if r := e.set.rules[s.scenario]; r != nil && r.mode == s.mode {
				e.queue(key, r, s)
			}
		}
	}
}

// timer is an entry of the heap.
type timer struct {
	at       int64
	key      deviceKey
	scenario string
}

// timers is a heap by time. It holds at most one live entry per key.
type timers []timer

// Len, Less, Swap, Push and Pop make it a heap.
func (t timers) Len() int { return len(t) }

// Less orders by time, then by name: the order of events is always the same.
func (t timers) Less(i, j int) bool {
	if t[i].at != t[j].at {
		return t[i].at < t[j].at
	}
	if t[i].key != t[j].key {
		return t[i].key.fleet+"."+t[i].key.device < t[j].key.fleet+"."+t[j].key.device
	}
	return t[i].scenario < t[j].scenario
}

// Swap swaps two entries.
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push adds an entry.
func (t *timers) Push(x any) { *t = append(*t, x.(timer)) }

// Pop takes the last entry.
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

// pop takes the first entry that is due.
func (t *timers) pop(now int64) (timer, bool) {
	if len(*t) == 0 || (*t)[0].at > now {
		return timer{}, false
	}
	return heap.Pop(t).(timer), true
}

// DeviceState is the state of one device, for storage.
type DeviceState struct {
	Fleet, Device string
	// State is opaque; nil means that nothing is left to keep.
	State []byte
}

// stored is the form of a state on disk.
type stored struct {
	Scenario string   `json:"n"`
	Mode     mode     `json:"m"`
	Series   *series  `json:"s,omitempty"`
	Absence  *absence `json:"a,omitempty"`
}

// Changed gives the states that changed since the last call, sorted by device. The caller stores them together with what
// the events did; if it cannot, it must make a new engine from what is stored.
func (e *Engine) Changed() ([]DeviceState, error) {
	out := make([]DeviceState, 0, len(e.dirty))
	for key := range e.dirty {
		raw, err := e.marshal(key)
		if err != nil {
			return nil, err
		}
		out = append(out, DeviceState{key.fleet, key.device, raw})
	}
	clear(e.dirty)
	slices.SortFunc(out, func(a, b DeviceState) int {
		return cmp.Or(cmp.Compare(a.Fleet, b.Fleet), cmp.Compare(a.Device, b.Device))
	})
	return out, nil
}

// Snapshot gives all states, sorted by device, and forgets what changed. Restore takes them back into a new engine.
func (e *Engine) Snapshot() ([]DeviceState, error) {
	for key := range e.devices {
		e.dirty[key] = struct{}{}
	}
	all, err := e.Changed()
	return slices.DeleteFunc(all, func(s DeviceState) bool { return s.State == nil }), err
}

func (e *Engine) marshal(key deviceKey) ([]byte, error) {
	d := e.devices[key]
	if d == nil || len(d.states) == 0 {
		delete(e.devices, key)
		return nil, nil
	}
	list := make([]stored, len(d.states))
	for i, s := range d.states {
		list[i] = stored{s.scenario, s.mode, s.series, s.absence}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("state of device %s.%s: %w", key.fleet, key.device, err)
	}
	return raw, nil
}

// Restore takes back what Changed gave. States of scenarios that are gone are left out.
func (e *Engine) Restore(in DeviceState) error {
	var list []stored
	if err := json.Unmarshal(in.State, &list); err != nil {
		return fmt.Errorf("state of device %s.%s: %w", in.Fleet, in.Device, err)
	}
	key := deviceKey{in.Fleet, in.Device}
	d := &device{}
	for _, x := range list {
		r := e.set.rules[x.Scenario]
		if r == nil || r.mode != x.Mode || (x.Series == nil) == (x.Absence == nil) {
			continue
		}
		s := &state{scenario: x.Scenario, mode: x.Mode, series: x.Series, absence: x.Absence}
		if s.series != nil {
			s.series.reopen(r)
			s.series.compact = len(s.series.Log) + compactStep
		}
		d.states = append(d.states, s)
		e.queue(key, r, s)
	}
	if len(d.states) > 0 {
		e.devices[key] = d
	}
	return nil
}

// Keys gives the number of keys (scenario and device) that are kept.
func (e *Engine) Keys() (n int) {
	for _, d := range e.devices {
		n += len(d.states)
	}
	return n
}

func appendValue(b []byte, v any) []byte { return fmt.Appendf(b, "%v", v) }
