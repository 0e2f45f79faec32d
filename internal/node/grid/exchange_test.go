package grid

import (
	"context"
	"crypto/ecdsa"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/exchangesim"
	"github.com/dizuo/dizuo/internal/node/intake"
)

func TestStepsOfTheExchange(t *testing.T) {
	for _, tc := range []struct {
		from, to State
		by       Role
		ahead    bool
		want     string // empty: none
	}{
		{Dispatched, Handling, RoleOrganizationSystem, false, "Acknowledge"},
		{Dispatched, Closed, RoleOrganizationSystem, true, "Acknowledge RequestVerification Close"},
		{Handling, Returned, RoleOrganizationSystem, false, "Return"}, {Handling, Returned, RoleOrganizationSystem, true, ""},
		{Verifying, Handling, RoleOrganizationSystem, false, "Rework"}, {Verifying, Handling, RoleOrganizationSystem, true, ""},
		{Verifying, Returned, RoleOrganizationSystem, false, "Rework Return"},
		{Suspended, Closed, RoleOrganizationSystem, false, ""}, {Suspended, Closed, RoleOrigin, false, "Resume RequestVerification Close"},
		{Closed, Reopened, RoleOrganizationSystem, false, ""}, {Closed, Reopened, RoleOrigin, false, "Reopen"},
		{Verifying, Rated, RoleOrigin, false, "Close Rate"}, {Verifying, Rated, RoleOrganizationSystem, false, ""},
		{Dispatched, Reopened, RoleOrigin, false, ""}, // not by making it void first
		{Closed, Handling, RoleOrigin, false, ""},     // somebody is to be called, which the exchange does not
		{Filed, Dispatched, RoleOrigin, false, ""}, {Dispatched, Filed, RoleOrigin, false, ""}, {Handling, Extended, RoleOrigin, false, ""}, {Handling, Suspended, RoleOrigin, false, ""},
		{Dispatched, Void, RoleOrganizationSystem, true, "Void"}, {NotFiled, Handling, RoleOrigin, false, ""},
	} {
		var names []string
		for _, a := range stepsTo(tc.from, tc.to, tc.by, tc.ahead) {
			names = append(names, string(a))
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%s to %s by %s, ahead %t: %q, want %q", tc.from, tc.to, tc.by, tc.ahead, got, tc.want)
		}
	}
}

// TestWhatADocumentAsks: nothing where it did not change, or both are the same; where both changed unknown to each other, the origin decides.
func TestWhatADocumentAsks(t *testing.T) {
	for _, tc := range []struct {
		base, ours, theirs State
		seen               int64 // of our version 7
		origin             bool  // it is theirs
		want               string
		refused            bool
	}{
		{Dispatched, Dispatched, Handling, 0, false, "Acknowledge", false},
		{Dispatched, Handling, Dispatched, 0, false, "", false},
		{Dispatched, Handling, Handling, 0, false, "", false},
		{Dispatched, Verifying, Handling, 6, false, "", true}, // we went on, unknown to them
		{Dispatched, Verifying, Handling, 7, false, "Rework", false},
		{Dispatched, Verifying, Handling, 6, true, "Rework", false},
		{Dispatched, Handling, Verifying, 6, false, "RequestVerification", false}, // further is no conflict
		{Handling, Suspended, Closed, 6, false, "", true},
		{Handling, Suspended, Closed, 6, true, "Resume RequestVerification Close", false},
		{Closed, Closed, Reopened, 7, false, "", true}, {Closed, Closed, Reopened, 7, true, "Reopen", false},
	} {
		steps, refused := asked(tc.base, &Case{State: tc.ours, Version: 7}, ExchangedCase{State: tc.theirs, Seen: tc.seen}, tc.origin)
		var names []string
		for _, a := range steps {
			names = append(names, string(a))
		}
		if got := strings.Join(names, " "); got != tc.want || (refused != "") != tc.refused {
			t.Errorf("%+v: %q, refused %q", tc, got, refused)
		}
	}
}

