package grid

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// places is a directory with somebody on every level, and some who are not.
func places() contract.Directory {
	return contract.Directory{
		Communities: map[string]contract.Community{
			"c": {Division: "410702001001", Posts: []string{"clerk"}, Grids: []contract.Grid{
				{Name: "g1", Posts: []string{"worker"}, MicroGrids: []contract.MicroGrid{{Name: "m1", Posts: []string{"keeper"}, Buildings: []string{"7"}}}}, {Name: "g2"}}},
			"one": {Division: "410702001002", Grids: []contract.Grid{{Posts: []string{"alone"}}}},
		},
		Organizations: map[string]contract.Organization{
			"committee": {Type: "Committee", Jurisdiction: []string{"410702001001"}}, "elsewhere": {Type: "Committee", Jurisdiction: []string{"410702001009"}},
			"street": {Type: "Township", Jurisdiction: []string{"410702001"}}, "works": {Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"municipal"}},
			"health": {Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"health"}}, "province": {Type: "Department", Jurisdiction: []string{"41"}, Duties: []string{"water"}},
			"fire": {Type: "Fire", Jurisdiction: []string{"4107"}, Duties: []string{"fire"}},
		},
	}
}

func TestChain(t *testing.T) {
	d := places()
	for _, tc := range []struct {
		name   string
		c      Case
		level  int
		duties []string
		want   string
	}{
		{"micro-grid", Case{Community: "c", Grid: "g1", MicroGrid: "m1"}, levelMicroGrid, nil, "[keeper] []"},
		{"no micro-grid", Case{Community: "c", Grid: "g1"}, levelMicroGrid, nil, "[] []"},
		{"grid", Case{Community: "c", Grid: "g1"}, levelGrid, nil, "[worker] []"},
		{"an empty grid", Case{Community: "c", Grid: "g2"}, levelGrid, nil, "[] []"},
		{"one of two grids, not said which", Case{Community: "c"}, levelGrid, nil, "[] []"},
		{"a community that is one grid", Case{Community: "one"}, levelGrid, nil, "[alone] []"},
		{"community", Case{Community: "c"}, levelCommunity, nil, "[clerk] [committee]"},
		{"no committee", Case{Community: "one"}, levelCommunity, nil, "[] []"},
		{"township", Case{Community: "one"}, levelTownship, nil, "[] [street]"},
		{"the department whose duty it is", Case{Community: "c"}, levelDepartment, []string{"fire", "municipal"}, "[] [works]"},
		{"one further up has the duty", Case{Community: "c", DataClass: "C3"}, levelDepartment, []string{"water"}, "[] [province]"},
		{"nobody's duty", Case{Community: "c", DataClass: "C1"}, levelDepartment, []string{}, "[] [health works]"},
		{"nobody's duty, and sensitive", Case{Community: "c", DataClass: "C2"}, levelDepartment, []string{"fire"}, "[] []"},
		{"nobody's duty, and more sensitive", Case{Community: "c", DataClass: "C3"}, levelDepartment, []string{"fire"}, "[] []"},
	} {
		posts, organizations := chain(d, &tc.c, tc.level, tc.duties)
		if got := fmt.Sprint(posts, " ", organizations); strings.Join(strings.Fields(got), " ") != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := d.Communities["c"].MicroGridOf("g1", "7") + d.Communities["c"].MicroGridOf("g1", "8") + d.Communities["c"].MicroGridOf("g2", "7"); got != "m1" {
		t.Errorf("micro-grid of a building: %q", got)
	}
}

// TestAMissedTimeGoesUp takes a case to the top: each level is called once, those that are empty are named, who was called before hears it,
// and at the top nothing runs any more.
func TestAMissedTimeGoesUp(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	s.b.Directory.Organizations["committee"] = contract.Organization{Type: "Committee", Jurisdiction: []string{"410702001001"}, Webhook: &contract.Webhook{URL: "https://example.test/c"}}
	id, w := s.open(contract.SeverityCritical), s.sweeper()
	for range 4 {
		s.at = s.at.Add(10 * time.Minute)
		s.act(id, Dispatch, nil) // dispatched again, it is at its level still
		s.sweepBoth(w)
		if s.count(id, "Escalated") == 1 && s.count(id, "NobodyToEscalateTo") == 0 {
			s.do(id, func(tx pgx.Tx, c *Case) error { // of the place: the department does not hold it yet
				if c.Level != levelCommunity || !c.AcknowledgeOverdue || c.AcknowledgeDue.After(s.at) {
					return fmt.Errorf("level %d, due %s", c.Level, c.AcknowledgeDue)
				}
				return nil
			})
		}
	}
	rows, err := s.pool.Query(t.Context(), `SELECT action || ' ' || concat_ws('-', detail->>'from', detail->>'to') || ' ' || concat(detail->>'posts', detail->>'organizations') || ' ' ||
		coalesce((SELECT string_agg(x->>'level' || ': ' || (x->>'because'), ', ') FROM jsonb_array_elements(CASE WHEN jsonb_typeof(detail->'skipped') = 'array' THEN detail->'skipped' ELSE '[]' END) x), '')
		FROM grid.case_history WHERE action IN ('Escalated', 'NobodyToEscalateTo') AND detail->>'missed' = 'Acknowledge' ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		`Escalated MicroGrid-Community ["clerk"]["committee"] Grid: who is there was called before`,
		`Escalated Community-Department ["city-works"] Township: nobody is there`,
		`NobodyToEscalateTo Department  `,
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.case_parties WHERE kind = 'Escalation' AND organization = 'city-works' AND level = 4 AND released_at IS NULL"); n != 1 {
		t.Errorf("the department was called %d times, want once", n)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = 'committee' AND type = $1", EventDispatched); n != 1 {
		t.Errorf("the committee was called by %d messages, want 1", n)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = 'committee' AND type = $1", EventEscalated); n != 1 {
		t.Errorf("the committee hears by %d messages that the case went up, want 1", n)
	}
	// It is called by the first time that is missed, and hears of each after that.
	if n := number(t, s.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = 'committee' AND type = $1 AND convert_from(payload, 'UTF8')::jsonb->'data'->'overdue' ? 'Acknowledge'", EventOverdue); n == 0 ||
		n != number(t, s.pool, "SELECT count(*) FROM grid.case_history WHERE action LIKE '%Overdue'")-1 {
		t.Errorf("the committee hears by %d messages that times were missed", n)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Acknowledge'"); n != 0 {
		t.Errorf("%d timers at the top, want none", n)
	}
}

// TestACaseThatAnotherHolds is left alone: a sweep does not wait, and what the other does meanwhile counts.
func TestACaseThatAnotherHolds(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	id := s.open(contract.SeverityMedium)
	s.at = s.at.Add(31 * time.Minute)
	s.do(id, func(tx pgx.Tx, c *Case) error {
		s.sweepBoth(s.sweeper(), s.sweeper())
		return move(t.Context(), tx, s.b.Directory.Platform, c, Acknowledge, Actor{Kind: "Person", Role: RoleDispatcher}, s.at, nil, nil)
	})
	s.sweepBoth(s.sweeper())
	if n := s.count(id, "AcknowledgeOverdue"); n != 0 {
		t.Errorf("%d entries of a time that was kept before a replica saw that it was missed", n)
	}
}

// TestACalendarMovesDues: a due that a new calendar moves away does not fire, not even on a replica that did not reckon the case anew yet.
func TestACalendarMovesDues(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	id := s.open(contract.SeverityLow) // to acknowledge by 10:00 of Friday
	s.at = s.at.Add(4 * time.Hour)
	s.b.Directory.Platform.Calendar = &contract.Calendar{Weekdays: []int{1, 2, 3, 4, 5}, Holidays: []string{"2026-03-06"}}
	s.do(id, func(tx pgx.Tx, c *Case) error {
		if missed, err := fire(t.Context(), tx, s.b, c, s.at); err != nil || len(missed) > 0 {
			return fmt.Errorf("missed on a holiday: %v, %w", missed, err)
		}
		return nil
	})
	var c Case
	s.do(id, func(_ pgx.Tx, got *Case) error { c = *got; return nil })
	if want := time.Date(2026, 3, 9, 10, 0, 0, 0, s.at.Location()); !c.AcknowledgeDue.Equal(want) || s.count(id, "CalendarChanged") != 1 {
		t.Errorf("to acknowledge by %s, want %s; %d entries", c.AcknowledgeDue, want, s.count(id, "CalendarChanged"))
	}
	s.sweepBoth(s.sweeper(), s.sweeper())
	s.at = s.at.Add(72 * time.Hour)
	s.sweepBoth(s.sweeper(), s.sweeper())
	if n, moved := s.count(id, "AcknowledgeOverdue"), s.count(id, "CalendarChanged"); n != 1 || moved != 1 {
		t.Errorf("missed %d times after %d changes, want once each", n, moved)
	}
}

// TestAnUpgradeLosesNoTime: what was running before there were timers runs on, what was missed is not missed again, what stood still stands
// still; and what replicas of before do while the new ones come up is not done twice.
func TestAnUpgradeLosesNoTime(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	s.b.Directory.Platform.SLA[contract.SeverityLow] = contract.SLA{AcknowledgeSeconds: 3600, ResolveSeconds: 7200}
	_, owner := database(t)
	name := owner.Name + "_clocks"
	exec1(t, owner, "CREATE DATABASE "+name)
	owner.Name = name
	upTo(t, owner, 99)
	at := s.at.UTC()
	ids := map[string]uuid.UUID{}
	for _, c := range []struct {
		name, state          string
		acked, ackL, resolvL bool
	}{{"running", "Dispatched", false, false, false}, {"missed", "Dispatched", false, true, true}, {"taken", "Handling", true, false, false}, {"suspended", "Suspended", true, false, false},
		{"extended", "Extended", true, false, false}, {"closed", "Closed", true, false, false}} {
		ids[c.name] = uuid.New()
		var acked *time.Time
		if c.acked {
			acked = &at
		}
		exec1(t, owner, `INSERT INTO grid.cases (id, number, community, grid, class, severity, title, state, source, started_at, last_signal_at, opened_at, updated_at, acknowledge_due, resolve_due, acknowledged_at, acknowledge_overdue, resolve_overdue)
			VALUES ($1, $2, 'jinghu', 'g1', 'x', 'Low', 't', $3, 'System', $4, $4, $4, $4, $5, $6, $7, $8, $9)`, ids[c.name], c.name, c.state, at, at.Add(time.Hour), at.Add(2*time.Hour), acked, c.ackL, c.resolvL)
	}
	exec1(t, owner, "INSERT INTO grid.case_history (case_id, n, at, action, from_state, to_state, actor) SELECT id, 1, $1, 'Suspend', 'Handling', state, 'Person' FROM grid.cases WHERE state = 'Suspended'", at.Add(30*time.Minute))
	exec1(t, owner, "UPDATE grid.cases SET version = 1 WHERE state = 'Suspended'")
	upTo(t, owner, math.MaxInt64)
	s.pool = poolOf(t, owner)
	s.at = at.Add(40 * time.Minute)
	s.sweepBoth(s.sweeper(), s.sweeper())
	check := func(what string, want ...string) {
		t.Helper()
		rows, err := s.pool.Query(t.Context(), `SELECT c.number || ' ' || t.kind || ' ' || t.round || ' ' || coalesce((extract(epoch FROM t.due - $1::timestamptz) / 60)::int::text, 'stands with ' || t.left_ms / 60000)
			FROM grid.timers t JOIN grid.cases c ON c.id = t.case_id ORDER BY 1`, at)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
	check("adopted", "extended Resolve 1 stands with 120", "running Acknowledge 1 60", "running Resolve 1 120", "suspended Resolve 1 stands with 90", "taken Resolve 1 120")
	// A replica of before, which still runs, marks one and closes another.
	exec1(t, owner, "UPDATE grid.cases SET acknowledge_overdue = true WHERE number = 'running'")
	exec1(t, owner, "UPDATE grid.cases SET state = 'Closed' WHERE number = 'taken'")
	s.act(ids["suspended"], Resume, nil)
	s.at = at.Add(125 * time.Minute)
	s.sweepBoth(s.sweeper(), s.sweeper())
	for number, want := range map[string][2]int64{"running": {0, 1}, "missed": {0, 0}, "taken": {0, 0}, "suspended": {0, 0}, "extended": {0, 0}, "closed": {0, 0}} {
		if got := [2]int64{s.count(ids[number], "AcknowledgeOverdue"), s.count(ids[number], "ResolveOverdue")}; got != want {
			t.Errorf("%s: missed %v, want %v", number, got, want)
		}
	}
	check("fired", "extended Resolve 1 stands with 120", "running Acknowledge 2 185", "running Resolve 3 245", "suspended Resolve 1 130")
}

// TestReportedCasesAreSent: who answers where people reported something is called, at once, and the case goes up from there.
func TestReportedCasesAreSent(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		jinghu := b.Directory.Communities["jinghu"]
		jinghu.Grids[0].MicroGrids = []contract.MicroGrid{{Name: "m1", Posts: []string{"keeper"}}}
		b.Directory.Communities["jinghu"] = jinghu
		b.Directory.Platform.SLA[contract.SeverityLow] = contract.SLA{AcknowledgeSeconds: 3600}
	}, func(*service) {})
	worker, resident := w.token("committee", "p-1", RoleCommunityWorker), w.token("committee", "r-1", RoleResident)
	for i, tc := range []struct {
		who                    string
		class, grid, microGrid string
		want                   string
	}{
		{worker, "fire", "g1", "", "0 GridWorker fire-xinxiang"},
		{resident, "fire", "g1", "", "0 GridWorker"}, // nobody sends a brigade by a click
		{resident, "hole", "g1", "m1", "0 keeper"},
		{resident, "hole", "g1", "", "1 GridWorker"},
		{resident, "hole", "g2", "", "2 committee"},
		{worker, "hole", "", "", "2 committee"},
	} {
		var ref CaseRef
		if got := w.call("POST", "/v1/cases", tc.who, NewCase{Community: "jinghu", Grid: tc.grid, MicroGrid: tc.microGrid, Class: tc.class, Severity: contract.SeverityLow, Title: "t", Source: SourceResident}, &ref, "Idempotency-Key", fmt.Sprint("key-0000", i)); got != http.StatusCreated || ref.State != Dispatched {
			t.Fatalf("%v: %d, %+v", tc, got, ref)
		}
		var got string
		if err := w.pool.QueryRow(t.Context(), `SELECT c.level || ' ' || string_agg(p.post || p.organization, ' ' ORDER BY p.post || p.organization) FROM grid.cases c JOIN grid.case_parties p ON p.case_id = c.id
			WHERE c.id = $1 AND EXISTS (SELECT FROM grid.timers t WHERE t.case_id = c.id AND t.kind = 'Acknowledge') GROUP BY c.level`, ref.ID).Scan(&got); err != nil || got != tc.want {
			t.Errorf("%s in %s/%s: called %q, want %q: %v", tc.class, tc.grid, tc.microGrid, got, tc.want, err)
		}
	}
	if got := w.call("POST", "/v1/cases", worker, NewCase{Community: "jinghu", Grid: "g2", MicroGrid: "m1", Class: "hole", Severity: contract.SeverityLow, Title: "t", Source: SourceResident}, nil, "Idempotency-Key", "key-000099"); got != 422 {
		t.Errorf("a micro-grid of another grid: %d, want 422", got)
	}
}

// TestAnExtensionEnds: it needs an end and a reason, and both are in the history with who gave them.
func TestAnExtensionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	var ref CaseRef
	if got := w.call("POST", "/v1/cases", boss, NewCase{Community: "jinghu", Class: "hole", Severity: contract.SeverityCritical, Title: "t", Source: SourceGridWorker}, &ref, "Idempotency-Key", "key-00001"); got != 201 {
		t.Fatalf("report: %d", got)
	}
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	for _, tc := range []struct {
		action Action
		until  any
		note   string
		want   int
	}{
		{Acknowledge, until, "", 422}, {Acknowledge, nil, "", 200}, {Arrive, nil, "", 200}, {Extend, nil, "parts", 422}, {Extend, until, " ", 422},
		{Extend, time.Now().Add(-time.Hour), "parts", 422}, {Extend, time.Now().Add(400 * 24 * time.Hour), "parts", 422}, {Extend, until, "parts are ordered", 200},
	} {
		body := map[string]any{"action": tc.action, "note": tc.note}
		if tc.until != nil {
			body["until"] = tc.until
		}
		if got := w.call("POST", "/v1/cases/"+ref.ID.String()+"/actions", boss, body, nil); got != tc.want {
			t.Errorf("%s until %v: %d, want %d", tc.action, tc.until, got, tc.want)
		}
	}
	var c CaseDetail
	if got := w.call("GET", "/v1/cases/"+ref.ID.String(), boss, nil, &c); got != 200 {
		t.Fatalf("read: %d", got)
	}
	last := c.History[len(c.History)-1]
	if c.ResolveDue == nil || !c.ResolveDue.Equal(until) || c.State != Extended || c.OnSiteAt == nil || last.Note != "parts are ordered" || last.Actor.Person != "p-9" || last.Detail["until"] != until.Format(time.RFC3339) {
		t.Errorf("extended until %v: %+v", until, c)
	}
}

// TestDutiesOfACase: those of its scenario; of a case that people reported, of the scenarios of its class; of any other none, and not "whatever".
func TestDutiesOfACase(t *testing.T) {
	t.Parallel()
	b := &intake.Bundle{Rules: contract.Rules{Scenarios: map[string]contract.Scenario{
		"a": {CaseClass: "fire", Responders: []contract.Responder{{Duty: "fire"}, {Post: "worker"}}}, "b": {CaseClass: "fire", Responders: []contract.Responder{{Duty: "gas"}}},
		"c": {CaseClass: "noise", Responders: []contract.Responder{{Duty: "police"}}}}}}
	for want, c := range map[string]Case{"[gas]": {Scenario: "b", Class: "fire"}, "[fire gas]": {Class: "fire"}, "[police]": {Class: "noise"}, "[]": {Class: "hole"}} {
		if got := dutiesOf(b, &c); fmt.Sprint(got) != want || got == nil {
			t.Errorf("%+v: %v, want %s", c, got, want)
		}
	}
}

// TestUncalled: who was sent home, or only told, may be called.
func TestUncalled(t *testing.T) {
	t.Parallel()
	at := time.Now()
	there := []party{{Kind: partyResponder, Post: "worker"}, {Kind: partyEscalation, Organization: "gas"}, {Kind: partyTold, Organization: "told"}, {Kind: partyResponder, Organization: "home", ReleasedAt: &at}, {Kind: partyTold, Post: "clerk"}}
	posts, organizations := uncalled(there, []string{"worker", "clerk", "gas"}, []string{"gas", "told", "home", "new"})
	if got := fmt.Sprint(posts, organizations); got != "[clerk gas] [told home new]" {
		t.Errorf("%s", got)
	}
}

// TestMissedTimesAreCounted once, by whichever replica.
func TestMissedTimesAreCounted(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	s.open(contract.SeverityCritical)
	all := []*sweeper{s.sweeper(), s.sweeper()}
	counted := func() string {
		var out []string
		for _, deadline := range []string{"acknowledge", "on_site", "resolve"} {
			out = append(out, fmt.Sprint(testutil.ToFloat64(all[0].metrics.overdue.WithLabelValues(deadline))+testutil.ToFloat64(all[1].metrics.overdue.WithLabelValues(deadline))))
		}
		return strings.Join(out, " ")
	}
	for _, want := range []string{"1 0 0", "2 1 0"} {
		s.at = s.at.Add(10 * time.Minute)
		s.sweepBoth(all...)
		if got := counted(); got != want {
			t.Errorf("%s: %s, want %s", s.at, got, want)
		}
	}
}

// TestACalendarMovesWhatIsSeen at once, before any time is due; and what another replica reckoned with the calendar before is found within a minute.
func TestACalendarMovesWhatIsSeen(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	id, w := s.open(contract.SeverityLow), s.sweeper() // to acknowledge by 10:00 of Friday
	s.sweepBoth(w)
	s.b.Directory.Platform.Calendar = &contract.Calendar{Weekdays: []int{1, 2, 3, 4, 5}, Holidays: []string{"2026-03-06"}}
	monday := time.Date(2026, 3, 9, 10, 0, 0, 0, s.at.Location())
	wants := func(what string, want time.Time) {
		t.Helper()
		s.do(id, func(_ pgx.Tx, c *Case) error {
			if !c.AcknowledgeDue.Equal(want) {
				t.Errorf("%s: to acknowledge by %s, want %s", what, c.AcknowledgeDue, want)
			}
			return nil
		})
	}
	s.at = s.at.Add(time.Second)
	s.sweepBoth(w)
	wants("a holiday", monday)
	if n := s.count(id, "CalendarChanged"); n != 1 {
		t.Errorf("%d entries", n)
	}
	for _, query := range []string{"UPDATE grid.timers SET calendar = 'before', due = due - interval '1 day'", "UPDATE grid.cases SET acknowledge_due = acknowledge_due - interval '1 day'"} {
		if _, err := s.pool.Exec(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	s.at = s.at.Add(reckonEvery - time.Second)
	s.sweepBoth(w)
	wants("within a minute", monday.AddDate(0, 0, -1))
	s.at = s.at.Add(time.Second)
	s.sweepBoth(w)
	wants("after a minute", monday)
}
