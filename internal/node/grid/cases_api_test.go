package grid

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// filed makes a case and calls posts and organisations to it.
func (w *world) filed(title string, c Case, posts, organizations []string) *Case {
	w.t.Helper()
	c.Community, c.Title, c.Source, c.StartedAt, c.LastSignalAt = "jinghu", title, SourceSystem, time.Now(), time.Now()
	if c.Severity == "" {
		c.Severity = contract.SeverityCritical
	}
	if err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		now, d := time.Now().UTC(), w.bundle.Directory
		if err := insert(w.t.Context(), tx, d, &c, system, now, nil); err != nil {
			return err
		}
		if err := move(w.t.Context(), tx, d.Platform, &c, File, system, now, nil, nil); err != nil {
			return err
		}
		return call(w.t.Context(), tx, d, &c, called{Posts: posts, Organizations: organizations}, system, now, nil)
	}); err != nil {
		w.t.Fatal(err)
	}
	return &c
}

// street is a bundle with a property company and a person who stands on a post.
func street(b *intake.Bundle) {
	b.Directory.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"410702001001"}, Duties: []string{"property"}}
	b.Directory.Organizations["gas"] = contract.Organization{Type: "Company", Jurisdiction: []string{"4107"}, Duties: []string{"gas"}}
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), query, args...); err != nil {
		w.t.Fatal(err)
	}
}

