package grid

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// everything is a caller who sees all cases of the bundle of tests.
func everything(b *intake.Bundle) context.Context {
	who := caller{b, scopeOf(b, person.Identity{Organization: "committee", Subject: "p-9", Role: string(RoleDispatcher)})}
	return context.WithValue(context.Background(), ctxKey{}, who)
}

// TestTheFeedGivesEachChangeOnceAndInOrder has transactions that commit in another order than they began, some of which fail, two that give
// numbers and one reader, in random turns.
func TestTheFeedGivesEachChangeOnceAndInOrder(t *testing.T) {
	t.Parallel()
	cfg, _ := database(t)
	pool, b := poolOf(t, cfg), testBundle("https://127.0.0.1:1", "")
	reader := &api{pool: pool, log: quiet()}
	numbers := []*sequencer{newSequencer(pool, quiet()), newSequencer(pool, quiet())}
	ctx := everything(b)
	var cases []uuid.UUID
	for range 8 {
		cases = append(cases, newTestCase(t, pool, b))
	}
	type open struct {
		tx     pgx.Tx
		of     uuid.UUID
		writes []string
	}
	for seed := range uint64(6) {
		r := mathrand.New(mathrand.NewPCG(seed, 7))
		var opened []open
		var want, got []string
		var numbered []int64
		cursor := must1(t)(lastAfterAll(ctx, pool, numbers[0]))
		began := cursor
		read := func() {
			page, _, err := reader.changesAfter(ctx, cursor, changesAsked{limit: 1 + r.IntN(4)})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page.Changes {
				got, numbered = append(got, fmt.Sprintf("%s/%d", c.Case.ID, c.Version)), append(numbered, c.N)
			}
			cursor = page.Next
		}
		end := func(i int, commit bool) {
			o := opened[i]
			opened = slices.Delete(opened, i, i+1)
			if !commit {
				if err := o.tx.Rollback(ctx); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err := o.tx.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			want = append(want, o.writes...)
		}
		for range 150 {
			switch turn := r.IntN(10); {
			case turn < 4 && len(opened) < 4:
				id := cases[r.IntN(len(cases))]
				if slices.ContainsFunc(opened, func(o open) bool { return o.of == id }) {
					continue // it would wait for the lock
				}
				tx, err := pool.Begin(ctx)
				if err != nil {
					t.Fatal(err)
				}
				c, err := oneCase(ctx, tx, "c.id = $1 FOR UPDATE", id)
				if err != nil {
					t.Fatal(err)
				}
				o := open{tx: tx, of: id}
				for range 1 + r.IntN(3) {
					if err := record(ctx, tx, c, "Note", c.State, system, time.Now(), nil); err != nil {
						t.Fatal(err)
					}
					o.writes = append(o.writes, fmt.Sprintf("%s/%d", id, c.Version))
				}
				opened = append(opened, o)
			case turn < 7 && len(opened) > 0:
				end(r.IntN(len(opened)), r.IntN(5) > 0)
			case turn < 9:
				if _, err := numbers[r.IntN(2)].number(ctx); err != nil {
					t.Fatal(err)
				}
			default:
				read()
			}
		}
		for len(opened) > 0 {
			end(0, true)
		}
		last := must1(t)(lastAfterAll(ctx, pool, numbers[1]))
		for cursor < last {
			read()
		}
		if !slices.IsSorted(numbered) || len(slices.Compact(slices.Clone(numbered))) != len(numbered) {
			t.Fatalf("seed %d: numbers do not rise: %v", seed, numbered)
		}
		checkVersionsRise(t, got)
		first := slices.Clone(got)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: read %d changes, committed %d", seed, len(got), len(want))
		}
		got, cursor = nil, began
		for cursor < last {
			read()
		}
		if !slices.Equal(got, first) {
			t.Fatalf("seed %d: what is read later differs from what was read as it came", seed)
		}
	}
}

// checkVersionsRise fails if a case's changes come in another order than they were made.
func checkVersionsRise(t *testing.T, read []string) {
	t.Helper()
	seen := map[string]int{}
	for _, one := range read {
		id, text, _ := strings.Cut(one, "/")
		var version int
		if _, err := fmt.Sscan(text, &version); err != nil || version <= seen[id] {
			t.Fatalf("case %s: version %d comes after %d (%v)", id, version, seen[id], err)
		}
		seen[id] = version
	}
}

