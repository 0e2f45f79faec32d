package rules

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
)

// otherNumbers gives a rule with the same kinds of terms, and other numbers in all of them.
func otherNumbers(r *rand.Rand, of oracleRule) oracleRule {
	of.dedup = []int{0, 45, 300, 900}[r.IntN(4)]
	of.terms = slices.Clone(of.terms)
	for i := range of.terms {
		x := &of.terms[i]
		switch x.mode {
		case "for":
			x.hold = []int{20, 70, 250}[r.IntN(3)]
		case "count":
			x.within, x.atLeast = []int{80, 150}[r.IntN(2)], 2+r.IntN(3)
		case "absent":
			x.absent = []int{90, 200}[r.IntN(2)]
		}
	}
	of.windows = otherWindows(r, of.windows)
	return of
}

func otherWindows(r *rand.Rand, of [][2]int) [][2]int {
	if of == nil {
		return nil
	}
	return [][][2]int{{{2, 12}, {25, 58}}, {{0, 40}}, {{15, 5}}, {{20, 33}}, of}[r.IntN(5)]
}

// variantOf gives what a document says of a rule that differs from another.
func variantOf(is oracleRule) contract.Variant {
	s := is.scenario()
	return contract.Variant{Terms: s.Terms, Schedule: s.Schedule, DedupSeconds: &s.DedupSeconds}
}

func alone1(s contract.Scenario) contract.Rules {
	return contract.Rules{Profiles: map[string]contract.Profile{"trace": traceProfile}, Scenarios: map[string]contract.Scenario{"rule": s}}
}

// untied leaves one message of those that the devices of a place say in one second: the engine puts them into the order of their identities, which the
// oracle does not know.
func untied(messages []said, facts []known) ([]said, []known) {
	type moment struct {
		t     int
		place string
	}
	seen := map[moment]bool{}
	return slices.DeleteFunc(messages, func(m said) bool {
		k := moment{m.t, m.place}
		was := seen[k]
		seen[k] = true
		return was
	}), facts
}

// wanted gives alarms in words; bounded says that more stood open at once than an engine keeps.
func wanted(found []oracleAlarm) (out []string, bounded bool) {
	for _, a := range found {
		bounded = bounded || a.cleared == -2
		out = append(out, a.String())
	}
	slices.Sort(out)
	return out, bounded
}

// TestSettledListOfAVariant: in a community with other numbers, whatever they are, the alarms are those of a scenario that has these numbers
// itself: the oracle knows no variants.
func TestSettledListOfAVariant(t *testing.T) {
	seeds, differ := uint64(150), 0
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 56))
		is := randomRule(r, "rule")
		base := otherNumbers(r, is)
		messages, facts := untied(randomTrace(r))
		want, bounded := wanted(oracle(is, messages, facts, length+4000))
		if bounded {
			continue
		}
		if without, _ := wanted(oracle(base, messages, facts, length+4000)); !slices.Equal(want, without) {
			differ++
		}
		s := base.scenario()
		s.Variants = map[string]contract.Variant{"/c": variantOf(is), "/elsewhere": {Off: true}}
		for _, w := range ways {
			got := write(w.play(t, alone1(s), w.arrivals(r, messages, facts), Options{}))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %s, %+v instead of %+v: alarms (-oracle +engine):\n%s", seed, w.name, is, base, diff)
			}
		}
	}
	if differ < int(seeds)/3 {
		t.Errorf("in %d of %d traces only the variant matters", differ, seeds)
	}
}

// TestSettledListOverASwitch: a mode begins in the midst of a trace, with another dedup and other windows.
func TestSettledListOverASwitch(t *testing.T) {
	seeds, differ := uint64(300), 0
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 57))
		rule := randomRule(r, "rule")
		if rule.windows == nil && r.IntN(4) > 0 {
			continue
		}
		then := rule
		then.dedup, then.windows = []int{0, 45, 300, 900}[r.IntN(4)], otherWindows(r, rule.windows)
		messages, facts := untied(randomTrace(r))
		s := rule.scenario()
		s.Variants = map[string]contract.Variant{"Emergency/": variantOf(then)}
		before, _ := wanted(oracle(rule, messages, facts, length+4000))
		rule.then, rule.since = &then, 300+r.IntN(length-600)
		want, bounded := wanted(oracle(rule, messages, facts, length+4000))
		if bounded {
			continue
		}
		if !slices.Equal(want, before) {
			differ++
		}
		for _, w := range ways {
			in := w.arrivals(r, messages, facts)
			at, _ := slices.BinarySearchFunc(in, rule.since, func(a arrival, t int) int { return a.at - t })
			in = slices.Insert(in, at, arrival{at: rule.since, mode: contract.ModeEmergency})
			got := write(w.play(t, alone1(s), in, Options{}))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %s, %+v, at %d %+v: alarms (-oracle +engine):\n%s", seed, w.name, rule, rule.since, then, diff)
			}
		}
	}
	if differ < int(seeds)/12 {
		t.Errorf("in %d traces only the switch matters", differ)
	}
}

