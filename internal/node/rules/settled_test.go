package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	late   = 60   // seconds of lateness in the traces
	length = 3600 // seconds of a trace
)

// fields of the profile that traces speak.
var traceProfile = contract.Profile{HeartbeatSeconds: 40, Fields: map[string]contract.Field{
	"on": {Type: "Boolean"}, "ev": {Type: "Boolean"}, "clear": {Type: "Boolean"}, "zone": {Type: "String"},
}}

// scenario gives what the engine is asked for an oracle's rule.
func (r oracleRule) scenario() contract.Scenario {
	s := contract.Scenario{Profile: "trace", Severity: contract.SeverityHigh, DedupSeconds: int64(r.dedup), LatenessSeconds: late}
	scope := "Device"
	if r.household {
		scope = "Household"
	}
	for _, x := range r.terms {
		t := contract.Term{}
		switch x.mode {
		case "when":
			t.When = "msg.on"
		case "for":
			t.When, t.ForSeconds = "msg.on", int64(x.hold)
		case "count":
			t.When, t.Count = "msg.on", &contract.Count{AtLeast: int64(x.atLeast), WithinSeconds: int64(x.within), Scope: contractScope(scope)}
			if x.distinct {
				t.Count.DistinctBy = "msg.zone"
			}
		case "absent":
			t.Absent = &contract.Absent{Event: "msg.ev", Seconds: int64(x.absent), WholeWindow: x.whole, Scope: contractScope(scope)}
		case "offline":
			t.Offline = true
		}
		s.Terms = append(s.Terms, t)
	}
	if r.clear {
		s.Clear = "msg.clear"
	}
	if r.unless {
		s.Unless = "context.away"
	}
	if r.applies {
		s.AppliesTo = "context.lives"
	}
	if r.windows != nil {
		s.Schedule = &contract.Schedule{TimeZone: r.zone.String()}
		for _, w := range r.windows {
			s.Schedule.Windows = append(s.Schedule.Windows, contract.Window{From: w[0], To: w[1]})
		}
	}
	return s
}

// message gives what the engine hears.
func (m said) message() Message {
	p := map[string]any{}
	if m.on != nil {
		p["on"] = *m.on
	}
	if m.ev {
		p["ev"] = true
	}
	if m.clear {
		p["clear"] = true
	}
	if m.zone != "" {
		p["zone"] = m.zone
	}
	return Message{Time: second(m.t), ID: m.id, Fleet: "f", Device: m.dev, Row: rowOf(m.dev), Profile: "trace", Payload: p}
}

func second(t int) time.Time { return t0.Add(time.Duration(t) * time.Second) }

// rowOf puts two devices into one household, and a third into another.
func rowOf(dev string) contract.Device {
	h := "h1"
	if dev == "d3" {
		h = "h2"
	}
	return contract.Device{Community: "c", Household: h}
}

func lookupTrace(_, device string) (contract.Device, string, bool) {
	return rowOf(device), "trace", true
}

// arrival is a message or a fact on its way.
type arrival struct {
	at int
	m  *said
	f  *known
	// mode begins.
	mode string
}

// randomRule draws a rule.
func randomRule(r *rand.Rand, name string) oracleRule {
	out := oracleRule{name: name, alive: 120, dedup: []int{0, 90, 600}[r.IntN(3)], clear: r.IntN(2) == 0, unless: r.IntN(3) == 0, applies: r.IntN(4) == 0, household: r.IntN(3) == 0}
	modes := []string{"when", "for", "count", "absent", "offline"}
	n := 1 + r.IntN(3)/2 + r.IntN(3)/2
	for range n {
		m := modes[r.IntN(len(modes))]
		if out.household && (m == "for" || m == "offline") {
			m = "absent"
		}
		t := oracleTerm{mode: m}
		switch m {
		case "for":
			t.hold = []int{30, 100, 400}[r.IntN(3)]
		case "count":
			t.within, t.atLeast, t.distinct = []int{50, 200}[r.IntN(2)], 2+r.IntN(2), r.IntN(2) == 0
		case "absent":
			t.absent = []int{60, 300}[r.IntN(2)]
		}
		if t.distinct && slices.ContainsFunc(out.terms, func(x oracleTerm) bool { return x.distinct }) {
			t.distinct = false
		}
		out.terms = append(out.terms, t)
	}
	if out.household && !slices.ContainsFunc(out.terms, func(x oracleTerm) bool { return x.mode != "when" }) {
		out.household = false
	}
	if r.IntN(3) == 0 {
		out.zone = time.UTC
		out.windows = [][][2]int{{{5, 20}, {30, 50}}, {{0, 15}}, {{10, 10 + 1435}}}[r.IntN(3)]
		for i := range out.terms {
			if out.terms[i].mode == "absent" && r.IntN(3) == 0 {
				out.terms[i].whole = true
			}
		}
		if out.windows[0][1] > 1440 {
			out.windows = [][2]int{{10, 5}} // over midnight, nearly all day
		}
	}
	return out
}

// randomTrace draws what three devices say.
func randomTrace(r *rand.Rand) (out []said, facts []known) {
	n := 0
	for _, d := range []string{"d1", "d2", "d3"} {
		on := false
		for t := r.IntN(100); t < length; t += 1 + r.IntN(60) {
			if r.IntN(25) == 0 {
				t += 100 + r.IntN(200) // offline
			}
			if r.IntN(4) == 0 {
				on = !on
			}
			m := said{t: t, id: fmt.Sprintf("m%d", n), dev: d, zone: string(rune('a' + r.IntN(3))), place: rowOf(d).Household, ev: r.IntN(12) == 0, clear: r.IntN(6) == 0}
			if r.IntN(4) != 0 {
				v := on
				m.on = &v
			}
			out = append(out, m)
			n++
		}
	}
	for _, h := range []string{"h1", "h2"} {
		facts = append(facts, known{t: 0, place: h, name: "lives", value: true})
		for t := 200; t < length; t += 100 + r.IntN(900) {
			facts = append(facts, known{t, h, []string{"away", "lives"}[r.IntN(2)], r.IntN(2) == 0})
		}
	}
	return out, facts
}