func TestCasesFiltered(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	one := w.filed("one", Case{Grid: "g1", Class: "fire"}, []string{"GridWorker"}, []string{"property"})
	two := w.filed("two", Case{Grid: "g2", Class: "fire"}, nil, []string{"fire-xinxiang"})
	three := w.filed("three", Case{Class: "noise"}, []string{"GridWorker"}, []string{"gas"})
	w.exec("UPDATE grid.cases SET onsite_overdue = true WHERE id = $1", two.ID)
	w.exec("UPDATE grid.case_parties SET released_at = now() WHERE case_id = $1 AND organization = 'gas'", three.ID)
	w.exec("INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ('committee', 'p-1', 'GridWorker', 'jinghu', 'g1')")
	w.exec("UPDATE grid.cases SET assignee_organization = 'property', assignee_person = 'p-2' WHERE id = $1", two.ID)
	for query, want := range map[string][]string{
		"":                              {"three", "two", "one"},
		"class=fire":                    {"two", "one"},
		"grid=g1":                       {"one"},
		"organization=property":         {"one"},
		"organization=gas":              {},
		"overdue=true":                  {"two"},
		"overdue=false":                 {"three", "two", "one"},
		"mine=true":                     {"one"},
		"number=" + three.Number:        {"three"},
		"number=1":                      {},
		"class=fire&overdue=true":       {"two"},
		"class=noise&organization=none": {},
	} {
		if got := w.listed("committee", "p-1", RoleDispatcher, query); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	if got := w.listed("property", "p-2", RoleDispatcher, "mine=true"); !slices.Equal(got, []string{"two"}) {
		t.Errorf("assigned: %v", got)
	}
	if got := w.listed("fire-luoyang", "p-1", RoleDispatcher, "number="+one.Number); len(got) > 0 {
		t.Errorf("a number shows a case of another city: %v", got)
	}
	if got := w.call("GET", "/v1/cases?mine=perhaps", w.token("committee", "p-1", RoleDispatcher), nil, nil); got != 422 {
		t.Errorf("mine=perhaps: %d", got)
	}
}

func (w *world) listed(organization, person string, role Role, query string) []string {
	w.t.Helper()
	var list CaseList
	if got := w.call("GET", "/v1/cases?"+query, w.token(organization, person, role), nil, &list); got != 200 {
		w.t.Fatalf("%s: %d", query, got)
	}
	titles := []string{}
	for _, c := range list.Cases {
		titles = append(titles, c.Title)
	}
	return titles
}

func TestReassign(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	w.exec("INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ('committee', 'p-3', 'GridWorker', 'jinghu', ''), ('property', 'q-1', 'Guard', 'jinghu', 'g2')")
	c := w.filed("smoke", Case{Grid: "g1", Class: "fire", DataClass: "C0"}, []string{"GridWorker"}, []string{"property"})
	path := "/v1/cases/" + c.ID.String()
	w.exec("UPDATE grid.case_parties SET kind = 'Escalation' WHERE case_id = $1 AND post = 'GridWorker'", c.ID)
	office := w.token("committee", "o-1", RoleDispatcher)
	if got := w.call("POST", path+"/actions", office, map[string]any{"action": "Acknowledge"}, nil); got != 200 {
		t.Fatal(got)
	}
	to := func(kind, name string) map[string]any { return map[string]any{kind: name, "reason": "ill"} }
	for _, tc := range []struct {
		organization string
		role         Role
		body         map[string]any
		want         int
	}{
		{"committee", RoleGridWorker, to("organization", "gas"), 404},     // sees no case: no roster has them
		{"committee", RoleAuditor, to("organization", "gas"), 403},        // reads only
		{"fire-xinxiang", RoleDispatcher, to("organization", "gas"), 403}, // was not called
		{"fire-luoyang", RoleDispatcher, to("organization", "gas"), 404},  // of another city
		{"committee", RoleDispatcher, to("organization", "vendor"), 422},  // sells devices
		{"committee", RoleDispatcher, to("organization", "nobody"), 422},  // is not there
		{"committee", RoleDispatcher, to("organization", "fire-luoyang"), 422},
		{"committee", RoleDispatcher, to("post", "Doctor"), 422},
		{"committee", RoleDispatcher, to("person", "q-1"), 422}, // of another's roster
		{"property", RoleDispatcher, to("person", "q-1"), 422},  // of another grid
		{"committee", RoleDispatcher, map[string]any{"organization": "gas"}, 422},
		{"committee", RoleDispatcher, map[string]any{"organization": "gas", "reason": " "}, 422},
		{"committee", RoleDispatcher, map[string]any{"reason": "ill"}, 422},
		{"committee", RoleDispatcher, map[string]any{"organization": "gas", "post": "GridWorker", "reason": "ill"}, 422},
	} {
		if got := w.call("POST", path+"/reassign", w.token(tc.organization, "x-1", tc.role), tc.body, nil); got != tc.want {
			t.Errorf("%s %s %v: %d, want %d", tc.organization, tc.role, tc.body, got, tc.want)
		}
	}
	var got CaseDetail
	if status := w.call("POST", path+"/reassign", office, to("organization", "gas"), &got, "Idempotency-Key", "key-00001", "If-Match", fmt.Sprint(4)); status != 200 {
		t.Fatalf("reassign: %d", status)
	}
	last := got.History[len(got.History)-1]
	if got.State != Dispatched || last.Action != "Reassign" || last.Note != "ill" || last.Detail["organization"] != "gas" || fmt.Sprint(last.Detail["released"]) != "[property]" {
		t.Errorf("state %s, last entry %+v", got.State, last)
	}
	if got.AcknowledgedAt != nil || len(got.Times) != 2 || got.Times[0].Kind != "Acknowledge" || got.Times[0].LeftSeconds < 100 || got.Times[0].Due == nil {
		t.Errorf("whoever gets it has to take it anew: %v, %+v", got.AcknowledgedAt, got.Times)
	}
	called := map[string]bool{}
	for _, p := range got.Parties {
		called[p.Kind+" "+p.Post+p.Organization+p.Person] = p.ReleasedAt == nil
	}
	if len(called) != 3 || called["Responder property"] || !called["Responder gas"] || !called["Escalation GridWorker"] {
		t.Errorf("called: %v", called)
	}
	if status := w.call("POST", path+"/reassign", office, to("organization", "gas"), &got, "Idempotency-Key", "key-00001", "If-Match", fmt.Sprint(4)); status != 200 || len(got.History) != last.N {
		t.Errorf("the same request again: %d, %d entries", status, len(got.History))
	}
	if status := w.call("POST", path+"/reassign", office, to("post", "GridWorker"), nil, "Idempotency-Key", "key-00001"); status != 422 {
		t.Errorf("another request with its key: %d", status)
	}
	if status := w.call("POST", path+"/reassign", office, to("post", "GridWorker"), nil, "If-Match", "4"); status != 412 {
		t.Errorf("of an older version: %d", status)
	}
	if status := w.call("POST", path+"/actions", w.token("property", "q-1", RoleDispatcher), map[string]any{"action": "Acknowledge"}, nil); status != 403 {
		t.Errorf("who was released acts: %d", status)
	}
	if status := w.call("POST", path+"/reassign", office, to("person", "p-3"), &got); status != 200 {
		t.Fatalf("to a person: %d", status)
	}
	if mine := w.listed("committee", "p-3", RoleGridWorker, "mine=true"); !slices.Equal(mine, []string{"smoke"}) {
		t.Errorf("it is not theirs: %v", mine)
	}
	if status := w.call("POST", path+"/reassign", office, to("post", "GridWorker"), &got); status != 200 {
		t.Fatalf("to a post: %d", status)
	}
	if status := w.call("POST", path+"/actions", office, map[string]any{"action": "Void"}, nil); status != 200 {
		t.Fatal(status)
	}
	if status := w.call("POST", path+"/reassign", office, to("organization", "gas"), nil); status != 409 {
		t.Errorf("a case that is void: %d", status)
	}
}

// TestReassignSensitive: a case with sensitive personal data goes to nobody whose business it is not.
func TestReassignSensitive(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		street(b)
		b.Rules.Scenarios["s01"] = contract.Scenario{CaseClass: "welfare", Severity: contract.SeverityHigh, DataClass: "C2", Responders: []contract.Responder{{Duty: "gas"}}}
	}, func(*service) {})
	c := w.filed("welfare", Case{Grid: "g1", Class: "welfare", DataClass: "C2"}, []string{"GridWorker"}, nil)
	office := w.token("committee", "o-1", RoleDispatcher)
	for organization, want := range map[string]int{"property": 422, "fire-xinxiang": 422, "gas": 200} {
		if got := w.call("POST", "/v1/cases/"+c.ID.String()+"/reassign", office, map[string]any{"organization": organization, "reason": "x"}, nil); got != want {
			t.Errorf("to %s: %d, want %d", organization, got, want)
		}
	}
	if got := w.call("GET", "/v1/cases/"+c.ID.String(), w.token("property", "q-1", RoleDispatcher), nil, nil); got != 404 {
		t.Errorf("the property company reads it: %d", got)
	}
}

