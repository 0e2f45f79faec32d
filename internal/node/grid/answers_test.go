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

// openedIncident opens a one-key response for the first grid of jinghu, as a commander of the township.
func (w *world) openedIncident(clock *testClock, key string) (i Incident) {
	w.t.Helper()
	if got := w.call("POST", "/v1/incidents", w.tokenAt(clock, "street", RoleCommander), map[string]any{"community": "jinghu", "grid": "g1", "all": true, "reason": "gas in the street"}, &i, "Idempotency-Key", key); got != 201 {
		w.t.Fatalf("open: %d", got)
	}
	return i
}

// TestAnIncidentIsACriticalCase with who opened it, and why, in its history; its calls run by the clock, not by working hours; and a key is one person's.
func TestAnIncidentIsACriticalCase(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t, func(b *intake.Bundle) {
		bare := b.Directory.Communities["jinghu"]
		bare.Posts, bare.Grids = nil, []contract.Grid{{Name: "g1"}}
		b.Directory.Communities["bare"] = bare
	})
	i := w.openedIncident(clock, "incident-1")
	if n := number(t, w.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Call' AND NOT working AND left_ms = 300000 AND case_id = $1", i.ID); n != 5 {
		t.Errorf("%d calls run for five minutes, want 5", n)
	}
	d, _ := w.detail("/v1/cases/"+i.ID.String(), w.token("street", "p-2", RoleDispatcher))
	if d.Severity != contract.SeverityCritical || d.Class != classEmergency || d.Grid != "g1" || d.Source != SourceSystem {
		t.Errorf("%+v", d.Case)
	}
	at := slices.IndexFunc(d.History, func(h HistoryEntry) bool { return h.Action == string(Dispatch) })
	if at < 0 {
		t.Fatalf("%+v", d.History)
	}
	h := d.History[at]
	if raw := jsonOf(t, h.Detail); h.Note != "gas in the street" || !strings.Contains(raw, `"organization":"street"`) || !strings.Contains(raw, `"person":"p-1"`) || strings.Contains(raw, "gas") {
		t.Errorf("why, and who opened it: %q, %s", h.Note, raw)
	}
	var another Incident
	body := map[string]any{"community": "jinghu", "grid": "g1", "all": true, "reason": "gas in the street"}
	if got := w.call("POST", "/v1/incidents", w.token("street", "p-2", RoleCommander), body, &another, "Idempotency-Key", "incident-1"); got != 201 || another.ID == i.ID {
		t.Errorf("another person with the same key: %d %s", got, another.ID)
	}
	for what, body := range map[string]map[string]any{
		"no post there":      {"community": "bare", "all": true, "reason": "x"},
		"a grid of no posts": {"community": "bare", "grid": "g1", "all": true, "reason": "x"},
	} {
		if got := w.call("POST", "/v1/incidents", w.token("street", "p-1", RoleCommander), body, nil, "Idempotency-Key", "incident-"+what); got != 422 {
			t.Errorf("%s: %d, want 422", what, got)
		}
	}
}

// TestAnIncidentIsTakenByWhoHandlesCases: a commander answers for a post as others do, and takes no case. Who was sent home is not missing.
func TestAnIncidentIsTakenByWhoHandlesCases(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t)
	i := w.openedIncident(clock, "incident-1")
	path := "/v1/incidents/" + i.ID.String()
	clock.forward(2 * time.Minute)
	for n, c := range []struct {
		role  Role
		post  string
		state State
	}{{RoleCommander, "g1/m1/keeper", Dispatched}, {RoleDispatcher, "clerk", Handling}, {RoleDispatcher, "clerk", Handling}, {RoleCommunityWorker, "g1/worker", Handling}} {
		if got := w.call("POST", path+"/ack", w.tokenAt(clock, "committee", c.role), map[string]any{"post": c.post}, &i); got != 200 || i.State != c.state {
			t.Errorf("answer %d, %s for %s: %d, the case is %s, want %s", n, c.role, c.post, got, i.State, c.state)
		}
	}
	for _, role := range []Role{RoleAuditor, RoleResident} {
		if got := w.call("POST", path+"/ack", w.tokenAt(clock, "committee", role), map[string]any{"post": "g1/m2/keeper"}, nil); got != 403 && got != 404 {
			t.Errorf("%s answers: %d", role, got)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'CallAnswered' AND (detail->>'afterSeconds')::int BETWEEN 120 AND 180 AND detail->>'kind' = 'Call'"); n != 3 {
		t.Errorf("%d answers in the history, with how long they took, want 3", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'Acknowledge'"); n != 1 {
		t.Errorf("the case was taken %d times", n)
	}
	w.exec("UPDATE grid.case_parties SET released_at = now() WHERE post = 'g1/m2/guard'")
	if got := w.call("GET", path, w.tokenAt(clock, "street", RoleDispatcher), nil, &i); got != 200 || i.Called != 5 || i.Answered != 3 || i.Missing != 1 {
		t.Errorf("%d: %d called, %d answered, %d missing, want 5, 3 and 1", got, i.Called, i.Answered, i.Missing)
	}
	if got := w.call("POST", path+"/ack", w.tokenAt(clock, "committee", RoleDispatcher), map[string]any{"post": "g1/m2/guard"}, nil); got != 403 {
		t.Errorf("who was sent home answers: %d, want 403", got)
	}
	clock.forward(4 * time.Minute)
	w.sweepAhead(clock)
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'CallMissed' AND detail->>'party' = 'g1/m2/guard'"); n != 0 {
		t.Error("who was sent home missed their call")
	}
}

