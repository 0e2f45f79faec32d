package grid

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// TestNoCaseOfAnotherJurisdictionIsVisible compares what a scope finds in PostgreSQL with a plain reading of the rules, over
// random communities, jurisdictions, rosters and cases.
func TestNoCaseOfAnotherJurisdictionIsVisible(t *testing.T) {
	t.Parallel()
	cfg, _ := database(t)
	pool := poolOf(t, cfg)
	roles := []Role{RoleGridWorker, RoleCommunityWorker, RoleDispatcher, RoleCommander, RoleAuditor, RoleResident, "Mayor", ""}
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		if _, err := pool.Exec(t.Context(), "DELETE FROM grid.roster"); err != nil {
			t.Fatal(err)
		}
		b := randomDirectory(r)
		type roster struct{ org, person, role, community, grid string }
		var entries []roster
		type row struct {
			id              uuid.UUID
			community, grid string
			class, called   string
			assigned        roster
		}
		var all []row
		prefix := fmt.Sprintf("n%d-", seed)
		feed, number := &api{pool: pool, log: quiet()}, newSequencer(pool, quiet())
		before, err := lastChange(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		for name := range b.Directory.Communities {
			for range 1 + r.IntN(3) {
				e := roster{fmt.Sprintf("o%d", r.IntN(8)), fmt.Sprintf("p%d", r.IntN(3)), string(roles[r.IntN(2)]), name, []string{"", "g1", "g2"}[r.IntN(3)]}
				entries = append(entries, e)
				if _, err := pool.Exec(t.Context(), "INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", e.org, e.person, e.role, e.community, e.grid); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range 60 {
			c := &Case{Community: fmt.Sprintf("c%d", r.IntN(14)), Grid: []string{"", "g1", "g2"}[r.IntN(3)], Class: "x", Severity: contract.SeverityLow, Title: prefix, Source: SourceSystem, DataClass: []string{"", "C0", "C1", "C2", "C3"}[r.IntN(5)],
				SourceSystem: prefix, ExternalID: fmt.Sprint(i), StartedAt: time.Now(), LastSignalAt: time.Now()}
			if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return insert(t.Context(), tx, b.Directory, c, system, time.Now(), nil) }); err != nil {
				t.Fatal(err)
			}
			called := fmt.Sprintf("o%d", r.IntN(8))
			if _, err := pool.Exec(t.Context(), "INSERT INTO grid.case_parties (id, case_id, kind, organization, called_at) VALUES ($1, $2, 'Responder', $3, now())", uuid.New(), c.ID, called); err != nil {
				t.Fatal(err)
			}
			assigned := roster{org: fmt.Sprintf("o%d", r.IntN(8)), person: fmt.Sprintf("p%d", r.IntN(3))}
			if _, err := pool.Exec(t.Context(), "UPDATE grid.cases SET assignee_organization = $2, assignee_person = $3 WHERE id = $1", c.ID, assigned.org, assigned.person); err != nil {
				t.Fatal(err)
			}
			all = append(all, row{c.ID, c.Community, c.Grid, c.DataClass, called, assigned})
		}
		if _, err := number.number(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for o := range 9 { // the last is no organisation at all
			for p := range 3 {
				for _, role := range roles {
					who := person.Identity{Organization: fmt.Sprintf("o%d", o), Subject: fmt.Sprintf("p%d", p), Role: string(role)}
					where, args := scopeOf(b, who).cases(2)
					rows, err := pool.Query(t.Context(), "SELECT c.id FROM grid.cases c WHERE c.source_system = $1 AND "+where, append([]any{prefix}, args...)...)
					if err != nil {
						t.Fatal(err)
					}
					got, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
					if err != nil {
						t.Fatal(err)
					}
					var want []uuid.UUID
					for _, c := range all {
						org, known := b.Directory.Organizations[who.Organization]
						com, there := b.Directory.Communities[c.community]
						ok := known && there && slices.ContainsFunc(org.Jurisdiction, func(j string) bool { return strings.HasPrefix(com.Division, j) })
						switch role {
						case RoleCommunityWorker, RoleDispatcher, RoleCommander, RoleAuditor:
						case RoleGridWorker:
							ok = ok && (c.assigned == roster{org: who.Organization, person: who.Subject}) || ok && slices.ContainsFunc(entries, func(e roster) bool {
								return e.org == who.Organization && e.person == who.Subject && e.role == who.Role && e.community == c.community && (e.grid == "" || e.grid == c.grid)
							})
						default:
							ok = false
						}
						if b.Fleets["f"].Vendor == who.Organization && len(org.Duties) == 0 {
							ok = false
						}
						if c.class == "C2" || c.class == "C3" {
							ok = ok && (org.Type == "Committee" || org.Type == "Township" || c.called == who.Organization)
						}
						if ok {
							want = append(want, c.id)
						}
					}
					sortIDs(got)
					sortIDs(want)
					if !slices.Equal(got, want) {
						t.Fatalf("seed %d, %+v: sees %d cases, want %d", seed, who, len(got), len(want))
					}
					if told := casesInFeed(t, feed, caller{b, scopeOf(b, who)}, before); !slices.Equal(told, want) {
						t.Fatalf("seed %d, %+v: the feed tells of %d cases, want %d", seed, who, len(told), len(want))
					}
					seen += len(got)
				}
			}
		}
		if seen == 0 {
			t.Fatalf("seed %d: nobody sees anything, the test proves nothing", seed)
		}
	}
}

// casesInFeed gives the cases of which the feed tells a caller, sorted, and fails if it tells one twice at the same version.
func casesInFeed(t *testing.T, a *api, who caller, after int64) (ids []uuid.UUID) {
	t.Helper()
	told := map[uuid.UUID]int{}
	for more := true; more; {
		page, left, err := a.changesAfter(context.WithValue(t.Context(), ctxKey{}, who), after, changesAsked{limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Changes {
			if told[c.Case.ID] >= c.Version || c.N <= after {
				t.Fatalf("change %d of case %s at version %d comes after version %d and number %d", c.N, c.Case.Number, c.Version, told[c.Case.ID], after)
			}
			told[c.Case.ID], after = c.Version, c.N
		}
		after, more = page.Next, left
	}
	for id := range told {
		ids = append(ids, id)
	}
	sortIDs(ids)
	return ids
}

func sortIDs(ids []uuid.UUID) {
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
}

func randomDirectory(r *rand.Rand) *intake.Bundle {
	b := &intake.Bundle{Directory: contract.Directory{Communities: map[string]contract.Community{}, Organizations: map[string]contract.Organization{}},
		Fleets: map[string]contract.Fleet{"f": {Vendor: fmt.Sprintf("o%d", r.IntN(8))}}}
	division := func() string {
		d := "41"
		for range 10 {
			d += fmt.Sprint(r.IntN(2))
		}
		return d
	}
	for i := range 12 { // two of the fourteen that cases name are gone
		b.Directory.Communities[fmt.Sprintf("c%d", i)] = contract.Community{Division: division()}
	}
	for i := range 8 {
		o := contract.Organization{Type: []string{"Committee", "Township", "PropertyCompany", "Fire"}[r.IntN(4)]}
		for range r.IntN(3) {
			o.Jurisdiction = append(o.Jurisdiction, division()[:2+r.IntN(4)])
		}
		if r.IntN(2) == 0 {
			o.Duties = []string{"fire"}
		}
		b.Directory.Organizations[fmt.Sprintf("o%d", i)] = o
	}
	return b
}

// TestJurisdictionOverTheAPI asks for one case as people of other organisations: it is not there, for reading and acting
// alike.
func TestJurisdictionOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	var list CaseList
	if got := w.call("GET", "/v1/cases?state=Open&severity=Critical&community=jinghu", w.token("fire-xinxiang", "f-1", RoleDispatcher), nil, &list); got != 200 || len(list.Cases) != 1 {
		t.Fatalf("the brigade of the city: %d, %d cases", got, len(list.Cases))
	}
	path := "/v1/cases/" + list.Cases[0].ID.String()
	for _, who := range []struct {
		org  string
		role Role
	}{{"fire-luoyang", RoleDispatcher}, {"vendor", RoleDispatcher}, {"vendor", RoleAuditor}, {"committee", "Mayor"}, {"committee", RoleResident}} {
		token := w.token(who.org, "x-1", who.role)
		if got := w.call("GET", path, token, nil, nil); got != 404 {
			t.Errorf("%s %s reads: %d, want 404", who.org, who.role, got)
		}
		if got := w.call("POST", path+"/actions", token, map[string]any{"action": "Void"}, nil); got != 404 {
			t.Errorf("%s %s acts: %d, want 404", who.org, who.role, got)
		}
		for route, body := range map[string]any{"/whistle": map[string]any{"duties": []string{"fire"}, "reason": "x"}, "/whistle/ack": map[string]any{}} {
			if got := w.call("POST", path+route, token, body, nil); got != 404 {
				t.Errorf("%s %s posts %s: %d, want 404", who.org, who.role, route, got)
			}
		}
		var none CaseList
		if got := w.call("GET", "/v1/cases?community=jinghu", token, nil, &none); got != 200 || len(none.Cases) != 0 {
			t.Errorf("%s %s lists: %d, %d cases", who.org, who.role, got, len(none.Cases))
		}
		if got := w.call("GET", "/v1/devices/smokes.s1", token, nil, nil); got != 404 {
			t.Errorf("%s %s reads the device: %d, want 404", who.org, who.role, got)
		}
	}
	var d DeviceView
	if got := w.call("GET", "/v1/devices/smokes.s1", w.token("committee", "p-9", RoleAuditor), nil, &d); got != 200 || d.Presence != "Online" {
		t.Errorf("device: %d %+v", got, d)
	}
	if w.cases("Dispatched") != 1 {
		t.Error("somebody moved the case")
	}
}