func TestClosingSteps(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		s := b.Rules.Scenarios["s10"]
		s.Closing = []string{"现场已排查", "隐患已消除", "已告知住户"}
		b.Rules.Scenarios["s10"] = s
	}, func(*service) {})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	var list CaseList
	office := w.token("committee", "o-1", RoleDispatcher)
	if w.call("GET", "/v1/cases", office, nil, &list); len(list.Cases) != 1 || len(list.Cases[0].Closing) != 3 {
		t.Fatalf("%+v", list)
	}
	path := "/v1/cases/" + list.Cases[0].ID.String() + "/actions"
	var last CaseDetail
	for _, tc := range []struct {
		action Action
		done   []int
		want   int
	}{
		{Acknowledge, []int{1}, 422}, {Acknowledge, nil, 200}, {Handle, []int{4}, 422}, {Handle, []int{0}, 422}, {Handle, []int{2}, 200},
		{RequestVerification, nil, 200}, {Close, nil, 409}, {Close, []int{1}, 409}, {Close, []int{1, 3}, 200}, {Reopen, nil, 200}, {Dispatch, nil, 200}, {Acknowledge, nil, 200}, {RequestVerification, nil, 200}, {Close, []int{1}, 409},
	} {
		body := map[string]any{"action": tc.action}
		if tc.done != nil {
			body["closing"] = tc.done
		}
		var got CaseDetail
		if status := w.call("POST", path, office, body, &got); status != tc.want {
			t.Errorf("%s %v: %d, want %d", tc.action, tc.done, status, tc.want)
		}
		if tc.want == 200 {
			last = got
		}
		if tc.action == Handle && tc.want == 200 && (got.Closing[0].DoneAt != nil || got.Closing[1].DoneAt == nil || got.Closing[1].Person != "o-1" || got.Closing[1].Text != "隐患已消除") {
			t.Errorf("after %s: %+v", tc.action, got.Closing)
		}
	}
	if last.State != Verifying || len(last.Closing) != 3 || last.Closing[1].DoneAt != nil {
		t.Errorf("steps after a reopening: %s, %+v", last.State, last.Closing)
	}
}

// TestACaseIsChangedWhileARowRefersToIt: whoever writes rows of many cases in one transaction holds up nobody who changes one.
func TestACaseIsChangedWhileARowRefersToIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.send("s1", 1, `{"smoke":true}`)
	var list CaseList
	eventually(t, "a case", func() bool {
		return w.call("GET", "/v1/cases?state=Dispatched", boss, nil, &list) == 200 && len(list.Cases) == 1
	})
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "INSERT INTO grid.case_alarms (case_id, scenario, scope, scope_id, start, began, severity) VALUES ($1, 'other', 'Device', 'x', now(), now(), 'Low')", list.Cases[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := w.call("POST", "/v1/cases/"+list.Cases[0].ID.String()+"/actions", boss, map[string]any{"action": "Acknowledge"}, nil); got != 200 {
		t.Errorf("acknowledge: %d", got)
	}
}
