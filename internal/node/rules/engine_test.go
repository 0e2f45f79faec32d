package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
)

// testRules has S10 and S01 as the catalogue gives them, and one scenario for each other kind of trigger.
func testRules() contract.Rules {
	return contract.Rules{
		Profiles: map[string]contract.Profile{
			"smoke": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{
				"smoke": {Type: "Boolean", Required: true}, "density": {Type: "Number", Min: ptr(0), Max: ptr(100)}, "battery": {Type: "Integer"},
			}},
			"door": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{
				"event": {Type: "Enum", Enum: []string{"exit", "enter", "heartbeat"}},
			}},
			"bin":  {HeartbeatSeconds: 600, Fields: map[string]contract.Field{"fillPct": {Type: "Number"}}},
			"gate": {HeartbeatSeconds: 600, Fields: map[string]contract.Field{"zone": {Type: "String"}, "breach": {Type: "Boolean"}}},
		},
		Scenarios: map[string]contract.Scenario{
			"s10": {Profile: "smoke", Severity: contract.SeverityCritical, Trigger: contract.Trigger{
				When: "msg.smoke == true", Clear: "msg.smoke == false", Unless: `device.attributes.test == "true"`, DedupSeconds: 600}},
			"s01": {Profile: "door", AppliesTo: `device.attributes.livesAlone == "true"`, Severity: contract.SeverityHigh, Trigger: contract.Trigger{
				Absent: &contract.Absent{Event: `msg.event == "exit"`, Seconds: 86400}, Unless: `device.attributes.away == "true"`}},
			"s18": {Profile: "bin", Params: map[string]any{"full": 90.0}, Trigger: contract.Trigger{
				When: "msg.fillPct >= params.full", ForSeconds: 600, Clear: "msg.fillPct < 20"}},
			"s15": {Profile: "gate", Trigger: contract.Trigger{
				When: "msg.breach", Count: &contract.Count{AtLeast: 2, DistinctBy: "msg.zone", WithinSeconds: 60}, DedupSeconds: 600}},
		},
	}
}

// at makes a message some seconds after t0.
func at(seconds int, profile string, row contract.Device, payload map[string]any) Message {
	return Message{Time: t0.Add(time.Duration(seconds) * time.Second), Fleet: profile + "s", Device: "d1", Row: row, Profile: profile, Channel: contract.ChannelTelemetry, Payload: payload}
}

func smoke(seconds int, on bool) Message {
	return at(seconds, "smoke", contract.Device{}, map[string]any{"smoke": on})
}

var alone = contract.Device{Attributes: map[string]string{"livesAlone": "true"}}

func door(hours float64, event string) Message {
	return at(int(hours*3600), "door", alone, map[string]any{"event": event})
}

func fill(seconds int, pct float64) Message {
	return at(seconds, "bin", contract.Device{}, map[string]any{"fillPct": pct})
}

func breach(seconds int, zone string) Message {
	return at(seconds, "gate", contract.Device{}, map[string]any{"breach": true, "zone": zone})
}

// beats gives one heartbeat an hour, from and to included.
func beats(from, to int) (out []Message) {
	for h := from; h <= to; h++ {
		out = append(out, door(float64(h)+0.5, "heartbeat"))
	}
	return out
}

// outcome runs messages and gives the alarms that stand in the end, as "scenario@seconds", a "~" behind those that cleared.
type outcome struct {
	t      *testing.T
	engine *Engine
	row    contract.Device
	alarms map[string]bool
}

func newOutcome(t *testing.T, r contract.Rules) *outcome {
	t.Helper()
	e, problems := New(r, Options{OnError: func(s, part string, err error) { t.Errorf("%s %s: %v", s, part, err) }})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &outcome{t: t, engine: e, row: alone, alarms: map[string]bool{}}
}