// TestAnIncidentThatIsOverCallsNobody: what is not answered by then goes no level up.
func TestAnIncidentThatIsOverCallsNobody(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t)
	i := w.openedIncident(clock, "incident-1")
	w.exec("UPDATE grid.cases SET state = 'Void' WHERE id = $1", i.ID) // with its timers, as a replica of before would
	clock.forward(6 * time.Minute)
	w.sweepAhead(clock)
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'CallMissed'"); n != 0 {
		t.Errorf("%d calls went up", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Call'"); n != 0 {
		t.Errorf("%d calls run still", n)
	}
}

// TestAnswersOfTheRoster: whom it names for the whole community answers for every grid; whom it names elsewhere, for none here.
func TestAnswersOfTheRoster(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t)
	i := w.openedIncident(clock, "incident-1")
	w.exec(`INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ('committee', 'p-1', 'GridWorker', 'jinghu', ''),
		('street', 'p-1', 'GridWorker', 'jinghu', 'g1'), ('street', 'p-1', 'GridWorker', 'other', ''), ('street', 'p-2', 'GridWorker', 'jinghu', 'g2'), ('street', 'p-2', 'GridWorker', 'other', 'g1')`)
	for _, c := range []struct {
		organization, person, post string
		want                       int
	}{{"committee", "p-1", "clerk", 200}, {"committee", "p-1", "g1/m1/keeper", 200}, {"street", "p-1", "g1/m2/keeper", 200}, {"street", "p-1", "clerk", 403}, {"street", "p-2", "g1/worker", 404}} {
		if got := w.call("POST", "/v1/incidents/"+i.ID.String()+"/ack", w.token(c.organization, c.person, RoleGridWorker), map[string]any{"post": c.post}, nil); got != c.want {
			t.Errorf("%s of %s for %s: %d, want %d", c.person, c.organization, c.post, got, c.want)
		}
	}
	var whole Incident // a response of the whole community is seen by whoever is on the roster of a grid that was called
	if got := w.call("POST", "/v1/incidents", w.token("street", "p-9", RoleCommander), map[string]any{"community": "jinghu", "posts": []string{"worker"}, "reason": "x"}, &whole, "Idempotency-Key", "incident-2"); got != 201 {
		t.Fatal(got)
	}
	for post, want := range map[string]int{"g2/worker": 200, "g1/worker": 403} {
		if got := w.call("POST", "/v1/incidents/"+whole.ID.String()+"/ack", w.token("street", "p-2", RoleGridWorker), map[string]any{"post": post}, nil); got != want {
			t.Errorf("a worker of g2, and of g1 elsewhere, answers for %s: %d, want %d", post, got, want)
		}
	}
}

// TestWhistleOfOneForTwoDuties calls an organisation once, and the reason is in the history as a note.
func TestWhistleOfOneForTwoDuties(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t, func(b *intake.Bundle) {
		o := b.Directory.Organizations["water"]
		o.Duties = append(o.Duties, "drains")
		b.Directory.Organizations["water"] = o
	})
	id := w.newCase("C0")
	var d CaseDetail
	body := map[string]any{"duties": []string{"water", "drains"}, "reason": "flooded cellar"}
	if got := w.call("POST", "/v1/cases/"+id.String()+"/whistle", w.tokenAt(clock, "street", RoleDispatcher), body, &d); got != 200 {
		t.Fatal(got)
	}
	w.wantAnswers("called", d.Parties, partyJoint, "0 water missing")
	if h := d.History[len(d.History)-1]; h.Action != "Whistle" || h.Note != "flooded cellar" || strings.Contains(jsonOf(t, h.Detail), "cellar") {
		t.Errorf("%+v", h)
	}
}

