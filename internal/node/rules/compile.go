package rules

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/dizuo/dizuo/internal/contract"
)

// Problem is what keeps a scenario from being loaded, or a mapping. The other scenarios run all the same.
type Problem struct {
	// Scenario by name; empty for a problem of a mapping.
	Scenario string
	// Field is the path below the scenario, such as "trigger.when", or below the mapping.
	Field string
	// Message says what is wrong and what to write instead.
	Message string
}

// Error joins the parts.
func (p Problem) Error() string {
	if p.Scenario == "" {
		return "mapping: " + p.Field + ": " + p.Message
	}
	return "scenario " + p.Scenario + ": " + p.Field + ": " + p.Message
}

const (
	// maxAtLeast bounds the hits that a count keeps per key.
	maxAtLeast = 100
	// defaultLateness is how late a message may come where the scenario does not say, in milliseconds.
	defaultLateness = 120_000
	// maxRemember bounds the fields that a key remembers.
	maxRemember = 4
)

// compiler compiles one scenario.
type compiler struct {
	env      *cel.Env
	r        *rule
	problems []Problem
	// known are expressions by text: variants mostly repeat them.
	known map[string]*expression
	all   []*expression
}

func (c *compiler) fail(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.r.name, field, fmt.Sprintf(format, args...)})
}

func (c *compiler) text(field, source string, want *cel.Type) *expression {
	key := source
	if want == nil {
		key = "value of " + source
	}
	if x, ok := c.known[key]; ok {
		return x
	}
	x, err := compile(c.env, source, want, c.r.profile)
	if err != nil {
		c.fail(field, "%v", err)
		return nil
	}
	if x != nil {
		c.all = append(c.all, x)
	}
	c.known[key] = x
	return x
}

// compileRule compiles one scenario.
func compileRule(env *cel.Env, name string, s contract.Scenario, profiles map[string]contract.Profile, zone *time.Location) (*rule, []Problem) {
	c := &compiler{env: env, known: map[string]*expression{}, r: &rule{name: name, scenario: s, scope: ScopeDevice, zone: zone}}
	if s.Profile != "" {
		p, ok := contract.InputProfile(s.Profile)
		if !ok {
			p, ok = profiles[s.Profile]
		}
		if !ok {
			c.fail("profile", "no device profile %q; write the name of one that the platform has", s.Profile)
			return nil, c.problems
		}
		if c.r.profile = p; p.Fields == nil {
			c.r.profile.Fields = map[string]contract.Field{}
		}
	}
	c.compile(s)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.r, nil
}

func (c *compiler) compile(s contract.Scenario) {
	s = normal(s)
	r := c.r
	r.applies = c.text("appliesTo", s.AppliesTo, cel.BoolType)
	r.unless = c.text("trigger.unless", s.Unless, cel.BoolType)
	r.clear = c.text("trigger.clear", s.Clear, cel.BoolType)
	if s.DedupSeconds < 0 || s.LatenessSeconds < 0 {
		c.fail("trigger", "durations must not be negative")
	}
	r.late = s.LatenessSeconds * 1000
	if r.late <= 0 {
		r.late = defaultLateness
	}
	c.zone(s)
	c.scope(s.Terms)
	r.base.off, r.base.params, r.base.terms = s.Off, s.Params, c.terms(s.Terms, "")
	r.base.dedup = orLongest(s.DedupSeconds*1000, r.base.terms)
	r.baselines = c.baselines(s.Baselines)
	r.base.raises = c.raises(s.Raise, "")
	r.base.combines = c.combinations(s.Combines)
	c.variants(s)
	c.effects(s)
	c.derive()
}

// normal gives a scenario of the version before, with one trigger, the form of this one.
func normal(s contract.Scenario) contract.Scenario {
	t := s.Trigger
	if len(s.Terms) > 0 || t == (contract.Trigger{}) {
		return s
	}
	s.Terms = []contract.Term{{When: t.When, ForSeconds: t.ForSeconds, Absent: t.Absent, Count: t.Count}}
	s.Unless, s.Clear, s.DedupSeconds = t.Unless, t.Clear, t.DedupSeconds
	return s
}

