package rules

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Engine runs scenarios. It is not safe for concurrent use.
type Engine struct {
	opts    Options
	set     *set
	devices map[deviceKey]*device
	timers  timers
	dirty   map[deviceKey]struct{}
	step    uint64
	in      input
	events  []Event
}

// Options of an engine.
type Options struct {
	// OnError hears of an expression that failed while running, by scenario and part; it may be nil.
	OnError func(scenario, part string, err error)
	// OnTooLate hears of a message that came too late to be put into its place; it may be nil.
	OnTooLate func(scenario string)
	// Until says up to when everything is known that a device of a fleet and a community sent, where that is not the time of Tick:
	// ok is false where it is. It may be nil.
	Until func(fleet, community string) (at time.Time, ok bool)
}

type deviceKey struct{ fleet, device string }

// device is what the engine keeps of one device: one state per scenario that it touched.
type device struct {
	states []*state
}

// state of one key. Exactly one of series and absence is set, by the rule's mode.
type state struct {
	scenario string
	mode     mode
	series   *series
	absence  *absence
	// queued is the time of the key's entry in timers; 0 if it has none.
	queued int64
}

// New makes an engine. A scenario with problems is left out; the others run.
func New(r contract.Rules, o Options) (*Engine, []Problem) {
	e := &Engine{opts: o, devices: map[deviceKey]*device{}, dirty: map[deviceKey]struct{}{}}
	problems := e.Update(r)
	return e, problems
}

// Update takes new rules and keeps all state: a scenario that changed its threshold does not forget what it waits for. The
// state of a scenario that is gone, or whose kind of trigger changed, is dropped when its device is next touched.
func (e *Engine) Update(r contract.Rules) []Problem {
	var problems []Problem
	e.set, problems = newSet(r, e.set)
	e.requeue()
	return problems
}

// Loaded gives the number of scenarios that run.
func (e *Engine) Loaded() int { return len(e.set.rules) }

// Scenario gives a loaded scenario.
func (e *Engine) Scenario(name string) (contract.Scenario, bool) {
	r, ok := e.set.rules[name]
	if !ok {
		return contract.Scenario{}, false
	}
	return r.scenario, true
}

// Step takes one message and gives what it changes. The result is valid until the next call.
func (e *Engine) Step(m Message) []Event {
	e.events = e.events[:0]
	e.step++
	p := e.set.profiles[m.Profile]
	if p == nil {
		return nil
	}
	e.in = input{msg: m.Payload, channel: string(m.Channel), ts: m.Time, fleet: m.Fleet, name: m.Device, row: &m.Row}
	at, id := m.Time.UnixMilli(), identity(m)
	for _, r := range p.always {
		e.run(r, m, at, id)
	}
	for f := range m.Payload {
		for _, r := range p.byField[f] {
			if r.stamp != e.step {
				r.stamp = e.step
				e.run(r, m, at, id)
			}
		}
	}
	return e.events
}

// run takes a message to one rule.
func (e *Engine) run(r *rule, m Message, at int64, id uint64) {
	e.in.params = r.scenario.Params
	key := deviceKey{m.Fleet, m.Device}
	if !e.applies(r) {
		e.drop(key, r, at)
		return
	}
	if r.mode == modeAbsent {
		s := e.state(key, r, true)
		event := e.test(r, r.event, "trigger.absent.event") == yes
		e.settleAbsence(key, r, s, at)
		s.absence.observe(r, at, event, e.teller(key, r))
		e.touch(key, r, s)
		return
	}
	o := observation{T: at, H: id, F: e.flags(r)}
	if r.distinct != nil && o.F&flagTrue != 0 {
		o.K = e.key(r)
	} else {
		o.K = id
	}
	moves := o.F&(flagTrue|flagClear) != 0 || r.mode == modeFor
	s := e.state(key, r, moves)
	if s == nil || !moves {
		return
	}
	if !s.series.observe(r, o, e.teller(key, r)) && e.opts.OnTooLate != nil {
		e.opts.OnTooLate(r.name)
	}
	e.touch(key, r, s)
}

// settleAbsence raises what was due before a message, so that the result does not depend on when Tick runs.
func (e *Engine) settleAbsence(key deviceKey, r *rule, s *state, at int64) {
	s.absence.tick(r, at, func() bool { return e.test(r, r.unless, "trigger.unless") == yes }, e.teller(key, r))
}