func TestCompareTheTwoSides(t *testing.T) {
	held := func(s State) heldCase { return heldCase{State: s, Settled: true, Told: true, Recent: true} }
	d := compare(map[string]heldCase{
		"same": held(Handling), "differs": held(Handling), "lost": held(Handling), "moves": {State: Handling, Told: true, Recent: true}, "old": {State: Closed, Settled: true, Told: true}, "never told": {State: Filed, Settled: true, Recent: true},
	}, map[string]ExchangedState{"same": {State: Handling}, "differs": {State: Closed}, "moves": {State: Closed}, "new": {State: Filed}, "over": {State: Closed}})
	if got := strings.Join(d.ids(), ","); got != "differs,new,lost" {
		t.Errorf("%s: %+v", got, d)
	}
}

const simulated = "hotline"

// exchangeWorld is the platform's side of an exchange, and the simulated system.
type exchangeWorld struct {
	*world
	x     *exchanger
	seq   *sequencer
	sim   *exchangesim.Server
	store *exchangesim.Store
	// name is that of the integration, server the API with certificates, at tls.
	name   string
	server *httptest.Server
	// at is the time of the exchanger and the system.
	at     time.Time
	tls    string
	client func(*ecdsa.PrivateKey) *http.Client
}

// newExchangeWorld makes both sides; change changes the integration.
func newExchangeWorld(t *testing.T, change func(*contract.Integration)) *exchangeWorld {
	t.Helper()
	cfg, _ := database(t)
	w := &exchangeWorld{world: &world{t: t, pool: poolOf(t, cfg), bundle: testBundle("https://127.0.0.1:1", ""), keys: map[string]*ecdsa.PrivateKey{}}, at: time.Now(), name: simulated}
	w.store = exchangesim.NewStore(simulated, func() time.Time { return w.at })
	w.sim = &exchangesim.Server{Store: w.store, Token: "synthetic", Rand: rand.New(rand.NewPCG(1, 1))}
	system := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.sim.Handler().ServeHTTP(rw, r) }))
	t.Cleanup(system.Close)
	d := &w.bundle.Directory
	d.Organizations["hotline-office"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"hotline"}}
	d.Organizations["neighbour"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"water"}}
	s := w.bundle.Rules.Scenarios["s10"]
	s.Responders = []contract.Responder{{Post: "GridWorker"}, {Duty: "hotline"}}
	w.bundle.Rules.Scenarios["s10"] = s
	in := contract.Integration{URL: system.URL, CABundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: system.Certificate().Raw})),
		PollSeconds: 60, Inbound: true, Outbound: true, Organization: "hotline-office"}
	change(&in)
	d.Platform.Integrations = map[string]contract.Integration{simulated: in}
	w.signers()
	secrets := t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, contract.IntegrationFile(simulated, contract.IntegrationToken)), []byte("synthetic\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.in = intake.NewStatic(w.bundle)
	w.reg = prometheus.NewRegistry()
	metrics := newExchangeMetrics(w.reg)
	w.x = &exchanger{pool: w.pool, in: w.in, secretDir: secrets, plain: true, metrics: metrics, log: quiet(), now: func() time.Time { return w.at }}
	w.seq = newSequencer(w.pool, quiet())
	w.svc = &service{pool: w.pool, in: w.in, log: quiet(), exchange: w.x,
		api: &api{pool: w.pool, in: w.in, feed: newFeedWatch(w.pool, quiet()), exchanged: metrics, log: quiet(), now: time.Now}}
	w.api = httptest.NewServer(newAPI(w.svc.api))
	t.Cleanup(w.api.Close)
	w.server, w.client = w.systems()
	w.tls = w.server.URL
	return w
}

func (w *exchangeWorld) exchange() exchange {
	x, ok := exchangeOf(w.bundle, w.name)
	if !ok {
		w.t.Fatal("no integration")
	}
	return x
}