// TestASwitchOfWindows: what was due before it is told, though nothing comes after it; what was held before it begins anew, in a window that opens at the
// same time too, as does a silence that was told of in it; and a device that is offline is told of once.
func TestASwitchOfWindows(t *testing.T) {
	at := func(from, to int) *contract.Schedule {
		return &contract.Schedule{TimeZone: "UTC", Windows: []contract.Window{{From: from, To: to}}}
	}
	for name, c := range map[string]struct {
		term      contract.Term
		heartbeat int64
		base, in  *contract.Schedule
		said      []int
		mode      int
		want      []string
	}{
		"due before":       {contract.Term{When: "msg.smoke", ForSeconds: 600}, 0, at(0, 120), at(300, 360), []int{0}, 610, []string{"s f/smoke-1 01T00:10:00 High"}},
		"due after":        {contract.Term{When: "msg.smoke", ForSeconds: 600}, 0, at(0, 120), at(0, 180), []int{0}, 300, nil},
		"begun anew":       {contract.Term{When: "msg.smoke", ForSeconds: 600}, 0, at(0, 120), at(0, 180), []int{0, 400}, 300, []string{"s f/smoke-1 01T00:16:40 High"}},
		"silence begins":   {contract.Term{Absent: &contract.Absent{Event: "msg.smoke == false", Seconds: 600}}, 0, at(0, 120), at(0, 180), []int{0}, 300, []string{"s f/smoke-1 01T00:15:00 High"}},
		"silence anew":     {contract.Term{Absent: &contract.Absent{Event: "msg.smoke == false", Seconds: 600}}, 0, at(0, 120), at(0, 180), []int{0}, 900, []string{"s f/smoke-1 01T00:10:00 High", "s f/smoke-1 01T00:25:00 High"}},
		"offline all time": {contract.Term{Offline: true}, 40, at(0, 120), at(0, 180), []int{0}, 300, []string{"s f/smoke-1 01T00:02:00 High"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := twoPlaces(map[string]contract.Scenario{"s": {Profile: "smoke", Severity: contract.SeverityHigh, DedupSeconds: 1, Schedule: c.base, Terms: []contract.Term{c.term},
				Variants: map[string]contract.Variant{"Emergency/": {Schedule: c.in}}}})
			profile := s.rules.Profiles["smoke"]
			profile.HeartbeatSeconds = c.heartbeat
			s.rules.Profiles["smoke"] = profile
			for _, n := range c.said {
				if n < c.mode {
					s.say(second(n), "smoke-1", map[string]any{"smoke": true})
				}
			}
			s.steps = append(s.steps, modeStep{contract.ModeEmergency, second(c.mode)})
			for _, n := range c.said {
				if n >= c.mode {
					s.say(second(n), "smoke-1", map[string]any{"smoke": true})
				}
			}
			s.within, s.until = time.Second, second(2000)
			s.expect(t, c.want...)
		})
	}
}

// twoPlaces has smoke detectors of two communities, two of each in one building.
func twoPlaces(rules map[string]contract.Scenario) *story {
	at := func(c string) contract.Device {
		return contract.Device{Community: c, Compound: "x", Building: "b", Household: c}
	}
	return &story{rows: map[string]contract.Device{"smoke-1": at("a"), "smoke-2": at("a"), "smoke-3": at("b"), "smoke-4": at("b"), "door-1": at("a"), "door-2": at("b")},
		rules: contract.Rules{Profiles: map[string]contract.Profile{
			"smoke": {Fields: map[string]contract.Field{"smoke": boolean(), "level": numeric()}}, "door": {Fields: map[string]contract.Field{"open": boolean()}},
		}, Scenarios: rules}}
}

