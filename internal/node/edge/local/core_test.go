package local

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

var t0 = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

func ptr(x float64) *float64 { return &x }

// testBundle has detectors and valves of homes, and fans with a safe state, all at an edge node.
func testBundle() *intake.Bundle {
	at := func(household string) contract.Device {
		return contract.Device{Community: "jinghu", Grid: "g1", Household: household}
	}
	close1 := contract.ScenarioCommand{Command: "closeValve", At: "Raised", Target: "Household", Profile: "valve"}
	run := func(minutes float64) contract.ScenarioCommand {
		return contract.ScenarioCommand{Command: "run", At: "Raised", Target: "Household", Profile: "fan", Arguments: map[string]any{"minutes": minutes}}
	}
	stop := run(0)
	stop.At = "Cleared"
	return &intake.Bundle{
		Lease: contract.Lease{ExpiresAt: t0.Add(-time.Hour)}, // long over
		Rules: contract.Rules{
			Profiles: map[string]contract.Profile{
				"gas": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"alarm": {Type: "Boolean"}, "level": {Type: "Number"}, "home": {Type: "Boolean"}}},
				"valve": {HeartbeatSeconds: 3600, Commands: map[string]contract.Command{
					"closeValve": {Senders: []string{"Scenario"}, ExpiresSeconds: 3600}}},
				"fan": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"on": {Type: "Boolean"}}, Commands: map[string]contract.Command{
					"run":    {Senders: []string{"Scenario"}, ExpiresSeconds: 300, SafeState: map[string]any{"minutes": 0.0}, Arguments: map[string]contract.Field{"minutes": {Type: "Integer", Min: ptr(0), Max: ptr(30)}}},
					"speed":  {Senders: []string{"Operator"}, Desired: true, ExpiresSeconds: 60, Arguments: map[string]contract.Field{"percent": {Type: "Integer", Min: ptr(0), Max: ptr(100)}}},
					"others": {Senders: []string{"Operator"}, ExpiresSeconds: 60},
				}},
			},
			Scenarios: map[string]contract.Scenario{
				"s11":   {Profile: "gas", Trigger: contract.Trigger{When: "msg.alarm == true", Clear: "msg.alarm == false", DedupSeconds: 600}, Commands: []contract.ScenarioCommand{close1, run(20), stop}},
				"held":  {Profile: "gas", Trigger: contract.Trigger{When: "msg.level > 10.0", ForSeconds: 60}, Commands: []contract.ScenarioCommand{run(5)}},
				"quiet": {Profile: "gas", Trigger: contract.Trigger{Absent: &contract.Absent{Event: "msg.home == true", Seconds: 7200}}, Commands: []contract.ScenarioCommand{run(1)}},
			},
		},
		Fleets: map[string]contract.Fleet{
			"gases":  {Profile: "gas", AccessMode: "Device", Placement: "Edge", Devices: map[string]contract.Device{"g1": at("h1"), "g2": at("h2")}},
			"valves": {Profile: "valve", AccessMode: "Device", Placement: "Edge", Devices: map[string]contract.Device{"v1": at("h1"), "v2": at("h2")}},
			"fans":   {Profile: "fan", AccessMode: "Device", Placement: "Edge", Devices: map[string]contract.Device{"f1": at("h1"), "f2": at("h2")}},
		},
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newTestCore(b *intake.Bundle) *core {
	return newCore("e1", b, newMetrics(prometheus.NewRegistry()), quiet())
}

// said is a message with a position.
func said(n uint64, at time.Time, device string, c contract.Channel, payload string) contract.EdgeMessage {
	fleet, name, _ := strings.Cut(device, ".")
	return contract.EdgeMessage{Sequence: n, At: at.UnixMilli(), Fleet: fleet, Device: name, Channel: c, Payload: []byte(payload)}
}

func (c *core) hear(now time.Time, list ...contract.EdgeMessage) {
	for _, m := range list {
		c.take(contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{m}}, m.Sequence, now)
	}
}