func (c *compiler) zone(s contract.Scenario) {
	if s.Schedule == nil {
		return
	}
	if s.Schedule.TimeZone != "" {
		zone, err := time.LoadLocation(s.Schedule.TimeZone)
		if err != nil {
			c.fail("schedule.timeZone", "%q is no time zone; write an IANA name such as Asia/Shanghai", s.Schedule.TimeZone)
			return
		}
		c.r.zone = zone
	}
	c.r.base.schedule = newSchedule(s.Schedule, c.r.zone)
}

// scope finds the scope of the keys: all terms that give one must give the same.
func (c *compiler) scope(terms []contract.Term) {
	given := Scope("")
	for i, t := range terms {
		var s Scope
		switch {
		case t.Absent != nil:
			s = orDevice(t.Absent.Scope)
		case t.Count != nil:
			s = orDevice(t.Count.Scope)
		case t.ForSeconds > 0, t.Offline:
			s = ScopeDevice
		default:
			continue
		}
		if given != "" && given != s {
			c.fail(path(i, len(terms), "scope"), "is %s beside a term of %s; terms of one trigger share their scope, and for and offline are of the device: use a scenario for each", s, given)
		}
		given = s
	}
	if given != "" {
		c.r.scope = given
	}
	if !slices.Contains(scopes, c.r.scope) {
		c.fail("trigger", "scope %q is unknown; write one of %v", c.r.scope, scopes)
	}
}

func orDevice(s string) Scope {
	if s == "" {
		return ScopeDevice
	}
	return Scope(s)
}

// path names a field of a term: one alone is the trigger itself.
func path(i, of int, name string) string {
	if of == 1 {
		return "trigger." + name
	}
	return fmt.Sprintf("trigger.anyOf[%d].%s", i, name)
}

// terms compiles the terms of a plan. Prefix names the variant.
func (c *compiler) terms(in []contract.Term, prefix string) []term {
	if len(in) == 0 {
		c.fail(prefix+"trigger", "says nothing; write when, absent, count or offline")
	}
	if len(in) > maxTerms {
		c.fail(prefix+"trigger.anyOf", "has %d terms; write at most %d", len(in), maxTerms)
		return nil
	}
	out := make([]term, len(in))
	distinct := 0
	for i, t := range in {
		at := func(name string) string { return prefix + path(i, len(in), name) }
		out[i] = c.term(t, at)
		if out[i].distinct != nil {
			distinct++
		}
	}
	if distinct > 1 {
		c.fail(prefix+"trigger.anyOf", "has %d terms with distinctBy; write one", distinct)
	}
	return out
}

func (c *compiler) term(t contract.Term, at func(string) string) term {
	c.shape(t, at)
	out := term{mode: modeWhen, hold: t.ForSeconds * 1000, remember: t.Remember}
	if len(t.Remember) > maxRemember {
		c.fail(at("remember"), "has %d fields; write at most %d", len(t.Remember), maxRemember)
	}
	for _, f := range t.Remember {
		if _, ok := c.r.profile.Fields[f]; !ok {
			c.fail(at("remember"), "field %s is not in the profile; its fields are %s", f, fieldNames(c.r.profile))
		}
	}
	wait := int64(0)
	switch {
	case t.Offline:
		out.mode, wait = modeOffline, alive(c.r.profile)
		if wait == 0 {
			wait = forever / 2
		}
		return c.waits(out, wait)
	case t.Absent != nil:
		out.mode, out.absent, out.whole = modeAbsent, t.Absent.Seconds*1000, t.Absent.WholeWindow
		out.when = c.text(at("absent.event"), t.Absent.Event, cel.BoolType)
		if wait = out.absent; out.whole {
			wait = forever / 2
		}
		return c.waits(out, wait)
	case t.Count != nil:
		out.mode, out.atLeast, out.within = modeCount, int(t.Count.AtLeast), t.Count.WithinSeconds*1000
		out.distinct = c.text(at("count.distinctBy"), t.Count.DistinctBy, nil)
	case t.ForSeconds > 0:
		out.mode, wait = modeFor, out.hold
	}
	out.when = c.text(at("when"), t.When, cel.BoolType)
	return c.waits(out, wait)
}

