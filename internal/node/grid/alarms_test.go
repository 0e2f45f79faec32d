package grid

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// stage takes events of the engine to a database.
type alarmStage struct {
	t    *testing.T
	pool *pgxpool.Pool
	b    *intake.Bundle
	at   time.Time
}

func newAlarmStage(t *testing.T) *alarmStage {
	cfg, _ := database(t)
	b := testBundle("https://example.test", "")
	heat := b.Rules.Scenarios["s10"]
	heat.Severity, heat.MergeBy = contract.SeverityMedium, "Building"
	heat.Raise = []contract.Raise{{Name: "second", Severity: contract.SeverityCritical, Responders: []contract.Responder{{Duty: "property"}}}}
	b.Rules.Scenarios["heat"] = heat
	b.Directory.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"410702001001"}, Duties: []string{"property"}, Webhook: &contract.Webhook{URL: "https://example.test/p"}}
	for _, n := range []string{"s1", "s2", "s3"} {
		b.Fleets["smokes"].Devices[n] = contract.Device{Community: "jinghu", Grid: "g1", Compound: "garden", Building: "7"}
	}
	b.Fleets["smokes"].Devices["s3"] = contract.Device{Community: "jinghu", Grid: "g1"}
	return &alarmStage{t, poolOf(t, cfg), b, time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)}
}

// event takes an event of a device's alarm that began a number of minutes after the stage's time, and happens at another.
func (s *alarmStage) event(kind rules.Kind, scenario, device string, start, at int, change ...func(*rules.Event)) {
	s.t.Helper()
	minute := func(n int) time.Time { return s.at.Add(time.Duration(n) * time.Minute) }
	e := rules.Event{Kind: kind, Scenario: scenario, Scope: rules.ScopeDevice, ID: "smokes/" + device, Fleet: "smokes", Device: device,
		Start: minute(start), Began: minute(start), At: minute(at), Severity: s.b.Rules.Scenarios[scenario].Severity}
	for _, f := range change {
		f(&e)
	}
	if err := pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error { return settle(s.t.Context(), tx, s.b, e, minute(at)) }); err != nil {
		s.t.Fatalf("%s %s %s: %v", kind, scenario, device, err)
	}
}

// want compares the cases, oldest first, as "<state> <severity> <alarms that stand> <signals> <cleared> <minute it began>".
func (s *alarmStage) want(what string, want ...string) {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `SELECT c.state || ' ' || c.severity || ' ' || (SELECT count(*) FROM grid.case_alarms a WHERE a.case_id = c.id AND a.retracted_at IS NULL) || ' ' || c.signals
		|| ' ' || CASE WHEN c.cleared_at IS NULL THEN 'burns' ELSE 'cleared' END || ' ' || (extract(epoch FROM c.started_at - $1::timestamptz) / 60)::int FROM grid.cases c ORDER BY c.id`, s.at)
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		s.t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func (s *alarmStage) exec(q string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), q, args...); err != nil {
		s.t.Fatal(err)
	}
}

func TestAnAlarmGoesIntoACaseOnce(t *testing.T) {
	t.Parallel()
	s := newAlarmStage(t)
	s.event(rules.Raised, "s10", "s1", 0, 0)
	s.event(rules.Raised, "s10", "s1", 0, 1)
	s.want("told twice", "Dispatched Critical 1 1 burns 0")
	s.event(rules.Joined, "s10", "s1", 0, 1)
	s.event(rules.Moved, "s10", "s1", 0, 2, func(e *rules.Event) { e.Began = e.Began.Add(-3 * time.Minute) })
	s.want("moved", "Dispatched Critical 1 2 burns -3")
	s.event(rules.Cleared, "s10", "s1", 0, 3)
	s.want("cleared", "Dispatched Critical 1 2 cleared -3")
	s.event(rules.Joined, "s10", "s1", 0, 4)
	s.want("burns again", "Dispatched Critical 1 3 burns -3")
	for _, k := range []rules.Kind{rules.Cleared, rules.Moved, rules.Worse, rules.Retracted} {
		s.event(k, "s10", "s2", 0, 5) // of an alarm that nobody told
	}
	s.want("unknown", "Dispatched Critical 1 3 burns -3")
}

func TestLateEvidenceTakesACaseBack(t *testing.T) {
	t.Parallel()
	s := newAlarmStage(t)
	s.event(rules.Raised, "s10", "s1", 0, 0)
	s.event(rules.Retracted, "s10", "s1", 0, 1)
	s.want("nobody took it", "Void Critical 0 1 burns 0")
	if n := number(t, s.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE type = $1 AND organization = 'fire-xinxiang'", EventVoided); n != 1 {
		t.Errorf("%d messages say so, want 1", n)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.case_parties WHERE released_at IS NULL"); n != 0 {
		t.Errorf("%d are called still", n)
	}
	s.event(rules.Raised, "s10", "s1", 0, 2)
	s.want("raised again under its name", "Void Critical 0 1 burns 0", "Dispatched Critical 1 1 burns 0")
	s.exec("UPDATE grid.cases SET state = 'Handling', acknowledged_at = now() WHERE open")
	s.event(rules.Retracted, "s10", "s1", 0, 3)
	s.want("somebody is on the way", "Void Critical 0 1 burns 0", "Handling Critical 0 1 burns 0")
}