// lastAfterAll numbers all that is committed and gives the last number.
func lastAfterAll(ctx context.Context, pool *pgxpool.Pool, s *sequencer) (int64, error) {
	if _, err := s.number(ctx); err != nil {
		return 0, err
	}
	return lastChange(ctx, pool)
}

func must1(t *testing.T) func(int64, error) int64 {
	return func(n int64, err error) int64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// newTestCase writes a case of the community jinghu.
func newTestCase(t *testing.T, pool *pgxpool.Pool, b *intake.Bundle) uuid.UUID {
	t.Helper()
	c := &Case{Community: "jinghu", Grid: "g1", Class: "fire", Severity: contract.SeverityLow, Title: "synthetic", Source: SourceSystem, DataClass: "C0", StartedAt: time.Now(), LastSignalAt: time.Now()}
	if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return insert(t.Context(), tx, b.Directory, c, system, time.Now(), nil) }); err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func (c Changes) kinds() string {
	var names []string
	for _, one := range c.Changes {
		names = append(names, one.Kind)
	}
	return strings.Join(names, " ")
}

func TestChangesOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boss, fire := w.token("committee", "p-9", RoleDispatcher), w.token("fire-xinxiang", "f-1", RoleDispatcher)
	var now, page Changes
	if got := w.call("GET", "/v1/changes", boss, nil, &now); got != 200 || len(now.Changes) != 0 {
		t.Fatalf("where the feed stands: %d %+v", got, now)
	}
	w.send("s1", 1, `{"smoke":true}`)
	if got := w.call("GET", fmt.Sprintf("/v1/changes?wait=25s&after=%d", now.Next), boss, nil, &page); got != 200 || page.kinds() != "Report File Dispatch" || page.Changes[2].Version != 3 || page.Changes[2].Case.State != Dispatched {
		t.Fatalf("%d %+v", got, page)
	}
	answers := make(chan Changes, 2)
	for _, token := range []string{boss, fire} {
		go func() {
			var more Changes
			w.call("GET", fmt.Sprintf("/v1/changes?wait=25s&after=%d", page.Next), token, nil, &more)
			answers <- more
		}()
	}
	eventually(t, "two wait", func() bool {
		w.svc.feed.mu.Lock()
		defer w.svc.feed.mu.Unlock()
		return w.svc.feed.waiting == 2
	})
	if got := w.call("POST", "/v1/cases/"+page.Changes[0].Case.ID.String()+"/actions", fire, map[string]any{"action": "Acknowledge"}, nil); got != 200 {
		t.Fatalf("acknowledge: %d", got)
	}
	for range 2 {
		if more := <-answers; more.kinds() != "Acknowledge" || more.Next <= page.Next {
			t.Errorf("who waited got %+v", more)
		}
	}
	var other Changes
	if got := w.call("GET", "/v1/changes?after=0", w.token("fire-luoyang", "f-2", RoleDispatcher), nil, &other); got != 200 || len(other.Changes) != 0 || other.Next != page.Next+1 {
		t.Errorf("another city: %d %+v", got, other)
	}
	for query, want := range map[string]int{"wait=26s": 422, "wait=soon": 422, "after=-2": 422, "limit=501": 422, "afterwards=1": 422, fmt.Sprintf("after=%d", page.Next+2): 410} {
		if got := w.call("GET", "/v1/changes?"+query, boss, nil, nil); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	if got := w.call("GET", "/v1/changes", "", nil, nil); got != 401 {
		t.Errorf("nobody: %d", got)
	}
}

