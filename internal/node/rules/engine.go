package rules

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types/ref"

	"github.com/dizuo/dizuo/internal/contract"
)

// Engine runs scenarios. It is not safe for concurrent use.
type Engine struct {
	opts   Options
	set    *set
	facts  facts
	modes  []modeAt
	boards map[placeKey]*board
	causes interned
	dirty  map[keyRef]struct{}
	step   uint64
	in     input
	events []Event
	// scratch holds a dense key while it is worked on; touched are boards that changed in this step.
	scratch state
	touched []placeKey
	due     []dueKey
}

// Options of an engine.
type Options struct {
	// OnError hears of an expression that failed while running, by scenario and part; it may be nil.
	OnError func(scenario, part string, err error)
	// OnTooLate hears of a message that came too late to be put into its place, or of a key that heard too much to wait for what is late;
	// it may be nil.
	OnTooLate func(scenario string)
	// OnUnplaced hears of a message whose device's row lacks the place that the scenario's keys are of; it may be nil.
	OnUnplaced func(scenario string)
	// Until says up to when everything is known that a device of a fleet and a community sent, where that is not the time of Tick:
	// ok is false where it is. It may be nil.
	Until func(fleet, community string) (at time.Time, ok bool)
	// Rows gives the row of a device of a place when another of the place speaks; it may be nil.
	Rows Lookup
	// Zone of the platform, for scenarios without schedule; nil is UTC.
	Zone *time.Location
}

// keyRef names a key, or the board of a place if scenario is empty.
type keyRef struct {
	scenario string
	scope    Scope
	id       string
}

// modeAt is the mode (平战) from a time on.
type modeAt struct {
	at   int64
	name string
}

// MaxModes bounds the switches of mode that an engine remembers.
const MaxModes = 16

// New makes an engine. A scenario with problems is left out; the others run.
func New(r contract.Rules, o Options) (*Engine, []Problem) {
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	e := &Engine{opts: o, facts: facts{}, boards: map[placeKey]*board{}, dirty: map[keyRef]struct{}{}}
	return e, e.Update(r)
}

// Update takes new rules and keeps all state: a scenario that changed its threshold does not forget what it waits for. The state of a
// scenario that is gone, or whose kinds of terms changed, is dropped.
func (e *Engine) Update(r contract.Rules) []Problem {
	old := e.set
	var problems []Problem
	e.set, problems = newSet(r, old, e.opts.Zone, &e.causes)
	if old != nil {
		for _, was := range old.inOrder {
			e.replaced(was, e.set.rules[was.name])
		}
	}
	return problems
}

// replaced looks after the keys of a rule that changed.
func (e *Engine) replaced(was, is *rule) {
	if was == is {
		return
	}
	if is == nil || is.table != was.table {
		was.table.each(func(_ uint32, id string) { e.dirty[keyRef{was.name, was.scope, id}] = struct{}{} })
		return
	}
	e.stale(is)
}

// stale has every key of a rule looked at in the next tick: the numbers that it waits by changed.
func (e *Engine) stale(r *rule) {
	for _, s := range r.table.long {
		s.fresh = false
	}
	if r.timed {
		r.table.each(func(slot uint32, _ string) { r.table.wake(slot, 1) })
	}
}

// Loaded gives the number of scenarios that run.
func (e *Engine) Loaded() int { return len(e.set.rules) }

// Listens says whether a scenario listens to a profile.
func (e *Engine) Listens(profile string) bool { return e.set.profiles[profile] != nil }

// Keys gives the number of keys (scenario and place) that are kept.
func (e *Engine) Keys() (n int) {
	for _, r := range e.set.inOrder {
		n += len(r.table.index)
	}
	return n
}

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
	if p == nil && len(e.set.every) == 0 {
		return nil
	}
	e.in = input{
		msg: m.Payload, channel: string(m.Channel), at: m.Time.UnixMilli(), fleet: m.Fleet, name: m.Device, profile: m.Profile, row: &m.Row, facts: e.facts,
	}
	h := identity(m)
	device := "" // made when first asked for
	run := func(r *rule) {
		if r.stamp != e.step && (!m.Derived || r.scenario.Act != "") {
			r.stamp = e.step
			e.run(r, h, &device)
		}
	}
	if !builtIn(m.Profile) {
		for _, r := range e.set.every {
			run(r)
		}
	}
	if p != nil {
		for _, r := range p.always {
			run(r)
		}
		for f := range m.Payload {
			for _, r := range p.byField[f] {
				run(r)
			}
		}
	}
	return e.finish()
}