// sends gives what is due, as "subject command" by id.
func (c *core) sends(t *testing.T, now time.Time) (out []command.Message, subjects []string) {
	t.Helper()
	for _, o := range c.due(now) {
		var m command.Message
		if err := json.Unmarshal(o.payload, &m); err != nil {
			t.Fatal(err)
		}
		out, subjects = append(out, m), append(subjects, strings.TrimPrefix(o.subject, "dizuo.v1.d."))
	}
	return out, subjects
}

func ack(n uint64, at time.Time, device string, id uuid.UUID, result command.Result) contract.EdgeMessage {
	return said(n, at, device, contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":%q}`, id, result))
}

// TestGasAlarmClosesTheValve goes through the life of what one alarm gives, under a lease that ended long ago.
func TestGasAlarmClosesTheValve(t *testing.T) {
	c := newTestCore(testBundle())
	c.hear(t0, said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
	if !c.unsaved {
		t.Error("a command is given and need not be on disk")
	}
	got, to := c.sends(t, t0)
	if want := []string{"valves.v1.cmd", "fans.f1.cmd"}; !slices.Equal(to, want) {
		t.Fatalf("%v, want %v", to, want)
	}
	valve, fan := got[0], got[1]
	if valve.Command != "closeValve" || fan.Arguments["minutes"] != 20.0 || !valve.ExpiresAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("%+v %+v", valve, fan)
	}
	// What the hub derives from the same alarm.
	b := testBundle()
	o, code := command.Alarm{Scenario: "s11", Fleet: "gases", Device: "g1", Start: t0, At: t0, Kind: "Raised"}.Order(b.Rules, b.Fleets, 0, command.Target{Fleet: "valves", Device: "v1"}, t0.Add(time.Minute))
	if code != "" || o.ID != valve.ID {
		t.Errorf("%q %s, want %s", code, o.ID, valve.ID)
	}
	c.hear(t0, said(2, t0.Add(time.Second), "gases.g1", contract.ChannelSignal, `{"alarm":true}`), ack(3, t0.Add(time.Second), "valves.v1", valve.ID, command.Done),
		ack(4, t0.Add(time.Second), "valves.v2", fan.ID, command.Done)) // not its own
	if got, to := c.sends(t, t0.Add(1999*time.Millisecond)); len(got) != 0 {
		t.Errorf("%v before the pause is over", to)
	}
	at := t0
	for _, pause := range []time.Duration{2, 4, 8, 16, 30, 30} {
		at = at.Add(pause * time.Second)
		if got, to := c.sends(t, at); len(got) != 1 || got[0].ID != fan.ID {
			t.Errorf("%v after %v, want the fan again", to, at.Sub(t0))
		}
	}
	c.hear(at, said(5, at, "fans.f1", contract.ChannelState, `{"on":false}`))
	if _, to := c.sends(t, at.Add(time.Second)); len(to) != 0 {
		t.Errorf("%v to a device that has just been told", to)
	}
	at = at.Add(3 * time.Second)
	c.hear(at, said(6, at, "fans.f1", contract.ChannelState, `{"on":false}`))
	if got, _ := c.sends(t, at); len(got) != 1 || got[0].ID != fan.ID {
		t.Error("a device that speaks is not told what waits for it")
	}
	at = t0.Add(300 * time.Second)
	c.sends(t, at)
	got, to = c.sends(t, at)
	if len(got) != 1 || got[0].ID != command.SafeID(fan.ID, command.Expired) || got[0].Arguments["minutes"] != 0.0 || to[0] != "fans.f1.cmd" {
		t.Errorf("%v %+v, want the safe state", to, got)
	}
	c.sends(t, at.Add(300*time.Second))
	if got, to := c.sends(t, at.Add(301*time.Second)); len(got) != 0 {
		t.Errorf("%v after the safe state expired", to)
	}
	// A day later nothing is remembered.
	c.sends(t, at.Add(26*time.Hour))
	if len(c.orders)+len(c.byID) != 0 {
		t.Errorf("%d commands are remembered", len(c.orders))
	}
}

// TestOnlyWhatTheProfileDeclaresLeaves: whatever a scenario says, and whatever a profile said when a command was given.
func TestOnlyWhatTheProfileDeclaresLeaves(t *testing.T) {
	for what, k := range map[string]contract.ScenarioCommand{
		"out of range":     {Command: "run", Arguments: map[string]any{"minutes": 31.0}},
		"below the range":  {Command: "run", Arguments: map[string]any{"minutes": -1.0}},
		"argument missing": {Command: "run"},
		"argument unknown": {Command: "run", Arguments: map[string]any{"minutes": 1.0, "force": true}},
		"undeclared":       {Command: "explode"},
		"another sender's": {Command: "others"},
		"nobody's":         {Command: "run", Arguments: map[string]any{"minutes": 1.0}, Target: "Nobody"},
	} {
		b := testBundle()
		k.At, k.Profile = "Raised", "fan"
		if k.Target == "" {
			k.Target = "Household"
		}
		s := b.Rules.Scenarios["s11"]
		s.Commands = []contract.ScenarioCommand{k}
		b.Rules.Scenarios["s11"] = s
		c := newTestCore(b)
		c.hear(t0, said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
		if got, to := c.sends(t, t0); len(got) != 0 {
			t.Errorf("%s: %v", what, to)
		}
	}
	for what, change := range map[string]func(*intake.Bundle){
		"range narrowed": func(b *intake.Bundle) {
			run := b.Rules.Profiles["fan"].Commands["run"]
			run.Arguments = map[string]contract.Field{"minutes": {Type: "Integer", Min: ptr(0), Max: ptr(10)}}
			b.Rules.Profiles["fan"].Commands["run"] = run
		},
		"row gone": func(b *intake.Bundle) { delete(b.Fleets["fans"].Devices, "f1") },
		"row moved": func(b *intake.Bundle) {
			b.Fleets["fans"].Devices["f1"] = contract.Device{Community: "jinghu", Grid: "g2"}
		},
		"scenario gone": func(b *intake.Bundle) { delete(b.Rules.Scenarios, "s11") },
		"no sender any more": func(b *intake.Bundle) {
			run := b.Rules.Profiles["fan"].Commands["run"]
			run.Senders = []string{"Operator"}
			b.Rules.Profiles["fan"].Commands["run"] = run
		},
	} {
		c := newTestCore(testBundle())
		c.hear(t0, said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
		b := testBundle()
		change(b)
		c.update(b)
		got, to := c.sends(t, t0)
		if len(got) != 1 || to[0] != "valves.v1.cmd" {
			if what != "scenario gone" || len(got) != 0 {
				t.Errorf("%s: %v, want the valve alone", what, to)
			}
		}
	}
}

// TestOldAlarmsOpenNothing: what waited for longer than a command lives is told to nobody.
func TestOldAlarmsOpenNothing(t *testing.T) {
	c := newTestCore(testBundle())
	c.hear(t0.Add(301*time.Second), said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
	if _, to := c.sends(t, t0.Add(301*time.Second)); !slices.Equal(to, []string{"valves.v1.cmd"}) {
		t.Errorf("%v, want the valve alone, whose command lives an hour", to)
	}
	if n := testutil.ToFloat64(c.metrics.commands.WithLabelValues("Refused", "AlarmTooOld")); n != 1 {
		t.Errorf("%v refused", n)
	}
}

// TestLateEvidenceTakesBack: an alarm that should not have been raised, and its commands.
func TestLateEvidenceTakesBack(t *testing.T) {
	c := newTestCore(testBundle())
	c.hear(t0, said(1, t0, "gases.g1", contract.ChannelTelemetry, `{"level":11}`))
	c.tick(t0.Add(66*time.Second), t0.Add(66*time.Second)) // a tenth of the time is for what is late
	got, _ := c.sends(t, t0.Add(66*time.Second))
	if len(got) != 1 || got[0].Arguments["minutes"] != 5.0 {
		t.Fatalf("%+v", got)
	}
	c.hear(t0.Add(67*time.Second), ack(2, t0.Add(67*time.Second), "fans.f1", got[0].ID, command.Done),
		said(3, t0.Add(67*time.Second), "gases.g1", contract.ChannelTelemetry, `{"level":1,"ts":"2026-06-01T00:00:30Z"}`))
	safe, _ := c.sends(t, t0.Add(68*time.Second))
	if len(safe) != 1 || safe[0].ID != command.SafeID(got[0].ID, command.Withdrawn) || safe[0].Arguments["minutes"] != 0.0 {
		t.Errorf("%+v", safe)
	}
}

// TestClockThatIsSet: a machine without a clock of its own starts in the past. What happens when it is set is neither a silence of years nor
// a condition that held for as long.
func TestClockThatIsSet(t *testing.T) {
	for _, reset := range []bool{true, false} {
		c := newTestCore(testBundle())
		past := time.Unix(1000, 0)
		c.hear(past, said(1, past, "gases.g1", contract.ChannelTelemetry, `{"home":true,"level":11}`), said(2, past, "gases.g2", contract.ChannelTelemetry, `{"home":true}`))
		if reset {
			c.reset(t0)
		}
		c.tick(t0, t0)
		raised := testutil.ToFloat64(c.metrics.alarms.WithLabelValues("quiet", "Raised")) + testutil.ToFloat64(c.metrics.alarms.WithLabelValues("held", "Raised"))
		if reset && raised != 0 || !reset && raised == 0 {
			t.Errorf("reset %v: %v alarms", reset, raised)
		}
	}
}

// TestCommandsOfAClockThatWasSetBack: by a day, while the agent runs or not, by so little that nothing is forgotten, and with what is older not
// taken for newer. What waits is sent at once, and lives no longer than its profile says.
func TestCommandsOfAClockThatWasSetBack(t *testing.T) {
	for what, back := range map[string]struct {
		by  time.Duration
		set func(t *testing.T, c *core, now time.Time) *core
	}{
		"while it runs": {24 * time.Hour, func(_ *testing.T, c *core, now time.Time) *core { c.reset(now); return c }},
		"a little":      {4 * time.Minute, func(_ *testing.T, c *core, _ time.Time) *core { return c }},
		"while it does not run": {24 * time.Hour, func(t *testing.T, c *core, _ time.Time) *core {
			raw, err := c.snapshot()
			if err != nil {
				t.Fatal(err)
			}
			next := newTestCore(testBundle())
			if err := next.restore(raw, "a"); err != nil {
				t.Fatal(err)
			}
			return next
		}},
	} {
		t.Run(what, func(t *testing.T) {
			c := newTestCore(testBundle())
			c.hear(t0, said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
			first, _ := c.sends(t, t0)
			valve, fan := first[0], first[1]
			now := t0.Add(-back.by)
			c = back.set(t, c, now)
			c.take(contract.EdgeBatch{Incarnation: "a"}, 1, now)
			if given := c.byID[fan.ID].GivenAt; !given.Equal(now) {
				t.Errorf("given at %s", given)
			}
			got, _ := c.sends(t, now)
			if len(got) != 2 || got[1].ID != fan.ID || !got[1].ExpiresAt.Equal(now.Add(5*time.Minute)) || !got[0].ExpiresAt.Equal(now.Add(time.Hour)) {
				t.Fatalf("%+v", got)
			}
			c.hear(now, ack(2, now, "valves.v1", valve.ID, command.Done))
			at := now.Add(3 * time.Second)
			c.hear(at, said(3, at, "fans.f1", contract.ChannelState, `{"on":false}`))
			if got, _ := c.sends(t, at); len(got) != 1 || got[0].ID != fan.ID || !got[0].ExpiresAt.Equal(now.Add(5*time.Minute)) {
				t.Errorf("%+v to a device that speaks", got)
			}
			// An alarm by the clock as it is now is the newer one.
			newer := c.byID[fan.ID].Order
			newer.ID, newer.Once, newer.ExpiresAt = hubs(at), "newer", at.Add(time.Minute)
			if c.give(&order{Order: newer, Scenario: "s11", GivenAt: at}, at); c.byID[fan.ID].State != command.Superseded || c.byID[newer.ID].State != command.Pending {
				t.Errorf("%s, and the newer one %s", c.byID[fan.ID].State, c.byID[newer.ID].State)
			}
			c.sends(t, at.Add(time.Minute))
			if got, _ := c.sends(t, at.Add(time.Minute)); len(got) != 1 || got[0].ID != command.SafeID(newer.ID, command.Expired) {
				t.Errorf("%+v, want its safe state", got)
			}
		})
	}
}

// TestWhatTheHubSaysOfTheSameCommands: neither what was given up here, nor the safe state of what is done.
func TestWhatTheHubSaysOfTheSameCommands(t *testing.T) {
	c := newTestCore(testBundle())
	c.hear(t0, said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
	got, _ := c.sends(t, t0)
	valve, fan := got[0].ID, got[1].ID
	c.hear(t0, ack(2, t0, "valves.v1", valve, command.Done))
	at := t0.Add(300 * time.Second)
	c.sends(t, at)
	v1, f1 := command.Target{Fleet: "valves", Device: "v1"}, command.Target{Fleet: "fans", Device: "f1"}
	for _, x := range []struct {
		what string
		to   command.Target
		id   uuid.UUID
		want bool
	}{
		{"done here: it answers again", v1, valve, true}, {"its expiry, of which the hub does not know better", v1, command.SafeID(valve, command.Expired), false},
		{"its withdrawal", v1, command.SafeID(valve, command.Withdrawn), true}, {"expired here", f1, fan, false},
		{"safe state that is being sent here", f1, command.SafeID(fan, command.Expired), true}, {"the hub's own", f1, uuid.New(), true},
	} {
		if c.passes(x.to, x.id, map[bool]string{true: "closeValve", false: "run"}[x.to == v1], at) != x.want {
			t.Errorf("%s: passes %v", x.what, !x.want)
		}
	}
}

// hubs gives the id of a command that the hub gives to a person at a time: the time, and chance.
func hubs(at time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli())<<16)
	copy(id[:6], ms[:6])
	return id
}

// TestNodeYieldsToTheHub: what the hub ended, or put a newer command in the place of, the node sends no more, and no safe state of it undoes
// that; also after a restart.
func TestNodeYieldsToTheHub(t *testing.T) {
	f1, f2 := command.Target{Fleet: "fans", Device: "f1"}, command.Target{Fleet: "fans", Device: "f2"}
	for _, x := range []struct {
		what  string
		to    command.Target
		name  string
		done  bool
		id    func(fan uuid.UUID) uuid.UUID
		state command.State
		sends command.State // the safe state that the node sends instead
	}{
		{what: "a newer one", to: f1, name: "run", id: func(uuid.UUID) uuid.UUID { return hubs(t0.Add(time.Second)) }, state: command.Superseded},
		{what: "an older one", to: f1, name: "run", id: func(uuid.UUID) uuid.UUID { return hubs(t0.Add(-time.Second)) }, state: command.Pending},
		{what: "of another name", to: f1, name: "speed", id: func(uuid.UUID) uuid.UUID { return hubs(t0.Add(time.Second)) }, state: command.Pending},
		{what: "of another device", to: f2, name: "run", id: func(uuid.UUID) uuid.UUID { return hubs(t0.Add(time.Second)) }, state: command.Pending},
		{what: "no id of a time", to: f1, name: "run", id: func(uuid.UUID) uuid.UUID { return uuid.UUID{0: 0xff, 6: 0x40, 8: 0x80} }, state: command.Pending},
		{what: "withdrawn", to: f1, name: "run", id: func(fan uuid.UUID) uuid.UUID { return command.SafeID(fan, command.Withdrawn) }, state: command.Withdrawn, sends: command.Withdrawn},
		{what: "void", to: f1, name: "run", id: func(fan uuid.UUID) uuid.UUID { return command.SafeID(fan, command.Void) }, state: command.Void, sends: command.Void},
		{what: "done, then a newer one", to: f1, name: "run", done: true, id: func(uuid.UUID) uuid.UUID { return hubs(t0.Add(time.Second)) }, state: command.Superseded},
		{what: "done, then withdrawn", to: f1, name: "run", done: true, id: func(fan uuid.UUID) uuid.UUID { return command.SafeID(fan, command.Withdrawn) }, state: command.Withdrawn},
	} {
		t.Run(x.what, func(t *testing.T) {
			c := newTestCore(testBundle())
			c.hear(t0, said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`))
			got, _ := c.sends(t, t0)
			fan := got[1].ID
			if x.done {
				c.hear(t0, ack(2, t0, "fans.f1", fan, command.Done))
			}
			if _, err := c.snapshot(); err != nil {
				t.Fatal(err)
			}
			if !c.passes(x.to, x.id(fan), x.name, t0.Add(time.Second)) {
				t.Fatal("does not pass")
			}
			if state := c.byID[fan].State; state != x.state || c.unsaved == (state == command.Pending) {
				t.Errorf("%s, to be saved: %v", state, c.unsaved)
			}
			raw, err := c.snapshot()
			if err != nil {
				t.Fatal(err)
			}
			next := newTestCore(testBundle())
			if err := next.restore(raw, "a"); err != nil {
				t.Fatal(err)
			}
			for _, after := range []time.Duration{3 * time.Second, 301 * time.Second, 302 * time.Second} {
				list, _ := next.sends(t, t0.Add(after))
				for _, m := range list {
					switch {
					case m.Command != "run" || x.state == command.Pending:
					case x.sends == "" || m.ID != command.SafeID(fan, x.sends):
						t.Errorf("the node sends %+v", m)
					}
				}
				if x.sends != "" && after == 3*time.Second && !slices.ContainsFunc(list, func(m command.Message) bool { return m.Command == "run" }) {
					t.Error("the safe state is not sent from here")
				}
			}
			next.takeBack(next.byID[fan].Alarm, t0.Add(303*time.Second))
			if list, _ := next.sends(t, t0.Add(304*time.Second)); x.state != command.Pending && slices.ContainsFunc(list, func(m command.Message) bool { return m.Command == "run" && m.ID != command.SafeID(fan, x.sends) }) {
				t.Errorf("taken back: %+v", list)
			}
		})
	}
}

// TestLateAlarmSupersedesNothing: an alarm of a minute ago, which comes to light now, is older than the one that was told meanwhile; its command
// is not sent. The safe state of a command that was older still ends.
func TestLateAlarmSupersedesNothing(t *testing.T) {
	b := testBundle()
	alarm := func(at time.Time) *order {
		o, code := command.Alarm{Scenario: "s11", Fleet: "gases", Device: "g1", Start: at, At: at, Kind: "Raised"}.Order(b.Rules, b.Fleets, 1, command.Target{Fleet: "fans", Device: "f1"}, at)
		if code != "" {
			t.Fatal(code)
		}
		return &order{Order: o, Scenario: "s11", GivenAt: at}
	}
	c := newTestCore(b)
	now := t0.Add(301 * time.Second)
	first, late, newer, older := alarm(t0), alarm(t0.Add(5*time.Second)), alarm(t0.Add(4*time.Minute)), alarm(t0.Add(3*time.Minute))
	c.give(first, t0)
	c.sends(t, now) // expires, and its safe state is sent
	safe := c.byID[command.SafeID(first.ID, command.Expired)]
	for _, x := range []struct {
		o           *order
		state, safe command.State
	}{{late, command.Pending, command.Superseded}, {newer, command.Pending, command.Superseded}, {older, command.Superseded, command.Superseded}} {
		if !c.give(x.o, now) || x.o.State != x.state || safe.State != x.safe {
			t.Errorf("%s; the safe state %s; want %s, %s", x.o.State, safe.State, x.state, x.safe)
		}
	}
	if got, _ := c.sends(t, now); len(got) != 1 || got[0].ID != newer.ID || late.State != command.Superseded {
		t.Errorf("%+v", got)
	}
	if c.give(older, now) {
		t.Error("given twice")
	}
}

// TestDesiredStateOfADeviceThatComesBack while the line is cut.
func TestDesiredStateOfADeviceThatComesBack(t *testing.T) {
	c := newTestCore(testBundle())
	d, id := command.Target{Fleet: "fans", Device: "f1"}, uuid.New()
	c.want(d, []byte(fmt.Sprintf(`{"id":%q,"desired":{"speed":{"percent":30},"run":{"minutes":3},"explode":{}}}`, id)), t0)
	c.hear(t0, ack(1, t0, "fans.f1", id, command.Done), said(2, t0.Add(time.Minute), "fans.f1", contract.ChannelTelemetry, `{"on":true}`))
	if got := c.dueDesired(t0.Add(time.Hour)); len(got) != 0 {
		t.Errorf("%s to a device that was never away", got[0].payload)
	}
	c.hear(t0, said(3, t0.Add(2*time.Hour), "fans.f1", contract.ChannelState, `{"on":true}`))
	got := c.dueDesired(t0.Add(2 * time.Hour))
	if want := fmt.Sprintf(`{"id":%q,"desired":{"speed":{"percent":30}}}`, id); len(got) != 1 || string(got[0].payload) != want || got[0].subject != "dizuo.v1.d.fans.f1.desired" {
		t.Errorf("%s, want %s: what is no state, and what is not declared, never leaves", got, want)
	}
	c.hear(t0, said(4, t0.Add(2*time.Hour), "fans.f1", contract.ChannelState, `{"on":true}`))
	if got := c.dueDesired(t0.Add(2*time.Hour + 59*time.Second)); len(got) != 0 {
		t.Error("twice within a minute")
	}
}

// event of a trace: a message, or time alone.
type event struct {
	at time.Time
	m  contract.EdgeMessage
}

// trace draws what devices say over two hours; some of it late, twice, or out of order.
func trace(r *rand.Rand) (out []event) {
	at, n := t0, uint64(0)
	for range 60 {
		at = at.Add(time.Duration(r.IntN(240)) * time.Second)
		home := 1 + r.IntN(2)
		payload := []string{`{"alarm":true%s}`, `{"alarm":false%s}`, `{"level":11%s}`, `{"level":1%s}`, `{"home":true%s}`}[r.IntN(5)]
		ts := ""
		if r.IntN(3) == 0 {
			ts = fmt.Sprintf(`,"ts":%q`, at.Add(-time.Duration(r.IntN(300))*time.Second).Format(time.RFC3339))
		}
		for range 1 + r.IntN(8)/7 {
			n++
			out = append(out, event{at, said(n, at, fmt.Sprintf("gases.g%d", home), contract.ChannelSignal, fmt.Sprintf(payload, ts))})
		}
		if r.IntN(2) == 0 {
			out = append(out, event{at: at.Add(time.Duration(r.IntN(60)) * time.Second)})
		}
	}
	return out
}

// run takes a trace: devices answer in their own way, and crash says how the core dies after each event.
func run(t *testing.T, seed uint64, crash func(c *core, disk []byte, since []event) (*core, []byte, []event)) (sent map[uuid.UUID]string, states map[uuid.UUID]command.State) {
	t.Helper()
	c := newTestCore(testBundle())
	c.incarnation = "a"
	var disk []byte
	var since []event
	sent = map[uuid.UUID]string{}
	answers := uint64(10_000)
	step := func(e event) {
		if e.m.Sequence > 0 {
			c.hear(e.at, e.m)
		}
		c.tick(e.at, e.at)
		since = append(since, e)
		out := c.due(e.at)
		if c.unsaved {
			raw, err := c.snapshot()
			if err != nil {
				t.Fatal(err)
			}
			disk, since = raw, nil
		}
		var acks []event
		for _, o := range out {
			var m command.Message
			if err := json.Unmarshal(o.payload, &m); err != nil {
				t.Fatal(err)
			}
			m.ExpiresAt = time.Time{}
			is := fmt.Sprint(o.subject, m)
			if was, again := sent[m.ID]; again && was != is {
				t.Errorf("seed %d: one id for %s and %s", seed, was, is)
			}
			sent[m.ID] = is
			if m.ID[15]%3 > 0 { // some devices answer
				answers++
				device := strings.TrimSuffix(strings.TrimPrefix(o.subject, "dizuo.v1.d."), ".cmd")
				acks = append(acks, event{e.at, ack(answers, e.at, device, m.ID, command.Done)})
			}
		}
		for _, a := range acks {
			c.hear(a.at, a.m)
			since = append(since, a)
		}
	}
	for _, e := range trace(rand.New(rand.NewPCG(seed, 0))) {
		step(e)
		if crash != nil {
			c, disk, since = crash(c, disk, since)
		}
	}
	states = map[uuid.UUID]command.State{}
	for id, o := range c.byID {
		states[id] = o.State
	}
	return sent, states
}

// TestRestartAfterEveryMessage: whoever restarts in order, or is killed and reads the messages since the last save again, gives what one that
// was never disturbed gives, and no more.
func TestRestartAfterEveryMessage(t *testing.T) {
	total := 0
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		want, wantStates := run(t, seed, nil)
		total += len(want)
		for how, crash := range map[string]func(*core, []byte, []event) (*core, []byte, []event){
			"in order": func(c *core, _ []byte, _ []event) (*core, []byte, []event) {
				raw, err := c.snapshot()
				if err != nil {
					t.Fatal(err)
				}
				next := newTestCore(testBundle())
				if err := next.restore(raw, "a"); err != nil || next.position != c.position {
					t.Fatalf("%v, position %d, want %d", err, next.position, c.position)
				}
				return next, raw, nil
			},
			"killed": func(_ *core, disk []byte, since []event) (*core, []byte, []event) {
				next := newTestCore(testBundle())
				if disk != nil {
					if err := next.restore(disk, "a"); err != nil {
						t.Fatal(err)
					}
				}
				for _, e := range since { // the stream holds them; when time was looked at is lost
					if e.m.Sequence > 0 {
						next.hear(e.at, e.m)
					}
				}
				if n := len(since); n > 0 {
					next.tick(since[n-1].at, since[n-1].at)
				}
				return next, disk, since
			},
		} {
			got, states := run(t, seed, crash)
			if !maps.Equal(got, want) {
				t.Errorf("seed %d, %s: %d commands, want %d", seed, how, len(got), len(want))
			}
			if how == "in order" && !maps.Equal(states, wantStates) {
				t.Errorf("seed %d, %s: states differ", seed, how)
			}
		}
	}
	t.Logf("%d commands", total)
	if total < 20*int(seeds) {
		t.Errorf("%d commands in %d traces prove little", total, seeds)
	}
}

// TestTornFile: whatever byte is wrong, nothing of it counts; and what the outbox still holds gives the same ids again.
func TestTornFile(t *testing.T) {
	c := newTestCore(testBundle())
	m := said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`)
	c.hear(t0, m)
	first, _ := c.sends(t, t0)
	raw, err := c.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	empty := newTestCore(testBundle())
	for n := range len(raw) {
		torn := slices.Clone(raw)
		torn[n] ^= 1
		if empty.restore(torn, "a") == nil {
			t.Fatalf("byte %d is wrong, and it was taken", n)
		}
		if empty.restore(raw[:n], "a") == nil {
			t.Fatalf("%d bytes were taken for the whole", n)
		}
	}
	again := newTestCore(testBundle())
	again.hear(t0, m)
	second, _ := again.sends(t, t0)
	if len(first) != 2 || len(second) != 2 || first[0].ID != second[0].ID || first[1].ID != second[1].ID {
		t.Errorf("%v, then %v", first, second)
	}
	// Of another outbox the commands count, and no position.
	other := newTestCore(testBundle())
	if err := other.restore(raw, "b"); err != nil || other.position != 0 || len(other.orders) != 2 {
		t.Errorf("%v, position %d, %d commands", err, other.position, len(other.orders))
	}
}
