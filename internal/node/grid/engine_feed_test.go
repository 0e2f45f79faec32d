package grid

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// acting are scenarios that look at changes of cases, as they are shipped.
func acting(b *intake.Bundle) {
	p := b.Directory.Platform
	p.SLA[contract.SeverityLow] = contract.SLA{AcknowledgeSeconds: 1, ResolveSeconds: 9000}
	p.BadScore = 1
	b.Directory.Platform = p
	b.Rules.Scenarios["s35"] = contract.Scenario{Profile: contract.CaseProfile, Act: contract.ActEscalate, DataClass: "C1",
		Trigger: contract.Trigger{When: "msg.event in ['AcknowledgeOverdue', 'ResolveOverdue'] && msg.source == 'Resident'", Unless: "context.disaster == true"}}
	b.Rules.Scenarios["s40"] = contract.Scenario{Profile: contract.CaseProfile, Act: contract.ActReopen, DataClass: "C1", Params: map[string]any{"score": int64(2)},
		Trigger: contract.Trigger{When: "msg.event == 'Rate' && msg.score <= params.score"}}
}

// readAll waits until the engine has read the whole feed.
func (w *world) readAll() {
	w.t.Helper()
	eventually(w.t, "the engine has read the feed", func() bool {
		return number(w.t, w.pool, "SELECT count(*) FROM grid.changes WHERE n IS NULL") == 0 &&
			number(w.t, w.pool, "SELECT (SELECT n FROM grid.feed_position WHERE reader = $1) - (SELECT n FROM grid.feed_position WHERE reader = $2)", changesReader, feedSequencer) >= 0
	})
}

// again has the engine read the feed once more from its beginning, by another session.
func (w *world) again() {
	w.t.Helper()
	w.stop()
	if _, err := w.pool.Exec(w.t.Context(), "UPDATE grid.feed_position SET n = 0 WHERE reader = $1", changesReader); err != nil {
		w.t.Fatal(err)
	}
	w.begin()
	w.readAll()
}

// TestScenariosActOnCases: a resident's case that misses a time goes a level further, one that is rated badly is done again; once each, by the system in
// the scenario's name, whatever is read twice.
func TestScenariosActOnCases(t *testing.T) {
	t.Parallel()
	w := newPeopleWorldWith(t, acting, func(*service) {})
	boss, resident := w.token("committee", "p-9", RoleDispatcher), w.token("committee", "r-1", RoleResident)
	ref, got := w.reportAs(resident, "key-0001", lamp())
	if got != 201 {
		t.Fatal(got)
	}
	path := "/v1/cases/" + ref.ID.String()
	acts := func() int64 {
		return number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE case_id = $1 AND action = 'ScenarioActed'", ref.ID)
	}
	eventually(t, "the time is missed", func() bool {
		return number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE case_id = $1 AND action = 'AcknowledgeOverdue'", ref.ID) > 0
	})
	eventually(t, "it goes a level further", func() bool { return acts() > 0 })
	var entry HistoryEntry
	d, _ := w.detail(path, boss)
	for _, h := range d.History {
		if h.Action == "ScenarioActed" {
			entry = h
		}
	}
	if entry.Actor.Kind != "System" || entry.Detail["scenario"] != "s35" || entry.Detail["act"] != contract.ActEscalate {
		t.Errorf("who acted: %+v", entry)
	}
	w.close(path, boss, Acknowledge) // no time is missed from here on
	w.readAll()                      // and what was missed is acted upon while the case is open
	w.close(path, boss, RequestVerification, Close)
	w.readAll()
	before := acts()
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE case_id = $1 AND action IN ('Escalated', 'NobodyToEscalateTo') AND detail->>'missed' = 'Scenario'", ref.ID); n != before {
		t.Errorf("escalated %d times by %d acts", n, before)
	}
	if overdue := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE case_id = $1 AND action = 'AcknowledgeOverdue'", ref.ID); before != overdue {
		t.Errorf("%d acts, and the time was missed %d times", before, overdue)
	}
	if got := w.call("POST", path+"/ratings", resident, Rating{Score: 2, Receipt: ref.Receipt}, nil); got != 200 {
		t.Fatal(got)
	}
	eventually(t, "it is done again", func() bool { return acts() > before })
	d, actions := w.detail(path, boss)
	if d.State != Handling || d.Reopened != 1 || !slices.Contains(actions, "Rework") || d.ResolveDue == nil {
		t.Errorf("after a bad rating: %v %+v", actions, d.Case)
	}
	w.again()
	w.again()
	if after, _ := w.detail(path, boss); after.Version != d.Version || acts() != before+1 {
		t.Errorf("read twice, it acts twice: version %d, then %d", d.Version, after.Version)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.changes WHERE cause = 'scenario/s40' AND case_id = $1 AND kind IN ('ScenarioActed', 'Rework')", ref.ID); n != 2 {
		t.Errorf("%d changes name their cause", n)
	}
}