// turn lets the exchanger do all that is due, after so long a time.
func (w *exchangeWorld) turn(after time.Duration) error {
	w.t.Helper()
	if _, err := w.seq.number(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.at = w.at.Add(after)
	return w.x.turnOf(w.t.Context(), w.exchange())
}

// must is turn that succeeds.
func (w *exchangeWorld) must(after time.Duration) {
	w.t.Helper()
	if err := w.turn(after); err != nil {
		w.t.Fatal(err)
	}
}

// ours opens a case of the platform's own and calls who is responsible.
func (w *exchangeWorld) ours(dataClass string) uuid.UUID {
	w.t.Helper()
	c := &Case{Community: "jinghu", Grid: "g1", Scenario: "s10", Class: "fire", Severity: contract.SeverityLow, Title: "烟感报警", Source: SourceSystem, DataClass: dataClass, StartedAt: time.Now(), LastSignalAt: time.Now()}
	if err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		if err := insert(w.t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil); err != nil {
			return err
		}
		return send(w.t.Context(), tx, w.bundle, c, RoleDispatcher, time.Now())
	}); err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

// act lets a person of the committee act on a case.
func (w *exchangeWorld) act(id uuid.UUID, a Action) int {
	w.t.Helper()
	return w.call("POST", "/v1/cases/"+id.String()+"/actions", w.token("committee", "p-9", RoleDispatcher), map[string]any{"action": a}, nil)
}

// put sends a document as the system of an organisation.
func (w *exchangeWorld) put(organization string, e ExchangedCase, out any, headers ...string) int {
	w.t.Helper()
	return w.ask(organization, "PUT", "/v1/exchange/"+simulated+"/cases/"+e.ID, e, out, headers...)
}

func (w *exchangeWorld) ask(organization, method, path string, body, out any, headers ...string) int {
	w.t.Helper()
	plain := w.api.URL
	w.api.URL = w.tls
	defer func() { w.api.URL = plain }()
	return w.callWith(w.client(w.keys[organization]), method, path, "", body, out, headers...)
}

