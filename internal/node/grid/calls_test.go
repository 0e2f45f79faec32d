package grid

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// newCallWorld is a service with somebody on every level, whose clock the test moves. more changes the bundle.
func newCallWorld(t *testing.T, more ...func(*intake.Bundle)) (*world, *testClock) {
	clock := &testClock{}
	w := newWorldWith(t, func(b *intake.Bundle) {
		d := b.Directory
		com := d.Communities["jinghu"]
		com.Posts = []string{"clerk"}
		com.Grids = []contract.Grid{{Name: "g1", Posts: []string{"worker"}, MicroGrids: []contract.MicroGrid{{Name: "m1", Posts: []string{"keeper"}}, {Name: "m2", Posts: []string{"keeper", "guard"}}}}, {Name: "g2", Posts: []string{"worker"}}}
		d.Communities["jinghu"] = com
		d.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"410702001001"}, Duties: []string{"property"}}
		d.Organizations["street"] = contract.Organization{Type: "Township", Jurisdiction: []string{"410702001"}}
		d.Organizations["street-luoyang"] = contract.Organization{Type: "Township", Jurisdiction: []string{"410302001"}}
		d.Organizations["health"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"health"}}
		d.Organizations["water"] = contract.Organization{Type: "Utility", Jurisdiction: []string{"4107"}, Duties: []string{"water"}}
		d.Organizations["water-luoyang"] = contract.Organization{Type: "Utility", Jurisdiction: []string{"4103"}, Duties: []string{"water"}}
		d.Platform.SLA[contract.SeverityCritical] = contract.SLA{} // times of calls alone
		for _, change := range more {
			change(b)
		}
	}, func(s *service) { s.api.now = clock.now })
	return w, clock
}

