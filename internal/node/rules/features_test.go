package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
)

// story is a trace of messages, facts and modes in order of time.
type story struct {
	rules  contract.Rules
	rows   map[string]contract.Device // by device; all are of the fleet "f"
	steps  []any                      // Message, Fact or modeStep
	zone   *time.Location
	until  time.Time
	within time.Duration // of lateness, for shuffling; the shortest of the rules
}

type modeStep struct {
	name string
	at   time.Time
}

func (s *story) lookup(_, device string) (contract.Device, string, bool) {
	row, ok := s.rows[device]
	profile, _, _ := strings.Cut(device, "-")
	return row, profile, ok
}

// say adds a message; the profile is what the device's name begins with.
func (s *story) say(at time.Time, device string, payload map[string]any) {
	profile, _, _ := strings.Cut(device, "-")
	s.steps = append(s.steps, Message{Time: at, ID: fmt.Sprint(len(s.steps)), Fleet: "f", Device: device, Row: s.rows[device], Profile: profile, Payload: payload})
}

func stepTime(step any) time.Time {
	switch x := step.(type) {
	case Message:
		return x.Time
	case Fact:
		return x.Since
	}
	return step.(modeStep).at
}

// play runs the story some way and gives the settled list, in short words.
func (s *story) play(t *testing.T, seed uint64, shuffle, double, again bool) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	type on struct {
		at   time.Time
		step any
	}
	var way []on
	for _, x := range s.steps {
		n := 1
		if double {
			n = 2
		}
		for range n {
			at := stepTime(x)
			if _, isMode := x.(modeStep); shuffle && !isMode {
				at = at.Add(time.Duration(r.Int64N(int64(s.within))))
			}
			way = append(way, on{at, x})
		}
	}
	slices.SortStableFunc(way, func(a, b on) int { return a.at.Compare(b.at) })
	o := Options{Zone: s.zone, Rows: s.lookup}
	e := mustNew(t, s.rules, o)
	var settled Settled
	disk := map[keyRef][]byte{}
	for _, x := range way {
		switch step := x.step.(type) {
		case Message:
			settled.Take(e.Step(step))
		case Fact:
			settled.Take(e.SetFact(step, s.lookup))
		case modeStep:
			e.SetMode(step.name, step.at)
		}
		settled.Take(e.Tick(x.at, s.lookup))
		if again {
			e = reborn(t, e, s.rules, o, disk)
		}
	}
	settled.Take(e.Tick(s.until, s.lookup))
	var out []string
	for _, a := range settled.List() {
		line := fmt.Sprintf("%s %s %s %s", a.Scenario, a.ID, a.Began.In(cmpZone(s.zone)).Format("02T15:04:05"), a.Severity)
		if !a.Cleared.IsZero() {
			line += " cleared " + a.Cleared.In(cmpZone(s.zone)).Format("02T15:04:05")
		}
		if len(a.With) > 0 {
			slices.Sort(a.With)
			line += " with " + strings.Join(a.With, ",")
		}
		out = append(out, line)
	}
	return out
}

func cmpZone(z *time.Location) *time.Location {
	if z == nil {
		return time.UTC
	}
	return z
}

// expect plays the story in every way.
func (s *story) expect(t *testing.T, want ...string) {
	t.Helper()
	if s.within == 0 {
		s.within = 2 * time.Minute
	}
	for seed := range uint64(6) {
		for way := range 8 {
			shuffle, double, again := way&1 != 0, way&2 != 0, way&4 != 0
			if got := s.play(t, seed, shuffle, double, again); !slices.Equal(got, want) {
				t.Fatalf("shuffled %v, doubled %v, restarted %v (-want +got):\n%s", shuffle, double, again, cmp.Diff(want, got))
			}
		}
	}
}

func boolean() contract.Field { return contract.Field{Type: "Boolean"} }

func numeric() contract.Field { return contract.Field{Type: "Number"} }