// waits sets how long late evidence is waited for: not longer than a tenth of what the term waits for itself.
func (c *compiler) waits(t term, duration int64) term {
	t.wait = min(c.r.late, duration/10)
	return t
}

// shape refuses terms whose parts do not go together.
func (c *compiler) shape(t contract.Term, at func(string) string) {
	trigger := strings.TrimSuffix(at(""), ".")
	if t.Offline {
		if t.When != "" || t.ForSeconds != 0 || t.Count != nil || t.Absent != nil {
			c.fail(trigger, "offline stands alone; put the rest into another term")
		}
		return
	}
	if c.r.scenario.Profile == "" {
		c.fail("profile", "is not given; only trigger.offline is about every device: write profileRef")
	}
	if a := t.Absent; a != nil {
		if strings.TrimSpace(a.Event) == "" || a.Seconds <= 0 && !a.WholeWindow {
			c.fail(at("absent"), "event and a positive duration must both be given")
		}
		if a.WholeWindow && c.r.base.schedule == nil {
			c.fail(at("absent.duration"), "is the window of a schedule that is not there; write schedule, or a duration")
		}
		if t.When != "" || t.ForSeconds != 0 || t.Count != nil {
			c.fail(trigger, "absent stands alone; drop when, for and count")
		}
		return
	}
	if strings.TrimSpace(t.When) == "" {
		c.fail(trigger, "says nothing; write when or absent")
	}
	if t.ForSeconds < 0 {
		c.fail(trigger, "durations must not be negative")
	}
	if t.Count == nil {
		return
	}
	if t.ForSeconds != 0 {
		c.fail(trigger, "for and count do not go together; write one of them")
	}
	c.count(at("count"), t.Count)
}

func (c *compiler) count(field string, n *contract.Count) {
	if n.AtLeast < 1 || n.AtLeast > maxAtLeast || n.WithinSeconds <= 0 {
		c.fail(field, "atLeast must be 1 to %d and within positive", maxAtLeast)
	}
}

func (c *compiler) baselines(in []contract.Baseline) (out []*baseline) {
	for _, b := range in {
		at := "baselines." + b.Name
		x := &baseline{name: b.Name, daily: b.Daily, statistic: b.Statistic, minDays: int(b.MinDays), zone: c.r.zone}
		x.value = c.text(at+".value", b.Value, nil)
		x.above = c.text(at+".above", b.Above, nil)
		x.days = min(max(1, (b.WindowSeconds+86399)/86400), maxDays)
		if x.value == nil {
			c.fail(at+".value", "is empty; write what is remembered, such as msg.flowLpm")
		}
		if x.statistic == "DaysAbove" && x.above == nil {
			c.fail(at+".above", "is empty; DaysAbove counts the days above a number")
		}
		if b.Hours != nil {
			x.from, x.to = b.Hours.From, b.Hours.To
		}
		out = append(out, x)
	}
	return out
}

func (c *compiler) raises(in []contract.Raise, prefix string) (all []raise) {
	if len(in) > maxRaises {
		c.fail(prefix+"raise", "has %d entries; write at most %d", len(in), maxRaises)
		return nil
	}
	distinct := ""
	for _, x := range in {
		at := prefix + "raise." + x.Name
		out := raise{name: x.Name, severity: x.Severity, when: c.text(at+".when", x.When, cel.BoolType)}
		switch n := x.Count; {
		case n != nil && out.when != nil:
			c.fail(at, "when and count do not go together; write an entry for each")
		case n != nil:
			c.count(at+".count", n)
			out.count, out.scope, out.atLeast, out.within = true, orDevice(n.Scope), int(n.AtLeast), n.WithinSeconds*1000
			out.distinct = c.text(at+".count.distinctBy", n.DistinctBy, nil)
			c.contains(at+".count.scope", out.scope)
			if n.DistinctBy != "" {
				c.distinct(at+".count.distinctBy", n.DistinctBy, &distinct)
			}
		}
		all = append(all, out)
	}
	return all
}

