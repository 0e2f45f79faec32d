package grid

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// placesBundle has scenarios whose alarms are of places: two detectors of a building make one, two buildings of a compound make those graver, and
// so does thick smoke in the compound.
func placesBundle(b *intake.Bundle) {
	where := map[string][2]string{"s1": {"garden", "7"}, "s2": {"garden", "7"}, "s3": {"garden", "8"}, "s01": {"garden", "8"}, "s02": {"garden", "9"}, "s03": {"yard", "1"}, "s04": {"yard", "1"}}
	for name, at := range where {
		b.Fleets["smokes"].Devices[name] = contract.Device{Community: "jinghu", Grid: "g1", Compound: at[0], Building: at[1]}
	}
	called := []contract.Responder{{Duty: "fire"}}
	b.Rules.Scenarios = map[string]contract.Scenario{
		"many": {Profile: "smoke", CaseClass: "fire", Severity: contract.SeverityHigh, Title: "火", DataClass: "C0", Responders: []contract.Responder{{Post: "GridWorker"}}, DedupSeconds: 600,
			Terms: []contract.Term{{When: "msg.smoke == true", Count: &contract.Count{AtLeast: 2, DistinctBy: "device.id", WithinSeconds: 600, Scope: "Building"}}},
			Raise: []contract.Raise{{Name: "second", Severity: contract.SeverityCritical, Responders: called, Count: &contract.Count{AtLeast: 2, WithinSeconds: 600, Scope: "Compound"}}}},
		"thick": {Profile: "smoke", CaseClass: "smoke", Severity: contract.SeverityMedium, Title: "烟", DataClass: "C0", Trigger: contract.Trigger{When: "msg.density > 50.0", Clear: "msg.density <= 50.0", DedupSeconds: 600},
			Combines: []contract.Combination{{Scenario: "many", Scope: "Compound", Severity: contract.SeverityCritical}}},
	}
}

// placesAre compares the cases, oldest first, as "<class> <scope> <place> <severity> <alarms> <signals>".
func (w *world) placesAre(what string, want ...string) {
	w.t.Helper()
	var got []string
	eventually(w.t, what, func() bool {
		rows, err := w.pool.Query(w.t.Context(), `SELECT c.class || ' ' || c.scope || ' ' || c.scope_id || ' ' || c.severity || ' ' || (SELECT count(*) FROM grid.case_alarms a WHERE a.case_id = c.id) || ' ' || c.signals
			FROM grid.cases c ORDER BY c.id`)
		if err != nil {
			w.t.Fatal(err)
		}
		if got, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			w.t.Fatal(err)
		}
		return cmp.Equal(want, got) || w.t.Context().Err() != nil
	})
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// TestAlarmsOfPlaces plays counts of a building, a raise over a compound and a combination through the service into a database.
func TestAlarmsOfPlaces(t *testing.T) {
	w := newWorldWith(t, placesBundle, func(*service) {})
	smoke := `{"smoke":true}`
	w.send("s1", 1, smoke)
	w.send("s1", 1, smoke) // the same one
	w.send("s2", 1, smoke)
	w.placesAre("a building", "fire Building jinghu/garden/7 High 1 1")
	w.send("s03", 1, smoke)
	w.send("s04", 1, smoke)
	w.placesAre("of another compound", "fire Building jinghu/garden/7 High 1 1", "fire Building jinghu/yard/1 High 1 1")
	w.stop()
	w.begin() // what was counted is known to whoever goes on
	w.send("s3", 1, smoke)
	w.send("s01", 1, smoke)
	w.placesAre("a second building", "fire Building jinghu/garden/7 Critical 1 1", "fire Building jinghu/yard/1 High 1 1", "fire Building jinghu/garden/8 Critical 1 1")
	w.send("s02", 1, `{"smoke":false,"density":60}`)
	w.placesAre("thick smoke beside it", "fire Building jinghu/garden/7 Critical 1 1", "fire Building jinghu/yard/1 High 1 1", "fire Building jinghu/garden/8 Critical 1 1",
		"smoke Device smokes/s02 Critical 1 1")
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_parties p JOIN grid.cases c ON c.id = p.case_id WHERE p.organization = 'fire-xinxiang' AND c.class = 'fire' AND c.severity = 'Critical'"); n != 2 {
		t.Errorf("the fire service is called to %d cases that became graver, want 2", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history h JOIN grid.cases c ON c.id = h.case_id WHERE h.action = 'SeverityRaised' AND c.scope_id = 'jinghu/garden/7'"); n != 1 {
		t.Errorf("the first building became graver %d times, want once", n)
	}
	w.stop()
	w.begin()
	w.send("s1", 1, smoke)
	w.placesAre("again, after a restart", "fire Building jinghu/garden/7 Critical 1 2", "fire Building jinghu/yard/1 High 1 1", "fire Building jinghu/garden/8 Critical 1 1",
		"smoke Device smokes/s02 Critical 1 1")
}

// TestAPlaceIsSettledOnce: an alarm of a place that is told twice is one; it goes into the case of its place, and one that was closed and reopened
// beside another keeps its own.
func TestAPlaceIsSettledOnce(t *testing.T) {
	s := newAlarmStage(t)
	placesBundle(s.b)
	at := func(place string) func(*rules.Event) {
		return func(e *rules.Event) { e.Scope, e.ID = rules.ScopeBuilding, "jinghu/garden/"+place }
	}
	s.event(rules.Raised, "many", "s1", 0, 0, at("7"))
	s.event(rules.Raised, "many", "s2", 0, 0, at("7")) // another of its devices is named as the cause: the alarm is the same
	s.event(rules.Raised, "many", "s3", 1, 1, at("8"))
	s.want("twice", "Dispatched High 1 1 burns 0", "Dispatched High 1 1 burns 1")
	s.event(rules.Worse, "many", "s1", 0, 2, at("7"), func(e *rules.Event) { e.Severity, e.With = contract.SeverityCritical, []string{"second"} })
	s.event(rules.Worse, "many", "s1", 0, 2, at("7"), func(e *rules.Event) { e.Severity, e.With = contract.SeverityCritical, []string{"second"} })
	s.want("graver", "Dispatched Critical 1 1 burns 0", "Dispatched High 1 1 burns 1")
	s.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $1 WHERE scope_id = 'jinghu/garden/7'", s.at.Add(5*time.Minute))
	s.event(rules.Raised, "many", "s2", 10, 10, at("7"))
	if err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		c, err := oneCase(t.Context(), tx, "c.state = 'Closed' FOR UPDATE")
		if err != nil {
			return err
		}
		return move(t.Context(), tx, s.b.Directory.Platform, c, Reopen, Actor{Role: RoleDispatcher}, s.at, nil, nil)
	}); err != nil {
		t.Fatal(err)
	}
	s.event(rules.Cleared, "many", "s1", 0, 11, at("7"))
	s.event(rules.Joined, "many", "s1", 10, 12, at("7"))
	s.want("reopened beside an open one", "Reopened Critical 1 1 cleared 0", "Dispatched High 1 1 burns 1", "Dispatched High 1 2 burns 10")
}