// finish tells what boards make of what changed, and puts the events in order: they do not depend on the order in which rules ran.
func (e *Engine) finish() []Event {
	if len(e.events) > 1 {
		slices.SortStableFunc(e.events, func(a, b Event) int { return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.ID, b.ID)) })
	}
	e.settleBoards()
	return e.events
}

// run takes a message to one rule.
func (e *Engine) run(r *rule, h uint64, device *string) {
	e.in.rule, e.in.plan, e.in.state, e.in.days = r, r.planFor(e.modeAt(e.in.at), e.in.row.Community), nil, nil
	if r.effect {
		if e.effect(r, h); r.bare {
			return
		}
	}
	var id string
	if r.scope == ScopeDevice {
		if *device == "" {
			*device = e.in.fleet + "/" + e.in.name
		}
		id = *device
	} else {
		var ok bool
		if id, ok = Place(r.scope, e.in.fleet, e.in.name, e.in.row); !ok {
			if e.opts.OnUnplaced != nil {
				e.opts.OnUnplaced(r.name)
			}
			return
		}
	}
	slot, hash, there := r.table.find(id)
	if !there && len(r.facts) == 0 && (e.in.plan.off || !e.applies()) {
		return // it was never about this device
	}
	var s *state
	if there {
		s = r.table.load(slot, r, &e.scratch, &e.causes)
	} else {
		e.scratch = state{Log: e.scratch.Log[:0]}
		s = &e.scratch
	}
	e.in.days = s.Days
	o := observation{T: e.in.at, H: h}
	if r.scope != ScopeDevice {
		o.Cause = e.in.fleet + "/" + e.in.name
		o.H = within(o.H, o.Cause)
	}
	if r.stateful {
		o.V = pick(e.in.msg, r.keeps)
		e.in.state = stateOf(&s.now, e.in.plan, o.T) // as good as any for now: advance evaluates it against its place
	}
	e.look(&o)
	if !r.counts(&o) && !r.stateful && len(r.baselines) == 0 {
		return
	}
	w := e.world(r)
	if w.unless != nil && r.scope != ScopeDevice && o.F&flagOut != 0 && s.Cause != "" && s.Cause != o.Cause {
		w.unless = e.suppressedFor(r, s.Cause)
	}
	if len(r.baselines) > 0 {
		e.remember(r, s, &o)
	}
	if o.F&flagOut == 0 || s.Cause == "" { // of a place, the device that it is looked at by is one that the scenario is about
		s.Cause = o.Cause
	}
	if !s.observe(w, o, e.teller(r, id, o.Cause)) && e.opts.OnTooLate != nil {
		e.opts.OnTooLate(r.name)
	}
	if !there {
		slot = r.table.put(id, hash)
	}
	e.store(r, slot, id, s, w)
}

// counts says whether an observation can matter.
func (r *rule) counts(o *observation) bool {
	if r.timed || o.F&(flagClear|flagOut) != 0 || o.F&flagAllTrue != 0 || o.F/flagRaise0 != 0 {
		return true
	}
	_, facts := r.gate()
	return facts || r.closes && o.F != 0
}

// store keeps a key and sees to when it is looked at.
func (e *Engine) store(r *rule, slot uint32, id string, s *state, w *world) {
	e.dirty[keyRef{r.name, r.scope, id}] = struct{}{}
	if s.over(r) {
		r.table.drop(id)
		return
	}
	if r.timed {
		if !s.fresh {
			s.replay(s.run(w))
		}
		r.table.wake(slot, s.now.ripe(w))
	}
	r.table.keep(slot, r, s, &e.causes)
}

// over says that nothing is left of a key whose device the scenario is about no more.
func (s *state) over(r *rule) bool {
	if len(r.facts) > 0 || len(s.Told)+len(s.Base.Open)+len(s.Days) > 0 || s.Base.Live != 0 {
		return false
	}
	for _, o := range s.Log {
		if o.F&flagOut == 0 {
			return false
		}
	}
	return true
}

