package grid

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// An organisation that takes no messages is called all the same, and sees the case that it was called to.
func TestWhoIsCalledWithoutAWebhookSeesTheCase(t *testing.T) {
	t.Parallel()
	cfg, _ := database(t)
	pool := poolOf(t, cfg)
	d := contract.Directory{
		Communities:   map[string]contract.Community{"c": {Division: "410700000000"}},
		Organizations: map[string]contract.Organization{"fire": {Type: "Fire", Duties: []string{"fire"}, Jurisdiction: []string{"4107"}}},
	}
	c := &Case{Community: "c", Class: "x", Severity: contract.SeverityLow, Title: "t", Source: SourceSystem, DataClass: "C2", SourceSystem: "s", ExternalID: "1", StartedAt: time.Now(), LastSignalAt: time.Now()}
	if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if err := insert(t.Context(), tx, d, c, system, time.Now(), nil); err != nil {
			return err
		}
		if err := move(t.Context(), tx, d.Platform, c, File, system, time.Now(), nil, nil); err != nil {
			return err
		}
		return dispatch(t.Context(), tx, d, c, []contract.Responder{{Duty: "fire"}}, system, time.Now(), nil)
	}); err != nil {
		t.Fatal(err)
	}
	for organization, want := range map[string]int{"fire": 1, "other": 0} {
		s := scope{communities: []string{"c"}}
		s.Organization = organization
		where, args := s.cases(1)
		var n int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM grid.cases c WHERE "+where, args...).Scan(&n); err != nil || n != want {
			t.Errorf("%s sees %d cases, want %d: %v", organization, n, want, err)
		}
	}
}

