package local

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// alarmBundle has the scenario s11 alone.
func alarmBundle() *intake.Bundle {
	b := testBundle()
	b.Rules.Scenarios = map[string]contract.Scenario{"s11": b.Rules.Scenarios["s11"]}
	return b
}

// emergencyBundle runs the fan for 20 minutes at an alarm, in an emergency for 30, and in an emergency elsewhere for 1.
func emergencyBundle() *intake.Bundle {
	b := alarmBundle()
	s := b.Rules.Scenarios["s11"]
	run := func(minutes float64) []contract.ScenarioCommand {
		list := slices.Clone(s.Commands)
		list[1].Arguments = map[string]any{"minutes": minutes}
		return list
	}
	s.Trigger.DedupSeconds = 1
	s.Variants = map[string]contract.Variant{"Emergency/": {Commands: run(30)}, "Emergency/other": {Commands: run(1)}}
	b.Rules.Scenarios["s11"] = s
	b.Lease.ExpiresAt = t0.Add(240 * time.Hour)
	return b
}

// minutesGiven lets gas out at a time and gives for how long the fan is told to run, or nothing.
func (c *core) minutesGiven(t *testing.T, n *uint64, at time.Time) string {
	t.Helper()
	for _, alarm := range []bool{false, true} {
		*n++
		at = at.Add(time.Second)
		c.hear(at, said(*n, at, "gases.g1", contract.ChannelSignal, fmt.Sprintf(`{"alarm":%t}`, alarm)))
	}
	out := ""
	got, to := c.sends(t, at)
	for i, m := range got {
		if to[i] == "fans.f1.cmd" && m.Command == "run" && m.Arguments["minutes"] != 0.0 {
			out = fmt.Sprint(m.Arguments["minutes"])
		}
	}
	return out
}

// TestAModeAtTheNode: what an alarm commands is as in the mode that the hub told, over a restart, up to the end that the mode has; one that was
// prolonged, or ended early, is so with the next answer.
func TestAModeAtTheNode(t *testing.T) {
	c, n := newTestCore(emergencyBundle()), uint64(0)
	hours := func(h int) time.Time { return t0.Add(time.Duration(h) * time.Hour) }
	want := func(h int, minutes string) {
		t.Helper()
		if got := c.minutesGiven(t, &n, hours(h)); got != minutes {
			t.Errorf("after %d h: %s minutes, want %s", h, got, minutes)
		}
	}
	emergency := func(from, to int) contract.ModeSwitch {
		return contract.ModeSwitch{Mode: contract.ModeEmergency, Since: hours(from), ExpiresAt: hours(to)}
	}
	want(1, "20")
	c.learn(contract.EdgeContext{ModesDigest: "a", Modes: []contract.ModeSwitch{emergency(2, 6)}}, hours(2))
	if k := c.known(); k.Modes != "a" || !c.changed {
		t.Errorf("%+v", k)
	}
	want(3, "30")
	raw, err := c.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c = newTestCore(emergencyBundle())
	if err := c.restore(raw, "a"); err != nil {
		t.Fatal(err)
	}
	want(4, "30")
	want(7, "20") // the line is cut, and nobody prolonged it
	first := emergency(2, 0)
	first.ExpiresAt = time.Time{}
	c.learn(contract.EdgeContext{ModesDigest: "b", Modes: []contract.ModeSwitch{first, emergency(5, 20)}}, hours(8)) // somebody had
	want(9, "30")
	c.learn(contract.EdgeContext{ModesDigest: "c", Modes: []contract.ModeSwitch{first, {Mode: contract.ModeEmergency, Since: hours(5)}, {Mode: contract.ModeRoutine, Since: hours(10)}}}, hours(10))
	want(11, "20")
	// The clock of the hub is ahead: from then on.
	c.learn(contract.EdgeContext{ModesDigest: "d", Modes: []contract.ModeSwitch{emergency(13, 20)}}, hours(12))
	want(12, "20")
	want(14, "30")
	c.reset(hours(15))
	want(16, "30")
}

// factBundle keeps the fan still while somebody is away, and runs it only where whom it is about consents.
func factBundle(lease time.Time) *intake.Bundle {
	b := alarmBundle()
	s := b.Rules.Scenarios["s11"]
	s.Trigger.DedupSeconds, s.Trigger.Unless, s.ConsentScope = 1, "context.away", "watch"
	b.Rules.Scenarios["s11"] = s
	b.Lease.ExpiresAt = lease
	return b
}

func away(n int64, value any, since time.Time) contract.EdgeFact {
	return contract.EdgeFact{N: n, Scope: "Household", ID: "h1", Name: "away", Value: value, Since: since}
}

func consent(n int64, value any, since time.Time) contract.EdgeFact {
	return contract.EdgeFact{N: n, Scope: string(rules.ScopeSubject), ID: "h1", Name: "consents", Member: "watch", Value: value, Since: since}
}

