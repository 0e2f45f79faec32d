package grid

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// heard keeps what is logged, everything from debug on.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

// listen makes every part of the service log to h.
func (h *heard) listen(s *service) {
	log := slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.log, s.api.log, s.worker.log, s.deliver.log, s.sweep.log, s.keep.log, s.retain.log, s.registry.log = log, log, log, log, log, log, log, log
}

// everythingKept is all that the grid service can read, but for tables that are left out.
func everythingKept(t *testing.T, w *world, without ...string) string {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'v', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND has_table_privilege(c.oid, 'SELECT') AND n.nspname || '.' || c.relname <> ALL($1)`, append([]string{}, without...))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 20 {
		t.Fatalf("%d tables: %v", len(tables), err)
	}
	var all strings.Builder
	for _, table := range append(tables, "(SELECT convert_from(payload, 'UTF8') FROM grid.dispatch_outbox)") {
		var text string
		if err := w.pool.QueryRow(context.Background(), "SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM "+table+" t").Scan(&text); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s:\n%s\n", table, text)
	}
	return all.String()
}

// saidToOthers is all that the service says to others than who asks it: logs, reports, metrics, webhooks.
func saidToOthers(t *testing.T, w *world, h *heard) string {
	t.Helper()
	var r contract.Report
	w.svc.fill(&r)
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.Write(raw)
	metrics := httptest.NewRecorder()
	promhttp.HandlerFor(w.reg, promhttp.HandlerOpts{}).ServeHTTP(metrics, httptest.NewRequest("GET", "/metrics", nil))
	out.Write(metrics.Body.Bytes())
	w.hooks.mu.Lock()
	for path, events := range w.hooks.got {
		for _, e := range events {
			fmt.Fprintf(&out, "%s %s\n", path, e.String())
		}
	}
	w.hooks.mu.Unlock()
	out.WriteString(h.text())
	return out.String()
}

// TestPhonesAreNowhereElse: over the life of a critical case, with every read and refusal of phones on the way, a name or a phone is in the one
// table and in the answers to who may have it.
func TestPhonesAreNowhereElse(t *testing.T) {
	t.Parallel()
	const name, phone = "赵合成", "13800009911" // synthetic
	h := &heard{}
	w := newPeopleWorldWith(t, func(*intake.Bundle) {}, h.listen)
	boss, fire := w.token("committee", "p-9", RoleDispatcher), w.token("fire-xinxiang", "f-1", RoleDispatcher)
	w.put("/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g1"}}})
	w.put("/v1/people", boss, People{People: []Person{{"p-1", name, phone}, {"p-9", "钱合成", "13800009922"}}})
	w.put("/v1/people", boss, People{People: []Person{{"p-1", name, phone}}})
	if got := w.call("PUT", "/v1/people", boss, People{People: []Person{{"p-1", name, phone}, {"p-1", name, phone}}}, nil); got != 422 {
		t.Errorf("the same person twice: %d, want 422", got)
	}
	if got := w.call("PUT", "/v1/people", boss, People{People: []Person{{"p-1", name, "x" + phone}}}, nil); got != 422 {
		t.Errorf("a phone that is none: %d, want 422", got)
	}
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "webhook", func() bool { return w.hooks.count("/fire-xinxiang") == 1 })
	var list CaseList
	if got := w.call("GET", "/v1/cases", boss, nil, &list); got != 200 || len(list.Cases) != 1 {
		t.Fatalf("%d, %d cases", got, len(list.Cases))
	}
	path := "/v1/cases/" + list.Cases[0].ID.String()
	var people People
	if got := w.call("GET", "/v1/people", boss, nil, &people); got != 200 || len(people.People) != 1 || people.People[0] != (Person{"p-1", name, phone}) {
		t.Errorf("own people: %d %+v", got, people)
	}
	var duty CaseDuty
	if got := w.call("GET", path+"/duty", fire, nil, &duty); got != 200 || duty.Phone != phone || duty.Person != "p-1" || duty.Chain != nil {
		t.Errorf("who was called: %d %+v", got, duty)
	}
	for _, a := range []Action{Acknowledge, Handle, RequestVerification, Close} {
		if got := w.call("POST", path+"/actions", boss, map[string]any{"action": a}, nil); got != 200 {
			t.Fatalf("%s: %d", a, got)
		}
	}
	if got := w.call("GET", path+"/duty", fire, nil, nil); got != 403 {
		t.Errorf("when the case is closed: %d, want 403", got)
	}
	w.call("GET", "/v1/people", fire, nil, nil)
	var answers bytes.Buffer
	for _, p := range []string{path, "/v1/cases", "/v1/roster?community=jinghu", "/v1/duty?community=jinghu&grid=g1", "/v1/shifts?community=jinghu", "/openapi.yaml"} {
		var raw json.RawMessage
		if strings.HasSuffix(p, "yaml") {
			continue
		}
		if got := w.call("GET", p, boss, nil, &raw); got != 200 {
			t.Fatalf("%s: %d", p, got)
		}
		answers.Write(raw)
	}
	for where, text := range map[string]string{"tables": everythingKept(t, w, "grid.people"), "logs, reports, metrics or webhooks": saidToOthers(t, w, h), "other answers": answers.String()} {
		for _, secret := range []string{name, phone, "钱合成", "13800009922"} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s hold %s: …%s…", where, secret, text[max(0, i-120):i])
			}
		}
		if len(text) < 100 {
			t.Errorf("%s: %q proves nothing", where, text)
		}
	}
	// Two reads: of the list by the committee, of the phone by the brigade. What was refused read nothing.
	rows, err := w.pool.Query(t.Context(), "SELECT organization || ' ' || person || ' ' || role || ' ' || subject || ' ' || coalesce((SELECT number FROM grid.cases c WHERE c.id = case_id), '-') FROM grid.people_reads ORDER BY at")
	if err != nil {
		t.Fatal(err)
	}
	reads, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if want := []string{"committee p-9 Dispatcher committee/p-1 -", "fire-xinxiang f-1 Dispatcher committee/p-1 " + list.Cases[0].Number}; err != nil || fmt.Sprint(reads) != fmt.Sprint(want) {
		t.Errorf("reads %q, want %q (%v)", reads, want, err)
	}
}

// TestPhonesAreTheOwnOrganisations asks as everybody else, and for cases that are not critical, or that the organisation was not called to.
func TestPhonesAreTheOwnOrganisations(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.put("/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g1"}}})
	w.put("/v1/people", boss, People{People: []Person{{"p-1", "n", "13800009911"}, {"p-2", "m", "13800009922"}}})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	var list CaseList
	w.call("GET", "/v1/cases", boss, nil, &list)
	path := "/v1/cases/" + list.Cases[0].ID.String() + "/duty"
	for _, c := range []struct {
		org, person     string
		role            Role
		read, put, duty int
		sees            int
	}{
		{"committee", "p-1", RoleGridWorker, 200, 403, 200, 1}, {"committee", "p-8", RoleCommunityWorker, 200, 200, 200, 2}, {"committee", "p-8", RoleAuditor, 403, 403, 403, 0},
		{"committee", "r-1", RoleResident, 403, 403, 404, 0}, {"committee", "r-1", "Mayor", 403, 403, 404, 0}, {"township", "t-1", RoleDispatcher, 200, 200, 200, 0},
		{"property", "c-1", RoleDispatcher, 200, 200, 403, 0}, {"fire-luoyang", "f-2", RoleDispatcher, 200, 200, 404, 0}, {"vendor", "v-1", RoleDispatcher, 403, 403, 404, 0},
		{"fire-xinxiang", "f-1", RoleAuditor, 403, 403, 403, 0},
	} {
		token := w.token(c.org, c.person, c.role)
		before := number(t, w.pool, "SELECT count(*) FROM grid.people_reads")
		var people People
		got := []int{w.call("GET", "/v1/people", token, nil, &people), 0, 0}
		if reads := number(t, w.pool, "SELECT count(*) FROM grid.people_reads") - before; len(people.People) != c.sees || int(reads) != c.sees {
			t.Errorf("%s %s: reads %+v, written down %d, want %d", c.org, c.role, people, reads, c.sees)
		}
		if c.org != "committee" || c.put != 200 { // it would replace what the others look for
			got[1] = w.call("PUT", "/v1/people", token, People{People: []Person{}}, nil)
		} else {
			got[1] = 200
		}
		got[2] = w.call("GET", path, token, nil, nil)
		if want := []int{c.read, c.put, c.duty}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %s: %v, want %v", c.org, c.role, got, want)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.people"); n != 2 {
		t.Errorf("%d people are left, want 2", n)
	}
	if _, err := w.pool.Exec(t.Context(), "UPDATE grid.cases SET severity = 'High'"); err != nil {
		t.Fatal(err)
	}
	if got := w.call("GET", path, boss, nil, nil); got != 403 {
		t.Errorf("a case that is not critical: %d, want 403", got)
	}
	if _, err := w.pool.Exec(t.Context(), "UPDATE grid.cases SET severity = 'Critical'"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pool.Exec(t.Context(), "UPDATE grid.case_parties SET released_at = $1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := w.call("GET", path, w.token("fire-xinxiang", "f-1", RoleDispatcher), nil, nil); got != 403 {
		t.Errorf("who was released: %d, want 403", got)
	}
}