// TestVariantsOfRaise: how many alarms make one graver differs by community, and by mode at the time at which the alarm began.
func TestVariantsOfRaise(t *testing.T) {
	raise := func(atLeast, within int64) []contract.Raise {
		return []contract.Raise{{Name: "second", Severity: contract.SeverityCritical, Count: &contract.Count{AtLeast: atLeast, DistinctBy: "device.id", WithinSeconds: within, Scope: "Community"}}}
	}
	rule := smokeRule()
	rule.DedupSeconds, rule.Raise = 100, raise(3, 60)
	rule.Variants = map[string]contract.Variant{"/b": {Raise: raise(2, 60)}, "Emergency/": {Raise: raise(2, 600)}, "Emergency/b": {Raise: raise(2, 60)}}
	s := twoPlaces(map[string]contract.Scenario{"s10": rule})
	on := map[string]any{"smoke": true}
	for i, d := range []string{"smoke-1", "smoke-2", "smoke-3", "smoke-4"} {
		s.say(second(i*10), d, on)
	}
	s.steps = append(s.steps, modeStep{contract.ModeEmergency, second(1000)})
	for i, d := range []string{"smoke-1", "smoke-3", "smoke-2", "smoke-4"} {
		s.say(second(2000+i*100), d, on)
	}
	s.until = second(9000)
	s.expect(t, "s10 f/smoke-1 01T00:00:00 High", "s10 f/smoke-2 01T00:00:10 High", "s10 f/smoke-3 01T00:00:20 Critical with second", "s10 f/smoke-4 01T00:00:30 Critical with second",
		"s10 f/smoke-1 01T00:33:20 Critical with second", "s10 f/smoke-3 01T00:35:00 High", "s10 f/smoke-2 01T00:36:40 Critical with second", "s10 f/smoke-4 01T00:38:20 High")
}

// TestVariantsOfCombines: both scenarios see the time that the one which lists the combination has in its own community.
func TestVariantsOfCombines(t *testing.T) {
	near := func(within int64) []contract.Combination {
		return []contract.Combination{{Scenario: "fire", Scope: "Household", WithinSeconds: within, Severity: contract.SeverityCritical}}
	}
	rules := map[string]contract.Scenario{"fire": smokeRule(), "door": {Profile: "door", Severity: contract.SeverityLow, DedupSeconds: 60, Terms: []contract.Term{{When: "msg.open"}}, Clear: "!msg.open",
		Combines: near(60), Variants: map[string]contract.Variant{"/b": {Combines: near(600)}}}}
	s := twoPlaces(rules)
	for i, d := range []string{"1", "2"} {
		s.say(second(i), "door-"+d, map[string]any{"open": true})
	}
	s.say(second(300), "smoke-1", map[string]any{"smoke": true})
	s.say(second(301), "smoke-3", map[string]any{"smoke": true})
	s.until = second(9000)
	s.expect(t, "door f/door-1 01T00:00:00 Low", "door f/door-2 01T00:00:01 Critical with fire", "fire f/smoke-1 01T00:05:00 High", "fire f/smoke-3 01T00:05:01 Critical with door")
}

// TestVariantsOfBaselines: the days are summed in one way everywhere; what they are held against differs by community, and by mode at the time of the
// message.
func TestVariantsOfBaselines(t *testing.T) {
	rule := contract.Scenario{Profile: "smoke", Severity: contract.SeverityLow, DedupSeconds: 3600, Params: map[string]any{"above": 10.0, "days": 2.0},
		Baselines: []contract.Baseline{{Name: "busy", Value: "msg.level", Daily: "Max", Statistic: "DaysAbove", Above: "params.above", WindowSeconds: 7 * 86400, MinDays: 1}},
		Terms:     []contract.Term{{When: "baseline.busy >= params.days && msg.level > 0.0"}},
		Variants:  map[string]contract.Variant{"/b": {Params: map[string]any{"above": 30.0}}, "Emergency/": {Params: map[string]any{"days": 3.0}}, "Emergency/b": {Params: map[string]any{"above": 15.0}}}}
	s := twoPlaces(map[string]contract.Scenario{"s26": rule})
	for day, level := range []float64{20, 20, 5, 20, 5, 5} {
		if day == 4 {
			s.steps = append(s.steps, modeStep{contract.ModeEmergency, t0.AddDate(0, 0, 4)})
		}
		for _, d := range []string{"smoke-1", "smoke-3"} {
			s.say(t0.AddDate(0, 0, day).Add(time.Hour), d, map[string]any{"level": level})
			s.say(t0.AddDate(0, 0, day).Add(2*time.Hour), d, map[string]any{"level": 0.0})
		}
	}
	s.until = t0.AddDate(0, 0, 7)
	s.expect(t, "s26 f/smoke-1 03T01:00:00 Low cleared 03T02:00:00", "s26 f/smoke-1 04T01:00:00 Low cleared 04T02:00:00", "s26 f/smoke-1 05T01:00:00 Low cleared 05T02:00:00",
		"s26 f/smoke-3 05T01:00:00 Low cleared 05T02:00:00", "s26 f/smoke-1 06T01:00:00 Low cleared 06T02:00:00", "s26 f/smoke-3 06T01:00:00 Low cleared 06T02:00:00")
}