// world is what a machine sees of the message or key that e.in shows.
func (e *Engine) world(r *rule) *world {
	w := &world{r: r, alive: alive(r.profile), plan: func(int64) *plan { return &r.base }}
	if r.scenario.Profile == "" {
		w.alive = alive(e.set.devices[e.in.profile])
	}
	if len(r.variants) > 0 {
		community := e.in.row.Community
		if r.scope == ScopePlatform { // of no community
			community = ""
		}
		w.plan = func(t int64) *plan { return r.planFor(e.modeAt(t), community) }
		for _, m := range e.modes {
			w.changes = append(w.changes, m.at)
		}
	}
	if some, _ := r.gate(); some || r.unless != nil {
		w.unless = func(_ int, due int64) bool { return e.suppressed(r, due) }
	}
	if r.stateful {
		w.flags = func(o *observation, h *head) { e.lookAgain(r, o, h) }
	}
	return w
}

// suppressed says whether a term that is due may not raise an alarm.
func (e *Engine) suppressed(r *rule, due int64) bool {
	defer func(was input) { e.in = was }(e.in)
	e.in.msg, e.in.at, e.in.state, e.in.device = map[string]any{}, due, nil, nil
	e.in.rule, e.in.plan = r, r.planFor(e.modeAt(due), e.in.row.Community)
	return !e.applies() || e.test(r.unless, "trigger.unless") == yes
}

// suppressedFor is suppressed where the message at hand is of a device that the scenario is not about: the place is judged by the one that it is
// about.
func (e *Engine) suppressedFor(r *rule, cause string) func(int, int64) bool {
	return func(_ int, due int64) bool {
		fleet, device, _ := cutCause(cause)
		if e.opts.Rows == nil {
			return e.suppressed(r, due)
		}
		row, profile, ok := e.opts.Rows(fleet, device)
		if !ok {
			return e.suppressed(r, due)
		}
		defer func(was input) { e.in = was }(e.in)
		e.in.fleet, e.in.name, e.in.profile, e.in.row = fleet, device, profile, &row
		return e.suppressed(r, due)
	}
}

// lookAgain evaluates an observation of a stateful rule against the state before it.
func (e *Engine) lookAgain(r *rule, o *observation, h *head) {
	defer func(was input) { e.in = was }(e.in)
	if fleet, device, ok := cutCause(o.Cause); ok && (fleet != e.in.fleet || device != e.in.name) {
		e.in.fleet, e.in.name, e.in.device = fleet, device, nil
		if e.opts.Rows != nil {
			if row, profile, ok := e.opts.Rows(fleet, device); ok {
				e.in.row, e.in.profile = &row, profile
			}
		}
	}
	p := r.planFor(e.modeAt(o.T), e.in.row.Community)
	e.in.msg, e.in.at, e.in.rule, e.in.plan, e.in.state = o.V, o.T, r, p, stateOf(h, p, o.T)
	e.look(o)
}

// stateOf is what an expression sees of a key before a message at t.
func stateOf(h *head, p *plan, t int64) map[string]any {
	first := map[string]any{}
	w0, _, in := p.schedule.at(t)
	for _, s := range h.Terms {
		if p.schedule != nil && (!in || s.Window != w0) {
			continue
		}
		for f, v := range s.First {
			first[f] = v
		}
	}
	open := len(h.Open) > 0 && h.Open[len(h.Open)-1].Cleared == 0
	return map[string]any{"first": first, "open": open}
}