func (w *exchangeWorld) state(id uuid.UUID) (s State) {
	w.t.Helper()
	if err := w.pool.QueryRow(w.t.Context(), "SELECT state FROM grid.cases WHERE id = $1", id).Scan(&s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func theirCase(id string, version int64, s State) ExchangedCase {
	return ExchangedCase{ID: id, Version: version, Origin: CaseOrigin{simulated, id}, State: s, Class: "fire", Severity: contract.SeverityLow, Title: "合成工单", Division: "410702001001"}
}

func TestACaseComesOverTheExchange(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	var doc ExchangedCase
	e := theirCase("GD-1", 1, Filed)
	if got := w.put("hotline-office", e, &doc, "If-None-Match", "*"); got != 200 || doc.State != Dispatched || doc.ID != "GD-1" || doc.Origin != e.Origin || doc.Community != "jinghu" {
		t.Fatalf("a new case: %d %+v", got, doc)
	}
	var id uuid.UUID
	if err := w.pool.QueryRow(t.Context(), "SELECT id FROM grid.cases WHERE source_system = 'hotline' AND external_id = 'GD-1' AND source = 'System'").Scan(&id); err != nil {
		t.Fatal(err)
	}
	changes := func(cause string) int64 {
		return number(t, w.pool, "SELECT count(*) FROM grid.changes WHERE cause = $1", cause)
	}
	if changes(simulated) != 1 || changes("") < 2 {
		t.Errorf("the report is caused by the system, filing and dispatching by us: %d, %d", changes(simulated), changes(""))
	}
	version := doc.Version
	for what, again := range map[string]ExchangedCase{"the same": e, "no news": theirCase("GD-1", 2, Filed)} {
		if got := w.put("hotline-office", again, &doc, "If-Match", `"1"`); got != 200 || doc.Version != version {
			t.Errorf("%s again: %d, version %d, want %d", what, got, doc.Version, version)
		}
	}
	if got := w.put("hotline-office", theirCase("GD-1", 3, Handling), &doc, "If-Match", etag(version-1)); got != 412 {
		t.Errorf("meant for another version: %d", got)
	}
	if got := w.put("hotline-office", theirCase("GD-1", 3, Handling), &doc, "If-Match", etag(version)); got != 200 || doc.State != Handling || w.state(id) != Handling {
		t.Fatalf("handled there: %d %+v", got, doc)
	}
	if got := w.put("hotline-office", theirCase("GD-1", 2, Void), &doc); got != 200 || w.state(id) != Handling {
		t.Errorf("an older version comes late: %d, %s", got, w.state(id))
	}
	if got := w.put("hotline-office", theirCase("GD-1", 4, Suspended), nil); got != 409 || w.state(id) != Handling {
		t.Errorf("what the exchange does not do: %d, %s", got, w.state(id))
	}
	if n := number(t, w.pool, "SELECT conflicts FROM grid.exchange"); n != 1 {
		t.Errorf("%d conflicts, want 1", n)
	}
	if got := w.put("hotline-office", theirCase("GD-1", 4, Suspended), &doc); got != 200 {
		t.Errorf("a refused version comes again: %d; it was read", got)
	}
	if got := w.put("hotline-office", theirCase("GD-1", 5, Closed), &doc); got != 200 || w.state(id) != Closed {
		t.Errorf("closed there: %d, %s", got, w.state(id))
	}
	var actor string
	if err := w.pool.QueryRow(t.Context(), "SELECT DISTINCT actor || organization || role FROM grid.case_history WHERE action = 'Close'").Scan(&actor); err != nil || actor != "Organizationhotline-officeOrigin" {
		t.Errorf("%s, %v", actor, err)
	}
}

// TestOnlyItsOwnOrganizationSpeaksForASystem: neighbours, people and strangers are told nothing, and what the organisation does not see is not there.
func TestOnlyItsOwnOrganizationSpeaksForASystem(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	if got := w.put("hotline-office", theirCase("GD-1", 1, Filed), nil); got != 200 {
		t.Fatal(got)
	}
	open, hidden := w.ours("C0"), w.ours("C3")
	if _, err := w.pool.Exec(t.Context(), "UPDATE grid.case_parties SET organization = 'fire-xinxiang' WHERE case_id = $1 AND organization = 'hotline-office'", hidden); err != nil {
		t.Fatal(err)
	}
	base := "/v1/exchange/" + simulated
	for _, who := range []string{"neighbour", "committee", "fire-xinxiang", "fire-luoyang", "vendor"} {
		for _, ask := range [][2]string{{"GET", base}, {"GET", base + "/changes"}, {"GET", base + "/cases"}, {"GET", base + "/cases/GD-1"}, {"GET", base + "/cases/henan:" + open.String()}} {
			if got := w.ask(who, ask[0], ask[1], nil, nil); got != 403 {
				t.Errorf("%s, %v: %d, want 403", who, ask, got)
			}
		}
		if got := w.put(who, theirCase("GD-1", 2, Void), nil); got != 403 {
			t.Errorf("%s writes: %d, want 403", who, got)
		}
	}
	if got := w.ask("hotline-office", "GET", "/v1/exchange/another", nil, nil); got != 403 {
		t.Errorf("a system that there is not: %d, want 403", got)
	}
	dispatcher := w.token("hotline-office", "h-1", RoleDispatcher)
	for path, want := range map[string]int{base: 200, base + "/changes": 403, base + "/cases/GD-1": 403} {
		if got := w.call("GET", path, dispatcher, nil, nil); got != want {
			t.Errorf("a dispatcher of the organisation, %s: %d, want %d", path, got, want)
		}
	}
	if got := w.call("PUT", base+"/cases/GD-1", dispatcher, theirCase("GD-1", 2, Void), nil); got != 403 {
		t.Errorf("a person writes: %d", got)
	}
	for id, want := range map[string]int{"henan:" + open.String(): 200, "henan:" + hidden.String(): 404, "henan:" + uuid.NewString(): 404, "GD-9": 404} {
		if got := w.ask("hotline-office", "GET", base+"/cases/"+id, nil, nil); got != want {
			t.Errorf("%s: %d, want %d", id, got, want)
		}
	}
	foreign := func(system, id string) ExchangedCase {
		e := theirCase("x-"+id, 1, Void)
		e.Origin = CaseOrigin{system, id}
		return e
	}
	elsewhere, otherID, otherOrigin := theirCase("GD-2", 1, Filed), theirCase("GD-1", 2, Void), theirCase("GD-1", 2, Void)
	elsewhere.Division, otherID.ID, otherOrigin.Origin.ID = "410302001001", "GD-8", "GD-7"
	for what, tc := range map[string]struct {
		e    ExchangedCase
		want int
	}{
		"a case that it does not see": {foreign("henan", hidden.String()), 409}, "no id": {foreign("henan", "17"), 422}, "of a third system": {foreign("police", "P-1"), 422},
		"of another city": {elsewhere, 422}, "under a second id": {otherID, 409}, "of another origin": {otherOrigin, 422}, "over before it came": {theirCase("GD-3", 1, Closed), 409},
	} {
		if got := w.put("hotline-office", tc.e, nil); got != tc.want {
			t.Errorf("%s: %d, want %d", what, got, tc.want)
		}
	}
	var feed ExchangedChanges
	if got := w.ask("hotline-office", "GET", base+"/changes", nil, &feed); got != 200 {
		t.Fatal(got)
	}
	if _, err := w.seq.number(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.ask("hotline-office", "GET", base+"/changes", nil, &feed); got != 200 || len(feed.Changes) != 2 {
		t.Errorf("the feed: %d %+v", got, feed)
	}
	for _, e := range feed.Changes {
		if strings.Contains(e.ID, hidden.String()) {
			t.Error("the feed has a case that the organisation does not see")
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE state IN ('Void', 'Closed')"); n != 0 {
		t.Errorf("%d cases were moved by who may not", n)
	}
}

func TestACaseGoesOverTheExchange(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	before := w.ours("C0")
	w.must(0)
	open, hidden := w.ours("C0"), w.ours("C3")
	if _, err := w.pool.Exec(t.Context(), "UPDATE grid.case_parties SET organization = 'fire-xinxiang' WHERE case_id = $1 AND organization = 'hotline-office'", hidden); err != nil {
		t.Fatal(err)
	}
	w.must(0)
	there := w.store.Cases()
	ref := "henan:" + open.String()
	if len(there) != 2 || there[ref].State != "Dispatched" || there[ref].Title != "烟感报警" || there["henan:"+before.String()].State != "Dispatched" {
		t.Fatalf("there: %+v", there)
	}
	for range 3 {
		w.must(time.Minute)
	}
	if _, written, _ := w.store.Counts(); written != 2 {
		t.Errorf("%d writes for two cases", written)
	}
	w.store.Set(ref, "Handling")
	w.must(time.Minute)
	if got := w.state(open); got != Handling {
		t.Fatalf("handled there: %s", got)
	}
	if got := w.act(open, RequestVerification); got != 200 {
		t.Fatal(got)
	}
	w.store.Retitle(ref, "别的名称") // unknown to us: what is sent next is meant for an older version
	w.must(0)
	if got := w.store.Cases()[ref]; got.State != "Verifying" || got.Title != "烟感报警" {
		t.Errorf("after they had changed it, too: %+v", got)
	}
	if n := testutil.ToFloat64(w.x.metrics.cases.WithLabelValues(simulated, "out", "stale")); n != 1 {
		t.Errorf("%v times read anew, want once", n)
	}
	// Both change at once: of our own case we decide.
	if got := w.act(open, Close); got != 200 {
		t.Fatal(got)
	}
	w.store.Set(ref, "Handling")
	w.must(time.Minute)
	w.must(time.Minute)
	if got := w.store.Cases()[ref]; got.State != "Closed" || w.state(open) != Closed {
		t.Errorf("closed here and taken back there: %s there, %s here", got.State, w.state(open))
	}
	var s ExchangeStatus
	if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated, nil, &s); got != 200 || s.Conflicts != 1 || s.Waiting != 0 || s.Sent != 4 || s.LastError != "" {
		t.Errorf("%d %+v", got, s)
	}
}

// TestASystemThatIsDownGetsAllLater, and one case that it does not take keeps no other from it.
func TestASystemThatIsDownGetsAllLater(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	w.must(0)
	w.sim.Failures = 1
	for range 3 {
		w.ours("C0")
	}
	if err := w.turn(time.Minute); err == nil {
		t.Fatal("a call of a system that is down succeeded")
	}
	if err := w.turn(0); err != nil {
		t.Errorf("it is left in peace for a while: %v", err)
	}
	var r contract.Report
	if err := w.svc.fillExchange(t.Context(), w.bundle, &r); err != nil || r.Integrations[simulated].LastError == "" {
		t.Fatalf("%+v, %v", r.Integrations, err)
	}
	for _, secret := range []string{"synthetic", "henan:"} {
		if strings.Contains(r.Integrations[simulated].LastError, secret) {
			t.Errorf("the error has %q: %s", secret, r.Integrations[simulated].LastError)
		}
	}
	w.sim.Failures = 0
	w.must(longestSystemPause)
	w.must(longestExchangePause)
	if n := len(w.store.Cases()); n != 3 {
		t.Errorf("%d cases there, want 3", n)
	}
	w.sim.Token = "another"
	w.ours("C0")
	if err := w.turn(time.Minute); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("credentials that are not taken: %v", err)
	}
	w.sim.Token = "synthetic"
	w.must(longestSystemPause)
	w.must(longestExchangePause)
	if n := len(w.store.Cases()); n != 4 {
		t.Errorf("%d cases there, want 4", n)
	}
}

// TestBothSidesAreCompared: what one side lost, or never got, is found, told by id, and brought level.
func TestBothSidesAreCompared(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.PollSeconds = 0 }) // they call, and are lazy
	kept, lost := w.ours("C0"), w.ours("C0")
	w.must(0)
	w.must(0)
	never := w.store.Open("410702001001", "fire")
	w.store.Set("henan:"+kept.String(), "Handling")
	w.store.Lose("henan:" + lost.String())
	w.must(reconcileEvery)
	var s ExchangeStatus
	if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated, nil, &s); got != 200 || s.Unreconciled != 3 || s.Ours != 2 || s.Theirs != 2 ||
		!slices.Equal(s.Differ, []string{"henan:" + kept.String(), never, "henan:" + lost.String()}) {
		t.Fatalf("%d %+v", got, s)
	}
	w.must(time.Minute)
	w.must(reconcileEvery)
	if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated, nil, &s); got != 200 || s.Unreconciled != 0 || len(s.Differ) != 0 || s.Ours != 3 || s.Theirs != 3 {
		t.Errorf("after an hour: %d %+v", got, s)
	}
	if w.state(kept) != Handling || w.store.Cases()["henan:"+lost.String()].State != "Dispatched" || number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE external_id = $1", never) != 1 {
		t.Error("they are not level")
	}
}