// TestRememberedField: in the window from 06:00 to 09:00 the meter must move by 0.02 kWh in three hours, however many messages say so.
func TestRememberedField(t *testing.T) {
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		used float64
		want []string
	}{"nothing used": {0.001, []string{"s02 f/meter-1 02T09:00:00 High"}}, "a little each hour": {0.01, nil}} {
		t.Run(name, func(t *testing.T) {
			s := &story{zone: shanghai, rows: map[string]contract.Device{"meter-1": {Community: "c", Household: "h"}}, rules: contract.Rules{
				Profiles: map[string]contract.Profile{"meter": {HeartbeatSeconds: 900, Fields: map[string]contract.Field{"kwh": numeric()}}},
				Scenarios: map[string]contract.Scenario{"s02": {Profile: "meter", Severity: contract.SeverityHigh,
					Schedule: &contract.Schedule{TimeZone: "Asia/Shanghai", Windows: []contract.Window{{From: 360, To: 540}}},
					Terms:    []contract.Term{{Remember: []string{"kwh"}, Absent: &contract.Absent{Event: "msg.kwh - state.first.kwh >= 0.02", Seconds: 3 * 3600}}}}},
			}}
			kwh := 100.0
			begin := time.Date(2026, 3, 2, 5, 0, 0, 0, shanghai)
			for n := range 24 {
				if n == 1 {
					kwh += 50 // before the window: no use in it
				}
				if n%4 == 3 {
					kwh += c.used
				}
				s.say(begin.Add(time.Duration(n)*15*time.Minute), "meter-1", map[string]any{"kwh": kwh})
			}
			s.until = begin.Add(8 * time.Hour)
			s.expect(t, c.want...)
		})
	}
}

// TestBaseline: night flow of one and a half times that of the nights before, for an hour.
func TestBaseline(t *testing.T) {
	s := &story{rows: map[string]contract.Device{"pipe-1": {Community: "c"}}, rules: contract.Rules{
		Profiles: map[string]contract.Profile{"pipe": {HeartbeatSeconds: 1200, Fields: map[string]contract.Field{"flow": numeric()}}},
		Scenarios: map[string]contract.Scenario{"s23": {Profile: "pipe", Severity: contract.SeverityMedium, DedupSeconds: 3600, Params: map[string]any{"factor": 1.5},
			Schedule:  &contract.Schedule{TimeZone: "UTC", Windows: []contract.Window{{From: 120, To: 300}}},
			Baselines: []contract.Baseline{{Name: "night", Value: "msg.flow", Daily: "Min", Statistic: "Mean", WindowSeconds: 14 * 86400, MinDays: 3, Hours: &contract.Window{From: 120, To: 300}}},
			Terms:     []contract.Term{{When: "msg.flow > params.factor * baseline.night", ForSeconds: 3600}}, Clear: "msg.flow <= 1.1 * baseline.night"}},
	}}
	for day := range 6 {
		for n := range 48 {
			flow := 10.0
			if n%2 == 0 {
				flow = 4 // the least of the night
			}
			if h := n / 2; h < 2 || h >= 5 {
				flow = 90
			}
			if day == 1 && n == 5 || day == 5 && n < 8 { // one short peak, and a leak
				flow = 7
			}
			s.say(t0.AddDate(0, 0, day).Add(time.Duration(n)*30*time.Minute), "pipe-1", map[string]any{"flow": flow})
		}
	}
	s.until = t0.AddDate(0, 0, 7)
	s.expect(t, "s23 f/pipe-1 06T03:00:00 Medium cleared 06T04:00:00")
}

// TestBaselineDaysAbove counts days with more than ten entries; repeated messages count once.
func TestBaselineDaysAbove(t *testing.T) {
	for name, c := range map[string]struct {
		entries int
		want    []string
	}{"ten a day": {10, nil}, "eleven a day": {11, []string{"s26 h 03T00:00:00 Low"}}} {
		t.Run(name, func(t *testing.T) {
			s := &story{rows: map[string]contract.Device{"gate-1": {Community: "c", Household: "h"}}, rules: contract.Rules{
				Profiles: map[string]contract.Profile{"gate": {Fields: map[string]contract.Field{"card": boolean()}}},
				Scenarios: map[string]contract.Scenario{"s26": {Profile: "gate", Severity: contract.SeverityLow, DedupSeconds: 7 * 86400,
					Baselines: []contract.Baseline{{Name: "busy", Value: "1", Daily: "Count", Statistic: "DaysAbove", Above: "10", WindowSeconds: 7 * 86400, MinDays: 1}},
					Terms:     []contract.Term{{When: "baseline.busy >= 2.0 && msg.card", Count: &contract.Count{AtLeast: 1, WithinSeconds: 60, Scope: "Household"}}}}},
			}}
			for day := range 3 {
				for n := range c.entries {
					s.say(t0.AddDate(0, 0, day).Add(time.Duration(n)*10*time.Minute), "gate-1", map[string]any{"card": true})
				}
			}
			s.until = t0.AddDate(0, 0, 4)
			if len(c.want) > 0 { // the first message of the third day comes before the second day can be known to be over
				c.want[0] = "s26 h 03T00:10:00 Low"
			}
			s.expect(t, c.want...)
		})
	}
}

