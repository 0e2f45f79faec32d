package grid

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestAnAlarmOfAGridIsAOneKeyResponse: what scene S30 opens calls every post of the grid as POST /v1/incidents does, once, and who does not answer is
// passed over to the next level. An alarm of the class that is of no grid is a case with responders and nothing else.
func TestAnAlarmOfAGridIsAOneKeyResponse(t *testing.T) {
	t.Parallel()
	scene := contract.Scenario{Profile: contract.CaseProfile, CaseClass: classEmergency, Severity: contract.SeverityCritical, Title: "一键响应", DataClass: "C1", MergeBy: "Grid", DedupSeconds: 3600,
		Terms:      []contract.Term{{When: "msg.event == 'File' && msg.severity == 'Critical'", Count: &contract.Count{AtLeast: 3, WithinSeconds: 600, DistinctBy: "msg.number", Scope: "Grid"}}},
		Responders: []contract.Responder{{Post: "worker"}}}
	alone := scene
	alone.Profile, alone.MergeBy, alone.Terms, alone.Trigger, alone.Severity = "smoke", "", nil, contract.Trigger{When: "msg.smoke == true", DedupSeconds: 600}, contract.SeverityHigh
	w, clock := newCallWorld(t, func(b *intake.Bundle) { b.Rules.Scenarios = map[string]contract.Scenario{"s30": scene, "alone": alone} })
	street := func() string { return w.tokenAt(clock, "street", RoleCommander) }
	opened := func(scenario string) (id uuid.UUID) {
		t.Helper()
		eventually(t, "the case of "+scenario, func() bool {
			return w.pool.QueryRow(t.Context(), "SELECT id FROM grid.cases WHERE scenario = $1 AND state = 'Dispatched'", scenario).Scan(&id) == nil
		})
		return id
	}
	w.send("s1", 1, `{"smoke":true}`)
	if got := w.call("GET", "/v1/incidents/"+opened("alone").String(), street(), nil, nil); got != 404 {
		t.Errorf("an alarm of a device: %d, want 404", got)
	}
	for range 3 {
		w.critical("g1")
	}
	path, i := "/v1/incidents/"+opened("s30").String(), Incident{}
	w.critical("g1")
	eventually(t, "a fourth joins", func() bool {
		return number(t, w.pool, "SELECT signals FROM grid.cases WHERE scenario = 's30'") == 2
	})
	if got := w.call("GET", path, street(), nil, &i); got != 200 {
		t.Fatal(got)
	}
	w.wantAnswers("at once", i.Calls, partyCall, "0 g1/m1/keeper missing", "0 g1/m2/guard missing", "0 g1/m2/keeper missing", "1 g1/worker missing", "2 clerk missing")
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_parties p JOIN grid.cases c ON c.id = p.case_id WHERE c.scenario = 's30' AND p.kind = 'Responder'"); n != 1 {
		t.Errorf("%d responders of the scene, want 1", n)
	}
	for _, post := range []string{"g1/m1/keeper", "g1/m2/guard", "g1/m2/keeper", "clerk"} {
		if got := w.call("POST", path+"/ack", w.tokenAt(clock, "committee", RoleDispatcher), map[string]any{"post": post}, &i); got != 200 {
			t.Fatalf("%s: %d", post, got)
		}
	}
	if i.State != Handling || i.Answered != 4 {
		t.Errorf("%+v", i)
	}
	clock.forward(callWithin + time.Second)
	w.sweepAhead(clock)
	if got := w.call("GET", path, street(), nil, &i); got != 200 {
		t.Fatal(got)
	}
	w.wantAnswers("missed", i.Calls, partyCall, "0 g1/m1/keeper after 0s", "0 g1/m2/guard after 0s", "0 g1/m2/keeper after 0s", "1 g1/worker missing", "2 clerk after 0s", "2 committee missing")
}

// TestAOneKeyAlarmWithoutResponders: the calls are what it is dispatched to, and where no post stands it says so.
func TestAOneKeyAlarmWithoutResponders(t *testing.T) {
	t.Parallel()
	s := newAlarmStage(t)
	scene := s.b.Rules.Scenarios["s10"]
	scene.CaseClass, scene.MergeBy, scene.Responders = classEmergency, "Grid", nil
	s.b.Rules.Scenarios["s30"] = scene
	s.event("Raised", "s30", "s1", 0, 0)
	s.want("called", "Dispatched Critical 1 1 burns 0")
	if n := number(t, s.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Call'"); n != 1 {
		t.Errorf("%d calls run, want that of the post of the grid", n)
	}
	row := s.b.Fleets["smokes"].Devices["s2"]
	row.Grid = "g2"
	s.b.Fleets["smokes"].Devices["s2"] = row
	s.event("Raised", "s30", "s2", 1, 1)
	s.want("nobody stands there", "Dispatched Critical 1 1 burns 0", "Filed Critical 1 1 burns 1")
	if n := number(t, s.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'NobodyToDispatchTo'"); n != 2 {
		t.Errorf("it is said %d times that the scene names nobody, want 2", n)
	}
}
