package grid

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// estates are two property companies of one community, each with a compound of its own; the second is told of what is opened.
func estates(b *intake.Bundle) {
	jinghu := b.Directory.Communities["jinghu"]
	jinghu.Compounds = []string{"east", "west"}
	jinghu.Grids = []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}, Compounds: []string{"east"}}, {Name: "g2", Compounds: []string{"east", "west"}}}
	b.Directory.Communities["jinghu"] = jinghu
	b.Directory.Organizations["east"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"4107"}, Duties: []string{"property"}, Compounds: []string{"jinghu/east"}}
	b.Directory.Organizations["west"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"4107"}, Duties: []string{"property"}, Compounds: []string{"jinghu/west"}, Delivery: contract.DeliveryMQTT, Events: []string{eventNames[EventOpened]}}
	for name, at := range map[string][2]string{"s1": {"g1", "east"}, "s2": {"g2", "west"}, "s3": {"g1", ""}} {
		d := b.Fleets["smokes"].Devices[name]
		d.Grid, d.Compound = at[0], at[1]
		b.Fleets["smokes"].Devices[name] = d
	}
	s := b.Rules.Scenarios["s10"]
	s.Responders = []contract.Responder{{Post: "GridWorker"}, {Duty: "property", MinSeverity: contract.SeverityCritical}}
	b.Rules.Scenarios["s10"] = s
}

// TestAPropertyCompanySeesItsCompounds: it is called to them, and sees nothing of the company next door, whose cases, devices and figures are not there
// for it; a committee sees all.
func TestAPropertyCompanySeesItsCompounds(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, estates, func(*service) {})
	for _, device := range []string{"s1", "s2", "s3"} {
		w.send(device, 1, `{"smoke":true}`)
	}
	eventually(t, "cases", func() bool { return w.cases("Dispatched") == 3 })
	called := func(organization string) (devices []string) {
		rows, err := w.pool.Query(t.Context(), "SELECT c.device FROM grid.case_parties p JOIN grid.cases c ON c.id = p.case_id WHERE p.organization = $1 ORDER BY c.device", organization)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var d string
			if err := rows.Scan(&d); err != nil {
				t.Fatal(err)
			}
			devices = append(devices, d)
		}
		return devices
	}
	if east, west := called("east"), called("west"); !slices.Equal(east, []string{"s1", "s3"}) || !slices.Equal(west, []string{"s2"}) {
		t.Errorf("called: the east to %v, the west to %v", east, west)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE device || ' ' || compound IN ('s1 east', 's2 west', 's3 ')"); n != 3 {
		t.Errorf("%d cases say where they are", n)
	}

	resident := w.token("committee", "r-1", RoleResident)
	report := NewCase{Community: "jinghu", Grid: "g2", Compound: "west", Class: "noise", Severity: contract.SeverityLow, Title: "synthetic", Source: SourceResident}
	if got := w.call("POST", "/v1/cases", resident, report, nil, "Idempotency-Key", "key-0001"); got != 201 {
		t.Fatalf("a report from a compound: %d", got)
	}
	report.Compound = "" // of the grid: nobody's compound, so neither company sees it uncalled
	if got := w.call("POST", "/v1/cases", resident, report, nil, "Idempotency-Key", "key-0002"); got != 201 {
		t.Fatalf("a report from a grid: %d", got)
	}
	for _, c := range []struct {
		who, compound string
		want          int
	}{{"east", "west", 404}, {"east", "north", 404}, {"committee", "north", 422}, {"east", "east", 201}} {
		report.Compound = c.compound
		if got := w.call("POST", "/v1/cases", w.token(c.who, "p-5", RoleDispatcher), report, nil, "Idempotency-Key", "key-of-"+c.who+c.compound); got != c.want {
			t.Errorf("%s reports from compound %s: %d, want %d", c.who, c.compound, got, c.want)
		}
	}

	report.Grid, report.Compound = "g1", "west"
	if got := w.call("POST", "/v1/cases", resident, report, nil, "Idempotency-Key", "key-0003"); got != 422 {
		t.Errorf("a report from a compound that is not in the grid: %d, want 422", got)
	}
	for organization, want := range map[string]int{"east": 200, "west": 404, "committee": 200} {
		if got := w.call("GET", "/v1/duty?community=jinghu&grid=g1", w.token(organization, "p-9", RoleDispatcher), nil, nil); got != want {
			t.Errorf("%s asks who is on duty in the east: %d, want %d", organization, got, want)
		}
	}

	for organization, want := range map[string][]string{"east": {"s1", "s3", "noise east"}, "west": {"s2", "noise west"}, "committee": {"s1", "s2", "s3", "noise", "noise east", "noise west"}} {
		token := w.token(organization, "p-9", RoleDispatcher)
		var list CaseList
		if got := w.call("GET", "/v1/cases", token, nil, &list); got != 200 {
			t.Fatalf("%s: %d", organization, got)
		}
		seen := map[string]uuid.UUID{}
		for _, c := range list.Cases {
			name := c.Device
			if name == "" {
				name = c.Class
				if c.Compound != "" {
					name += " " + c.Compound
				}
			}
			seen[name] = c.ID
		}
		for _, name := range want {
			if _, ok := seen[name]; !ok {
				t.Errorf("%s does not see %q", organization, name)
			}
		}
		if len(seen) != len(want) || len(list.Cases) != len(want) {
			t.Errorf("%s sees %v, want %v", organization, seen, want)
		}
		for device, compound := range map[string]string{"s1": "east", "s2": "west", "s3": ""} {
			want := 404
			if organization == "committee" || organization == compound {
				want = 200
			}
			if got := w.call("GET", "/v1/devices/smokes."+device, token, nil, nil); got != want {
				t.Errorf("%s asks for device %s: %d, want %d", organization, device, got, want)
			}
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = 'west' AND type = $1", EventOpened); n != 2 {
		t.Errorf("the west is told of %d opened cases, want those of its compound", n)
	}
}