// fire has smoke detectors of two buildings, and doors and meters of one household.
func fireStory(rules map[string]contract.Scenario) *story {
	place := func(b string) contract.Device {
		return contract.Device{Community: "c", Compound: "x", Building: b, Household: "h"}
	}
	return &story{rows: map[string]contract.Device{"smoke-1": place("b1"), "smoke-2": place("b1"), "smoke-3": place("b2"), "door-1": place("b1")}, rules: contract.Rules{
		Profiles: map[string]contract.Profile{
			"smoke": {Fields: map[string]contract.Field{"smoke": boolean(), "density": numeric()}}, "door": {Fields: map[string]contract.Field{"open": boolean()}},
		}, Scenarios: rules}}
}

func smokeRule() contract.Scenario {
	return contract.Scenario{Profile: "smoke", Severity: contract.SeverityHigh, DedupSeconds: 600, Terms: []contract.Term{{When: "msg.smoke"}}, Clear: "!msg.smoke"}
}

func TestRaise(t *testing.T) {
	rule := smokeRule()
	rule.Raise = []contract.Raise{
		{Name: "second", Severity: contract.SeverityCritical, Count: &contract.Count{AtLeast: 2, DistinctBy: "device.id", WithinSeconds: 180, Scope: "Building"}},
		{Name: "thick", Severity: contract.SeverityCritical, When: "msg.density > 50.0"},
	}
	smoke := map[string]any{"smoke": true}
	s := fireStory(map[string]contract.Scenario{"s10": rule})
	s.say(second(0), "smoke-1", smoke)
	s.say(second(179), "smoke-2", smoke) // the second of the building
	s.say(second(100), "smoke-3", smoke) // of another
	s.say(second(400), "smoke-3", map[string]any{"smoke": true, "density": 51.0})
	s.say(second(500), "smoke-1", map[string]any{"smoke": false})
	s.until = second(9000)
	s.expect(t, "s10 f/smoke-1 01T00:00:00 Critical cleared 01T00:08:20 with second", "s10 f/smoke-3 01T00:01:40 Critical with thick",
		"s10 f/smoke-2 01T00:02:59 Critical with second")
	s = fireStory(map[string]contract.Scenario{"s10": rule})
	s.say(second(0), "smoke-1", smoke)
	s.say(second(180), "smoke-2", smoke)
	s.say(second(181), "smoke-3", map[string]any{"smoke": true, "density": 50.0})
	s.until = second(9000)
	s.expect(t, "s10 f/smoke-1 01T00:00:00 High", "s10 f/smoke-2 01T00:03:00 High", "s10 f/smoke-3 01T00:03:01 High")
}

func TestCombines(t *testing.T) {
	rules := map[string]contract.Scenario{
		"fire": smokeRule(),
		"door": {Profile: "door", Severity: contract.SeverityLow, DedupSeconds: 60, Terms: []contract.Term{{When: "msg.open"}}, Clear: "!msg.open",
			Combines: []contract.Combination{{Scenario: "fire", Severity: contract.SeverityCritical}, {Scenario: "gone", Severity: contract.SeverityCritical}}},
	}
	s := fireStory(rules)
	s.say(second(0), "door-1", map[string]any{"open": true})
	s.say(second(200), "door-1", map[string]any{"open": false})
	s.say(second(300), "smoke-1", map[string]any{"smoke": true})
	s.until = second(9000)
	s.expect(t, "door f/door-1 01T00:00:00 Low cleared 01T00:03:20", "fire f/smoke-1 01T00:05:00 High")
	s.say(second(100), "smoke-2", map[string]any{"smoke": true})
	s.expect(t, "door f/door-1 01T00:00:00 Critical cleared 01T00:03:20 with fire", "fire f/smoke-2 01T00:01:40 Critical with door", "fire f/smoke-1 01T00:05:00 High")
}