// testClock stands ahead of the time by what the test says.
type testClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *testClock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// tokenAt is a token that is signed at the time of a clock.
func (w *world) tokenAt(clock *testClock, organization string, role Role) string {
	w.t.Helper()
	p := w.bundle.Directory.Platform
	token, err := person.Sign(w.keys[organization], nil, organization, "p-1", string(role), contract.PersonAudience(p.Namespace, p.Name, contract.RoleGrid), clock.now(), 10*time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// answers gives the parties of a kind as "<level> <name> <answered or not>".
func answers(parties []Party, kind string) (out []string) {
	for _, p := range parties {
		if p.Kind != kind {
			continue
		}
		said := "missing"
		if p.AcknowledgedAt != nil {
			said = fmt.Sprintf("after %ds", *p.AfterSeconds/60*60)
		}
		out = append(out, strings.Join([]string{fmt.Sprint(p.Level), p.name(), said}, " "))
	}
	slices.Sort(out)
	return out
}

func (w *world) wantAnswers(what string, parties []Party, kind string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, answers(parties, kind)); diff != "" {
		w.t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// newCase makes a case of a class of data at jinghu that nobody was called to.
func (w *world) newCase(dataClass string) uuid.UUID {
	w.t.Helper()
	c := &Case{Community: "jinghu", Grid: "g1", Class: "x", Severity: contract.SeverityLow, Title: dataClass, Source: SourceSystem, DataClass: dataClass, StartedAt: time.Now(), LastSignalAt: time.Now()}
	if err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		if err := insert(w.t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil); err != nil {
			return err
		}
		return move(w.t.Context(), tx, w.bundle.Directory.Platform, c, File, system, time.Now(), nil, nil)
	}); err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

func TestATownshipCallsTogether(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t)
	id := w.newCase("C2")
	path := "/v1/cases/" + id.String()
	body := map[string]any{"duties": []string{"water", "health"}, "reason": "flooded cellar"}
	street, water := w.tokenAt(clock, "street", RoleDispatcher), w.tokenAt(clock, "water", RoleDispatcher)
	if got := w.call("GET", path, water, nil, nil); got != 404 {
		t.Errorf("before: %d, want 404", got)
	}
	var d CaseDetail
	for range 2 { // sent again
		if got := w.call("POST", path+"/whistle", street, body, &d, "Idempotency-Key", "whistle-1"); got != 200 {
			t.Fatalf("whistle: %d", got)
		}
	}
	w.wantAnswers("called", d.Parties, partyJoint, "0 health missing", "0 water missing")
	if got := w.call("POST", path+"/whistle", street, map[string]any{"duties": []string{"water"}, "reason": "x"}, nil, "Idempotency-Key", "whistle-1"); got != 422 {
		t.Errorf("the key for another: %d, want 422", got)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'Whistle'"); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	clock.forward(3 * time.Minute)
	for range 2 {
		if got := w.call("POST", path+"/whistle/ack", water, map[string]any{}, &d); got != 200 {
			t.Fatalf("report: %d", got)
		}
		clock.forward(3 * time.Minute)
	}
	w.wantAnswers("one reported, once", d.Parties, partyJoint, "0 health missing", "0 water after 180s")
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'Reported' AND detail->>'party' = 'water' AND organization = 'water'"); n != 1 {
		t.Errorf("%d entries of who reported, want 1", n)
	}
	if got := w.call("POST", path+"/actions", w.tokenAt(clock, "health", RoleDispatcher), map[string]any{"action": "Void"}, nil); got != 200 {
		t.Errorf("who was called acts: %d", got)
	}
	if got := w.call("POST", path+"/whistle", street, body, nil); got != 409 {
		t.Errorf("of a case that is over: %d, want 409", got)
	}
	for what, c := range map[string]struct {
		organization string
		role         Role
		body         any
		want         int
	}{
		"no duty there":              {"street", RoleDispatcher, map[string]any{"duties": []string{"water", "sea-rescue"}, "reason": "x"}, 422},
		"no reason":                  {"street", RoleDispatcher, map[string]any{"duties": []string{"water"}}, 422},
		"a committee":                {"committee", RoleDispatcher, body, 403},
		"a grid worker":              {"street", RoleGridWorker, body, 404},
		"an auditor":                 {"street", RoleAuditor, body, 403},
		"a resident":                 {"street", RoleResident, body, 404},
		"a commander":                {"street", RoleCommander, body, 200},
		"another township":           {"street-luoyang", RoleDispatcher, body, 404},
		"a property company":         {"property", RoleDispatcher, body, 404},
		"water, which was not asked": {"water", RoleCommander, body, 404},
	} {
		other := w.newCase("C2")
		if got := w.call("POST", "/v1/cases/"+other.String()+"/whistle", w.tokenAt(clock, c.organization, c.role), c.body, nil); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
		if n := number(t, w.pool, "SELECT count(*) FROM grid.case_parties WHERE case_id = $1", other); (n > 0) != (c.want == 200) {
			t.Errorf("%s: %d parties", what, n)
		}
		if got := w.call("POST", "/v1/cases/"+other.String()+"/whistle/ack", w.tokenAt(clock, "property", RoleDispatcher), map[string]any{}, nil); got != 404 {
			t.Errorf("%s: somebody who was not called reports: %d", what, got)
		}
	}
}

// sweepAhead lets two replicas sweep at once at the time of a clock.
func (w *world) sweepAhead(clock *testClock) {
	w.t.Helper()
	var all sync.WaitGroup
	for range 2 {
		s := &sweeper{pool: w.pool, in: w.in, metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: clock.now}
		all.Go(func() {
			if err := s.sweep(w.t.Context(), w.bundle); err != nil {
				w.t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestOneKeyCallsEveryPost(t *testing.T) {
	t.Parallel()
	w, clock := newCallWorld(t)
	commander := func() string { return w.tokenAt(clock, "street", RoleCommander) }
	committee := func() string { return w.tokenAt(clock, "committee", RoleDispatcher) }
	body := map[string]any{"community": "jinghu", "grid": "g1", "all": true, "reason": "gas in the street"}
	var i, again Incident
	if got := w.call("POST", "/v1/incidents", commander(), body, &i, "Idempotency-Key", "one-key-1"); got != 201 {
		t.Fatalf("open: %d", got)
	}
	if got := w.call("POST", "/v1/incidents", commander(), body, &again, "Idempotency-Key", "one-key-1"); got != 201 || again.ID != i.ID || again.Called != i.Called {
		t.Errorf("sent again: %d %+v", got, again)
	}
	w.wantAnswers("at once", i.Calls, partyCall, "0 g1/m1/keeper missing", "0 g1/m2/guard missing", "0 g1/m2/keeper missing", "1 g1/worker missing", "2 clerk missing")
	path := "/v1/incidents/" + i.ID.String()
	clock.forward(2 * time.Minute)
	if got := w.call("POST", path+"/ack", committee(), map[string]any{}, nil); got != 403 {
		t.Errorf("which post? %d, want 403", got)
	}
	for _, post := range []string{"g1/m1/keeper", "clerk", "g1/m2/guard"} {
		if got := w.call("POST", path+"/ack", committee(), map[string]any{"post": post}, &i); got != 200 {
			t.Fatalf("%s: %d", post, got)
		}
	}
	if i.Called != 5 || i.Answered != 3 || i.Missing != 2 || i.State != Handling {
		t.Errorf("%+v", i)
	}
	clock.forward(2 * time.Minute)
	w.sweepAhead(clock)
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'CallMissed'"); n != 0 {
		t.Errorf("%d missed before five minutes", n)
	}
	clock.forward(time.Minute)
	w.sweepAhead(clock) // two missed: of m2 the grid was called already, of the grid the committee is now
	if got := w.call("GET", path, commander(), nil, &i); got != 200 {
		t.Fatal(got)
	}
	w.wantAnswers("missed", i.Calls, partyCall, "0 g1/m1/keeper after 120s", "0 g1/m2/guard after 120s", "0 g1/m2/keeper missing", "1 g1/worker missing", "2 clerk after 120s", "2 committee missing")
	clock.forward(time.Minute)
	if got := w.call("POST", path+"/ack", committee(), map[string]any{"post": "g1/worker"}, &i); got != 200 {
		t.Errorf("late: %d", got)
	}
	clock.forward(4 * time.Minute)
	w.sweepAhead(clock)
	clock.forward(5 * time.Minute)
	w.sweepAhead(clock)
	clock.forward(5 * time.Minute)
	w.sweepAhead(clock)
	if got := w.call("GET", path, commander(), nil, &i); got != 200 {
		t.Fatal(got)
	}
	w.wantAnswers("to the top", i.Calls, partyCall, "0 g1/m1/keeper after 120s", "0 g1/m2/guard after 120s", "0 g1/m2/keeper missing", "1 g1/worker after 360s", "2 clerk after 120s", "2 committee missing", "3 street missing", "4 health missing")
	rows, err := w.pool.Query(t.Context(), "SELECT concat_ws(' ', detail->>'party', detail->>'level', detail->>'to', detail->>'because') FROM grid.case_history WHERE action = 'CallMissed' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"committee Community Township", "g1/m2/keeper MicroGrid Grid who stands there was called already", "g1/worker Grid Community", "health Department nobody stands above", "street Township Department"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Call'"); n != 0 {
		t.Errorf("%d calls run still", n)
	}
	for organization, want := range map[string]int{"health": 200, "property": 403, "water": 403} {
		if got := w.call("POST", path+"/ack", w.tokenAt(clock, organization, RoleDispatcher), map[string]any{}, nil); got != want {
			t.Errorf("%s answers: %d, want %d", organization, got, want)
		}
	}
}

func TestWhoMayOpenAnIncident(t *testing.T) {
	t.Parallel()
	w, _ := newCallWorld(t)
	n := 0
	post := func(organization string, role Role, body map[string]any, out any) int {
		n++
		return w.call("POST", "/v1/incidents", w.token(organization, "p-1", role), body, out, "Idempotency-Key", fmt.Sprint("incident-", n))
	}
	all := map[string]any{"community": "jinghu", "all": true, "reason": "x"}
	for organization, may := range map[string][]Role{
		"street": {RoleCommunityWorker, RoleDispatcher, RoleCommander}, "committee": {RoleCommunityWorker, RoleDispatcher, RoleCommander}, "health": {RoleCommander},
		"property": nil, "water": nil, "vendor": nil, "fire-xinxiang": nil,
	} {
		for _, role := range []Role{RoleGridWorker, RoleCommunityWorker, RoleDispatcher, RoleCommander, RoleAuditor, RoleResident, RoleTechnician, "Mayor"} {
			want := 403
			if slices.Contains(may, role) {
				want = 201
			}
			if got := post(organization, role, all, nil); got != want {
				t.Errorf("%s of %s: %d, want %d", role, organization, got, want)
			}
		}
	}
	if got := post("street-luoyang", RoleCommander, all, nil); got != 404 {
		t.Errorf("elsewhere: %d, want 404", got)
	}
	var i Incident
	if got := post("street", RoleCommander, map[string]any{"community": "jinghu", "posts": []string{"worker"}, "reason": "x"}, &i); got != 201 {
		t.Fatal(got)
	}
	w.wantAnswers("of all grids", i.Calls, partyCall, "1 g1/worker missing", "1 g2/worker missing")
	if got := w.call("GET", "/v1/incidents/"+i.ID.String(), w.token("street-luoyang", "p-1", RoleCommander), nil, nil); got != 404 {
		t.Errorf("elsewhere reads: %d, want 404", got)
	}
	if got := w.call("POST", "/v1/incidents/"+i.ID.String()+"/ack", w.token("street-luoyang", "p-1", RoleCommander), map[string]any{"post": "g1/worker"}, nil); got != 404 {
		t.Errorf("elsewhere answers: %d, want 404", got)
	}
	if got := w.call("GET", "/v1/incidents/"+w.newCase("C0").String(), w.token("street", "p-1", RoleCommander), nil, nil); got != 404 {
		t.Errorf("a case that is no incident: %d, want 404", got)
	}
	if _, err := w.pool.Exec(t.Context(), "INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ('committee', 'g-1', 'GridWorker', 'jinghu', 'g1'), ('committee', 'g-3', 'GridWorker', 'jinghu', 'g3')"); err != nil {
		t.Fatal(err)
	}
	for person, want := range map[string][3]int{"g-1": {200, 200, 403}, "g-3": {404, 404, 404}, "g-0": {404, 404, 404}} {
		token := w.token("committee", person, RoleGridWorker)
		got := [3]int{w.call("GET", "/v1/incidents/"+i.ID.String(), token, nil, nil)}
		for k, post := range []string{"g1/worker", "g2/worker"} {
			got[k+1] = w.call("POST", "/v1/incidents/"+i.ID.String()+"/ack", token, map[string]any{"post": post}, nil)
		}
		if got != want {
			t.Errorf("%s of the roster reads, answers for g1, and for g2: %v, want %v", person, got, want)
		}
	}
	for what, body := range map[string]map[string]any{
		"neither": {"community": "jinghu", "reason": "x"}, "both": {"community": "jinghu", "all": true, "posts": []string{"worker"}, "reason": "x"}, "no such grid": {"community": "jinghu", "grid": "g9", "all": true, "reason": "x"},
		"no such post": {"community": "jinghu", "posts": []string{"worker", "diver"}, "reason": "x"}, "no reason": {"community": "jinghu", "all": true},
		"a post of another grid": {"community": "jinghu", "grid": "g2", "posts": []string{"keeper"}, "reason": "x"},
	} {
		if got := post("street", RoleCommander, body, nil); got != 422 {
			t.Errorf("%s: %d, want 422", what, got)
		}
	}
}