// TestVariantsThatAreNoVariants are refused: what is stored would be read by what it was not written by.
func TestVariantsThatAreNoVariants(t *testing.T) {
	window := func(from int) *contract.Schedule {
		return &contract.Schedule{TimeZone: "UTC", Windows: []contract.Window{{From: from, To: 600}}}
	}
	minus := int64(-1)
	for name, c := range map[string]struct {
		base contract.Scenario
		key  string
		v    contract.Variant
		want string
	}{
		"kind of a term":   {contract.Scenario{}, "/a", contract.Variant{Terms: []contract.Term{{When: "msg.smoke", ForSeconds: 5}}}, "other kinds of terms"},
		"dedup below zero": {contract.Scenario{}, "/a", contract.Variant{DedupSeconds: &minus}, "must not be negative"},
		"schedule added":   {contract.Scenario{}, "/a", contract.Variant{Schedule: window(60)}, "in the variant only"},
		"zone":             {contract.Scenario{Schedule: window(60)}, "/a", contract.Variant{Schedule: &contract.Schedule{TimeZone: "Nowhere/There"}}, "no time zone"},
		"a raise more":     {contract.Scenario{}, "/a", contract.Variant{Raise: []contract.Raise{{Name: "x", Severity: contract.SeverityCritical, When: "msg.smoke"}}}, "other entries"},
		"a combination":    {contract.Scenario{}, "/a", contract.Variant{Combines: []contract.Combination{{Scenario: "x", Severity: contract.SeverityCritical}}}, "other entries"},
		"of the platform":  {contract.Scenario{Terms: []contract.Term{{When: "msg.smoke", Count: &contract.Count{AtLeast: 2, WithinSeconds: 60, Scope: "Platform"}}}}, "/a", contract.Variant{Terms: []contract.Term{{When: "msg.smoke", Count: &contract.Count{AtLeast: 3, WithinSeconds: 60, Scope: "Platform"}}}}, "over the whole platform"},
	} {
		s := c.base
		s.Profile, s.Severity, s.Variants = "smoke", contract.SeverityLow, map[string]contract.Variant{c.key: c.v}
		if s.Terms == nil {
			s.Terms = []contract.Term{{When: "msg.smoke"}}
		}
		_, found := Check(contract.Rules{Profiles: map[string]contract.Profile{"smoke": {Fields: map[string]contract.Field{"smoke": boolean(), "level": numeric()}}}, Scenarios: map[string]contract.Scenario{"s": s}})
		if len(found) == 0 || !strings.Contains(found[0].Message, c.want) {
			t.Errorf("%s: %v, want %q", name, found, c.want)
		}
	}
}

// TestCountOverThePlatformButForACommunity: of a count over the platform, one community is out. Replaying what one device said must not ask for the community
// of the device that speaks.
func TestCountOverThePlatformButForACommunity(t *testing.T) {
	rule := contract.Scenario{Profile: "smoke", Severity: contract.SeverityHigh, DedupSeconds: 60, Terms: []contract.Term{{When: "msg.smoke && !state.open", Count: &contract.Count{AtLeast: 2, WithinSeconds: 600, Scope: "Platform"}}},
		Variants: map[string]contract.Variant{"/b": {Off: true}}}
	s := twoPlaces(map[string]contract.Scenario{"wide": rule})
	on := map[string]any{"smoke": true}
	s.say(second(0), "smoke-3", on)
	s.say(second(10), "smoke-1", on)
	s.say(second(20), "smoke-4", on)
	s.say(second(100), "smoke-2", on)
	s.say(second(110), "smoke-3", on)
	s.until = second(9000)
	s.expect(t, "wide  01T00:01:40 High")
}
