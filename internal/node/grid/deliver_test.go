package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// round makes one attempt for each message that is due.
func round(ctx context.Context, d *deliverer) (int, error) {
	messages, err := d.claim(ctx, deliveriesAtOnce, []string{})
	for _, m := range messages {
		err = errors.Join(err, d.attempt(ctx, d.in.Current().Directory, m))
	}
	return len(messages), err
}

// TestOneThatHangsHoldsUpNobody has an endpoint that never answers, with so many messages due that they would take minutes, before one of another.
func TestOneThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	t.Cleanup(func() { close(over); hangs.Close() })
	w := newWorldWith(t, func(b *intake.Bundle) {
		o := b.Directory.Organizations["fire-luoyang"]
		o.Webhook = &contract.Webhook{URL: hangs.URL}
		b.Directory.Organizations["fire-luoyang"] = o
	}, func(*service) {})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "a message", func() bool { return w.hooks.count("/fire-xinxiang") == 1 })
	const due = `INSERT INTO grid.dispatch_outbox (id, case_id, organization, payload, created_at, next_attempt_at, type, method)
		SELECT gen_random_uuid(), case_id, $1, payload, created_at, created_at - $2 * interval '1 second', type, method FROM grid.dispatch_outbox, generate_series(1, $3) WHERE organization = 'fire-xinxiang'`
	for organization, n := range map[string]int{"fire-luoyang": 200, "fire-xinxiang": 1} {
		if _, err := w.pool.Exec(t.Context(), due, organization, n, n); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the message behind those", func() bool { return w.hooks.count("/fire-xinxiang") == 2 })
}

// TestADayInVainIsADeadLetterUntilItIsReplayed has a receiver that is down for 25 hours of a clock that is given.
func TestADayInVainIsADeadLetterUntilItIsReplayed(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(*intake.Bundle) {}, func(s *service) { s.deliver.now = func() time.Time { return time.Time{} } }) // its own clock delivers nothing
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "message", func() bool { return number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox") == 1 })
	var id uuid.UUID
	var clock time.Time
	if err := w.pool.QueryRow(t.Context(), "UPDATE grid.dispatch_outbox SET created_at = created_at - interval '25 hours', next_attempt_at = created_at - interval '25 hours' RETURNING id, created_at").Scan(&id, &clock); err != nil {
		t.Fatal(err)
	}
	made := clock
	d := *w.svc.deliver
	d.now = func() time.Time { return clock }
	w.hooks.mu.Lock()
	w.hooks.failures = 1 << 30
	w.hooks.mu.Unlock()
	attempt := func() (dead *time.Time) {
		t.Helper()
		if n, err := round(t.Context(), &d); n != 1 || err != nil {
			t.Fatalf("at %s: %d attempts, %v", clock.Sub(made), n, err)
		}
		var next time.Time
		if err := w.pool.QueryRow(t.Context(), "SELECT next_attempt_at, dead_at FROM grid.dispatch_outbox WHERE id = $1", id).Scan(&next, &dead); err != nil {
			t.Fatal(err)
		}
		if dead == nil {
			clock = next
		}
		return dead
	}
	attempts := 1
	dead := attempt()
	for ; dead == nil; attempts++ {
		dead = attempt()
	}
	if age := dead.Sub(made); age <= 24*time.Hour || age > 25*time.Hour || attempts < 25 {
		t.Errorf("dead after %s and %d attempts", age, attempts)
	}
	clock = clock.Add(time.Hour)
	if n, err := round(t.Context(), &d); n != 0 || err != nil {
		t.Errorf("a dead letter is tried: %d, %v", n, err)
	}
	var report contract.Report
	w.svc.fill(&report)
	if got := report.Dispatch["fire-xinxiang"]; got.Failed != 1 || got.Pending != 0 || got.Delivered != 0 || !strings.Contains(got.LastError, "503") {
		t.Errorf("report %+v", got)
	}
	fire := w.token("fire-xinxiang", "f-1", RoleDispatcher)
	var list DeliveryList
	if got := w.call("GET", "/v1/deliveries?state=dead", fire, nil, &list); got != 200 || len(list.Deliveries) != 1 || list.Deliveries[0].ID != id || list.Deliveries[0].DeadAt == nil || list.Deliveries[0].NextAttempt != nil {
		t.Fatalf("dead letters: %d %+v", got, list)
	}
	path := "/v1/deliveries/" + id.String() + "/replay"
	var one Delivery
	if got := w.call("POST", path, fire, nil, &one); got != 200 || one.ID != id || one.Attempts != 0 || one.Replays != 1 || one.DeadAt != nil {
		t.Fatalf("replay: %d %+v", got, one)
	}
	if got := w.call("POST", path, fire, nil, nil); got != 409 {
		t.Errorf("replay of what is no dead letter: %d, want 409", got)
	}
	clock = time.Now()
	if attempt() != nil {
		t.Error("a replayed message is not tried for a day again")
	}
	w.hooks.mu.Lock()
	w.hooks.failures, w.hooks.bad = 0, nil // the time of its signatures was long ago
	w.hooks.mu.Unlock()
	attempt()
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	if got := w.hooks.got["/fire-xinxiang"]; len(got) != 1 || got[0].ID() != id.String() || len(w.hooks.bad) > 0 || len(w.hooks.ids) != 1 || w.hooks.ids[id.String()] != attempts+2 {
		t.Errorf("received %v, bad %v, attempts by id %v, want %d of %s", got, w.hooks.bad, w.hooks.ids, attempts+2, id)
	}
}

