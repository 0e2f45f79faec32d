package grid

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// lampWorld has times for cases of low severity.
func lampWorld(t *testing.T) *world {
	t.Helper()
	return newPeopleWorldWith(t, func(b *intake.Bundle) {
		b.Directory.Platform.SLA[contract.SeverityLow] = contract.SLA{AcknowledgeSeconds: 3600, OnSiteSeconds: 7200, ResolveSeconds: 9000}
	}, func(*service) {})
}

// close takes a case to its end, from the state that it has.
func (w *world) close(path, token string, actions ...Action) {
	w.t.Helper()
	for _, a := range actions {
		if got := w.call("POST", path+"/actions", token, map[string]any{"action": a}, nil); got != 200 {
			w.t.Fatalf("%s: %d", a, got)
		}
	}
}

func (w *world) detail(path, token string) (d CaseDetail, actions []string) {
	w.t.Helper()
	if got := w.call("GET", path, token, nil, &d); got != 200 {
		w.t.Fatalf("%s: %d", path, got)
	}
	for _, h := range d.History {
		actions = append(actions, h.Action)
	}
	return d, actions
}

// TestBadRatingsReopen: the first sends the case back to the same party and tells the supervisor, the second takes it a level up besides, a good one ends it;
// a closing is rated once.
func TestBadRatingsReopen(t *testing.T) {
	t.Parallel()
	w := lampWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	resident, again := w.token("committee", "r-1", RoleResident), []Action{RequestVerification, Close}
	w.put("/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g1"}}})
	ref, got := w.reportAs(resident, "key-0001", lamp())
	if got != 201 {
		t.Fatal(got)
	}
	path := "/v1/cases/" + ref.ID.String()
	rate := func(score int, note string) (state string, status int) {
		var raw json.RawMessage
		status = w.call("POST", path+"/ratings", resident, Rating{Score: score, Receipt: ref.Receipt, Note: note}, &raw)
		return strings.TrimSpace(string(raw)), status
	}
	if _, got := rate(1, ""); got != 409 {
		t.Errorf("a case that is open: %d, want 409", got)
	}
	w.close(path, boss, Acknowledge, RequestVerification, Close)
	before, _ := w.detail(path, boss)
	if state, got := rate(badScore, "还是不亮"); got != 200 || state != `{"state":"Handling","stateName":"处置"}` {
		t.Fatalf("first: %d %s", got, state)
	}
	d, actions := w.detail(path, boss)
	if tail := strings.Join(actions[len(before.History):], " "); tail != "Rate Rework SupervisorTold" {
		t.Errorf("history %s", tail)
	}
	if d.Reopened != 1 || d.Level != before.Level || d.AssigneePerson != "p-1" || d.Score == nil || *d.Score != badScore || d.ClosedAt != nil || d.Escalated != 0 {
		t.Errorf("after the first: %+v", d.Case)
	}
	if d.ResolveDue == nil || !d.ResolveDue.After(time.Now().Add(8000*time.Second)) || d.OnSiteDue == nil || d.OnSiteAt != nil {
		t.Errorf("times do not run anew: on site by %v, resolved by %v", d.OnSiteDue, d.ResolveDue)
	}
	entry := d.History[len(before.History)]
	if entry.Note != "还是不亮" || entry.Actor.Role != RoleResident || entry.Detail["score"] != float64(badScore) {
		t.Errorf("the rating in the history: %+v", entry)
	}
	if told := d.History[len(d.History)-1].Detail; told["level"] != "Community" {
		t.Errorf("told %+v", told)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_parties WHERE case_id = $1 AND kind = 'Told' AND organization = 'committee'", ref.ID); n != 1 {
		t.Errorf("%d were told, want the committee", n)
	}
	if _, got := rate(5, ""); got != 409 {
		t.Errorf("while it is open again: %d, want 409", got)
	}
	w.close(path, boss, again...)
	if _, got := rate(1, ""); got != 200 {
		t.Fatalf("second: %d", got)
	}
	d, actions = w.detail(path, boss)
	if !slices.Equal(actions[len(actions)-4:], []string{"Rate", "Rework", "Escalated", "SupervisorTold"}) || d.Escalated != 1 || d.Level != levelCommunity || d.Reopened != 2 {
		t.Errorf("after the second: %v, %+v", actions, d.Case)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_parties WHERE case_id = $1 AND kind = 'Escalation' AND organization = 'committee'", ref.ID); n != 1 {
		t.Error("the committee, who was told only, is not called")
	}
	eventually(t, "the township is told", func() bool { return w.hooks.count("/fire-xinxiang") > 0 }) // its webhook, too
	w.hooks.mu.Lock()
	for _, e := range w.hooks.got["/fire-xinxiang"] {
		if e.Type() != EventReworked {
			t.Errorf("the township hears %s", e.Type())
		}
	}
	w.hooks.mu.Unlock()
	w.close(path, boss, again...)
	if state, got := rate(badScore+1, ""); got != 200 || state != `{"state":"Rated","stateName":"评价"}` {
		t.Fatalf("a rating that is not bad: %d %s", got, state)
	}
	if _, got := rate(1, ""); got != 409 {
		t.Errorf("a closing that was rated: %d, want 409", got)
	}
	if n := number(t, w.pool, "SELECT sum(score) FROM grid.ratings WHERE by_reporter"); n != badScore+1+badScore+1 {
		t.Errorf("ratings add up to %d", n)
	}
}