// TestFactsAtTheNode: facts keep commands back, in order, over a restart and a cut line, and no longer than the lease.
func TestFactsAtTheNode(t *testing.T) {
	hours := func(h int) time.Time { return t0.Add(time.Duration(h) * time.Hour) }
	lease := hours(20)
	c, n := newTestCore(factBundle(lease)), uint64(0)
	want := func(h int, minutes string) {
		t.Helper()
		if got := c.minutesGiven(t, &n, hours(h)); got != minutes {
			t.Errorf("after %d h: %q minutes, want %q", h, got, minutes)
		}
	}
	want(1, "") // no consent
	c.learn(contract.EdgeContext{FactsDigest: "i", Reset: true, Facts: []contract.EdgeFact{consent(3, true, hours(1))}, Position: 5}, hours(2))
	if k := c.known(); k.Facts != "i" || k.Position != 5 {
		t.Errorf("%+v", k)
	}
	want(3, "20")
	c.learn(contract.EdgeContext{FactsDigest: "i", Facts: []contract.EdgeFact{away(6, true, hours(3)), away(7, nil, hours(4)), away(8, true, hours(5))}, Position: 9}, hours(5))
	want(6, "")
	raw, err := c.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c = newTestCore(factBundle(lease))
	if err := c.restore(raw, "a"); err != nil {
		t.Fatal(err)
	}
	want(7, "")
	c.learn(contract.EdgeContext{FactsDigest: "other", Facts: []contract.EdgeFact{away(10, nil, hours(7))}, Position: 10}, hours(7)) // not what was asked for
	want(8, "")
	c.learn(contract.EdgeContext{FactsDigest: "i", Facts: []contract.EdgeFact{away(10, nil, hours(8))}, Position: 10}, hours(8))
	want(9, "20")
	c.reset(hours(9))
	want(10, "20")
	// Anew, in two answers: until the second nothing changes.
	c.learn(contract.EdgeContext{FactsDigest: "j", Reset: true, Facts: []contract.EdgeFact{away(11, true, hours(9))}, Position: 11, More: true}, hours(11))
	if k := c.known(); k.Facts != "j" || k.Position != 11 {
		t.Errorf("%+v", k)
	}
	want(11, "20")
	c.learn(contract.EdgeContext{FactsDigest: "j", Facts: []contract.EdgeFact{consent(12, true, hours(2))}, Position: 12}, hours(12))
	want(12, "")
	c.learn(contract.EdgeContext{FactsDigest: "j", Facts: []contract.EdgeFact{away(13, nil, hours(13))}, Position: 13}, hours(13))
	want(14, "20")
	c.learn(contract.EdgeContext{FactsDigest: "j", Facts: []contract.EdgeFact{consent(14, nil, hours(15))}, Position: 14}, hours(15))
	want(16, "") // withdrawn
	c.learn(contract.EdgeContext{FactsDigest: "j", Facts: []contract.EdgeFact{consent(15, true, hours(17))}, Position: 15}, hours(17))
	want(18, "20")
	want(20, "") // the lease is over: nobody knows
	if k := c.known(); k.Facts != "" || k.Position != 0 || len(c.heard.Facts) != 0 {
		t.Errorf("%+v", k)
	}
	if raw, err = c.snapshot(); err != nil {
		t.Fatal(err)
	}
	c = newTestCore(factBundle(lease))
	if err := c.restore(raw, "a"); err != nil || len(c.heard.Facts) != 0 {
		t.Errorf("%v, %d facts are on disk", err, len(c.heard.Facts))
	}
}

// TestFactsThatMatterNoMore are forgotten after two days; what holds is kept for ever.
func TestFactsThatMatterNoMore(t *testing.T) {
	hours := func(h int) time.Time { return t0.Add(time.Duration(h) * time.Hour) }
	c := newTestCore(factBundle(hours(1000)))
	ends := away(4, true, hours(5))
	ends.ID, ends.Until = "h2", hours(9)
	c.learn(contract.EdgeContext{FactsDigest: "i", Reset: true, Position: 9, Facts: []contract.EdgeFact{consent(1, true, hours(0)), away(2, true, hours(1)), away(3, nil, hours(2)), ends}}, hours(2))
	numbers := func() (out []int64) {
		for _, f := range c.heard.Facts {
			out = append(out, f.N)
		}
		return out
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4}, numbers()); diff != "" {
		t.Error(diff)
	}
	c.learn(contract.EdgeContext{FactsDigest: "i", Position: 9}, hours(9+48))
	if diff := cmp.Diff([]int64{1, 3}, numbers()); diff != "" {
		t.Error(diff)
	}
}

// TestHoursOfTheNode: a schedule counts in the platform's zone, and in China Standard Time where none is named.
func TestHoursOfTheNode(t *testing.T) {
	for zone, want := range map[string]string{"": "20", "Asia/Shanghai": "20", "Europe/Berlin": ""} {
		b := alarmBundle()
		b.Rules.TimeZone = zone
		s := b.Rules.Scenarios["s11"]
		s.Trigger = contract.Trigger{When: "msg.alarm == true && local.hour == 9", Clear: "msg.alarm == false"}
		b.Rules.Scenarios["s11"] = s
		c, n := newTestCore(b), uint64(0)
		if got := c.minutesGiven(t, &n, t0.Add(time.Hour)); got != want { // 01:00 UTC
			t.Errorf("%q: %q minutes, want %q", zone, got, want)
		}
	}
}