// look evaluates the conditions of a message.
func (e *Engine) look(o *observation) {
	r, p := e.in.rule, e.in.plan
	o.F, o.K, o.R = 0, o.H, o.H
	if p.off || !e.applies() {
		o.F = flagOut
		if p.off || len(r.facts) == 0 {
			return
		} // a fact that comes later may say that it did apply
	}
	conditions := false
	for i := range p.terms {
		t := &p.terms[i]
		if t.mode == modeOffline {
			continue
		}
		switch e.test(t.when, "trigger."+string(t.mode)) {
		case yes:
			o.F |= termTrue << (2 * i)
			conditions = conditions || t.mode != modeAbsent
		case no:
			o.F |= termFalse << (2 * i)
		}
		if t.distinct != nil && o.term(i) == termTrue {
			o.K = e.key(t.distinct, "trigger.count.distinctBy")
		}
	}
	if r.unless != nil && conditions && e.test(r.unless, "trigger.unless") == yes {
		o.F |= flagUnless
	}
	if r.clear != nil && (!conditions || len(r.facts) > 0 || o.F&flagUnless != 0) && e.test(r.clear, "trigger.clear") == yes {
		o.F |= flagClear
	}
	for i := range p.raises {
		x := &p.raises[i]
		if x.when != nil && e.test(x.when, "raise.when") == yes {
			o.F |= flagRaise0 << i
		}
		if x.distinct != nil && conditions {
			o.R = e.key(x.distinct, "raise.count.distinctBy")
		}
	}
	if o.F&flagAllTrue == 0 {
		o.K, o.R = 0, 0
	}
	if !r.usesK() {
		o.K = 0
	}
	if len(r.base.raises) == 0 {
		o.R = 0
	}
}

// usesK says whether a term counts.
func (r *rule) usesK() bool {
	for i := range r.base.terms {
		if r.base.terms[i].mode == modeCount {
			return true
		}
	}
	return false
}

// applies says whether the scenario is about this device. An attribute, a fact, a register or a consent that is not there says no.
func (e *Engine) applies() bool {
	r := e.in.rule
	if r.applies != nil && e.test(r.applies, "appliesTo") != yes {
		return false
	}
	return (len(r.scenario.Registers) == 0 || e.member(factRegisters, r.scenario.Registers...)) &&
		(r.scenario.ConsentScope == "" || e.consented(r.scenario.ConsentScope))
}

// consented says whether whom the device is about consents. Nobody else's consent counts, not that of a place either.
func (e *Engine) consented(scope string) bool {
	id, ok := Place(ScopeSubject, e.in.fleet, e.in.name, e.in.row)
	if !ok {
		return false
	}
	v, _ := valueAt(e.facts[placeKey{ScopeSubject, id}][factConsents], e.in.at)
	set, _ := v.([]string)
	return slices.Contains(set, scope)
}

// member says whether a fact that is a set holds one of some names.
func (e *Engine) member(fact string, names ...string) bool {
	set, _ := e.facts.context([]string{fact}, e.in.fleet, e.in.name, e.in.row, e.in.at)[fact].([]string)
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(set, n) })
}

func (e *Engine) test(x *expression, part string) tri {
	answer, err := x.test(&e.in)
	if err != nil {
		e.failed(part, err)
	}
	return answer
}

func (e *Engine) failed(part string, err error) {
	if e.opts.OnError != nil {
		e.opts.OnError(e.in.rule.name, part, err)
	}
}

// key hashes what counts tell apart.
func (e *Engine) key(x *expression, part string) uint64 {
	v, err := x.value(&e.in)
	if err != nil {
		e.failed(part, err)
	}
	if v == nil || err != nil {
		return 0
	}
	return hashOf(v)
}

func hashOf(v ref.Val) uint64 {
	h := fnv.New64a()
	if s, ok := v.Value().(string); ok {
		_, _ = h.Write([]byte(s))
	} else {
		_, _ = h.Write(appendValue(nil, v.Value()))
	}
	return h.Sum64()
}

// identity tells a repeated message of a device from another.
func identity(m Message) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.ID))
	if m.ID == "" {
		_, _ = h.Write(strconv.AppendInt(nil, m.Time.UnixMilli(), 10))
		_, _ = h.Write([]byte(m.Channel))
	}
	return h.Sum64()
}

// within tells messages of one identity apart where a key is of several devices.
func within(h uint64, cause string) uint64 {
	x := fnv.New64a()
	_, _ = x.Write(strconv.AppendUint(nil, h, 16))
	_, _ = x.Write([]byte(cause))
	return x.Sum64()
}

