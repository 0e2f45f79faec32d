package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

var day = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// change1 is a change of a case in grid g1, some minutes after eight.
func change1(id, event string, minute int, more map[string]any) Message {
	p := map[string]any{"event": event, "number": id, "severity": "Critical", "source": "Resident", "class": "c"}
	for k, v := range more {
		p[k] = v
	}
	return Message{Time: day.Add(time.Duration(minute) * time.Minute), ID: fmt.Sprint(id, event, minute), Fleet: contract.CaseFleet, Device: id,
		Row: contract.Device{Community: "a", Grid: "g1"}, Profile: contract.CaseProfile, Payload: p}
}

func engineOf(t *testing.T, scenarios map[string]contract.Scenario) *Engine {
	t.Helper()
	e, problems := New(contract.Rules{Scenarios: scenarios, Profiles: map[string]contract.Profile{
		"bin": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"who": {Type: "String"}, "kg": {Type: "Number"}}}}}, Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return e
}

func told(events []Event) string {
	var out []string
	for _, e := range events {
		text := fmt.Sprintf("%s %s %s", e.Kind, e.Scenario, e.ID)
		if x := e.Effect; x != nil && e.Kind == Entered {
			text += fmt.Sprintf(" %s %g", x.Subject, x.Amount)
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// TestActs: each change acts by itself, a change that is told again has the same name, nothing is kept of it, and what is derived is shown to acts alone.
func TestActs(t *testing.T) {
	e := engineOf(t, map[string]contract.Scenario{
		"act": {Profile: contract.CaseProfile, Act: contract.ActEscalate, Trigger: contract.Trigger{When: "msg.event == 'ResolveOverdue'", Unless: "msg.class == 'quiet'"}},
		"many": {Profile: contract.CaseProfile, CaseClass: "many", Severity: contract.SeverityHigh,
			Terms: []contract.Term{{When: "msg.event == 'File'", Count: &contract.Count{AtLeast: 2, WithinSeconds: 600, DistinctBy: "msg.number", Scope: "Grid"}}}},
		"offline": {CaseClass: "offline", Severity: contract.SeverityLow, Terms: []contract.Term{{Offline: true}}},
	})
	first := e.Step(change1("n1", "ResolveOverdue", 0, nil))
	if got := told(first); got != "Acted act Case/n1" {
		t.Fatal(got)
	}
	name := first[0].Effect.Once
	if again := e.Step(change1("n1", "ResolveOverdue", 0, nil)); told(again) != "Acted act Case/n1" || again[0].Effect.Once != name {
		t.Errorf("told again: %v", again)
	}
	if next := e.Step(change1("n1", "ResolveOverdue", 5, nil)); len(next) != 1 || next[0].Effect.Once == name {
		t.Errorf("another change: %v", next)
	}
	for _, m := range []Message{change1("n1", "Escalated", 6, nil), change1("n2", "ResolveOverdue", 6, map[string]any{"class": "quiet"})} {
		if got := e.Step(m); len(got) > 0 {
			t.Errorf("%v: %s", m.Payload, told(got))
		}
	}
	if n := e.Keys(); n != 0 {
		t.Errorf("%d keys are kept", n)
	}
	derived := change1("n3", "File", 10, nil)
	derived.Derived = true
	e.Step(change1("n4", "File", 9, nil))
	if got := told(e.Step(derived)); got != "" {
		t.Errorf("what a scenario opened counts: %s", got)
	}
	if derived = change1("n3", "ResolveOverdue", 11, nil); told(e.Step(derived)) != "Acted act Case/n3" {
		t.Error("what a scenario opened is not acted upon")
	}
	if got := told(e.Step(change1("n5", "File", 12, nil))); got != "Raised many a/g1" {
		t.Errorf("two in a grid: %q", got)
	}
	if got := told(e.Tick(day.Add(48*time.Hour), func(string, string) (contract.Device, string, bool) { return contract.Device{}, "", false })); got != "" {
		t.Errorf("cases went offline: %s", got)
	}
}

// TestEntries: each drop is an entry, two at one bin one after the other too, whatever an alarm makes of them.
func TestEntries(t *testing.T) {
	ledger := &contract.Ledger{Name: "points", Subject: "msg.who", Amount: "params.points * msg.kg"}
	e := engineOf(t, map[string]contract.Scenario{
		"alone": {Profile: "bin", Ledger: ledger, Params: map[string]any{"points": 5.0}, Trigger: contract.Trigger{When: "msg.kg > 0.0"}},
		"both":  {Profile: "bin", Ledger: ledger, Params: map[string]any{"points": 1.0}, CaseClass: "heavy", Trigger: contract.Trigger{When: "msg.kg > 100.0", DedupSeconds: 600}},
	})
	step := func(id string, payload map[string]any) string {
		return told(e.Step(Message{Time: day, ID: id, Fleet: "bins", Device: "b-1", Row: contract.Device{Community: "a"}, Profile: "bin", Payload: payload}))
	}
	for _, tc := range []struct {
		id      string
		payload map[string]any
		want    string
	}{
		{"1", map[string]any{"who": "m-1", "kg": 2.0}, "Entered alone bins/b-1 m-1 10"},
		{"2", map[string]any{"who": "m-2", "kg": 1.0}, "Entered alone bins/b-1 m-2 5"},
		{"3", map[string]any{"kg": 1.0}, ""},
		{"4", map[string]any{"who": "", "kg": 1.0}, ""},
		{"5", map[string]any{"who": "m-1", "kg": 0.0}, ""},
		{"7", map[string]any{"who": "m\x00", "kg": 1.0}, ""}, // no database has such a text
		{"8", map[string]any{"who": "m-1", "kg": 1e300}, "Raised both bins/b-1"},
		{"6", map[string]any{"who": "m-1", "kg": 101.0}, "Entered alone bins/b-1 m-1 505; Entered both bins/b-1 m-1 101; Joined both bins/b-1"},
	} {
		if got := step(tc.id, tc.payload); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.id, got, tc.want)
		}
	}
	for _, tc := range [][4]float64{{20, 0, 5, 5}, {20, 18, 5, 2}, {20, 20, 5, 0}, {20, 25, 5, 0}} {
		if got := Capped(&tc[0], tc[1], tc[2]); got != tc[3] {
			t.Errorf("of %g at most %g, and %g there: %g, want %g", tc[2], tc[0], tc[1], got, tc[3])
		}
	}
	if Capped(nil, 100, 5) != 5 {
		t.Error("without a bound it is bounded")
	}
}

// TestWhatSingleMessagesCannotDo: what would be half served is refused, with what to write.
func TestWhatSingleMessagesCannotDo(t *testing.T) {
	when, grid := "msg.event == 'File'", "Grid"
	ledger := &contract.Ledger{Name: "l", Subject: "msg.who", Amount: "1"}
	for name, tc := range map[string]struct {
		s    contract.Scenario
		want string
	}{
		"an act that counts":     {contract.Scenario{Profile: contract.CaseProfile, Act: "Reopen", Terms: []contract.Term{{When: when, Count: &contract.Count{AtLeast: 2, WithinSeconds: 60, Scope: grid}}}}, "act: is of single messages"},
		"a ledger that waits":    {contract.Scenario{Profile: "bin", Ledger: ledger, Trigger: contract.Trigger{When: "msg.kg > 1.0", ForSeconds: 60}}, "ledger: is of single messages"},
		"a ledger that recalls":  {contract.Scenario{Profile: "bin", Ledger: ledger, Trigger: contract.Trigger{When: "msg.kg > 1.0 && !state.open"}}, "ledger: is of single messages; leave baseline and state out"},
		"an act that ends":       {contract.Scenario{Profile: contract.CaseProfile, Act: "Reopen", Trigger: contract.Trigger{When: when, Clear: "msg.event == 'x'"}}, "act: is done at once, and there is no alarm"},
		"an absent change":       {contract.Scenario{Profile: contract.CaseProfile, CaseClass: "x", Trigger: contract.Trigger{Absent: &contract.Absent{Event: when, Seconds: 60}}}, "trigger.when: is of changes and answers"},
		"a case from one case":   {contract.Scenario{Profile: contract.CaseProfile, CaseClass: "x", Trigger: contract.Trigger{When: when}}, "trigger.count: is needed"},
		"an answer that lasts":   {contract.Scenario{Profile: contract.CommandProfile, CaseClass: "x", Trigger: contract.Trigger{When: "msg.state == 'Failed'", ForSeconds: 5}}, "trigger.when: is of changes and answers"},
		"a field that none has":  {contract.Scenario{Profile: contract.CaseProfile, Act: "Reopen", Trigger: contract.Trigger{When: "msg.events == 'x'"}}, "field msg.events is not in the profile; its fields are channel, class, event"},
		"a subject that no has":  {contract.Scenario{Profile: "bin", Ledger: &contract.Ledger{Name: "l", Subject: "msg.whom", Amount: "1"}, Trigger: contract.Trigger{When: "msg.kg > 1.0"}}, "ledger.subject"},
		"an amount that is none": {contract.Scenario{Profile: "bin", Ledger: &contract.Ledger{Name: "l", Subject: "msg.who", Amount: "1 +"}, Trigger: contract.Trigger{When: "msg.kg > 1.0"}}, "ledger.amount: no valid CEL"},
	} {
		_, problems := Check(contract.Rules{Scenarios: map[string]contract.Scenario{"s": tc.s}, Profiles: map[string]contract.Profile{"bin": {Fields: map[string]contract.Field{"who": {Type: "String"}, "kg": {Type: "Number"}}}}})
		if len(problems) == 0 || !strings.Contains(problems[0].Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, problems, tc.want)
		}
	}
}