func TestDirectionsAndClasses(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.Outbound, in.CaseClasses = false, []string{"fire"} })
	w.ours("C0")
	w.must(0)
	other := theirCase("GD-1", 1, Filed)
	other.Class = "noise"
	if got := w.put("hotline-office", other, nil); got != 422 {
		t.Errorf("another class: %d", got)
	}
	if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated+"/changes", nil, nil); got != 403 {
		t.Errorf("the feed of an exchange that goes nowhere: %d", got)
	}
	w.store.Open("410702001001", "fire")
	w.store.Open("410702001001", "noise")
	w.must(time.Minute)
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE source_system = 'hotline'"); n != 1 || len(w.store.Cases()) != 2 {
		t.Errorf("%d cases came, %d are there", n, len(w.store.Cases()))
	}
	out := newExchangeWorld(t, func(in *contract.Integration) { in.Inbound, in.PollSeconds = false, 0 })
	if got := out.put("hotline-office", theirCase("GD-1", 1, Filed), nil); got != 403 {
		t.Errorf("a case comes over an exchange that only sends: %d", got)
	}
	id := out.ours("C0")
	out.must(0)
	out.store.Set("henan:"+id.String(), "Void")
	if got := out.act(id, Acknowledge); got != 200 {
		t.Fatal(got)
	}
	out.must(time.Minute)
	if got := out.store.Cases()["henan:"+id.String()]; got.State != "Handling" || out.state(id) != Handling {
		t.Errorf("%s there, %s here", got.State, out.state(id))
	}
}