func TestScenariosOfAClassShareACase(t *testing.T) {
	t.Parallel()
	s := newAlarmStage(t)
	for name, x := range s.b.Rules.Scenarios {
		x.MergeBy = "Building"
		s.b.Rules.Scenarios[name] = x
	}
	s.event(rules.Raised, "heat", "s1", 0, 0)
	s.want("one", "Dispatched Medium 1 1 burns 0")
	s.event(rules.Worse, "heat", "s1", 0, 1, func(e *rules.Event) { e.Severity, e.With = contract.SeverityCritical, []string{"second"} })
	s.want("worse", "Dispatched Critical 1 1 burns 0")
	due := number(t, s.pool, "SELECT extract(epoch FROM acknowledge_due - $1::timestamptz)::bigint FROM grid.cases", s.at)
	if due != 60+120 {
		t.Errorf("to be acknowledged within %d s, want 180: two minutes from when it got worse", due)
	}
	for typ, want := range map[string]int64{EventDispatched + " property": 1, EventDispatched + " fire-xinxiang": 1, EventEscalated + " fire-xinxiang": 1, EventEscalated + " property": 0} {
		if n := number(t, s.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE type || ' ' || organization = $1", typ); n != want {
			t.Errorf("%d messages %s, want %d", n, typ, want)
		}
	}
	s.event(rules.Moved, "heat", "s1", 0, 1) // it is Medium again; the case is not, unless people say so
	s.event(rules.Raised, "s10", "s2", 2, 2)
	s.want("another detector, another scenario", "Dispatched Critical 2 2 burns 0")
	s.event(rules.Cleared, "heat", "s1", 0, 3)
	s.want("one of two", "Dispatched Critical 2 2 burns 0")
	s.event(rules.Retracted, "heat", "s1", 0, 3)
	s.want("one taken back", "Dispatched Critical 1 2 burns 2")
	s.event(rules.Cleared, "s10", "s2", 2, 4)
	s.want("both", "Dispatched Critical 1 2 cleared 2")
	s.event(rules.Raised, "s10", "s3", 5, 5)
	s.want("in no building", "Dispatched Critical 1 2 cleared 2", "Dispatched Critical 1 1 burns 5")
}

// A case that is reopened while another of the same is open stays beside it.
func TestReopenedBesideAnother(t *testing.T) {
	t.Parallel()
	s := newAlarmStage(t)
	s.event(rules.Raised, "s10", "s1", 0, 0)
	s.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $1", s.at.Add(time.Minute))
	s.event(rules.Raised, "s10", "s1", 20, 20)
	if err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		c, err := oneCase(t.Context(), tx, "c.state = 'Closed' FOR UPDATE")
		if err != nil {
			return err
		}
		return move(t.Context(), tx, s.b.Directory.Platform, c, Reopen, Actor{Role: RoleDispatcher}, s.at, nil, nil)
	}); err != nil {
		t.Fatal(err)
	}
	s.event(rules.Raised, "s10", "s1", 40, 40)
	s.want("the younger takes it", "Reopened Critical 1 1 burns 0", "Dispatched Critical 2 2 burns 20")
}

// TestOpenCasesGetTheirKey: what was open before the merge key goes on, and of two that would be one now the older takes what comes.
func TestOpenCasesGetTheirKey(t *testing.T) {
	_, owner := database(t)
	name := owner.Name + "_keys"
	exec1(t, owner, "CREATE DATABASE "+name)
	owner.Name = name
	upTo(t, owner, 85)
	for i, c := range []struct{ scenario, state string }{{"a", "Closed"}, {"a", "Handling"}, {"b", "Dispatched"}} {
		exec1(t, owner, `INSERT INTO grid.cases (id, number, community, fleet, device, scenario, class, severity, title, state, source, started_at, last_signal_at, opened_at, updated_at)
			VALUES ($1::text::uuid, $1, 'c', 'f', 'd', $2, 'x', 'Low', 't', $3, 'Device', '2026-01-01', now(), now(), now())`, fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i), c.scenario, c.state)
	}
	exec1(t, owner, `INSERT INTO grid.case_history (case_id, n, at, action, from_state, to_state, actor, detail)
		SELECT id, 1, now(), 'AlarmMerged', state, state, 'Device', '{"start": "2026-01-02T00:00:00.5Z"}' FROM grid.cases WHERE state = 'Handling'`)
	upTo(t, owner, 86)
	for what, condition := range map[string]string{
		"keys":            "(SELECT string_agg(right(id::text, 1) || merge_key, ' ' ORDER BY id) = '0x|Device|f/d 1x|Device|f/d 2' FROM grid.cases)",
		"the younger":     "(SELECT right(case_id::text, 1) = '1' FROM grid.case_alarms WHERE scenario = 'a' AND start = '2026-01-01')",
		"the merged":      "(SELECT right(case_id::text, 1) = '1' FROM grid.case_alarms WHERE start = '2026-01-02 00:00:00.5+00')",
		"all of them":     "(SELECT count(*) = 3 FROM grid.case_alarms WHERE scope = 'Device' AND scope_id = 'f/d')",
		"the other class": "to_regclass('grid.cases_open_device') IS NULL",
	} {
		if err := try(t, owner, "SELECT 1 / ("+condition+")::int"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func upTo(t *testing.T, owner contract.DatabaseConfig, version int64) {
	t.Helper()
	for _, schema := range contract.DatabaseSchemas() {
		exec1(t, owner, "CREATE SCHEMA IF NOT EXISTS "+schema)
	}
	p := provider(t, owner)
	if _, err := p.UpTo(context.Background(), version); err != nil {
		t.Fatal(err)
	}
}