// flags evaluates the conditions of a message.
func (e *Engine) flags(r *rule) (f uint8) {
	switch e.test(r, r.when, "trigger.when") {
	case yes:
		f = flagTrue
		if e.test(r, r.unless, "trigger.unless") == yes {
			f = flagFalse
		}
	case no:
		f = flagFalse
	}
	if f&flagTrue == 0 && e.test(r, r.clear, "trigger.clear") == yes {
		f |= flagClear
	}
	return f
}

// applies says whether the scenario is about this device. An attribute that is not there says no.
func (e *Engine) applies(r *rule) bool {
	return r.applies == nil || e.test(r, r.applies, "appliesTo") == yes
}

func (e *Engine) test(r *rule, x *expression, part string) tri {
	answer, err := x.test(&e.in)
	if err != nil && e.opts.OnError != nil {
		e.opts.OnError(r.name, part, err)
	}
	return answer
}

// key hashes what count tells apart.
func (e *Engine) key(r *rule) uint64 {
	v, err := r.distinct.value(&e.in)
	if err != nil && e.opts.OnError != nil {
		e.opts.OnError(r.name, "trigger.count.distinctBy", err)
	}
	if v == nil || err != nil {
		return 0
	}
	h := fnv.New64a()
	if s, ok := v.Value().(string); ok {
		_, _ = h.Write([]byte(s))
	} else {
		_, _ = h.Write(appendValue(nil, v.Value()))
	}
	return h.Sum64()
}

// identity tells a repeated message from another.
func identity(m Message) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.ID))
	if m.ID == "" {
		_, _ = h.Write(strconv.AppendInt(nil, m.Time.UnixMilli(), 10))
		_, _ = h.Write([]byte(m.Channel))
	}
	return h.Sum64()
}

// Tick moves the clock to now and gives the alarms that are due. now must be a time up to which messages were taken: a
// caller that is behind its input gives the time of the last message, not the wall clock. The result is valid until the
// next call.
func (e *Engine) Tick(now time.Time, lookup Lookup) []Event {
	e.events = e.events[:0]
	at := now.UnixMilli()
	for {
		t, ok := e.timers.pop(at)
		if !ok {
			return e.events
		}
		s := e.find(t.key, t.scenario)
		if s == nil || s.queued != t.at {
			continue // an older entry of a key that moved
		}
		s.queued = 0
		e.expire(t.key, s, at, lookup)
	}
}

// expire looks after one key whose time may have come.
func (e *Engine) expire(key deviceKey, s *state, now int64, lookup Lookup) {
	r := e.set.rules[s.scenario]
	if r == nil || r.mode != s.mode {
		return
	}
	if due := s.due(r); due == 0 || due > now {
		e.queue(key, r, s) // messages moved it; no timer was touched for that
		return
	}
	row, profile, ok := lookup(key.fleet, key.device)
	if e.opts.Until != nil {
		if until, bound := e.opts.Until(key.fleet, row.Community); ok && bound && until.UnixMilli() < now {
			if s.due(r) > until.UnixMilli() {
				e.hold(key, s, now)
				return
			}
			now = until.UnixMilli() // what is due after that is not known yet
		}
	}
	e.in = input{msg: map[string]any{}, params: r.scenario.Params, ts: time.UnixMilli(now), fleet: key.fleet, name: key.device, row: &row}
	if !ok || profile != r.scenario.Profile || !e.applies(r) {
		e.drop(key, r, now)
		return
	}
	if s.absence != nil {
		e.settleAbsence(key, r, s, now)
	} else {
		s.series.tick(r, now, e.teller(key, r))
	}
	e.touch(key, r, s)
}

// teller turns what a state says into events.
func (e *Engine) teller(key deviceKey, r *rule) func(Kind, alarm, int64) {
	return func(k Kind, a alarm, at int64) {
		e.events = append(e.events, Event{
			Kind: k, Scenario: r.name, Fleet: key.fleet, Device: key.device, Start: time.UnixMilli(a.Start).UTC(), At: time.UnixMilli(at).UTC(),
		})
	}
}
