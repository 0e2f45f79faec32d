package grid

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// newPeopleWorld has a community with posts on all levels, a township, and a property company that covers it.
func newPeopleWorld(t *testing.T) *world {
	t.Helper()
	return newPeopleWorldWith(t, func(*intake.Bundle) {}, func(*service) {})
}

func newPeopleWorldWith(t *testing.T, change func(*intake.Bundle), tune func(*service)) *world {
	t.Helper()
	return newWorldWith(t, func(b *intake.Bundle) {
		c := b.Directory.Communities["jinghu"]
		c.Posts = []string{"Secretary"}
		c.Grids = []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}, MicroGrids: []contract.MicroGrid{{Name: "m1", Posts: []string{"Head"}, Buildings: []string{"7"}}}}, {Name: "g2", Posts: []string{"GridWorker"}}}
		b.Directory.Communities["jinghu"] = c
		b.Directory.Organizations["township"] = contract.Organization{Type: "Township", Jurisdiction: []string{"410702001"}, Webhook: b.Directory.Organizations["fire-xinxiang"].Webhook}
		b.Directory.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"410702001001"}, Duties: []string{"property"}}
		change(b)
	}, tune)
}

// put calls PUT and wants 200.
func (w *world) put(path, token string, body any) {
	w.t.Helper()
	if got := w.call("PUT", path, token, body, nil); got != 200 {
		w.t.Fatalf("PUT %s: %d", path, got)
	}
}

func TestDutyOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss, company := w.token("committee", "p-9", RoleDispatcher), w.token("property", "p-8", RoleDispatcher)
	w.put("/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{
		{Person: "p-1", Role: "GridWorker", Grid: "g1"}, {Person: "p-2", Role: "GridWorker", Grid: "g1", Post: "GridWorker", Rank: 2},
		{Person: "p-3", Role: "GridWorker", Grid: "g1", MicroGrid: "m1", Post: "Head"}, {Person: "p-4", Role: "CommunityWorker", Post: "Secretary"},
		{Person: "p-3", Role: "GridWorker", Grid: "g1", Post: "GridWorker", Rank: 9},
	}})
	// A company's own roster puts nobody on a post of the grid.
	w.put("/v1/roster", company, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-0", Role: "GridWorker", Grid: "g1", Post: "GridWorker"}}})
	shifts := Shifts{Community: "jinghu", Shifts: []Shift{
		{Person: "p-1", Post: "GridWorker", Weekdays: []string{"Friday", "Monday"}, From: "22:00", To: "06:00", ValidFrom: "2026-03-01", ValidTo: "2026-03-31"}}}
	w.put("/v1/shifts", boss, shifts)
	night, day := "2026-03-07T02:00:00+08:00", "2026-03-07T10:00:00+08:00"
	from, _ := time.Parse(time.RFC3339, night)
	w.put("/v1/substitutes", boss, Substitutes{Substitutes: []Substitute{{Person: "p-3", Substitute: "p-5", From: from, To: from.Add(time.Hour)}}})

	duty := func(token, at string) string {
		t.Helper()
		var out DutyList
		if got := w.call("GET", "/v1/duty?community=jinghu&grid=g1&microGrid=m1&at="+url.QueryEscape(at), token, nil, &out); got != 200 {
			t.Fatalf("duty: %d", got)
		}
		var all []string
		for _, d := range out.Posts {
			all = append(all, fmt.Sprintf("%s:%s/%s/%d", d.Asked[0], d.Post, d.Person, len(d.Chain)))
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct{ name, token, at, want string }{
		{"at night", boss, night, "Head:Head/p-5/2 GridWorker:GridWorker/p-1/1 Secretary:Secretary/p-4/1"},
		{"by day", boss, day, "Head:Head/p-3/1 GridWorker:GridWorker/p-2/2 Secretary:Secretary/p-4/1"},
		{"a company hears who, not why", company, day, "Head:Head/p-3/0 GridWorker:GridWorker/p-2/0 Secretary:Secretary/p-4/0"},
	} {
		if got := duty(c.token, c.at); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	var back Shifts
	if got := w.call("GET", "/v1/shifts?community=jinghu", boss, nil, &back); got != 200 || len(back.Shifts) != 1 || fmt.Sprint(back.Shifts[0]) != "{p-1 GridWorker   [Monday Friday] 22:00 06:00 2026-03-01 2026-03-31}" {
		t.Errorf("shifts: %d %+v", got, back)
	}
	var roster Roster
	if got := w.call("GET", "/v1/roster?community=jinghu", boss, nil, &roster); got != 200 || len(roster.Entries) != 5 || roster.Entries[1].Post+fmt.Sprint(roster.Entries[1].Rank) != "1" {
		t.Errorf("roster: %d %+v", got, roster)
	}
	for name, body := range map[string]any{
		"a post that is none":          Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Diver", Weekdays: []string{"Monday"}, From: "08:00", To: "09:00", ValidFrom: "2026-03-01"}}},
		"a grid that is none":          Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", Grid: "g7", Weekdays: []string{"Monday"}, From: "08:00", To: "09:00", ValidFrom: "2026-03-01"}}},
		"a time that is none":          Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", Weekdays: []string{"Monday"}, From: "24:00", To: "09:00", ValidFrom: "2026-03-01"}}},
		"a day that is none":           Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", Weekdays: []string{"Moonday"}, From: "08:00", To: "09:00", ValidFrom: "2026-03-01"}}},
		"an end before the beginning":  Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", Weekdays: []string{"Monday"}, From: "08:00", To: "09:00", ValidFrom: "2026-03-02", ValidTo: "2026-03-01"}}},
		"a date that is none":          Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", Weekdays: []string{"Monday"}, From: "08:00", To: "09:00", ValidFrom: "2026-02-30"}}},
		"no day of the week":           Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", From: "08:00", To: "09:00", ValidFrom: "2026-03-02"}}},
		"a micro-grid of another grid": Shifts{Community: "jinghu", Shifts: []Shift{{Person: "p", Post: "Head", Grid: "g2", MicroGrid: "m1", Weekdays: []string{"Monday"}, From: "08:00", To: "09:00", ValidFrom: "2026-03-02"}}},
	} {
		if got := w.call("PUT", "/v1/shifts", boss, body, nil); got != 422 {
			t.Errorf("shifts with %s: %d, want 422", name, got)
		}
	}
	for name, body := range map[string][]Substitute{
		"oneself":              {{Person: "p", Substitute: "p", From: from, To: from.Add(1)}},
		"no time":              {{Person: "p", Substitute: "q", From: from, To: from}},
		"two at the same time": {{Person: "p", Substitute: "q", From: from, To: from.Add(time.Hour)}, {Person: "p", Substitute: "r", From: from.Add(time.Minute), To: from.Add(time.Hour)}},
	} {
		if got := w.call("PUT", "/v1/substitutes", boss, Substitutes{Substitutes: body}, nil); got != 422 {
			t.Errorf("substitutes with %s: %d, want 422", name, got)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.shifts") + number(t, w.pool, "SELECT count(*) FROM grid.substitutes"); n != 2 {
		t.Errorf("%d rows: what was refused left something, or took something away", n)
	}
}

// TestDutyIsTheOwnOrganisations: nobody reads or replaces what another organisation entered, and who has no business there gets nothing.
func TestDutyIsTheOwnOrganisations(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	shift := Shift{Person: "p-1", Post: "GridWorker", Weekdays: []string{"Monday"}, From: "22:00", To: "06:00", ValidFrom: "2026-03-01"}
	w.put("/v1/shifts", boss, Shifts{Community: "jinghu", Shifts: []Shift{shift}})
	w.put("/v1/substitutes", boss, Substitutes{Substitutes: []Substitute{{Person: "p-1", Substitute: "p-2", From: time.Now(), To: time.Now().Add(time.Hour)}}})
	for _, c := range []struct {
		org                     string
		role                    Role
		shifts, put, subs, duty int
	}{
		{"township", RoleDispatcher, 200, 200, 200, 200}, {"property", RoleDispatcher, 200, 200, 200, 200}, {"property", RoleGridWorker, 200, 403, 200, 200},
		{"fire-luoyang", RoleDispatcher, 404, 404, 200, 404}, {"vendor", RoleDispatcher, 404, 403, 403, 404}, {"committee", RoleResident, 404, 403, 403, 404},
		{"committee", RoleAuditor, 200, 403, 200, 200}, {"committee", "Mayor", 404, 403, 403, 404},
	} {
		token := w.token(c.org, "x", c.role)
		var shifts Shifts
		var subs Substitutes
		got := []int{w.call("GET", "/v1/shifts?community=jinghu", token, nil, &shifts), w.call("PUT", "/v1/shifts", token, Shifts{Community: "jinghu", Shifts: []Shift{}}, nil),
			w.call("GET", "/v1/substitutes", token, nil, &subs), w.call("GET", "/v1/duty?community=jinghu", token, nil, nil)}
		if want := []int{c.shifts, c.put, c.subs, c.duty}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %s: %v, want %v", c.org, c.role, got, want)
		}
		if own := c.org == "committee"; !own && len(shifts.Shifts)+len(subs.Substitutes) > 0 {
			t.Errorf("%s %s reads of another: %+v %+v", c.org, c.role, shifts, subs)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.shifts WHERE organization = 'committee'"); n != 1 {
		t.Errorf("%d shifts of the committee are left, want 1", n)
	}
}

// TestACaseGoesToWhoIsOnDuty: the case and its history say who, and why; and whoever stands in sees it without being on the roster.
func TestACaseGoesToWhoIsOnDuty(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.put("/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g1"}, {Person: "p-2", Role: "GridWorker", Grid: "g2"}}})
	w.put("/v1/substitutes", boss, Substitutes{Substitutes: []Substitute{{Person: "p-1", Substitute: "p-2", From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}}})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	standIn := w.token("committee", "p-2", RoleGridWorker)
	var list CaseList
	if got := w.call("GET", "/v1/cases", standIn, nil, &list); got != 200 || len(list.Cases) != 1 {
		t.Fatalf("who stands in sees %d cases (%d), want 1", len(list.Cases), got)
	}
	var d CaseDetail
	if got := w.call("GET", "/v1/cases/"+list.Cases[0].ID.String(), standIn, nil, &d); got != 200 || d.AssigneeOrganization+" "+d.AssigneePerson+" "+d.AssigneePost != "committee p-2 GridWorker" {
		t.Errorf("%d, assigned to %s %s %s", got, d.AssigneeOrganization, d.AssigneePerson, d.AssigneePost)
	}
	why := fmt.Sprint(d.History[2].Detail["assigned"])
	if d.History[2].Action != "Dispatch" || !strings.Contains(why, "outcome:Absent") || !strings.Contains(why, "substitute:p-2") {
		t.Errorf("the history does not say why: %s %s", d.History[2].Action, why)
	}
	for _, other := range []string{"p-3", "p-9"} {
		var none CaseList
		if got := w.call("GET", "/v1/cases", w.token("committee", other, RoleGridWorker), nil, &none); got != 200 || len(none.Cases) != 0 {
			t.Errorf("%s, who is on no roster, sees %d cases", other, len(none.Cases))
		}
	}
	if got := w.call("POST", "/v1/cases/"+d.ID.String()+"/actions", standIn, map[string]any{"action": "Acknowledge"}, nil); got != 200 {
		t.Errorf("who stands in takes the case: %d", got)
	}
}
