package rules

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

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

// mode is the kind of a trigger.
type mode string

const (
	modeWhen   mode = "when"
	modeFor    mode = "for"
	modeCount  mode = "count"
	modeAbsent mode = "absent"
)

// rule is a compiled scenario. Durations are milliseconds.
type rule struct {
	name     string
	scenario contract.Scenario
	profile  contract.Profile
	mode     mode

	applies, when, event, unless, clear, distinct *expression

	hold, within, absent, dedup int64
	atLeast                     int
	// alive is how long a message proves that the device is there: three heartbeats; 0 means for ever.
	alive int64
	// stamp is the last step that ran the rule, so that two fields of a message run it once.
	stamp uint64
}

const (
	// maxAtLeast bounds the hits that a count keeps per key.
	maxAtLeast = 100
	// clearDedup joins signals while an alarm waits for its clear condition: a lost "clear" must not silence a detector.
	clearDedup = 3_600_000
)

// compileRule compiles one scenario.
func compileRule(env *cel.Env, name string, s contract.Scenario, profiles map[string]contract.Profile) (*rule, []Problem) {
	var problems []Problem
	fail := func(field, format string, args ...any) {
		problems = append(problems, Problem{name, field, fmt.Sprintf(format, args...)})
	}
	p, ok := profiles[s.Profile]
	if !ok {
		fail("profile", "no device profile %q; write the name of one that the platform has", s.Profile)
		return nil, problems
	}
	t := s.Trigger
	r := &rule{
		name: name, scenario: s, profile: p, mode: modeWhen, alive: 3 * p.HeartbeatSeconds * 1000,
		hold: t.ForSeconds * 1000, dedup: t.DedupSeconds * 1000,
	}
	text := func(field, source string, want *cel.Type) *expression {
		x, err := compile(env, source, want, p)
		if err != nil {
			fail(field, "%v", err)
		}
		return x
	}
	r.applies = text("appliesTo", s.AppliesTo, cel.BoolType)
	r.when = text("trigger.when", t.When, cel.BoolType)
	r.unless = text("trigger.unless", t.Unless, cel.BoolType)
	r.clear = text("trigger.clear", t.Clear, cel.BoolType)
	switch {
	case t.Absent != nil:
		r.mode, r.absent = modeAbsent, t.Absent.Seconds*1000
		r.event = text("trigger.absent.event", t.Absent.Event, cel.BoolType)
	case t.Count != nil:
		r.mode, r.atLeast, r.within = modeCount, int(t.Count.AtLeast), t.Count.WithinSeconds*1000
		r.distinct = text("trigger.count.distinctBy", t.Count.DistinctBy, nil)
	case t.ForSeconds > 0:
		r.mode = modeFor
	}
	checkShape(t, fail)
	if len(problems) > 0 {
		return nil, problems
	}
	if r.dedup == 0 { // a late message may move an alarm's start by this much without making it another
		r.dedup = max(r.hold, r.within)
	}
	return r, nil
}

// checkShape refuses triggers whose parts do not go together.
func checkShape(t contract.Trigger, fail func(field, format string, args ...any)) {
	if t.Absent != nil {
		if strings.TrimSpace(t.Absent.Event) == "" || t.Absent.Seconds <= 0 {
			fail("trigger.absent", "event and a positive duration must both be given")
		}
		if t.When != "" || t.ForSeconds != 0 || t.Count != nil {
			fail("trigger", "absent stands alone; drop when, for and count")
		}
		return
	}
	if strings.TrimSpace(t.When) == "" {
		fail("trigger", "says nothing; write when or absent")
	}
	if t.ForSeconds < 0 || t.DedupSeconds < 0 {
		fail("trigger", "durations must not be negative")
	}
	if c := t.Count; c != nil {
		if t.ForSeconds != 0 {
			fail("trigger", "for and count do not go together; write one of them")
		}
		if c.AtLeast < 1 || c.AtLeast > maxAtLeast || c.WithinSeconds <= 0 {
			fail("trigger.count", "atLeast must be 1 to %d and within positive", maxAtLeast)
		}
	}
}

// Check compiles rules and throws the result away; it gives what New would give as problems.
func Check(r contract.Rules) []Problem {
	_, problems := newSet(r, nil)
	return problems
}

// set holds the rules in force, by name and by the messages that can move them.
type set struct {
	rules    map[string]*rule
	profiles map[string]*profileIndex
}

// profileIndex finds the rules that a message of a profile can move.
type profileIndex struct {
	// always run: the rule watches the device's life, or its expressions name no field that must be there.
	always []*rule
	// byField run when a message carries the field.
	byField map[string][]*rule
}

// newSet compiles all scenarios; those that did not change since old are taken over.
func newSet(in contract.Rules, old *set) (*set, []Problem) {
	env, err := newEnv()
	if err != nil {
		panic(err) // the declarations are constant
	}
	out := &set{rules: make(map[string]*rule, len(in.Scenarios)), profiles: map[string]*profileIndex{}}
	var problems []Problem
	for name, s := range in.Scenarios {
		r := old.unchanged(name, s, in.Profiles)
		if r == nil {
			var wrong []Problem
			if r, wrong = compileRule(env, name, s, in.Profiles); r == nil {
				problems = append(problems, wrong...)
				continue
			}
		}
		out.rules[name] = r
		out.index(r)
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Error(), b.Error()) })
	for _, p := range out.profiles {
		slices.SortFunc(p.always, byName)
		for _, rules := range p.byField {
			slices.SortFunc(rules, byName)
		}
	}
	return out, problems
}

func byName(a, b *rule) int { return strings.Compare(a.name, b.name) }

// unchanged gives the rule if neither scenario nor profile changed.
func (s *set) unchanged(name string, sc contract.Scenario, profiles map[string]contract.Profile) *rule {
	if s == nil {
		return nil
	}
	r := s.rules[name]
	if r == nil || !reflect.DeepEqual(r.scenario, sc) || !reflect.DeepEqual(r.profile, profiles[sc.Profile]) {
		return nil
	}
	return r
}

// index enters a rule under the fields that can move it.
func (s *set) index(r *rule) {
	p := s.profiles[r.scenario.Profile]
	if p == nil {
		p = &profileIndex{byField: map[string][]*rule{}}
		s.profiles[r.scenario.Profile] = p
	}
	var fields []string
	for _, x := range []*expression{r.when, r.clear} {
		if x == nil {
			continue
		}
		if x.requires == "" {
			fields = nil
			break
		}
		if !slices.Contains(fields, x.requires) {
			fields = append(fields, x.requires)
		}
	}
	if len(fields) == 0 || r.mode == modeFor || r.mode == modeAbsent {
		p.always = append(p.always, r)
		return
	}
	for _, f := range fields {
		p.byField[f] = append(p.byField[f], r)
	}
}