// TestActsDoNotLoop: scenarios for which every change is one act once for each change of others, and never upon each other's.
func TestActsDoNotLoop(t *testing.T) {
	t.Parallel()
	w := newPeopleWorldWith(t, func(b *intake.Bundle) {
		for _, name := range []string{"one", "two"} {
			b.Rules.Scenarios[name] = contract.Scenario{Profile: contract.CaseProfile, Act: contract.ActEscalate, Trigger: contract.Trigger{When: "msg.event != ''"}}
		}
		b.Rules.Scenarios["back"] = contract.Scenario{Profile: contract.CaseProfile, Act: contract.ActReopen, Trigger: contract.Trigger{When: "msg.state == 'Closed'"}}
	}, func(*service) {})
	boss := w.token("committee", "p-9", RoleDispatcher)
	ref, got := w.reportAs(w.token("committee", "r-1", RoleResident), "key-0001", lamp())
	if got != 201 {
		t.Fatal(got)
	}
	path := "/v1/cases/" + ref.ID.String()
	w.close(path, boss, Acknowledge, RequestVerification, Close)
	count := func(where string) int64 {
		return number(t, w.pool, "SELECT count(*) FROM grid.changes WHERE case_id = $1 AND "+where, ref.ID)
	}
	eventually(t, "it is reopened", func() bool { return count("kind = 'ScenarioActed' AND cause = 'scenario/back'") == 1 })
	once := func(when string) {
		t.Helper()
		w.readAll()
		for _, name := range []string{"one", "two"} {
			if acted, others := count("kind = 'ScenarioActed' AND cause = 'scenario/"+name+"'"), count("cause = ''"); acted > others || acted == 0 {
				t.Errorf("%s: %s acts %d times upon %d changes", when, name, acted, others)
			}
		}
	}
	once("at first")
	w.again() // now the case is open, for which it was too late before
	once("read again")
	version, _ := w.detail(path, boss)
	w.again()
	if again, _ := w.detail(path, boss); again.Version != version.Version {
		t.Errorf("read once more, version %d becomes %d", version.Version, again.Version)
	}
}

// critical reports a critical case in a grid, files it, and gives it.
func (w *world) critical(grid string) uuid.UUID {
	w.t.Helper()
	now := time.Now()
	c := &Case{Community: "jinghu", Grid: grid, Class: "fire", Severity: contract.SeverityCritical, Title: "synthetic", Source: SourceSystem, DataClass: "C0", StartedAt: now, LastSignalAt: now}
	if err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		if err := insert(w.t.Context(), tx, w.bundle.Directory, c, system, now, nil); err != nil {
			return err
		}
		return move(w.t.Context(), tx, w.bundle.Directory.Platform, c, File, system, now, nil, nil)
	}); err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