// remember adds a message to the baselines of its key, once.
func (e *Engine) remember(r *rule, s *state, o *observation) {
	if o.F&flagOut != 0 || s.repeats(*o) || s.Base.T != 0 && o.T <= s.Base.T {
		return
	}
	for len(s.Days) < len(r.baselines) {
		s.Days = append(s.Days, nil)
	}
	for i, b := range r.baselines {
		v, err := b.value.value(&e.in)
		if err != nil {
			e.failed("baselines."+b.name, err)
		}
		if v == nil || err != nil {
			continue
		}
		if x, ok := number(v); ok {
			s.Days[i] = b.add(s.Days[i], o.T, x)
		}
	}
}

// modeAt gives the mode at a time; empty before the first.
func (e *Engine) modeAt(t int64) string {
	for i := len(e.modes) - 1; i >= 0; i-- {
		if e.modes[i].at <= t {
			return e.modes[i].name
		}
	}
	return ""
}

// SetMode says which mode (平战) the platform is in from a time on. What waits for time is looked at in the next tick.
func (e *Engine) SetMode(name string, since time.Time) {
	m := modeAt{since.UnixMilli(), name}
	at, same := slices.BinarySearchFunc(e.modes, m, func(a, b modeAt) int { return cmp.Compare(a.at, b.at) })
	if same {
		e.modes[at] = m
	} else if e.modes = slices.Insert(e.modes, at, m); len(e.modes) > MaxModes {
		e.modes = slices.Delete(e.modes, 0, 1)
	}
	e.modesChanged()
}

// Know takes a fact that the states to be restored already reflect: nothing is judged anew.
func (e *Engine) Know(f Fact) { e.facts.set(f) }

// SetFact says something of a place. It is an input as a message is: what is known of messages since then is judged anew. The result is
// valid until the next call.
func (e *Engine) SetFact(f Fact, lookup Lookup) []Event {
	e.events = e.events[:0]
	e.facts.set(f)
	since := f.Since.UnixMilli()
	for _, r := range e.set.inOrder {
		if slices.Contains(r.facts, f.Name) {
			e.judge(r, f, since, lookup)
		}
	}
	return e.finish()
}

// judge evaluates the keys of a rule that lie below a fact's place.
func (e *Engine) judge(r *rule, f Fact, since int64, lookup Lookup) {
	var ids []string
	r.table.each(func(_ uint32, id string) { ids = append(ids, id) })
	slices.Sort(ids)
	for _, id := range ids {
		slot, _, _ := r.table.find(id)
		s := r.table.load(slot, r, &e.scratch, &e.causes)
		if !e.enter(r, id, s, lookup) {
			continue
		}
		if place, ok := Place(f.Scope, e.in.fleet, e.in.name, e.in.row); !ok || place != f.ID {
			continue
		}
		s.Verdicts = slices.DeleteFunc(s.Verdicts, func(v verdict) bool { return v.Due >= since })
		if !r.stateful {
			for i := range s.Log {
				if s.Log[i].T >= since {
					e.judgeOne(r, &s.Log[i])
				}
			}
		}
		w := e.world(r)
		s.again(w, e.teller(r, id, s.Cause))
		e.store(r, slot, id, s, w)
	}
}

// judgeOne evaluates again what facts alone say of an observation: the fields of its message are not kept.
func (e *Engine) judgeOne(r *rule, o *observation) {
	e.in.at, e.in.plan = o.T, r.planFor(e.modeAt(o.T), e.in.row.Community)
	out, unless := o.F&flagOut != 0, flagUnless
	if out == e.applies() {
		if !out {
			o.F |= flagOut
		} else {
			o.F &^= flagOut
		}
	}
	if r.unless != nil {
		if o.F &^= unless; e.test(r.unless, "trigger.unless") == yes {
			o.F |= unless
		}
	}
}

// enter has e.in show a key without a message; false if its device is registered no more.
func (e *Engine) enter(r *rule, id string, s *state, lookup Lookup) bool {
	name := s.Cause
	if r.scope == ScopeDevice {
		name = id
	}
	fleet, device, _ := strings.Cut(name, "/")
	row, profile, ok := lookup(fleet, device)
	if !ok || r.scenario.Profile != "" && profile != r.scenario.Profile && !builtIn(r.scenario.Profile) {
		return false
	}
	e.in = input{msg: map[string]any{}, fleet: fleet, name: device, profile: profile, row: &row, facts: e.facts, rule: r, plan: r.planFor(e.modeAt(forever), row.Community), days: s.Days}
	return true
}

