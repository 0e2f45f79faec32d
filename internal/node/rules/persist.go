package rules

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

func cutCause(cause string) (fleet, device string, ok bool) { return strings.Cut(cause, "/") }

// KeyState is the state of one key, for storage.
type KeyState struct {
	// Scenario is empty for what the alarms of a place make of each other.
	Scenario string
	Scope    Scope
	ID       string
	// State is opaque; nil means that nothing is left to keep.
	State []byte
}

// Changed gives the states that changed since the last call, sorted. The caller stores them together with what the events did; if it
// cannot, it must make a new engine from what is stored.
func (e *Engine) Changed() ([]KeyState, error) {
	out := make([]KeyState, 0, len(e.dirty))
	for key := range e.dirty {
		raw, err := e.marshal(key)
		if err != nil {
			return nil, err
		}
		out = append(out, KeyState{key.scenario, key.scope, key.id, raw})
	}
	clear(e.dirty)
	slices.SortFunc(out, func(a, b KeyState) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Snapshot gives all states, sorted, and forgets what changed. Restore takes them back into a new engine.
func (e *Engine) Snapshot() ([]KeyState, error) {
	for _, r := range e.set.inOrder {
		r.table.each(func(_ uint32, id string) { e.dirty[keyRef{r.name, r.scope, id}] = struct{}{} })
	}
	for k := range e.boards {
		e.dirty[keyRef{"", k.scope, k.id}] = struct{}{}
	}
	all, err := e.Changed()
	return slices.DeleteFunc(all, func(s KeyState) bool { return s.State == nil }), err
}

func (e *Engine) marshal(key keyRef) (raw []byte, err error) {
	if key.scenario == "" {
		if b := e.boards[placeKey{key.scope, key.id}]; b != nil {
			raw, err = json.Marshal(b)
		}
	} else if r := e.set.rules[key.scenario]; r != nil && r.scope == key.scope {
		if slot, _, ok := r.table.find(key.id); ok {
			raw, err = json.Marshal(r.table.load(slot, r, &e.scratch, &e.causes))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("state of scenario %s, %s %s: %w", key.scenario, key.scope, key.id, err)
	}
	return raw, nil
}

// Restore takes back what Changed gave. States of scenarios that are gone, or have another kind of trigger now, are left out.
func (e *Engine) Restore(in KeyState) error {
	if in.Scenario == "" {
		b := &board{}
		if err := json.Unmarshal(in.State, b); err != nil {
			return fmt.Errorf("alarms of %s %s: %w", in.Scope, in.ID, err)
		}
		e.boards[placeKey{in.Scope, in.ID}] = b
		return nil
	}
	s := &state{}
	err := json.Unmarshal(in.State, s)
	r := e.set.rules[in.Scenario]
	if err == nil && r != nil {
		err = s.sound(r)
	}
	if err != nil {
		return fmt.Errorf("state of scenario %s, %s %s: %w", in.Scenario, in.Scope, in.ID, err)
	}
	if r == nil || r.scope != in.Scope || len(s.Base.Terms) != 0 && len(s.Base.Terms) != len(r.base.terms) {
		return nil
	}
	e.admit(r, in.ID, s)
	return nil
}

// admit enters a state that was stored. The next tick looks at it.
func (e *Engine) admit(r *rule, id string, s *state) {
	slot, hash, there := r.table.find(id)
	if !there {
		slot = r.table.put(id, hash)
	}
	if r.timed {
		r.table.wake(slot, 1)
	}
	r.table.keep(slot, r, s, &e.causes)
}

// sound refuses what no engine can have stored, and gives fields their types back.
func (s *state) sound(r *rule) error {
	if !slices.IsSortedFunc(s.Log, observation.compare) || len(s.Log) > 2*maxLog || s.Base.T < 0 || len(s.Log) > 0 && s.Log[0].T < s.Base.T {
		return errors.New("log is out of order")
	}
	if len(s.Told) > maxLog || len(s.Base.Open) > maxLog || len(s.Base.Terms) > maxTerms || len(s.Verdicts) > maxVerdicts || len(s.Days) > len(r.baselines) {
		return errors.New("is too long")
	}
	if a := alive(r.profile); r.scenario.Profile != "" && a > 0 && s.Base.Live > s.Base.T+a && s.Base.Live != forever || s.Base.Live < 0 {
		return errors.New("device is there for longer than its heartbeats say")
	}
	for _, t := range s.Base.Terms {
		if t.Acc < 0 || t.Rounds < 0 || t.Since < 0 || len(t.Hits) > maxAtLeast {
			return errors.New("term has no such state")
		}
	}
	for i := range s.Base.Terms {
		typed(r, s.Base.Terms[i].First)
	}
	for i := range s.Log {
		typed(r, s.Log[i].V)
	}
	return nil
}

// typed gives fields that were JSON the types of the profile.
func typed(r *rule, fields map[string]any) {
	for name, v := range fields {
		switch r.profile.Fields[name].Type {
		case "Integer":
			if x, ok := v.(float64); ok {
				fields[name] = int64(x)
			}
		case "Time":
			if x, ok := v.(string); ok {
				if t, err := time.Parse(time.RFC3339, x); err == nil {
					fields[name] = t
				}
			}
		}
	}
}

// RestoreDevice takes back the states of one device in the form of the version before, and reports how many keys it gave. They are given
// by the next Changed.
func (e *Engine) RestoreDevice(fleet, device string, raw []byte) (int, error) {
	var list []formerState
	if err := json.Unmarshal(raw, &list); err != nil {
		return 0, fmt.Errorf("state of device %s.%s: %w", fleet, device, err)
	}
	n := 0
	for _, x := range list {
		r := e.set.rules[x.Scenario]
		if r == nil || r.scope != ScopeDevice || len(r.base.terms) != 1 || r.base.terms[0].mode != x.Mode {
			continue
		}
		s := x.state(r)
		if err := s.sound(r); err != nil {
			return n, fmt.Errorf("state of device %s.%s: scenario %s: %w", fleet, device, x.Scenario, err)
		}
		id := fleet + "/" + device
		e.admit(r, id, s)
		e.dirty[keyRef{r.name, r.scope, id}] = struct{}{}
		n++
	}
	return n, nil
}

// formerState is the state of a key in the version before.
type formerState struct {
	Scenario string `json:"n"`
	Mode     mode   `json:"m"`
	Series   *struct {
		Base formerHead `json:"b"`
		Log  []struct {
			T int64  `json:"t"`
			E int64  `json:"e"`
			H uint64 `json:"h"`
			K uint64 `json:"k"`
			F uint32 `json:"f"`
		} `json:"l"`
		Clock int64           `json:"c"`
		Moved map[int64]int64 `json:"m"`
	} `json:"s"`
	Absence *struct {
		Since  int64      `json:"s"`
		Spans  [][2]int64 `json:"p"`
		Folded int64      `json:"f"`
		Told   []struct {
			Due     int64 `json:"d"`
			Cleared int64 `json:"c"`
		} `json:"a"`
		Rounds int64 `json:"n"`
	} `json:"a"`
}

type formerHead struct {
	T      int64 `json:"t"`
	Since  int64 `json:"s"`
	Fired  bool  `json:"f"`
	Hits   []hit `json:"h"`
	Former []struct {
		Start   int64 `json:"s"`
		Count   int64 `json:"n"`
		Cleared int64 `json:"c"`
	} `json:"a"`
}

// state converts. What was told must be told the same: the alarms of the version before become those of the base, which is where its log
// ends, so that no message of before is judged by other rules than it was.
func (f *formerState) state(r *rule) *state {
	s := &state{Base: head{Terms: make([]termHead, 1)}}
	t := &s.Base.Terms[0]
	if a := f.Absence; a != nil {
		t.Since, t.Rounds, t.Acc = a.Since, a.Rounds, a.Folded
		for i, p := range a.Spans {
			if i < len(a.Spans)-1 {
				t.Acc += p[1] - p[0]
				continue
			}
			s.Base.T, s.Base.Live = p[0], p[1]
			if live := alive(r.profile); live > 0 { // up to the last message
				s.Base.T = max(p[0], p[1]-live)
			}
			t.Acc += s.Base.T - p[0]
		}
		if s.Base.T == 0 {
			s.Base.T = max(a.Since, 1)
		}
		for _, x := range a.Told {
			s.Base.Open = append(s.Base.Open, alarm{Began: x.Due, Name: x.Due, Last: x.Due, Cleared: x.Cleared, By: 1})
		}
		s.Told = slices.Clone(s.Base.Open)
		return s
	}
	if f.Series == nil {
		s.Base.Terms = nil
		return s
	}
	return f.series(r, s)
}

// series converts the log: its alarms are evaluated once, without being told again.
func (f *formerState) series(r *rule, s *state) *state {
	from := f.Series
	s.Base.T, s.Base.Live, s.Base.Terms[0] = from.Base.T, forever, termHead{Since: from.Base.Since, Fired: from.Base.Fired, Hits: from.Base.Hits}
	if a := alive(r.profile); a > 0 {
		s.Base.Live = from.Base.T + a
	}
	if from.Base.T == 0 {
		s.Base = head{}
	}
	for _, x := range from.Base.Former {
		by := uint8(1)
		if x.Cleared != 0 {
			by = 0
		}
		s.Base.Open = append(s.Base.Open, alarm{Began: x.Start, Count: x.Count, Cleared: x.Cleared, By: by})
	}
	s.Base.Open = s.Base.Open[max(0, len(s.Base.Open)-maxOpen):]
	for _, x := range from.Log {
		o := observation{T: x.T, H: x.H, F: x.F & 3}
		if r.usesK() {
			o.K = x.K
		}
		if x.F&4 != 0 {
			o.F |= flagClear
		}
		s.Log = append(s.Log, o)
		if x.E > x.T { // a run of equal observations
			o.T, o.H = x.E, x.H+1
			s.Log = append(s.Log, o)
		}
	}
	slices.SortFunc(s.Log, observation.compare)
	s.Log = slices.DeleteFunc(s.Log, func(o observation) bool { return o.T < s.Base.T })
	s.Clock = from.Clock
	s.replay(&world{r: r, alive: alive(r.profile), plan: func(int64) *plan { return &r.base }})
	for _, a := range s.now.Open {
		if a.Name = a.Began; from.Moved[a.Began] != 0 {
			a.Name = from.Moved[a.Began]
		}
		s.Told = append(s.Told, a)
	}
	s.fresh = false
	return s
}

func appendValue(b []byte, v any) []byte { return fmt.Appendf(b, "%v", v) }