// TestVariants: a community with another threshold, one where the scenario is off, and a mode in which it is quicker.
func TestVariants(t *testing.T) {
	s := &story{rows: map[string]contract.Device{"bin-1": {Community: "a"}, "bin-2": {Community: "b"}, "bin-3": {Community: "off"}}, rules: contract.Rules{
		Profiles: map[string]contract.Profile{"bin": {Fields: map[string]contract.Field{"full": numeric()}}},
		Scenarios: map[string]contract.Scenario{"s18": {Profile: "bin", Severity: contract.SeverityLow, Params: map[string]any{"full": 90.0},
			Terms: []contract.Term{{When: "msg.full >= params.full", ForSeconds: 600}},
			Variants: map[string]contract.Variant{
				"/b": {Params: map[string]any{"full": 50.0}}, "/off": {Off: true},
				"Emergency/": {Terms: []contract.Term{{When: "msg.full >= params.full", ForSeconds: 300}}},
			}}},
	}}
	for _, d := range []string{"bin-1", "bin-2", "bin-3"} {
		s.say(second(0), d, map[string]any{"full": 60.0})
		s.say(second(2000), d, map[string]any{"full": 95.0})
		s.say(second(3000), d, map[string]any{"full": 10.0})
		s.say(second(4000), d, map[string]any{"full": 95.0})
	}
	s.steps = append(s.steps, modeStep{"Emergency", second(3500)})
	s.say(second(5000), "bin-1", map[string]any{"full": 10.0})
	s.until = second(9000)
	s.expect(t, "s18 f/bin-2 01T00:10:00 Low cleared 01T00:50:00", "s18 f/bin-1 01T00:43:20 Low cleared 01T00:50:00",
		"s18 f/bin-1 01T01:11:40 Low cleared 01T01:23:20", "s18 f/bin-2 01T01:16:40 Low")
	// The mode changes while the condition holds: from then on, the shorter time counts.
	s.steps = s.steps[:0]
	s.say(second(0), "bin-1", map[string]any{"full": 95.0})
	s.steps = append(s.steps, modeStep{"Emergency", second(400)})
	s.until = second(450)
	s.expect(t, "s18 f/bin-1 01T00:06:40 Low")
}

// TestWindows: local hours on the days when the clock is set, and over midnight.
func TestWindows(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		schedule contract.Schedule
		day      time.Time
		hours    float64 // of the window that opens on that day
	}{
		"plain day":                    {contract.Schedule{Windows: []contract.Window{{From: 60, To: 240}}}, time.Date(2026, 3, 20, 0, 0, 0, 0, berlin), 3},
		"an hour is missing":           {contract.Schedule{Windows: []contract.Window{{From: 60, To: 240}}}, time.Date(2026, 3, 29, 0, 0, 0, 0, berlin), 2},
		"an hour comes twice":          {contract.Schedule{Windows: []contract.Window{{From: 60, To: 240}}}, time.Date(2026, 10, 25, 0, 0, 0, 0, berlin), 4},
		"over midnight":                {contract.Schedule{Windows: []contract.Window{{From: 22 * 60, To: 6 * 60}}}, time.Date(2026, 3, 20, 0, 0, 0, 0, berlin), 8},
		"over midnight, hour missing":  {contract.Schedule{Windows: []contract.Window{{From: 22 * 60, To: 6 * 60}}}, time.Date(2026, 3, 28, 0, 0, 0, 0, berlin), 7},
		"all day":                      {contract.Schedule{Weekdays: 1 << time.Saturday}, time.Date(2026, 3, 21, 0, 0, 0, 0, berlin), 24},
		"only on Sunday":               {contract.Schedule{Weekdays: 1 << time.Sunday, Windows: []contract.Window{{From: 60, To: 240}}}, time.Date(2026, 3, 20, 0, 0, 0, 0, berlin), 0},
		"all day of a day of 25 hours": {contract.Schedule{Weekdays: 1 << time.Sunday}, time.Date(2026, 10, 25, 0, 0, 0, 0, berlin), 25},
	} {
		s := newSchedule(&c.schedule, berlin)
		minutes := 0
		opens := int64(0)
		for at := c.day; at.Before(c.day.AddDate(0, 0, 2)); at = at.Add(time.Minute) {
			w0, w1, in := s.at(at.UnixMilli())
			if !in {
				continue
			}
			if opened := time.UnixMilli(w0).In(berlin); opened.Day() != c.day.Day() {
				continue
			}
			if minutes++; opens == 0 {
				if opens = w0; w0 != at.UnixMilli() {
					t.Errorf("%s: begins %v before it holds %v", name, time.UnixMilli(w0), at)
				}
			}
			if w0 > at.UnixMilli() || at.UnixMilli() >= w1 {
				t.Errorf("%s: %v is not in its window", name, at)
			}
		}
		if float64(minutes) != c.hours*60 {
			t.Errorf("%s: %d minutes, want %v hours", name, minutes, c.hours)
		}
		if opens != 0 {
			if w0, _, ok := s.next(opens - 1); !ok || w0 != opens {
				t.Errorf("%s: next says %v", name, time.UnixMilli(w0))
			}
		}
	}
}