// answered says of whom a case has as called, with a kind, whether they answered, and how many minutes after they were called last.
func (s *timerStage) answered(id uuid.UUID, kind string) []string {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `SELECT concat(post, organization, ' ', CASE WHEN released_at IS NOT NULL THEN 'gone' WHEN acknowledged_at IS NULL THEN 'missing' ELSE 'after ' || (extract(epoch FROM acknowledged_at - called_at) / 60)::int END)
		FROM grid.case_parties WHERE case_id = $1 AND kind = $2 ORDER BY 1`, id, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// TestAnswersOfResponders: who takes a case answers for those of its responders, and of who was called because a time was missed, that they speak for, and for no other.
func TestAnswersOfResponders(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	take := func(id uuid.UUID, organization string) {
		t.Helper()
		who := caller{bundle: s.b}
		who.scope.Organization, who.scope.Subject, who.scope.Role = organization, "p-1", string(RoleDispatcher)
		s.do(id, func(tx pgx.Tx, c *Case) error {
			if err := acknowledgeFor(t.Context(), tx, who, c, s.at); err != nil {
				return err
			}
			return move(t.Context(), tx, s.b.Directory.Platform, c, Acknowledge, who.scope.actor(), s.at, nil, nil)
		})
	}
	id := s.open(contract.SeverityCritical)
	s.minutes(4)
	take(id, "committee")
	if got := fmt.Sprint(s.answered(id, partyResponder)); got != "[GridWorker after 4]" {
		t.Errorf("the committee for its post: %s", got)
	}
	s.minutes(1)
	s.act(id, Return, nil)
	take2 := func(want string) {
		t.Helper()
		s.act(id, Dispatch, nil)
		if got := fmt.Sprint(s.answered(id, partyResponder)); got != want {
			t.Errorf("dispatched again: %s, want %s", got, want)
		}
	}
	take2("[GridWorker after 4]") // they were never sent home: the first answer counts
	s.act(id, Return, nil)
	s.do(id, func(tx pgx.Tx, c *Case) error {
		_, err := releaseResponders(t.Context(), tx, c, s.at)
		return err
	})
	s.minutes(5)
	take2("[GridWorker missing]") // sent home and called anew
	s.minutes(2)
	take(id, "committee")
	if got := fmt.Sprint(s.answered(id, partyResponder)); got != "[GridWorker after 2]" {
		t.Errorf("they answered anew: %s", got)
	}

	id = s.open(contract.SeverityCritical)
	s.minutes(10)
	s.sweepBoth(s.sweeper()) // to the community
	s.minutes(10)
	s.sweepBoth(s.sweeper()) // to the department
	s.minutes(3)
	take(id, "city-works")
	if got := fmt.Sprint(s.answered(id, partyResponder), s.answered(id, partyEscalation)); got != "[GridWorker missing] [city-works after 3 clerk missing committee missing]" {
		t.Errorf("the department for itself: %s", got)
	}
}

// TestReassignedBackAndForth: whoever gets a case back has to answer anew, and their time runs from then.
func TestReassignedBackAndForth(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	c := w.filed("t", Case{Grid: "g1", Class: "fire"}, []string{"GridWorker"}, []string{"gas"})
	path := "/v1/cases/" + c.ID.String()
	boss, gas := w.token("committee", "p-9", RoleDispatcher), w.token("gas", "p-1", RoleDispatcher)
	give := func(to string) (d CaseDetail) {
		t.Helper()
		if got := w.call("POST", path+"/reassign", boss, map[string]any{"organization": to, "reason": "x"}, &d); got != 200 {
			t.Fatalf("to %s: %d", to, got)
		}
		return d
	}
	give("gas")
	w.close(path, gas, Acknowledge)
	give("property")
	d := give("gas")
	at := slices.IndexFunc(d.Parties, func(p Party) bool { return p.Organization == "gas" && p.ReleasedAt == nil })
	if at < 0 || d.Parties[at].AcknowledgedAt != nil || d.Parties[at].AfterSeconds != nil || d.AcknowledgedAt != nil {
		t.Errorf("gas has it again: %+v", d.Parties)
	}
}

// TestMessagesOncePerOrganisation: one that was called in two ways hears once of what is done, who was sent home hears nothing, and whoever is called anew hears
// that alone.
func TestMessagesOncePerOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		street(b)
		for _, name := range []string{"property", "gas"} {
			o := b.Directory.Organizations[name]
			o.Webhook = b.Directory.Organizations["fire-xinxiang"].Webhook
			b.Directory.Organizations[name] = o
		}
	}, func(*service) {})
	c := w.filed("t", Case{Grid: "g1", Class: "fire"}, nil, []string{"property", "gas", "fire-xinxiang"})
	if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		return callParties(t.Context(), tx, c, partyEscalation, levelDepartment, nil, []string{"gas"}, time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE grid.case_parties SET released_at = now() WHERE organization = 'fire-xinxiang'")
	path, boss := "/v1/cases/"+c.ID.String()+"/actions", w.token("committee", "p-9", RoleDispatcher)
	told := func(typ string) []string {
		rows, err := w.pool.Query(t.Context(), "SELECT organization FROM grid.dispatch_outbox WHERE type = $1 ORDER BY 1", typ)
		if err != nil {
			t.Fatal(err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, in := range []map[string]any{{"action": Return}, {"action": Dispatch, "duties": []string{"gas"}}} {
		if got := w.call("POST", path, boss, in, nil); got != 200 {
			t.Fatalf("%v: %d", in, got)
		}
	}
	for typ, want := range map[string][]string{EventDispatched: {"fire-xinxiang", "gas", "gas", "property"}, EventReturned: {"gas", "property"}, EventReassigned: {"property"}} {
		if got := told(typ); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", typ, got, want)
		}
	}
}