// TestThreeCriticalCasesAreAResponse: it is opened in the grid where they are, with a session that ends in between and a feed that is read twice; and it
// counts for no other.
func TestThreeCriticalCasesAreAResponse(t *testing.T) {
	t.Parallel()
	w := newPeopleWorldWith(t, func(b *intake.Bundle) {
		b.Rules.Scenarios["s30"] = contract.Scenario{Profile: contract.CaseProfile, CaseClass: "emergency-response", Severity: contract.SeverityCritical, Title: "一键响应 ${community}", DataClass: "C1", MergeBy: "Grid",
			DedupSeconds: 3600, Terms: []contract.Term{{When: "msg.event == 'File' && msg.severity == 'Critical'", Count: &contract.Count{AtLeast: 3, WithinSeconds: 600, DistinctBy: "msg.number", Scope: "Grid"}}},
			Responders: []contract.Responder{{Post: "GridWorker"}, {Duty: "fire"}}}
	}, func(*service) {})
	responses := func() (out []string) {
		rows, err := w.pool.Query(t.Context(), "SELECT community || '/' || grid || ' ' || state || ' ' || source || ' ' || fleet || device || ' ' || severity || ' ' || signals FROM grid.cases WHERE class = 'emergency-response' ORDER BY number")
		if err != nil {
			t.Fatal(err)
		}
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	w.critical("g1")
	w.critical("g2")
	w.critical("g1")
	w.readAll()
	w.again() // what it has read before is no other case
	w.critical("g2")
	w.readAll()
	if got := responses(); len(got) != 0 {
		t.Fatalf("too early: %v", got)
	}
	w.stop()
	w.begin()
	w.critical("g1")
	eventually(t, "a response", func() bool { return len(responses()) > 0 })
	w.readAll()
	w.again()
	want := "jinghu/g1 Dispatched System  Critical 1"
	if got := responses(); len(got) != 1 || got[0] != want {
		t.Fatalf("%q, want %q", got, want)
	}
	w.critical("g1") // a fourth joins; what was opened for the three does not
	eventually(t, "it joins", func() bool { return strings.HasSuffix(responses()[0], "Critical 2") })
	w.readAll()
	if got := responses(); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE derived"); n != 1 {
		t.Errorf("%d cases are marked as opened upon changes", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_parties p JOIN grid.cases c ON c.id = p.case_id WHERE c.derived AND (p.post = 'GridWorker' OR p.organization = 'fire-xinxiang')"); n != 2 {
		t.Errorf("%d are called, want the post and the fire brigade", n)
	}
}

// TestTheEngineBeginsWhereTheFeedStands: what was before the engine read the feed is not acted upon, and what comes while no scenario looks is passed over.
func TestTheEngineBeginsWhereTheFeedStands(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	first := w.critical("g1")
	w.readAll()
	w.stop()
	if _, err := w.pool.Exec(t.Context(), "DELETE FROM grid.feed_position WHERE reader = $1", changesReader); err == nil {
		t.Fatal("the grid service may delete positions")
	}
	b := *w.bundle
	b.Rules.Scenarios = map[string]contract.Scenario{"all": {Profile: contract.CaseProfile, Act: contract.ActEscalate, Trigger: contract.Trigger{When: "msg.event == 'File'"}}}
	w.in = intake.NewStatic(&b)
	w.begin()
	second := w.critical("g1")
	acted := func(id uuid.UUID) int64 {
		return number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE case_id = $1 AND action = 'ScenarioActed'", id)
	}
	eventually(t, "what comes is acted upon", func() bool { return acted(second) == 1 })
	if n := acted(first); n != 0 {
		t.Errorf("%d acts upon what was before", n)
	}
}

// TestChangesAsTheEngineSeesThem holds the fields against a case.
func TestChangesAsTheEngineSeesThem(t *testing.T) {
	b := testBundle("", "")
	score := 2
	d := b.Fleets["smokes"].Devices["s1"]
	d.Compound, d.Household = "garden", "h-1"
	b.Fleets["smokes"].Devices["s1"] = d
	x := caseChange{changeRow: changeRow{N: 7, ChangedAt: time.Unix(100, 0), Kind: "Rate", Case: Case{ID: uuid.Nil, Number: "20260302-000007", Community: "jinghu", Grid: "g1", MicroGrid: "m1", Fleet: "smokes", Device: "s1",
		Class: "fire", Severity: contract.SeverityHigh, Scenario: "s10", Source: SourceDevice, Level: 2, Score: &score, OnSiteOverdue: true, State: Handling}}, After: Rated, Derived: true}
	m := x.message(b)
	if got, want := fmt.Sprint(m.Payload), "map[channel: class:fire event:Rate level:2 number:20260302-000007 overdue:true scenario:s10 score:2 severity:High source:Device state:Rated]"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if !m.Derived || m.Row.Compound != "garden" || m.Row.MicroGrid != "m1" || m.Row.Household != "h-1" || m.Row.Community != "jinghu" || m.ID != "change 7" || m.Profile != contract.CaseProfile {
		t.Errorf("%+v", m)
	}
	profile, _ := contract.InputProfile(contract.CaseProfile)
	for name := range m.Payload {
		if _, ok := profile.Fields[name]; !ok {
			t.Errorf("field %s is in no profile", name)
		}
	}
	if x.Score = nil; x.message(b).Payload["score"] != nil {
		t.Error("a case that nobody rated has a score")
	}
}
