package grid

import (
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// factsBundle has detectors of two households, one scenario that asks whether somebody is away and one about a register alone.
func factsBundle(b *intake.Bundle) {
	b.Fleets["smokes"].Devices["s1"] = contract.Device{Community: "jinghu", Grid: "g1", Compound: "garden", Building: "7", Household: "h-1"}
	b.Fleets["smokes"].Devices["s2"] = contract.Device{Community: "jinghu", Grid: "g2", Compound: "garden", Building: "8", Household: "h-2"}
	b.Fleets["smokes"].Devices["s3"] = contract.Device{Community: "other", Grid: "g1", Household: "h-3"}
	b.Directory.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"410702001001"}, Duties: []string{"property"}}
	s := b.Rules.Scenarios["s10"]
	s.Trigger.Unless, s.Trigger.DedupSeconds = "context.away == true", 1
	b.Rules.Scenarios["s10"] = s
	s.Trigger.Unless, s.CaseClass, s.Registers = "", "check", []string{"elderly-living-alone"}
	b.Rules.Scenarios["alone"] = s
}

// known waits until the engine has taken all that was said.
func (w *world) known() {
	w.t.Helper()
	eventually(w.t, "the engine to know", func() bool {
		return number(w.t, w.pool, "SELECT coalesce((SELECT n FROM grid.feed_position WHERE reader = $1), 0) - coalesce((SELECT max(n) FROM grid.facts), 0)", factsReader) == 0
	})
}

// TestFactsReachTheEngine: what people say of a place counts for the messages after it, also after a restart, until it is taken back.
func TestFactsReachTheEngine(t *testing.T) {
	w := newWorldWith(t, factsBundle, func(*service) {})
	office := w.token("committee", "p-1", RoleCommunityWorker)
	cases := func(class, device string) int64 {
		return number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE class = $1 AND device = $2", class, device)
	}
	smoke := func(device string) {
		before := number(t, w.pool, "SELECT sequence FROM grid.ingest_position UNION ALL SELECT 0 ORDER BY 1 DESC LIMIT 1")
		w.send(device, 1, `{"smoke":true}`)
		w.send(device, 1, `{"smoke":false}`)
		eventually(t, "the messages to be taken", func() bool {
			return number(t, w.pool, "SELECT sequence FROM grid.ingest_position UNION ALL SELECT 0 ORDER BY 1 DESC LIMIT 1") >= before+2
		})
	}
	var v FactView
	if status := w.call(http.MethodPut, "/v1/facts/Household/h-1/away", office, FactBody{Value: true}, &v); status != http.StatusOK || v.Value != true || v.Organization != "committee" || v.Person != "p-1" {
		t.Fatalf("%d %+v", status, v)
	}
	if status := w.call(http.MethodPut, "/v1/facts/Building/jinghu%2Fgarden%2F8/registers/elderly-living-alone", office, FactBody{}, &v); status != http.StatusOK || len(v.Members) != 1 {
		t.Fatalf("%d %+v", status, v)
	}
	w.known()
	smoke("s1")
	smoke("s2")
	if a, b, c, d := cases("fire", "s1"), cases("fire", "s2"), cases("check", "s1"), cases("check", "s2"); a != 0 || b != 1 || c != 0 || d != 1 {
		t.Errorf("away in h-1, a register in building 8: %d %d %d %d cases, want 0 1 0 1", a, b, c, d)
	}
	w.stop()
	w.begin()
	smoke("s1")
	if n := cases("fire", "s1"); n != 0 {
		t.Errorf("after a restart nobody knows that h-1 is away: %d cases", n)
	}
	if status := w.call(http.MethodGet, "/v1/facts/Household/h-1/away", office, nil, &v); status != http.StatusOK || v.Value != true {
		t.Errorf("%d %+v", status, v)
	}
	for _, path := range []string{"/v1/facts/Household/h-1/away", "/v1/facts/Building/jinghu%2Fgarden%2F8/registers"} {
		if status := w.call(http.MethodDelete, path, office, nil, nil); status != http.StatusOK {
			t.Fatal(path, status)
		}
		if status := w.call(http.MethodGet, path, office, nil, nil); status != http.StatusNotFound {
			t.Errorf("%s is still said: %d", path, status)
		}
	}
	w.known()
	smoke("s1")
	smoke("s2")
	if a, b := cases("fire", "s1"), number(t, w.pool, "SELECT signals FROM grid.cases WHERE class = 'check' AND device = 's2'"); a != 1 || b != 1 {
		t.Errorf("taken back: %d cases of h-1, want 1; %d signals of the register, want 1", a, b)
	}
}