// TestOnlyWhoHasAPartMoves tries every action by every role of every kind of organisation that sees a case, over the API: with the row
// locked it is 403 unless the role does the action and the organisation has a part; then it is the state that decides.
func TestOnlyWhoHasAPartMoves(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		d := b.Directory
		d.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Jurisdiction: []string{"410702001001"}, Duties: []string{"property"}}
		d.Organizations["street"] = contract.Organization{Type: "Township", Jurisdiction: []string{"410702001"}}
		d.Organizations["health"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"health"}}
	}, func(*service) {})
	exec := func(q string, args ...any) {
		t.Helper()
		if _, err := w.pool.Exec(t.Context(), q, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, organization := range []string{"fire-xinxiang", "property", "committee", "street", "health"} {
		exec("INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ($1, 'p-1', 'GridWorker', 'jinghu', '')", organization)
	}
	for name, tc := range map[string]struct {
		level         int
		posts, called []string
		released      bool
		part          []string
	}{
		"fire was called, and a post":       {0, []string{"GridWorker"}, []string{"fire-xinxiang"}, false, []string{"fire-xinxiang", "committee", "street"}},
		"fire alone":                        {0, nil, []string{"fire-xinxiang"}, false, []string{"fire-xinxiang", "committee"}},
		"nobody":                            {1, nil, nil, false, []string{"committee"}},
		"a post, further up":                {3, []string{"GridWorker"}, nil, false, []string{"committee", "street"}},
		"fire, at the township":             {3, nil, []string{"fire-xinxiang"}, false, []string{"fire-xinxiang", "street"}},
		"the department":                    {4, nil, []string{"health"}, false, []string{"health"}},
		"called and sent home, further up":  {3, []string{"GridWorker"}, []string{"fire-xinxiang"}, true, []string{"street"}},
		"called and sent home, not further": {2, []string{"GridWorker"}, []string{"property"}, true, []string{"committee"}},
	} {
		c := &Case{Community: "jinghu", Grid: "g1", Class: "x", Severity: contract.SeverityLow, Title: name, Source: SourceSystem, DataClass: "C0", StartedAt: time.Now(), LastSignalAt: time.Now()}
		if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
			if err := insert(t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil); err != nil {
				return err
			}
			if err := callParties(t.Context(), tx, c, partyResponder, 0, tc.posts, tc.called, time.Now()); err != nil || !tc.released {
				return err
			}
			return releaseParties(t.Context(), tx, c, "test", time.Now())
		}); err != nil {
			t.Fatal(err)
		}
		for _, organization := range []string{"fire-xinxiang", "property", "committee", "street", "health"} {
			for _, role := range []Role{RoleGridWorker, RoleCommunityWorker, RoleDispatcher, RoleCommander, RoleAuditor} {
				token := w.token(organization, "p-1", role)
				for action, row := range transitions {
					if action == Reassign { // has an operation of its own
						continue
					}
					// From Rated only Reopen leads on, and this puts it back.
					exec("UPDATE grid.cases SET state = 'Rated', level = $2 WHERE id = $1", c.ID, tc.level)
					want := 409
					switch {
					case role == RoleAuditor || role == RoleCommander || !slices.Contains(row.roles, role) || !slices.Contains(tc.part, organization):
						want = 403
					case action == Reopen:
						want = 200
					}
					if got := w.call("POST", "/v1/cases/"+c.ID.String()+"/actions", token, map[string]any{"action": action}, nil); got != want {
						t.Errorf("%s: %s by %s of %s: %d, want %d", name, action, role, organization, got, want)
					}
				}
			}
		}
	}
	resp, err := http.NewRequestWithContext(t.Context(), "POST", w.api.URL+"/v1/cases/"+mustCase(t, w, "nobody")+"/actions", strings.NewReader(`{"action":"Close"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Header.Set("Authorization", "Bearer "+w.token("property", "p-1", RoleDispatcher))
	answer, err := http.DefaultClient.Do(resp)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, _ := io.ReadAll(answer.Body)
	if answer.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(string(raw), "was not called to the case") {
		t.Errorf("the refusal says nothing: %s %s", answer.Header.Get("Content-Type"), raw)
	}
}

// TestReopenedWhileAnotherOpens: a person reopens a case in the moment in which an alarm of the same opens one. Both are open, and the younger takes what comes.
func TestReopenedWhileAnotherOpens(t *testing.T) {
	w := newWorld(t)
	make1 := func(tx pgx.Tx, title string) *Case {
		c := &Case{Community: "jinghu", Grid: "g1", Class: "x", Severity: contract.SeverityLow, Title: title, Source: SourceSystem, DataClass: "C0", StartedAt: time.Now(), LastSignalAt: time.Now(),
			mergeKey: "x|Device|f/d", scope: "Device", scopeID: "f/d"}
		if err := insert(t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var old *Case
	if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		old = make1(tx, "old")
		if err := callParties(t.Context(), tx, old, partyResponder, 0, nil, []string{"fire-xinxiang"}, time.Now()); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), "UPDATE grid.cases SET state = 'Closed' WHERE id = $1", old.ID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	young := make1(tx, "young")
	status := make(chan int, 1)
	go func() {
		status <- w.call("POST", "/v1/cases/"+old.ID.String()+"/actions", w.token("fire-xinxiang", "p-1", RoleDispatcher), map[string]any{"action": "Reopen"}, nil)
	}()
	eventually(t, "the reopening waits for the other", func() bool {
		var waits bool
		if err := w.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')").Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != http.StatusOK {
		t.Errorf("reopen: %d", got)
	}
	var open int
	var takes string
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*), max(id::text) FILTER (WHERE merge_key <> '') FROM grid.cases WHERE open").Scan(&open, &takes); err != nil {
		t.Fatal(err)
	}
	if open != 2 || takes != young.ID.String() {
		t.Errorf("%d cases are open, and %s takes what comes; want 2 and %s", open, takes, young.ID)
	}
}

func mustCase(t *testing.T, w *world, title string) (id string) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), "SELECT id::text FROM grid.cases WHERE title = $1", title).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}