// TestRegistersAndConsent: only households on a register whose consent is on record.
func TestRegistersAndConsent(t *testing.T) {
	s := fireStory(map[string]contract.Scenario{"s": func() contract.Scenario {
		r := smokeRule()
		r.Registers, r.ConsentScope, r.DedupSeconds = []string{"elderly"}, "watch", 1
		return r
	}()})
	smoke := map[string]any{"smoke": true}
	s.say(second(100), "smoke-1", smoke)
	s.steps = append(s.steps, Fact{Scope: ScopeHousehold, ID: "h", Name: "registers", Member: "elderly", Value: true, Since: second(200)})
	s.say(second(300), "smoke-1", smoke)
	s.steps = append(s.steps, Fact{Scope: ScopeHousehold, ID: "h", Name: "consents", Member: "watch", Value: true, Since: second(200)},
		Fact{Scope: ScopeSubject, ID: "h", Name: "consents", Member: "watch", Value: true, Since: second(400), Until: second(600)})
	s.say(second(500), "smoke-1", smoke)
	s.say(second(700), "smoke-1", smoke)
	s.until = second(9000)
	s.expect(t, "s f/smoke-1 01T00:08:20 High cleared 01T00:11:40")
}

// TestConsentOfTheSubject: where the row names a subject, the household's consent is not asked for; one that is withdrawn counts no more with the next
// message; another's, of another scope, or nobody's, is none.
func TestConsentOfTheSubject(t *testing.T) {
	rule := smokeRule()
	rule.ConsentScope, rule.DedupSeconds = "watch", 1
	s := fireStory(map[string]contract.Scenario{"s": rule})
	row := s.rows["smoke-1"]
	row.Attributes = map[string]string{AttributeSubject: "p-1"}
	s.rows["smoke-1"] = row
	s.rows["smoke-3"] = contract.Device{Community: "c"}
	say := func(id, member string, value any, since int) {
		s.steps = append(s.steps, Fact{Scope: ScopeSubject, ID: id, Name: "consents", Member: member, Value: value, Since: second(since)})
	}
	all := func(at int) {
		for i, d := range []string{"smoke-1", "smoke-2", "smoke-3"} {
			s.say(second(at+i), d, map[string]any{"smoke": true})
		}
	}
	say("h", "watch", true, 10)
	say("p-1", "care", true, 10)
	say("", "watch", true, 10)
	all(300)
	say("p-1", "watch", true, 400)
	all(700)
	say("p-1", "watch", nil, 800)
	say("h", "watch", false, 800)
	all(801)
	s.until = second(9000)
	s.expect(t, "s f/smoke-2 01T00:05:01 High cleared 01T00:13:22", "s f/smoke-1 01T00:11:40 High cleared 01T00:13:21", "s f/smoke-2 01T00:11:41 High cleared 01T00:13:22")
}

// TestTooLateIsCounted: what comes after the lateness is not put into its place, and said.
func TestTooLateIsCounted(t *testing.T) {
	n := 0
	e := mustNew(t, testRules(), Options{OnTooLate: func(string) { n++ }})
	e.Step(smoke(0, false))
	e.Step(smoke(500, false))
	e.Step(smoke(1000, false))
	if got := e.Step(smoke(100, true)); len(got) != 0 || n != 1 {
		t.Errorf("%v, %d too late", got, n)
	}
}

// TestHostClockJumps: a host whose clock goes ahead by years, and back, raises what the messages prove and nothing else.
func TestHostClockJumps(t *testing.T) {
	o := newOutcome(t, testRules())
	o.step(fill(0, 95))
	o.step(door(0, "exit"))
	o.tick(-86400)
	o.tick(10 * 365 * 86400)
	if diff := cmp.Diff([]string{"s18@600"}, o.told()); diff != "" { // heard at 0, and online until 1800
		t.Error(diff)
	}
	o.step(fill(700, 10))
	o.tick(800)
	o.step(fill(1300, 95))
	o.tick(1400)
	if diff := cmp.Diff([]string{"s18@600~"}, o.told()); diff != "" {
		t.Errorf("what began after the jump is not due: %s", diff)
	}
	o.step(fill(1500, 10))
	for _, m := range beats(0, 23) {
		o.step(m)
	}
	o.tick(23 * 3600)
	if diff := cmp.Diff([]string{"s18@600~"}, o.told()); diff != "" {
		t.Error(diff)
	}
}