// TestOnlyTheCompoundsCompanyIsGivenACase: a person gives it to a company of another compound in vain.
func TestOnlyTheCompoundsCompanyIsGivenACase(t *testing.T) {
	b := testBundle("", "")
	estates(b)
	who := caller{bundle: b, scope: scope{}}
	for _, c := range []struct {
		compound, organization string
		want                   bool
	}{{"east", "east", true}, {"east", "west", false}, {"", "east", true}, {"", "west", true}, {"east", "fire-xinxiang", true}, {"east", "fire-luoyang", false}} {
		err := checkReassignment(who, &Case{Community: "jinghu", Grid: "g3", Compound: c.compound}, Reassignment{Organization: c.organization, Reason: "r"})
		if (err == nil) != c.want {
			t.Errorf("%s in compound %q: %v", c.organization, c.compound, fmt.Sprint(err))
		}
	}
}

// TestCommandsAndResponsesStayInTheCompounds: of a device next door no command is there, and a roster of its own shows a company no response.
func TestCommandsAndResponsesStayInTheCompounds(t *testing.T) {
	b := testBundle("", "")
	estates(b)
	as := func(organization string, role Role) scope {
		return scopeOf(b, person.Identity{Organization: organization, Role: string(role), Subject: "p-1"})
	}
	for _, c := range []struct {
		organization, device string
		want                 bool
	}{{"east", "s1", true}, {"east", "s2", false}, {"east", "s3", false}, {"west", "s2", true}, {"committee", "s2", true}, {"east", "gone", false}} {
		if got := as(c.organization, RoleDispatcher).holds(b, "smokes", c.device); got != c.want {
			t.Errorf("%s and the commands of %s: %v", c.organization, c.device, got)
		}
	}
	for organization, want := range map[string]bool{"east": true, "committee": false} {
		s := as(organization, RoleGridWorker)
		seen, _ := s.incidents(1)
		if cases, _ := s.cases(1); (seen == cases) != want {
			t.Errorf("%s sees responses by %s", organization, seen)
		}
	}
}