// dueKey is a key whose time may have come.
type dueKey struct {
	at   int64
	id   string
	r    *rule
	slot uint32
}

// holdFor is how long, in milliseconds, a key waits to be looked at again whose silence is not known to be one.
const holdFor = 5000

// Tick moves the clock to now and gives the alarms that are due. now must be a time up to which messages were taken: a
// caller that is behind its input gives the time of the last message, not the wall clock. The result is valid until the
// next call.
func (e *Engine) Tick(now time.Time, lookup Lookup) []Event {
	e.events, e.due = e.events[:0], e.due[:0]
	at := now.UnixMilli()
	for _, r := range e.set.inOrder {
		if r.timed && r.table.least <= at {
			e.scan(r, at)
		}
	}
	slices.SortFunc(e.due, func(a, b dueKey) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id), cmp.Compare(a.r.name, b.r.name))
	})
	for _, d := range e.due {
		e.expire(d, at, lookup)
	}
	return e.finish()
}

// scan collects the keys of a rule that are due.
func (e *Engine) scan(r *rule, now int64) {
	t := r.table
	t.least = forever
	for slot, due := range t.due {
		switch {
		case due == 0:
		case due <= now:
			e.due = append(e.due, dueKey{due, t.name(uint32(slot)), r, uint32(slot)})
		default:
			t.least = min(t.least, due)
		}
	}
}

// expire looks after one key whose time may have come.
func (e *Engine) expire(d dueKey, now int64, lookup Lookup) {
	r, t := d.r, d.r.table
	s := t.load(d.slot, r, &e.scratch, &e.causes)
	if !e.enter(r, d.id, s, lookup) {
		if r.scope != ScopeDevice {
			t.wake(d.slot, now+holdFor) // another device of the place may speak
			return
		}
		e.forget(r, d.id, s, now)
		return
	}
	w := e.world(r)
	if e.opts.Until != nil {
		if until, bound := e.opts.Until(e.in.fleet, e.in.row.Community); bound && until.UnixMilli() < now {
			if now = until.UnixMilli(); d.at > now { // what is due after that is not known yet
				t.wake(d.slot, max(d.at, now)+holdFor)
				return
			}
		}
	}
	s.tick(w, now, e.teller(r, d.id, s.Cause))
	e.store(r, d.slot, d.id, s, w)
}

// forget drops a key whose device is gone, and clears its alarms.
func (e *Engine) forget(r *rule, id string, s *state, at int64) {
	tell := e.teller(r, id, s.Cause)
	for _, a := range s.Told {
		if a.Cleared == 0 {
			a.Cleared = at
			tell(change{kind: Cleared, a: a, at: at})
		}
	}
	r.table.drop(id)
	e.dirty[keyRef{r.name, r.scope, id}] = struct{}{}
}

// teller turns what a state says into events.
func (e *Engine) teller(r *rule, id, cause string) func(change) {
	return func(c change) {
		name := c.a.Cause
		if name == "" {
			name = cause
		}
		if r.scope == ScopeDevice {
			name = id
		}
		fleet, device, _ := strings.Cut(name, "/")
		x := Event{
			Kind: c.kind, Scenario: r.name, Scope: r.scope, ID: id, Fleet: fleet, Device: device,
			Start: time.UnixMilli(c.a.Name).UTC(), Began: time.UnixMilli(c.a.Began).UTC(), At: time.UnixMilli(c.at).UTC(), Mode: e.modeAt(c.at), Severity: r.scenario.Severity, Along: c.along,
		}
		for i := range r.base.raises {
			if c.a.Raise&(1<<i) != 0 && Graver(r.base.raises[i].severity, x.Severity) {
				x.Severity = r.base.raises[i].severity
			}
			if c.a.Raise&(1<<i) != 0 && c.kind == Worse {
				x.With = append(x.With, r.base.raises[i].name)
			}
		}
		e.board(r, &x, c.a)
		e.events = append(e.events, x)
	}
}