// TestDeliveriesAreOfTheirOrganisation asks for, and replays, dead letters as everybody.
func TestDeliveriesAreOfTheirOrganisation(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		b.Directory.Organizations["data-office"] = contract.Organization{Type: "DataOffice"}
	}, func(s *service) { s.deliver.now = func() time.Time { return time.Time{} } })
	w.send("s1", 1, `{"smoke":true}`)
	w.send("s2", 1, `{"smoke":true}`)
	eventually(t, "messages", func() bool { return number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox") == 2 })
	die := func() {
		if _, err := w.pool.Exec(t.Context(), "UPDATE grid.dispatch_outbox SET dead_at = now()"); err != nil {
			t.Fatal(err)
		}
	}
	die()
	var list DeliveryList
	if got := w.call("GET", "/v1/deliveries?limit=1", w.token("fire-xinxiang", "f-1", RoleAuditor), nil, &list); got != 200 || len(list.Deliveries) != 1 || list.Next == "" {
		t.Fatalf("%d %+v", got, list)
	}
	first := list.Deliveries[0].ID
	if got := w.call("GET", "/v1/deliveries?state=dead&cursor="+list.Next, w.token("fire-xinxiang", "f-1", RoleAuditor), nil, &list); got != 200 || len(list.Deliveries) != 1 || list.Deliveries[0].ID == first {
		t.Fatalf("second page: %d %+v", got, list)
	}
	one := "/v1/deliveries/" + first.String() + "/replay"
	for _, tc := range []struct {
		who          string
		org          string
		role         Role
		method, path string
		want, seen   int
	}{
		{"another city", "fire-luoyang", RoleDispatcher, "GET", "/v1/deliveries", 200, 0},
		{"another city", "fire-luoyang", RoleDispatcher, "GET", "/v1/deliveries?organization=fire-xinxiang", 403, 0},
		{"another city", "fire-luoyang", RoleDispatcher, "POST", one, 404, 0},
		{"another city", "fire-luoyang", RoleDispatcher, "POST", "/v1/deliveries/replay?organization=fire-xinxiang", 403, 0},
		{"the committee", "committee", RoleDispatcher, "POST", one, 404, 0},
		{"an auditor", "fire-xinxiang", RoleAuditor, "POST", one, 403, 0},
		{"a grid worker", "fire-xinxiang", RoleGridWorker, "GET", "/v1/deliveries", 403, 0},
		{"the data office", "data-office", RoleDispatcher, "GET", "/v1/deliveries?state=dead", 200, 2},
		{"the data office", "data-office", RoleDispatcher, "GET", "/v1/deliveries?organization=fire-luoyang", 200, 0},
		{"the data office", "data-office", RoleDispatcher, "POST", "/v1/deliveries/replay", 422, 0},
	} {
		var got DeliveryList
		if status := w.call(tc.method, tc.path, w.token(tc.org, "x", tc.role), nil, &got); status != tc.want || len(got.Deliveries) != tc.seen {
			t.Errorf("%s, %s %s: %d with %d, want %d with %d", tc.who, tc.method, tc.path, status, len(got.Deliveries), tc.want, tc.seen)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE dead_at IS NOT NULL"); n != 2 {
		t.Fatalf("%d dead letters, want 2: somebody replayed", n)
	}
	for _, tc := range []struct{ org, query string }{{"fire-xinxiang", ""}, {"fire-xinxiang", "?organization=fire-xinxiang"}, {"data-office", "?organization=fire-xinxiang"}} {
		die()
		var done Replayed
		if got := w.call("POST", "/v1/deliveries/replay"+tc.query, w.token(tc.org, "x", RoleDispatcher), nil, &done); got != 200 || done != (Replayed{2, 0}) {
			t.Errorf("%s: %d %+v", tc.org, got, done)
		}
	}
}

// TestWhoIsCalledHearsWhatBecomesOfACase takes a case through its life: one organisation hears all, one what it wants to.
func TestWhoIsCalledHearsWhatBecomesOfACase(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		hook := *b.Directory.Organizations["fire-xinxiang"].Webhook
		hook.URL = strings.ReplaceAll(hook.URL, "/fire-xinxiang", "/water")
		b.Directory.Organizations["water"] = contract.Organization{Type: "Utility", Jurisdiction: []string{"41"}, Duties: []string{"water"}, Webhook: &hook, Events: []string{"CaseDispatched", "CaseClosed"}}
	}, func(*service) {})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	var list CaseList
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.call("GET", "/v1/cases", boss, nil, &list)
	path := fmt.Sprintf("/v1/cases/%s/actions", list.Cases[0].ID)
	for _, step := range []struct {
		action Action
		duties []string
	}{{Acknowledge, nil}, {Return, nil}, {Dispatch, []string{"water"}}, {Acknowledge, nil}, {RequestVerification, nil}, {Verify, nil}, {Close, nil}, {Rate, nil}, {Reopen, nil}, {MarkVoid, nil}} {
		if got := w.call("POST", path, boss, map[string]any{"action": step.action, "duties": step.duties}, nil); got != 200 {
			t.Fatalf("%s: %d", step.action, got)
		}
	}
	heard := func(path string) (types []string) {
		w.hooks.mu.Lock()
		defer w.hooks.mu.Unlock()
		for _, e := range w.hooks.got[path] {
			types = append(types, e.Type())
		}
		slices.Sort(types) // messages may overtake each other
		return types
	}
	for path, want := range map[string][]string{
		"/fire-xinxiang": {EventDispatched, EventAcknowledged, EventAcknowledged, EventReturned, EventReassigned, EventClosed, EventRated, EventReopened, EventVoided},
		"/water":         {EventDispatched, EventClosed},
	} {
		slices.Sort(want)
		eventually(t, path+" hears "+strings.Join(want, " "), func() bool { return len(heard(path)) >= len(want) })
		if got := heard(path); !slices.Equal(got, want) {
			t.Errorf("%s heard %v, want %v", path, got, want)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox"); n != 11 {
		t.Errorf("%d messages, want 11", n)
	}
}

// TestWhoAsksHearsOfEachCase: an opened case is told to those who name the event, whose jurisdiction it is in, and who see it without a call.
func TestWhoAsksHearsOfEachCase(t *testing.T) {
	t.Parallel()
	d := contract.Directory{Communities: map[string]contract.Community{"jinghu": {Division: "410782001"}}}
	asks := []string{"CaseOpened"}
	for name, c := range map[string]struct {
		o     contract.Organization
		class string
		want  bool
	}{
		"a township":                    {contract.Organization{Type: "Township", Jurisdiction: []string{"410782"}, Events: asks}, "C3", true},
		"a data office":                 {contract.Organization{Type: "DataOffice", Jurisdiction: []string{"41"}, Events: asks}, "C1", true},
		"a data office, personal data":  {contract.Organization{Type: "DataOffice", Jurisdiction: []string{"41"}, Events: asks}, "C2", false},
		"a department with a duty":      {contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"fire"}, Events: asks}, "C0", true},
		"of a duty, personal data":      {contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"fire"}, Events: asks}, "C3", false},
		"without a duty, as vendors":    {contract.Organization{Type: "Enterprise", Jurisdiction: []string{"41"}, Events: asks}, "C0", false},
		"of another place":              {contract.Organization{Type: "Township", Jurisdiction: []string{"410783"}, Events: asks}, "C0", false},
		"one that names no events":      {contract.Organization{Type: "Township", Jurisdiction: []string{"410782"}}, "C0", false},
		"one that names another events": {contract.Organization{Type: "Township", Jurisdiction: []string{"410782"}, Events: []string{"CaseDispatched"}}, "C0", false},
	} {
		if got := hearsOpened(d, c.o, &Case{Community: "jinghu", DataClass: c.class}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	w := newWorldWith(t, func(b *intake.Bundle) {
		o := b.Directory.Organizations["fire-xinxiang"]
		o.Events = []string{"CaseOpened", "CaseDispatched"}
		b.Directory.Organizations["fire-xinxiang"] = o
	}, func(*service) {})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	for typ, version := range map[string]string{EventOpened: `%"version":1%`, EventDispatched: `%"version":3%`} {
		if n := number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = 'fire-xinxiang' AND type = $1 AND convert_from(payload, 'UTF8') LIKE $2", typ, version); n != 1 {
			t.Errorf("%d messages of type %s with %s, want 1", n, typ, version)
		}
	}
}

// TestAMissedTimeIsTold lets the time to acknowledge pass.
func TestAMissedTimeIsTold(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(*intake.Bundle) {}, func(s *service) { s.sweep.now = func() time.Time { return time.Now().Add(3 * time.Minute) } })
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "the message", func() bool {
		return number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = 'fire-xinxiang' AND type = $1", EventOverdue) == 1
	})
}