// distinct refuses what a raise cannot tell alarms apart by: an alarm keeps one value, of the message that raised it.
func (c *compiler) distinct(field, text string, before *string) {
	if *before != "" && *before != text {
		c.fail(field, "is other than that of another raise, which is %s; an alarm keeps one: write the same, or leave it out", *before)
	}
	*before = text
	if !slices.ContainsFunc(c.r.base.terms, func(t term) bool { return t.mode != modeAbsent && t.mode != modeOffline }) {
		c.fail(field, "is of the message that raises the alarm, and silence has none; leave it out: each alarm counts")
	}
}

// contains refuses a scope in which a place of the scenario's own keys does not lie as a whole: where its alarm is then would be chance.
func (c *compiler) contains(field string, outer Scope) {
	if !slices.Contains(scopes, outer) {
		c.fail(field, "%q is unknown; write one of %v", outer, scopes)
		return
	}
	if !Contains(outer, c.r.scope) {
		c.fail(field, "%s does not hold a whole %s, which the alarms are of; write one of %v", outer, c.r.scope, holders(c.r.scope))
	}
}

func (c *compiler) combinations(in []contract.Combination) (out []combine) {
	for _, x := range in {
		scope := Scope(x.Scope)
		if scope == "" {
			scope = ScopeHousehold
		}
		c.contains("combines."+x.Scenario+".scope", scope)
		out = append(out, combine{other: x.Scenario, scope: scope, within: x.WithinSeconds * 1000, severity: x.Severity})
	}
	return out
}

// derive fills in what follows from the rest.
func (c *compiler) derive() {
	r := c.r
	simple := true // nothing but the three shared conditions reads facts, and those read nothing of the message
	for _, x := range c.all {
		r.cost = max(r.cost, int64(x.cost)) //nolint:gosec // at most costLimit
		for _, f := range x.facts {
			if !slices.Contains(r.facts, f) {
				r.facts = append(r.facts, f)
			}
		}
		for _, f := range x.uses {
			if !slices.Contains(r.keeps, f) {
				r.keeps = append(r.keeps, f)
			}
		}
		if x.state || len(x.facts) > 0 && (x != r.unless && x != r.applies || len(x.uses) > 0) {
			simple = false
		}
	}
	if len(r.scenario.Registers) > 0 {
		r.facts = append(r.facts, factRegisters)
	}
	if r.scenario.ConsentScope != "" {
		r.facts = append(r.facts, factConsents)
	}
	r.closes = r.clear == nil && r.scope == ScopeDevice
	r.plans = append([]*plan{&r.base}, slices.Collect(maps.Values(r.variants))...)
	counts, windows := false, false
	for i, t := range r.base.terms {
		if t.mode != modeAbsent && t.mode != modeOffline {
			r.conditions |= termTrue << (2 * i)
		}
		if t.mode == modeFor || t.mode == modeAbsent || t.mode == modeOffline {
			r.timed = true
		}
		counts = counts || t.mode == modeCount
		if len(t.remember) > 0 {
			simple = false
			for _, f := range t.remember {
				if !slices.Contains(r.keeps, f) {
					r.keeps = append(r.keeps, f)
				}
			}
		}
	}
	for _, p := range r.plans {
		r.dedupMost = max(r.dedupMost, p.dedup)
		windows = windows || p.schedule != r.base.schedule
	}
	r.stateful = !simple
	r.packs = !r.stateful && len(r.base.terms) == 1 && !counts && len(r.baselines) == 0 && !windows
	r.table = newTable()
}

// Check compiles rules and throws the result away; it gives what New would give as problems, and the cost of the rules in CEL's units. One
// expression may cost so much that nothing comes of it, so the cost is that of the costliest, at worst: no more than the limit of 10,000.
func Check(r contract.Rules) (cost int64, problems []Problem) {
	s, problems := newSet(r, nil, time.UTC, &interned{})
	for _, x := range s.inOrder {
		cost = max(cost, x.cost)
	}
	return cost, problems
}

// set holds the rules in force, by name and by the messages that can move them.
type set struct {
	rules    map[string]*rule
	profiles map[string]*profileIndex
	// every are rules about every device.
	every []*rule
	// inOrder are all of them, by name.
	inOrder []*rule
	// combined are the combinations that a scenario takes part in, its own and those of others.
	combined map[string][]pair
	devices  map[string]contract.Profile
}