// TestTheExchangeEndsLevel plays changes of people on both sides at random, with calls that fail, answers that are lost, echoes, late polls and
// restarts. In the end both sides have every case in the same state, and then nothing is written any more.
func TestTheExchangeEndsLevel(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		poll          int64
		echo, forgets bool
	}{{"asked", 30, false, false}, {"asked, echoes", 30, true, true}, {"calls", 0, false, true}, {"calls, echoes", 0, true, false}} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", tc.name, seed), func(t *testing.T) {
				t.Parallel()
				w := newExchangeWorld(t, func(in *contract.Integration) { in.PollSeconds = tc.poll })
				w.sim.Echo, w.sim.NoKeys = tc.echo, tc.forgets
				w.play(rand.New(rand.NewPCG(seed, 54)), 120, tc.poll == 0)
			})
		}
	}
}

func (w *exchangeWorld) play(r *rand.Rand, rounds int, pushes bool) {
	w.t.Helper()
	w.sim.Rand, w.sim.Failures = rand.New(rand.NewPCG(r.Uint64(), 1)), 0.2
	ours, client, base := []uuid.UUID{}, w.client(w.keys["hotline-office"]), w.tls+"/v1/exchange/"+simulated
	push := func() {
		if pushes {
			_ = w.sim.Push(w.t.Context(), client, base) // what fails comes again
		}
	}
	acted := 0
	for range rounds {
		switch r.IntN(9) {
		case 0:
			ours = append(ours, w.ours("C0"))
			acted++
		case 1:
			w.store.Open("410702001001", "fire")
		case 2, 3, 4:
			w.store.Move(r)
		case 5, 6:
			acted += w.somebodyActs(r)
		case 7:
			push()
		}
		if r.IntN(3) > 0 {
			_ = w.turn(time.Duration(r.IntN(40)) * time.Second)
		}
		if r.IntN(12) == 0 { // both begin anew over what they keep
			w.x = &exchanger{pool: w.pool, in: w.in, secretDir: w.x.secretDir, plain: true, metrics: w.x.metrics, log: quiet(), now: w.x.now}
			w.sim = &exchangesim.Server{Store: w.store, Token: w.sim.Token, Failures: w.sim.Failures, Echo: w.sim.Echo, NoKeys: w.sim.NoKeys, Rand: w.sim.Rand}
		}
	}
	w.sim.Failures = 0
	for range 6 {
		push()
		w.must(longestExchangePause)
	}
	there, writtenBefore, changesBefore := w.level(), 0, int64(0)
	_, writtenBefore, _ = w.store.Counts()
	changesBefore = number(w.t, w.pool, "SELECT count(*) FROM grid.changes")
	for range 5 {
		push()
		w.must(reconcileEvery)
	}
	theirs, written, dropped := w.store.Counts()
	if n := number(w.t, w.pool, "SELECT count(*) FROM grid.changes"); n != changesBefore || written != writtenBefore {
		w.t.Errorf("with nobody acting, %d changes here and %d writes there", n-changesBefore, written-writtenBefore)
	}
	w.level()
	// Each of our changes is written once, and again where they had refused it; each of theirs makes three changes here at most.
	own, caused := number(w.t, w.pool, "SELECT count(*) FROM grid.changes WHERE cause = ''"), number(w.t, w.pool, "SELECT count(*) FROM grid.changes WHERE cause = $1", simulated)
	conflicts := number(w.t, w.pool, "SELECT conflicts FROM grid.exchange")
	if int64(written) > own+conflicts || caused > 3*int64(theirs) {
		w.t.Errorf("%d writes there for %d changes here and %d conflicts; %d changes here for %d there", written, own, conflicts, caused, theirs)
	}
	if n := number(w.t, w.pool, "SELECT unreconciled FROM grid.exchange"); n != 0 {
		w.t.Errorf("%d cases are not reconciled", n)
	}
	w.t.Logf("%d cases, %d of ours, people acted %d here and %d there; %d writes there, %d changes here by them, %d conflicts, %d not taken", len(there), len(ours), acted, theirs, written, caused, conflicts, dropped)
}