func (o *outcome) take(events []Event) {
	for _, e := range events {
		name := fmt.Sprintf("%s@%d", e.Scenario, int(e.Start.Sub(t0).Seconds()))
		switch e.Kind {
		case Raised:
			if _, there := o.alarms[name]; there {
				o.t.Errorf("%s was raised twice", name)
			}
			o.alarms[name] = false
		case Retracted:
			delete(o.alarms, name)
		case Cleared:
			o.alarms[name] = true
		case Joined:
			o.alarms[name] = false
		}
	}
}

func (o *outcome) step(m Message) { o.take(o.engine.Step(m)) }

func (o *outcome) tick(seconds int) {
	o.take(o.engine.Tick(t0.Add(time.Duration(seconds)*time.Second), func(fleet, _ string) (contract.Device, string, bool) {
		return o.row, strings.TrimSuffix(fleet, "s"), true
	}))
}

func (o *outcome) told() []string {
	out := []string{}
	for name, cleared := range o.alarms {
		if cleared {
			name += "~"
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func TestTraces(t *testing.T) {
	for name, c := range map[string]struct {
		trace []Message
		ticks []int
		row   *contract.Device
		want  []string
	}{
		"S10 smoke":                       {trace: []Message{smoke(10, true)}, want: []string{"s10@10"}},
		"S10 no smoke":                    {trace: []Message{smoke(10, false)}, want: []string{}},
		"S10 cleared":                     {trace: []Message{smoke(10, true), smoke(40, false)}, want: []string{"s10@10~"}},
		"S10 again within dedup":          {trace: []Message{smoke(10, true), smoke(40, false), smoke(70, true)}, want: []string{"s10@10"}},
		"S10 again after dedup":           {trace: []Message{smoke(10, true), smoke(40, false), smoke(700, true)}, want: []string{"s10@10~", "s10@700"}},
		"S10 suppressed while tested":     {trace: []Message{at(10, "smoke", contract.Device{Attributes: map[string]string{"test": "true"}}, map[string]any{"smoke": true})}, want: []string{}},
		"S10 other field only":            {trace: []Message{at(10, "smoke", contract.Device{}, map[string]any{"density": 3.0})}, want: []string{}},
		"S10 clear comes before, late":    {trace: []Message{smoke(40, false), smoke(10, true)}, want: []string{"s10@10~"}},
		"S01 no exit for 24 h":            {trace: append([]Message{door(0, "exit")}, beats(0, 25)...), ticks: []int{25 * 3600}, want: []string{"s01@86400"}},
		"S01 exit in time":                {trace: append([]Message{door(0, "exit"), door(20, "exit")}, beats(0, 25)...), ticks: []int{25 * 3600}, want: []string{}},
		"S01 exit after the alarm":        {trace: append(append([]Message{door(0, "exit")}, beats(0, 25)...), door(25.9, "exit")), ticks: []int{26 * 3600}, want: []string{"s01@86400~"}},
		"S01 a second day":                {trace: append([]Message{door(0, "exit")}, beats(0, 49)...), ticks: []int{50 * 3600}, want: []string{"s01@172800", "s01@86400"}},
		"S01 silent device":               {trace: []Message{door(0, "exit"), door(1, "heartbeat")}, ticks: []int{48 * 3600}, want: []string{}},
		"S01 silence does not count":      {trace: append(append([]Message{door(0, "exit")}, beats(0, 9)...), beats(20, 30)...), ticks: []int{31 * 3600}, want: []string{}},
		"S01 no exit seen ever":           {trace: beats(0, 25), ticks: []int{25 * 3600}, want: []string{"s01@88200"}},
		"S01 enter is no exit":            {trace: append([]Message{door(0, "exit"), door(20, "enter")}, beats(0, 25)...), ticks: []int{25 * 3600}, want: []string{"s01@86400"}},
		"S01 away at the time":            {trace: append([]Message{door(0, "exit")}, beats(0, 23)...), ticks: []int{25 * 3600}, row: &contract.Device{Attributes: map[string]string{"livesAlone": "true", "away": "true"}}, want: []string{}},
		"S01 moved in with somebody":      {trace: append([]Message{door(0, "exit")}, beats(0, 23)...), ticks: []int{25 * 3600}, row: &contract.Device{}, want: []string{}},
		"S01 household not listed":        {trace: []Message{at(0, "door", contract.Device{}, map[string]any{"event": "exit"})}, ticks: []int{25 * 3600}, want: []string{}},
		"S18 full for 10 min":             {trace: []Message{fill(0, 95), fill(300, 96)}, ticks: []int{700}, want: []string{"s18@600"}},
		"S18 not long enough":             {trace: []Message{fill(0, 95), fill(300, 50), fill(400, 95)}, ticks: []int{900}, want: []string{}},
		"S18 emptied":                     {trace: []Message{fill(0, 95), fill(700, 10)}, ticks: []int{900}, want: []string{"s18@600~"}},
		"S18 once per hold":               {trace: []Message{fill(0, 95), fill(700, 95), fill(1500, 95), fill(2500, 95)}, ticks: []int{3000}, want: []string{"s18@600"}},
		"S18 offline in between":          {trace: []Message{fill(0, 95), fill(5000, 95)}, ticks: []int{5100}, want: []string{"s18@600"}},
		"S15 two zones in a minute":       {trace: []Message{breach(0, "n"), breach(30, "s")}, want: []string{"s15@30"}},
		"S15 one zone twice":              {trace: []Message{breach(0, "n"), breach(30, "n")}, want: []string{}},
		"S15 two zones, far apart":        {trace: []Message{breach(0, "n"), breach(61, "s")}, want: []string{}},
		"S15 the message between is late": {trace: []Message{breach(0, "n"), breach(100, "n"), breach(50, "s")}, want: []string{"s15@50"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutcome(t, testRules())
			if c.row != nil {
				o.row = *c.row
			}
			for _, m := range c.trace {
				o.step(m)
			}
			for _, at := range c.ticks {
				o.tick(at)
			}
			if diff := cmp.Diff(c.want, o.told()); diff != "" {
				t.Errorf("alarms (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStateIsBounded(t *testing.T) {
	o := newOutcome(t, testRules())
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20000 {
		o.step(smoke(i*7, r.IntN(2) == 0))
		o.step(fill(i*7, float64(r.IntN(100))))
		o.step(door(float64(i)*4, "heartbeat")) // every gap is a silence
	}
	for range 2000 { // all of one minute
		o.step(breach(20000*7+r.IntN(60), fmt.Sprint(r.IntN(1000))))
	}
	all, err := o.engine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if len(s.State) > 64<<10 {
			t.Errorf("%s %s: state of %d bytes", s.Scenario, s.ID, len(s.State))
		}
	}
}

func TestFaultsAreCountedNotFatal(t *testing.T) {
	rules := testRules()
	rules.Scenarios["dear"] = contract.Scenario{Profile: "smoke", Trigger: contract.Trigger{
		When: `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, msg.density > -1.0))))`}}
	rules.Scenarios["divides"] = contract.Scenario{Profile: "smoke", Trigger: contract.Trigger{When: `1 / msg.battery > 0`}}
	var failed []string
	e, problems := New(rules, Options{OnError: func(s, _ string, _ error) { failed = append(failed, s) }})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	events := e.Step(at(1, "smoke", contract.Device{}, map[string]any{"smoke": true, "density": 1.0, "battery": int64(0)}))
	slices.Sort(failed)
	if diff := cmp.Diff([]string{"dear", "divides"}, failed); diff != "" {
		t.Error(diff)
	}
	if len(events) != 1 || events[0].Scenario != "s10" {
		t.Errorf("the neighbour must run: %+v", events)
	}
}

func TestProblems(t *testing.T) {
	rules := testRules()
	rules.Scenarios = map[string]contract.Scenario{
		"good":    testRules().Scenarios["s10"],
		"field":   {Profile: "smoke", Trigger: contract.Trigger{When: "msg.smok"}},
		"syntax":  {Profile: "smoke", Trigger: contract.Trigger{When: "msg.smoke =="}},
		"type":    {Profile: "smoke", Trigger: contract.Trigger{When: "1 + 1"}},
		"profile": {Profile: "none", Trigger: contract.Trigger{When: "true"}},
		"empty":   {Profile: "smoke"},
		"both":    {Profile: "smoke", Trigger: contract.Trigger{When: "true", Absent: &contract.Absent{Event: "true", Seconds: 1}}},
		"count":   {Profile: "smoke", Trigger: contract.Trigger{When: "true", Count: &contract.Count{AtLeast: 1000, WithinSeconds: 1}}},
	}
	e, problems := New(rules, Options{})
	got := map[string]string{}
	for _, p := range problems {
		got[p.Scenario] = p.Field
	}
	want := map[string]string{"field": "trigger.when", "syntax": "trigger.when", "type": "trigger.when", "profile": "profile", "empty": "trigger", "both": "trigger", "count": "trigger.count"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if e.Loaded() != 1 {
		t.Errorf("loaded %d, want the good one", e.Loaded())
	}
	if _, checked := Check(rules); len(checked) != len(problems) {
		t.Error("Check must give what New gives")
	}
}

// TestCost: that of the costliest expression, also of one that is compared without CEL, and the limit where the worst case goes beyond it.
func TestCost(t *testing.T) {
	dear := `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, msg.density > -1.0))))`
	cost := func(s contract.Scenario) int64 {
		t.Helper()
		s.Profile = "smoke"
		of := testRules()
		of.Scenarios = map[string]contract.Scenario{"s": s}
		n, problems := Check(of)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return n
	}
	one := cost(contract.Scenario{Trigger: contract.Trigger{When: "msg.density > 1.0"}})
	two := cost(contract.Scenario{Trigger: contract.Trigger{When: "msg.density > 1.0 && msg.battery < 9"}})
	if one <= 0 || two <= one || two > 100 {
		t.Errorf("a comparison costs %d, two %d", one, two)
	}
	for name, c := range map[string]struct {
		s    contract.Scenario
		want int64
	}{
		"the costliest is not the trigger": {contract.Scenario{AppliesTo: "msg.density > 1.0 && msg.battery < 9", Trigger: contract.Trigger{When: "msg.density > 1.0"}}, two},
		"not the sum":                      {contract.Scenario{Trigger: contract.Trigger{When: "msg.density > 1.0 && msg.battery < 9", Clear: "msg.density < 1.0"}}, two},
		"more than the limit":              {contract.Scenario{Trigger: contract.Trigger{When: dear}}, costLimit},
		"no expression":                    {contract.Scenario{Terms: []contract.Term{{Offline: true}}}, 0},
	} {
		if got := cost(c.s); got != c.want {
			t.Errorf("%s: costs %d, want %d", name, got, c.want)
		}
	}
}

func TestDecode(t *testing.T) {
	p := testRules().Profiles["smoke"]
	p.Fields["kind"] = contract.Field{Type: "Enum", Enum: []string{"a"}}
	p.Fields["when"] = contract.Field{Type: "Time"}
	for raw, want := range map[string]struct {
		fields   map[string]any
		problems []FieldProblem
	}{
		`{"smoke":true,"density":3,"battery":3.0}`: {map[string]any{"smoke": true, "density": 3.0, "battery": int64(3)}, nil},
		`{"smoke":1}`:                    {map[string]any{}, []FieldProblem{{"smoke", "WrongType"}}},
		`{"smoke":true,"density":101}`:   {map[string]any{"smoke": true}, []FieldProblem{{"density", "OutOfRange"}}},
		`{"smoke":true,"density":1e999}`: {map[string]any{"smoke": true}, []FieldProblem{{"density", "OutOfRange"}}},
		`{"smoke":true,"battery":1.5}`:   {map[string]any{"smoke": true}, []FieldProblem{{"battery", "WrongType"}}},
		`{"smoke":true,"kind":"b"}`:      {map[string]any{"smoke": true}, []FieldProblem{{"kind", "OutOfRange"}}},
		`{"smoke":true,"when":"noon"}`:   {map[string]any{"smoke": true}, []FieldProblem{{"when", "WrongType"}}},
		`{"smoke":true,"name":"x"}`:      {map[string]any{"smoke": true}, []FieldProblem{{"(unknown)", "Unknown"}}},
		`{"smoke":true,"ts":7}`:          {map[string]any{"smoke": true}, []FieldProblem{{"ts", "WrongType"}}},
		`{}`:                             {map[string]any{}, []FieldProblem{{"smoke", "Missing"}}},
	} {
		got, err := Decode(p, []byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(want.fields, got.Fields); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
		if diff := cmp.Diff(want.problems, got.Problems); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
	}
	for _, raw := range []string{"", "7", "null", "[]", `{"smoke":true}{}`, "{"} {
		if _, err := Decode(p, []byte(raw)); err == nil {
			t.Errorf("%q: want an error", raw)
		}
	}
	got, err := Decode(p, []byte(`{"smoke":true,"ts":"2026-03-01T00:00:01+08:00","id":"m1"}`))
	if err != nil || got.ID != "m1" || !got.Time.Equal(t0.Add(time.Second-8*time.Hour)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestLateEvidence tells what was told before apart from what late messages make of it.
func TestLateEvidence(t *testing.T) {
	patient := testRules()
	s01 := patient.Scenarios["s01"]
	s01.LatenessSeconds = 6 * 3600
	patient.Scenarios["s01"] = s01
	o := newOutcome(t, patient)
	o.step(door(0, "exit"))
	for _, m := range beats(0, 24) {
		o.step(m)
	}
	o.tick(27 * 3600) // it waits a tenth of the duration for what is late
	if diff := cmp.Diff([]string{"s01@86400"}, o.told()); diff != "" {
		t.Fatal(diff)
	}
	o.step(door(20, "exit"))
	o.tick(26 * 3600)
	if diff := cmp.Diff([]string{}, o.told()); diff != "" {
		t.Errorf("an exit that comes late takes the alarm back: %s", diff)
	}
	o = newOutcome(t, testRules())
	o.step(fill(0, 95))
	o.step(fill(300, 96))
	o.tick(700)
	for _, e := range o.engine.Step(fill(100, 97)) {
		t.Errorf("a late message that changes nothing gives %+v", e)
	}
	o.step(fill(200, 10))
	if diff := cmp.Diff([]string{}, o.told()); diff != "" {
		t.Errorf("a late message that breaks the hold takes the alarm back: %s", diff)
	}
}

func TestRepeatWithIDIsOneMessage(t *testing.T) {
	o := newOutcome(t, testRules())
	first, again := breach(0, "n"), breach(30, "s")
	again.Payload = map[string]any{"breach": true, "zone": "s"}
	first.ID, again.ID = "m1", "m1" // sent twice, stamped by arrival
	o.step(first)
	o.step(again)
	if got := o.told(); len(got) != 0 {
		t.Errorf("a repeated message raised %v", got)
	}
}

func TestStateSurvivesAsJSON(t *testing.T) {
	o := newOutcome(t, testRules())
	o.step(smoke(1, true))
	changed, err := o.engine.Changed()
	if err != nil || len(changed) != 1 || !json.Valid(changed[0].State) {
		t.Fatalf("%+v, %v", changed, err)
	}
	if again, _ := o.engine.Changed(); len(again) != 0 {
		t.Errorf("nothing changed since, yet %d states are given", len(again))
	}
}