// TestWhoRates: by the receipt of the very case anybody, without one an office of the committee or the township.
func TestWhoRates(t *testing.T) {
	t.Parallel()
	w := lampWorld(t)
	boss, resident := w.token("committee", "p-9", RoleDispatcher), w.token("committee", "r-1", RoleResident)
	ref, _ := w.reportAs(resident, "key-0001", lamp())
	other, _ := w.reportAs(resident, "key-0002", lamp())
	path := "/v1/cases/" + ref.ID.String()
	w.close(path, boss, Acknowledge, RequestVerification, Close)
	for _, c := range []struct {
		org     string
		role    Role
		receipt string
		want    int
	}{
		{"committee", RoleResident, "", 404}, {"committee", RoleResident, other.Receipt, 404}, {"committee", RoleAuditor, "", 403}, {"committee", RoleGridWorker, "", 404},
		{"property", RoleDispatcher, "", 403}, {"fire-luoyang", RoleDispatcher, "", 404}, {"vendor", RoleTechnician, "", 404}, {"property", RoleDispatcher, other.Receipt, 404},
	} {
		if got := w.call("POST", path+"/ratings", w.token(c.org, "x-"+c.org, c.role), Rating{Score: 1, Receipt: c.receipt}, nil); got != c.want {
			t.Errorf("%s %s with receipt %q: %d, want %d", c.org, c.role, c.receipt, got, c.want)
		}
	}
	for _, score := range []int{0, 6, -1} {
		if got := w.call("POST", path+"/ratings", boss, Rating{Score: score}, nil); got != 422 {
			t.Errorf("score %d: %d, want 422", score, got)
		}
	}
	if d, _ := w.detail(path, boss); d.State != Closed || d.Score != nil {
		t.Errorf("somebody rated: %+v", d.Case)
	}
	w.close(path, boss, Rate) // with no score: whoever reported may say it still
	if got := w.call("POST", path+"/ratings", w.token("township", "t-1", RoleDispatcher), Rating{Score: 4}, nil); got != 200 {
		t.Errorf("the township's office: %d", got)
	}
	if d, _ := w.detail(path, boss); d.State != Rated || d.Score == nil || *d.Score != 4 {
		t.Errorf("after: %+v", d.Case)
	}
}

// TestABadScoreIsWhatThePlatformSays: just at it, and just above.
func TestABadScoreIsWhatThePlatformSays(t *testing.T) {
	t.Parallel()
	w := newPeopleWorldWith(t, func(b *intake.Bundle) { b.Directory.Platform.BadScore = 4 }, func(*service) {})
	boss := w.token("committee", "p-9", RoleDispatcher)
	for i, want := range map[int]State{4: Handling, 5: Rated} {
		ref, _ := w.reportAs(boss, fmt.Sprint("key-000", i), lamp())
		path := "/v1/cases/" + ref.ID.String()
		w.close(path, boss, Acknowledge, RequestVerification, Close)
		var state ReportState
		if got := w.call("POST", path+"/ratings", boss, Rating{Score: i}, &state); got != 200 || state.State != want {
			t.Errorf("score %d: %d %s, want %s", i, got, state.State, want)
		}
	}
}

// TestReworkIsTheServicesOwn: people cannot take up a rated case like that, and the service cannot do more than that.
func TestReworkIsTheServicesOwn(t *testing.T) {
	for _, role := range append([]Role{RoleResident, RoleAuditor}, everyone...) {
		if s, err := Next(Rated, Rework, role); err == nil {
			t.Errorf("%s reworks a rated case to %s", role, s)
		}
	}
	for _, s := range every() {
		got, err := Next(s, Rework, RoleSystem)
		if (err == nil) != (s == Rated) || err == nil && got != Handling {
			t.Errorf("%s by the service: %s, %v", s, got, err)
		}
	}
}

// TestBadRatingOfAPlaceThatIsTaken: an alarm opened another case of the same since; both stay open.
func TestBadRatingOfAPlaceThatIsTaken(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	var list CaseList
	w.call("GET", "/v1/cases", boss, nil, &list)
	path := "/v1/cases/" + list.Cases[0].ID.String()
	w.close(path, boss, Acknowledge, RequestVerification, Close)
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "another case", func() bool { return w.cases("Dispatched") == 1 })
	if got := w.call("POST", path+"/ratings", boss, Rating{Score: 1}, nil); got != 200 {
		t.Fatalf("rating: %d", got)
	}
	if w.cases("Handling") != 1 || w.cases("Dispatched") != 1 {
		t.Errorf("%d handled and %d dispatched, want one each", w.cases("Handling"), w.cases("Dispatched"))
	}
}

// TestWhoIsToldIsNotCalled: to hear of a case gives no part in it.
func TestWhoIsToldIsNotCalled(t *testing.T) {
	d := testBundle("https://example.test", "").Directory
	for kind, want := range map[string]bool{partyTold: false, partyResponder: true, partyEscalation: true} {
		if got := isParty(d, "fire-xinxiang", []party{{Kind: kind, Organization: "fire-xinxiang"}}); got != want {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
}