// TestACursorThatIsTooOldIsRefused deletes by age and not by number: what is newer than a change that stays, stays.
func TestACursorThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()
	cfg, owner := database(t)
	pool, b := poolOf(t, cfg), testBundle("https://127.0.0.1:1", "")
	a, s := &api{pool: pool, log: quiet()}, newSequencer(pool, quiet())
	for range 6 {
		newTestCase(t, pool, b)
	}
	last := must1(t)(lastAfterAll(t.Context(), pool, s))
	if last != 6 {
		t.Fatalf("last number %d, want 6", last)
	}
	exec1(t, owner, "UPDATE grid.changes SET at = now() - interval '40 days' WHERE n IN (1, 2, 3, 5)")
	keep := &retainer{pool: pool, retention: func() (contract.Retention, bool) { return contract.Retention{DeliverySeconds: 30 * 86400}, true },
		profiles: func() map[string]contract.Profile { return nil }, log: quiet(), now: time.Now}
	if _, err := keep.forget(t.Context(), contract.Retention{DeliverySeconds: 30 * 86400}); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[int64]string{0: "kept no more", 2: "kept no more", 3: "", 4: "", 6: "", 7: "restored"} {
		page, _, err := a.changesAfter(everything(b), after, changesAsked{limit: 100})
		switch {
		case want == "" && (err != nil || int64(len(page.Changes)) != 6-after):
			t.Errorf("after %d: %d changes, %v", after, len(page.Changes), err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("after %d: %v, want %q", after, err, want)
		}
	}
	exec1(t, owner, "UPDATE grid.changes SET at = now() - interval '40 days'")
	if _, err := keep.forget(t.Context(), contract.Retention{DeliverySeconds: 30 * 86400}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.changesAfter(everything(b), 6, changesAsked{limit: 100}); err != nil {
		t.Errorf("who read all before all was deleted: %v", err)
	}
	if _, _, err := a.changesAfter(everything(b), 5, changesAsked{limit: 100}); err == nil {
		t.Error("who had not read the last change is told nothing")
	}
	newTestCase(t, pool, b)
	if last := must1(t)(lastAfterAll(t.Context(), pool, s)); last != 7 {
		t.Errorf("the next number is %d, want 7: numbers begin anew", last)
	}
}

// systems serves the API over TLS, as in production, and gives it with a client that shows a certificate, self-signed, of the key.
func (w *world) systems() (server *httptest.Server, client func(key *ecdsa.PrivateKey) *http.Client) {
	w.t.Helper()
	s := httptest.NewUnstartedServer(newAPI(w.svc.api))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s, func(key *ecdsa.PrivateKey) *http.Client {
		transport := s.Client().Transport.(*http.Transport).Clone()
		if key != nil {
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				w.t.Fatal(err)
			}
			transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
		}
		return &http.Client{Transport: transport}
	}
}

func TestAnOrganisationsSystemShowsItsCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	server, client := w.systems()
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := w.api.URL
	w.api.URL = server.URL
	defer func() { w.api.URL = plain }()
	ask := func(key *ecdsa.PrivateKey, method, path string, body, out any) int {
		return w.callWith(client(key), method, path, "", body, out)
	}
	fire := w.keys["fire-xinxiang"]
	var page Changes
	if got := ask(fire, "GET", "/v1/changes?after=0&wait=20s", nil, &page); got != 200 || page.kinds() != "Report File Dispatch" {
		t.Fatalf("the brigade's system: %d %+v", got, page)
	}
	path := "/v1/cases/" + page.Changes[0].Case.ID.String()
	var d CaseDetail
	if got := ask(fire, "POST", path+"/actions", map[string]any{"action": "Acknowledge"}, &d); got != 200 || d.State != Handling {
		t.Fatalf("acknowledge: %d %+v", got, d)
	}
	if last := d.History[len(d.History)-1].Actor; last != (Actor{Kind: "Organization", Organization: "fire-xinxiang", Role: RoleOrganizationSystem}) {
		t.Errorf("actor %+v", last)
	}
	for _, tc := range []struct {
		who          string
		key          *ecdsa.PrivateKey
		method, path string
		body         any
		want         int
	}{
		{"nobody", nil, "GET", "/v1/changes", nil, 401},
		{"stranger", stranger, "GET", "/v1/changes", nil, 401},
		{"another city", w.keys["fire-luoyang"], "GET", path, nil, 404},
		{"another city", w.keys["fire-luoyang"], "POST", path + "/actions", map[string]any{"action": "Void"}, 404},
		{"the committee's system suspends", w.keys["committee"], "POST", path + "/actions", map[string]any{"action": "Suspend"}, 403},
		{"a vendor", w.keys["vendor"], "GET", path, nil, 404},
		{"devices", fire, "GET", "/v1/devices/smokes.s1", nil, 403},
		{"roster", fire, "PUT", "/v1/roster", Roster{Community: "jinghu"}, 403},
		{"report", fire, "POST", "/v1/cases", NewCase{}, 403},
	} {
		if got := ask(tc.key, tc.method, tc.path, tc.body, nil); got != tc.want {
			t.Errorf("%s, %s %s: %d, want %d", tc.who, tc.method, tc.path, got, tc.want)
		}
	}
	if got := w.callWith(client(nil), "GET", "/v1/changes", w.token("fire-xinxiang", "x", RoleOrganizationSystem), nil, nil); got != 401 {
		t.Errorf("a token of role System: %d, want 401", got)
	}
}