// way is how a trace reaches the engine.
type way struct {
	name                   string
	shuffle, double, again bool
}

var ways = []way{{name: "in one go"}, {name: "restart after every message", again: true}, {name: "shuffled within lateness", shuffle: true},
	{name: "every message doubled", double: true}, {name: "all of it", shuffle: true, double: true, again: true}}

func (w way) arrivals(r *rand.Rand, messages []said, facts []known) (out []arrival) {
	delay := func() int {
		if w.shuffle {
			return r.IntN(late)
		}
		return 0
	}
	for i := range messages {
		m := messages[i]
		out = append(out, arrival{at: m.t + delay(), m: &m})
		if w.double {
			out = append(out, arrival{at: m.t + delay(), m: &m})
		}
	}
	for i := range facts {
		f := facts[i]
		out = append(out, arrival{at: f.t + delay(), f: &f})
	}
	r.Shuffle(len(out), func(i, j int) {
		if w.shuffle {
			out[i], out[j] = out[j], out[i]
		}
	})
	slices.SortStableFunc(out, func(a, b arrival) int { return a.at - b.at })
	return out
}

// play runs a trace and gives the settled list as the oracle writes it.
func (w way) play(t *testing.T, rules contract.Rules, in []arrival, o Options) []Standing {
	t.Helper()
	e := mustNew(t, rules, o)
	var s Settled
	disk := map[keyRef][]byte{}
	for _, a := range in {
		switch {
		case a.m != nil:
			s.Take(e.Step(a.m.message()))
		case a.f != nil:
			s.Take(e.SetFact(a.f.fact(), lookupTrace))
		default:
			e.SetMode(a.mode, second(a.at))
		}
		s.Take(e.Tick(second(a.at), lookupTrace))
		if w.again {
			e = reborn(t, e, rules, o, disk)
		}
	}
	s.Take(e.Tick(second(length+4000), lookupTrace))
	return s.List()
}

func (f known) fact() Fact {
	return Fact{Scope: ScopeHousehold, ID: f.place, Name: f.name, Value: f.value, Since: second(f.t)}
}

func mustNew(t testing.TB, r contract.Rules, o Options) *Engine {
	t.Helper()
	if o.OnError == nil {
		o.OnError = func(s, part string, err error) { t.Errorf("%s %s: %v", s, part, err) }
	}
	e, problems := New(r, o)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return e
}

// reborn stores an engine and makes another from what is stored. Facts and modes come from elsewhere.
func reborn(t testing.TB, e *Engine, rules contract.Rules, o Options, disk map[keyRef][]byte) *Engine {
	t.Helper()
	changed, err := e.Changed()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range changed {
		disk[keyRef{s.Scenario, s.Scope, s.ID}] = s.State
	}
	next := emptied(e)
	for k, raw := range disk {
		if raw == nil {
			continue
		}
		if err := next.Restore(KeyState{k.scenario, k.scope, k.id, raw}); err != nil {
			t.Fatal(err)
		}
	}
	return next
}

// emptied gives an engine with the same rules that has seen nothing; compiling them again for every message takes too long.
func emptied(e *Engine) *Engine {
	next := &Engine{opts: e.opts, facts: e.facts, modes: e.modes, boards: map[placeKey]*board{}, dirty: map[keyRef]struct{}{}}
	next.set = &set{rules: map[string]*rule{}, profiles: map[string]*profileIndex{}, devices: e.set.devices}
	for _, was := range e.set.inOrder {
		r := *was
		r.table, r.stamp = newTable(), 0
		next.set.rules[r.name] = &r
		next.set.inOrder = append(next.set.inOrder, &r)
		next.set.index(&r)
	}
	next.set.pairs()
	return next
}

// write gives a settled list in the oracle's words.
func write(list []Standing) (out []string) {
	for _, a := range list {
		c := -1
		if !a.Cleared.IsZero() {
			c = int(a.Cleared.Sub(t0).Seconds())
		}
		id := a.ID
		if a.Scope == ScopeDevice {
			id = a.Device
		}
		out = append(out, oracleAlarm{rule: a.Scenario, key: id, began: int(a.Began.Sub(t0).Seconds()), cleared: c}.String())
	}
	slices.Sort(out)
	return out
}

// TestSettledListIsTheOracles: whatever the order, the repeats and the restarts, the alarms are those that the oracle finds.
func TestSettledListIsTheOracles(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 30
	}
	alarms := map[string]int{}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 11))
		rule := randomRule(r, "rule")
		messages, facts := randomTrace(r)
		var want []string
		for _, a := range oracle(rule, messages, facts, length+4000) {
			a.cleared = max(a.cleared, -1)
			want = append(want, a.String())
			for i := range a.by {
				alarms[rule.terms[i].mode]++
			}
		}
		slices.Sort(want)
		rules := contract.Rules{Profiles: map[string]contract.Profile{"trace": traceProfile}, Scenarios: map[string]contract.Scenario{"rule": rule.scenario()}}
		for _, w := range ways {
			got := write(w.play(t, rules, w.arrivals(r, messages, facts), Options{}))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %s, %+v: alarms (-oracle +engine):\n%s", seed, w.name, rule, diff)
			}
		}
	}
	for _, m := range []string{"when", "for", "count", "absent", "offline"} {
		if alarms[m] == 0 {
			t.Errorf("no alarm by %s stands open: the traces test nothing", m)
		}
	}
}