// TestFormerState: what the version before stored is taken over; nothing is told twice, and what waited goes on waiting.
func TestFormerState(t *testing.T) {
	ms := func(s int) int64 { return second(s).UnixMilli() }
	e := mustNew(t, testRules(), Options{})
	for device, raw := range map[string]string{
		"smokes/d1": fmt.Sprintf(`[{"n":"s10","m":"when","s":{"b":{},"l":[{"t":%d,"h":1,"k":1,"f":1}]}}]`, ms(0)),
		"bins/d1":   fmt.Sprintf(`[{"n":"s18","m":"for","s":{"b":{"t":%d,"s":%d},"l":[{"t":%d,"h":2,"f":1}]}}]`, ms(0), ms(0), ms(300)),
		"doors/d1":  fmt.Sprintf(`[{"n":"s01","m":"absent","a":{"s":%d,"e":true,"p":[[%d,%d]]}}]`, ms(0), ms(0), ms(10*3600)),
		"gates/d1":  `[{"n":"gone","m":"when","s":{"b":{}}},{"n":"s15","m":"when","s":{"b":{}}}]`,
	} {
		fleet, name, _ := strings.Cut(device, "/")
		want := 1
		if fleet == "gates" {
			want = 0
		}
		if n, err := e.RestoreDevice(fleet, name, []byte(raw)); err != nil || n != want {
			t.Errorf("%s: %d, %v", device, n, err)
		}
	}
	if _, err := e.RestoreDevice("f", "d", []byte("{")); err == nil {
		t.Error("want an error")
	}
	changed, err := e.Changed()
	if err != nil || len(changed) != 3 {
		t.Errorf("%d states to store, %v", len(changed), err)
	}
	o := &outcome{t: t, engine: e, row: alone, alarms: map[string]bool{"s10@0": false}}
	o.step(smoke(60, true)) // joins
	o.step(smoke(90, false))
	o.tick(700)
	for _, m := range beats(8, 25) {
		o.step(m)
	}
	o.tick(25 * 3600)
	if diff := cmp.Diff([]string{"s01@86400", "s10@0~", "s18@600"}, o.told()); diff != "" {
		t.Error(diff)
	}
}

// FuzzRestore: whatever is stored, no engine breaks.
func FuzzRestore(f *testing.F) {
	f.Add("s10", []byte(`{"b":{"t":1,"m":[{"s":1}]},"l":[{"t":2,"f":1}],"t":[{"b":1}]}`))
	f.Add("s01", []byte(`{"b":{"t":1,"l":99999999999999,"m":[{"s":1,"a":5,"n":3}],"a":[{"b":1}]},"c":9223372036854775807}`))
	f.Add("s15", []byte(`{"b":{"t":1,"m":[{"h":[{"t":1,"k":2}]}]}}`))
	f.Add("", []byte(`{"e":[{"n":"s10","b":1}]}`))
	f.Fuzz(func(t *testing.T, scenario string, raw []byte) {
		begin := time.Now()
		defer func() {
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		}()
		e, _ := New(testRules(), Options{})
		scope, id := ScopeDevice, scenarioFleet[scenario]+"/d1"
		_ = e.Restore(KeyState{scenario, scope, id, raw})
		_, _ = e.RestoreDevice(scenarioFleet[scenario], "d1", raw)
		lookup := func(fleet, _ string) (contract.Device, string, bool) {
			return alone, strings.TrimSuffix(fleet, "s"), true
		}
		e.Tick(t0, lookup)
		for _, m := range []Message{smoke(10, true), smoke(5, false), fill(1, 95), fill(900, 95), door(1, "exit"), door(0.5, "enter"), breach(3, "a")} {
			e.Step(m)
		}
		e.Tick(t0.Add(48*time.Hour), lookup)
		if _, err := e.Changed(); err != nil {
			t.Error(err)
		}
	})
}

var scenarioFleet = map[string]string{"s10": "smokes", "s01": "doors", "s18": "bins", "s15": "gates"}