// profileIndex finds the rules that a message of a profile can move.
type profileIndex struct {
	// always run: the rule watches the device's life, or its expressions name no field that must be there.
	always []*rule
	// byField run when a message carries the field.
	byField map[string][]*rule
}

// newSet compiles all scenarios; those that did not change since old are taken over.
func newSet(in contract.Rules, old *set, zone *time.Location, causes *interned) (*set, []Problem) {
	env, err := newEnv()
	if err != nil {
		panic(err) // the declarations are constant
	}
	out := &set{rules: make(map[string]*rule, len(in.Scenarios)), profiles: map[string]*profileIndex{}, devices: in.Profiles}
	var problems []Problem
	for _, name := range slices.Sorted(maps.Keys(in.Scenarios)) {
		s := in.Scenarios[name]
		r := old.unchanged(name, s, in.Profiles)
		if r == nil {
			var wrong []Problem
			if r, wrong = compileRule(env, name, s, in.Profiles, zone); r == nil {
				problems = append(problems, wrong...)
				continue
			}
			old.takeOver(r, causes)
		}
		out.rules[name] = r
		out.inOrder = append(out.inOrder, r)
		out.index(r)
	}
	out.pairs()
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Error(), b.Error()) })
	return out, problems
}

// unchanged gives the rule if neither scenario nor profile changed.
func (s *set) unchanged(name string, sc contract.Scenario, profiles map[string]contract.Profile) *rule {
	if s == nil {
		return nil
	}
	r := s.rules[name]
	if r == nil || !reflect.DeepEqual(r.scenario, sc) || !reflect.DeepEqual(s.devices[sc.Profile], profiles[sc.Profile]) {
		return nil
	}
	return r
}

// takeOver gives a rule the keys of the one before it: a scenario that changed its threshold does not forget what it waits for.
func (s *set) takeOver(r *rule, causes *interned) {
	if s == nil {
		return
	}
	was := s.rules[r.name]
	if was == nil || was.scope != r.scope || !slices.EqualFunc(was.base.terms, r.base.terms, func(a, b term) bool { return a.mode == b.mode }) {
		return
	}
	r.table = was.table
	if r.packs {
		return
	}
	for slot := range r.table.dense { // the long form is what the new rule understands
		if r.table.long[uint32(slot)] == nil {
			r.table.long[uint32(slot)] = r.table.load(uint32(slot), was, &state{}, causes)
		}
	}
}

// index enters a rule under the fields that can move it.
func (s *set) index(r *rule) {
	if r.scenario.Profile == "" {
		s.every = append(s.every, r)
		return
	}
	p := s.profiles[r.scenario.Profile]
	if p == nil {
		p = &profileIndex{byField: map[string][]*rule{}}
		s.profiles[r.scenario.Profile] = p
	}
	fields, ok := r.fields()
	if _, facts := r.gate(); !ok || r.timed || facts { // of a device that the scenario is about no more, any message says so
		p.always = append(p.always, r)
		return
	}
	for _, f := range fields {
		p.byField[f] = append(p.byField[f], r)
	}
}

// gate says whether the scenario is about some devices only, and whether facts say about which.
func (r *rule) gate() (some, facts bool) {
	facts = len(r.scenario.Registers) > 0 || r.scenario.ConsentScope != "" || r.applies != nil && len(r.applies.facts) > 0
	return facts || r.applies != nil, facts
}

// fields gives fields of which a message must have one to move the rule; false if there are none.
func (r *rule) fields() (out []string, ok bool) {
	list := []*expression{r.clear}
	for _, p := range r.plans {
		for _, t := range p.terms {
			list = append(list, t.when)
		}
	}
	for _, b := range r.baselines {
		list = append(list, b.value)
	}
	for _, x := range r.base.raises {
		list = append(list, x.when)
	}
	for _, x := range list {
		if x == nil {
			continue
		}
		if x.requires == "" {
			return nil, false
		}
		if !slices.Contains(out, x.requires) {
			out = append(out, x.requires)
		}
	}
	return out, len(out) > 0
}