// somebodyActs lets a person of the committee take an action at random that a case takes, and says how many did.
func (w *exchangeWorld) somebodyActs(r *rand.Rand) int {
	rows, err := w.pool.Query(w.t.Context(), "SELECT id, state FROM grid.cases ORDER BY id")
	if err != nil {
		w.t.Fatal(err)
	}
	type one struct {
		ID    uuid.UUID
		State State
	}
	cases, err := pgx.CollectRows(rows, pgx.RowToStructByPos[one])
	if err != nil {
		w.t.Fatal(err)
	}
	takes := map[State][]Action{Dispatched: {Acknowledge}, Handling: {RequestVerification, Suspend, MarkVoid}, Suspended: {Resume}, Verifying: {Close, Rework}, Returned: {Dispatch}, Reopened: {Dispatch}, Closed: {Reopen}}
	cases = slices.DeleteFunc(cases, func(c one) bool { return takes[c.State] == nil })
	if len(cases) == 0 {
		return 0
	}
	c := cases[r.IntN(len(cases))]
	if got := w.act(c.ID, takes[c.State][r.IntN(len(takes[c.State]))]); got != 200 && got != 409 {
		w.t.Fatalf("%s: %d", c.State, got)
	}
	return 1
}

// level compares both sides case by case, by what each has in its store, and gives the states by origin.
func (w *exchangeWorld) level() map[string]string {
	w.t.Helper()
	here := map[string]string{}
	rows, err := w.pool.Query(context.WithoutCancel(w.t.Context()), "SELECT CASE WHEN source_system = '' THEN 'henan:' || id ELSE external_id END, state FROM grid.cases")
	if err != nil {
		w.t.Fatal(err)
	}
	for rows.Next() {
		var id, state string
		if err := rows.Scan(&id, &state); err != nil {
			w.t.Fatal(err)
		}
		if here[id] != "" {
			w.t.Errorf("case %s is here twice", id)
		}
		here[id] = state
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	there := w.store.Cases()
	for id, c := range there {
		over := c.State == "Void" || c.State == "Closed" || c.State == "Rated"
		if state, known := here[id]; state != c.State && (known || !over) {
			w.t.Errorf("case %s: %q here, %q there", id, state, c.State)
		}
	}
	for id, state := range here {
		if _, known := there[id]; !known && state != "Void" && state != "Closed" {
			w.t.Errorf("case %s is %s here, and not there", id, state)
		}
	}
	return here
}