// TestWhoMaySayFacts: committees and townships of the place alone, grid workers where the roster has them, and no consents.
func TestWhoMaySayFacts(t *testing.T) {
	w := newWorldWith(t, factsBundle, func(*service) {})
	if _, err := w.pool.Exec(t.Context(), "INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ('committee', 'p-2', 'GridWorker', 'jinghu', 'g1')"); err != nil {
		t.Fatal(err)
	}
	office, worker, auditor := w.token("committee", "p-1", RoleCommunityWorker), w.token("committee", "p-2", RoleGridWorker), w.token("committee", "p-3", RoleAuditor)
	yes, past, far := FactBody{Value: true}, time.Now().Add(-time.Minute), time.Now().AddDate(2, 0, 0)
	for _, c := range []struct {
		who, token, method, place string
		body                      any
		want                      int
	}{
		{"office", office, "PUT", "Household/h-1/away", yes, 200},
		{"office", office, "PUT", "Household/h-2/level", FactBody{Value: 3.5}, 200},
		{"office", office, "PUT", "Community/jinghu/outage", yes, 200},
		{"office", office, "PUT", "Grid/jinghu%2Fg1/outage", yes, 200},
		{"office", office, "PUT", "Device/smokes%2Fs1/note", FactBody{Value: "new"}, 200},
		{"office", office, "PUT", "Household/h-1/registers/elderly", FactBody{}, 200},
		{"worker", worker, "PUT", "Household/h-1/away", yes, 200},
		{"worker", worker, "GET", "Household/h-1/away", nil, 200},
		{"auditor", auditor, "GET", "Household/h-1/away", nil, 200},
		{"auditor", auditor, "PUT", "Household/h-1/away", yes, 403},
		{"worker", worker, "PUT", "Household/h-1/registers/elderly", FactBody{}, 403},
		{"office", office, "PUT", "Household/h-1/consents/elderly", FactBody{}, 403},
		{"worker, of another grid", worker, "PUT", "Household/h-2/away", yes, 404},
		{"worker, of one grid", worker, "PUT", "Community/jinghu/outage", yes, 404},
		{"office, of another community", office, "PUT", "Household/h-3/away", yes, 404},
		{"office, of another community", office, "PUT", "Community/other/outage", yes, 404},
		{"office, of no place", office, "PUT", "Household/h-9/away", yes, 404},
		{"office, of no place", office, "PUT", "Grid/jinghu%2Fg9/outage", yes, 404},
		{"property company", w.token("property", "p-1", RoleDispatcher), "PUT", "Household/h-1/away", yes, 404},
		{"property company", w.token("property", "p-1", RoleDispatcher), "GET", "Household/h-1/away", nil, 404},
		{"fire service", w.token("fire-xinxiang", "p-1", RoleDispatcher), "GET", "Household/h-1/away", nil, 404},
		{"nobody", "", "GET", "Household/h-1/away", nil, 401},
		{"office", office, "PUT", "Platform/x/outage", yes, 422},
		{"office, a list", office, "PUT", "Household/h-1/away", FactBody{Value: []int{1}}, 422},
		{"office, nothing", office, "PUT", "Household/h-1/away", FactBody{}, 422},
		{"office, no member", office, "PUT", "Household/h-1/registers/elderly", FactBody{Value: 3.0}, 422},
		{"office, over", office, "PUT", "Household/h-1/away", FactBody{Value: true, Until: &past}, 422},
		{"office, for long", office, "PUT", "Household/h-1/away", FactBody{Value: true, Until: &far}, 422},
		{"office, no name", office, "PUT", "Household/h-1/a-way", yes, 422},
	} {
		if got := w.call(c.method, "/v1/facts/"+c.place, c.token, c.body, nil); got != c.want {
			t.Errorf("%s: %s %s: %d, want %d", c.who, c.method, c.place, got, c.want)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.facts"); n != 7 {
		t.Errorf("%d rows, want the 7 that were allowed", n)
	}
}

// TestFactsCommitInOrder: the reader goes by number, so a later one may not commit before an earlier one.
func TestFactsCommitInOrder(t *testing.T) {
	cfg, _ := database(t)
	pool := poolOf(t, cfg)
	f := rules.Fact{Scope: rules.ScopeHousehold, ID: "h", Name: "away", Value: true, Since: time.Now()}
	err := pgx.BeginFunc(t.Context(), pool, func(first pgx.Tx) error {
		if err := sayFact(t.Context(), first, f, Actor{}, f.Since); err != nil {
			return err
		}
		err := pgx.BeginFunc(t.Context(), pool, func(second pgx.Tx) error {
			if _, err := second.Exec(t.Context(), "SET LOCAL lock_timeout = '100ms'"); err != nil {
				return err
			}
			return sayFact(t.Context(), second, f, Actor{}, f.Since)
		})
		if err == nil {
			t.Error("the second commits before the first")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
