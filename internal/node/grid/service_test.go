package grid

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/postgres"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLBQ3" // synthetic

// hooks receives webhooks over TLS and verifies them with the library.
type hooks struct {
	*httptest.Server
	mu       sync.Mutex
	got      map[string][]event.Event // by path
	ids      map[string]int           // attempts by webhook-id
	bad      []error
	failures int // answers 503 to so many requests first
}

func newHooks(t *testing.T) *hooks {
	h := &hooks{got: map[string][]event.Event{}, ids: map[string]int{}}
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if err := verifier.Verify(raw, r.Header); err != nil {
			h.bad = append(h.bad, err)
		}
		h.ids[r.Header.Get("webhook-id")]++
		if h.failures > 0 {
			h.failures--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var e event.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			h.bad = append(h.bad, err)
		}
		h.got[r.URL.Path] = append(h.got[r.URL.Path], e)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) count(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got[path])
}

func (h *hooks) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}))
}

// world is the service with everything around it.
type world struct {
	t      *testing.T
	pool   *pgxpool.Pool
	broker *server.Server
	hooks  *hooks
	in     *intake.Intake
	bundle *intake.Bundle
	svc    *service
	api    *httptest.Server
	keys   map[string]*ecdsa.PrivateKey
	reg    *prometheus.Registry
	stop   func()
	// tune changes the service before it starts.
	tune func(*service)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(*intake.Bundle) {}, func(*service) {})
}

// newWorldWith is newWorld with another bundle and another service.
func newWorldWith(t *testing.T, change func(*intake.Bundle), tune func(*service)) *world {
	t.Helper()
	cfg, _ := database(t)
	h := newHooks(t)
	w := &world{t: t, pool: poolOf(t, cfg), broker: broker(t), hooks: h, bundle: testBundle(h.URL, h.ca()), keys: map[string]*ecdsa.PrivateKey{}, tune: tune}
	change(w.bundle)
	w.signers()
	w.in = intake.NewStatic(w.bundle)
	w.begin()
	t.Cleanup(func() { w.stop() })
	return w
}

// signers gives every organisation of the bundle a key.
func (w *world) signers() {
	t := w.t
	t.Helper()
	for name, o := range w.bundle.Directory.Organizations {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		o.KeyDigests = []string{contract.Digest(spki)}
		w.keys[name], w.bundle.Directory.Organizations[name] = key, o
	}
}

// begin starts the service; stop ends it.
func (w *world) begin() {
	secrets := w.t.TempDir()
	for name := range w.bundle.Directory.Organizations {
		if err := os.WriteFile(filepath.Join(secrets, contract.WebhookSecretFile(name)), []byte(hookSecret+"\n"), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	nc, js := connect(w.t, w.broker.ClientURL())
	w.reg = prometheus.NewRegistry()
	cfg := contract.NodeConfig{Grid: &contract.GridConfig{WebhookSecretDir: secrets, PlainWebhooks: true, TLS: contract.TLSFiles{CAFile: postgres.Shared(w.t).Owner("").CAFile}}}
	w.svc = newService(cfg, w.pool, w.in, nc, js, w.reg, quiet())
	w.tune(w.svc)
	w.api = httptest.NewServer(newAPI(w.svc.api))
	ctx, cancel := context.WithCancel(context.Background())
	group, gctx := errgroup.WithContext(ctx)
	health := &process.Health{}
	w.svc.worker.ready = func(err error) { health.Set("ingest", err) }
	group.Go(func() error { return w.svc.worker.run(gctx) })
	group.Go(func() error { return w.svc.deliver.run(gctx) })
	group.Go(func() error { return w.svc.sweep.run(gctx) })
	group.Go(func() error { return w.svc.acks.run(gctx) })
	group.Go(func() error { return w.svc.sequence.run(gctx) })
	group.Go(func() error { return w.svc.feed.run(gctx) })
	w.stop = func() {
		cancel()
		_ = group.Wait()
		w.api.Close()
		nc.Close()
		w.stop = func() {}
	}
	eventually(w.t, "session", func() bool { return health.Err() == nil })
}

// token signs a token for a person of an organisation.
func (w *world) token(org, subject string, role Role) string {
	w.t.Helper()
	p := w.bundle.Directory.Platform
	token, err := person.Sign(w.keys[org], nil, org, subject, string(role), contract.PersonAudience(p.Namespace, p.Name, contract.RoleGrid), time.Now(), 10*time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// call makes a request and decodes the answer into out, if it is not nil.
func (w *world) call(method, path, token string, body, out any, headers ...string) int {
	w.t.Helper()
	return w.callWith(http.DefaultClient, method, path, token, body, out, headers...)
}

func (w *world) callWith(client *http.Client, method, path, token string, body, out any, headers ...string) int {
	w.t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.api.URL+path, r)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(raw, out); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return resp.StatusCode
}

// send publishes as a device, and gives back control once the broker has acknowledged it.
func (w *world) send(device string, qos byte, payload string) {
	w.t.Helper()
	c := mqttClient(w.t, w.broker, contract.ClientID("smokes", device))
	wait(w.t, c.Publish(contract.DeviceTopic("smokes", device, contract.ChannelSignal), qos, false, payload))
	c.Disconnect(100) // a second client of the same id would cut this one off
}

func (w *world) cases(state string) int64 {
	return number(w.t, w.pool, "SELECT count(*) FROM grid.cases WHERE state = $1", state)
}

func TestSmokeBecomesACaseAndIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hooks.mu.Lock()
	w.hooks.failures = 1 // the first delivery fails, so the second must bear the same id
	w.hooks.mu.Unlock()
	apps, _ := connect(t, w.broker.ClientURL())
	defer apps.Close()
	local, err := apps.SubscribeSync("dizuo.v1.c.jinghu.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := apps.Flush(); err != nil {
		t.Fatal(err)
	}
	w.send("s1", 1, `{"smoke":true,"density":500}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	eventually(t, "webhook", func() bool { return w.hooks.count("/fire-xinxiang") == 1 })
	if m, err := local.NextMsg(5 * time.Second); err != nil || !strings.Contains(string(m.Data), `"community":"jinghu"`) || strings.Contains(string(m.Data), "density") {
		t.Errorf("enriched signal without the field out of range: %v, %s", err, m.Data)
	}
	w.hooks.mu.Lock()
	if len(w.hooks.bad) > 0 || len(w.hooks.got["/fire-luoyang"]) > 0 || len(w.hooks.ids) != 1 {
		t.Errorf("bad %v, other city %d, ids %v", w.hooks.bad, len(w.hooks.got["/fire-luoyang"]), w.hooks.ids)
	}
	e := w.hooks.got["/fire-xinxiang"][0]
	w.hooks.mu.Unlock()
	var body DispatchedCase
	if err := e.DataAs(&body); err != nil || e.Type() != EventDispatched || body.Device != "smokes.s1" || body.State != Dispatched || body.AcknowledgeDue == nil {
		t.Errorf("event %s: %+v, %v", e.Type(), body, err)
	}
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "the second signal joins", func() bool { return number(t, w.pool, "SELECT coalesce(max(signals), 0) FROM grid.cases") == 2 })

	worker, boss := w.token("committee", "p-1", RoleGridWorker), w.token("committee", "p-9", RoleDispatcher)
	path := "/v1/cases/" + body.ID.String()
	act := func(token string, a Action) int {
		return w.call("POST", path+"/actions", token, map[string]any{"action": a, "note": "synthetic note"}, nil)
	}
	if got := act(worker, Acknowledge); got != 404 {
		t.Errorf("not on the roster: %d, want 404", got)
	}
	if got := w.call("PUT", "/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g2"}}}, nil); got != 200 {
		t.Fatalf("roster: %d", got)
	}
	if got := act(worker, Acknowledge); got != 404 {
		t.Errorf("on the roster of another grid: %d, want 404", got)
	}
	if got := w.call("PUT", "/v1/roster", boss, Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g1"}}}, nil); got != 200 {
		t.Fatalf("roster: %d", got)
	}
	if got := act(worker, Close); got != 409 {
		t.Errorf("close before handling: %d, want 409", got)
	}
	if got := act(w.token("committee", "p-3", RoleAuditor), Acknowledge); got != 403 {
		t.Errorf("an auditor acts: %d, want 403", got)
	}
	for _, a := range []Action{Acknowledge, Handle, RequestVerification, Verify, Close} {
		if got := act(worker, a); got != 200 {
			t.Fatalf("%s: %d", a, got)
		}
	}
	var d CaseDetail
	if got := w.call("GET", path, worker, nil, &d); got != 200 || d.State != Closed || d.StateName != "结案" || d.ClosedAt == nil || d.AcknowledgedAt == nil {
		t.Fatalf("%d %+v", got, d)
	}
	var names []string
	for i, h := range d.History {
		names = append(names, h.Action)
		if h.N != i+1 {
			t.Errorf("history entry %d has number %d", i, h.N)
		}
	}
	if want := "Report File Dispatch Acknowledge Handle RequestVerification Verify Close"; strings.Join(names, " ") != want {
		t.Errorf("history %v, want %s", names, want)
	}
	if last := d.History[len(d.History)-1]; last.Note != "synthetic note" || last.Actor.Organization != "committee" || last.Actor.Person != "p-1" {
		t.Errorf("last entry %+v", last)
	}
	var r contract.Report
	defer func() { t.Logf("dispatch in the report: %+v", r.Dispatch) }()
	eventually(t, "delivery in the report", func() bool {
		w.svc.fill(&r)
		return r.Dispatch["fire-xinxiang"].Delivered == 3 // that it was dispatched, acknowledged and closed
	})
	if r.Fleets["smokes"].Online != 1 || r.OpenCases["jinghu"] != 0 {
		t.Errorf("report %+v", r)
	}
}

func TestQoSZeroIsTakenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("s1", 0, `{"smoke":true}`)
	w.send("s2", 1, `{"smoke":true}`)
	eventually(t, "two cases", func() bool { return w.cases("Dispatched") == 2 })
	nc, _ := connect(t, w.broker.ClientURL())
	defer nc.Close()
	// Not from MQTT: nobody checked who sent it.
	if err := nc.Publish(contract.DeviceSubject("smokes", "s3", contract.ChannelSignal), []byte(`{"smoke":true}`)); err != nil {
		t.Fatal(err)
	}
	w.send("s2", 0, `{"smoke":true}`) // a marker behind it
	w.send("s00", 0, `{"smoke":true}`)
	eventually(t, "marker", func() bool { return number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE device = 's00'") == 1 })
	if n := number(t, w.pool, "SELECT signals FROM grid.cases WHERE device = 's2'"); n != 2 {
		t.Errorf("s2 has %d signals, want 2", n)
	}
	if n := number(t, w.pool, "SELECT signals FROM grid.cases WHERE device = 's1'"); n != 1 {
		t.Errorf("s1 has %d signals, want 1", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE device = 's3'"); n != 0 {
		t.Error("a message that did not come over MQTT made a case")
	}
}

func TestBadMessagesHurtNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, payload := range []string{"", "garbage", "[]", `{"smoke":"yes"}`, `{"smoke":1e999}`, strings.Repeat("{", 10000), `{"smoke":true}`} {
		w.send("s1", 1, payload)
	}
	w.send("unknown", 1, `{"smoke":true}`)
	w.send("s2", 1, `{"smoke":true}`)
	eventually(t, "cases", func() bool { return w.cases("Dispatched") == 2 })
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases"); n != 2 {
		t.Errorf("%d cases, want those of s1 and s2", n)
	}
}

func TestRestartGoesOnBehindWhatIsCommitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	w.stop()
	w.send("s2", 1, `{"smoke":true}`)
	w.begin()
	eventually(t, "the message sent while it was down", func() bool { return w.cases("Dispatched") == 2 })
	if n := number(t, w.pool, "SELECT max(signals) FROM grid.cases"); n != 1 {
		t.Errorf("a case has %d signals: a message was taken twice", n)
	}
	if n := testutil.ToFloat64(w.svc.worker.metrics.messages.WithLabelValues("taken")); n != 1 {
		t.Errorf("the second session took %v messages, want the one that was not committed", n)
	}
}

// TestTwoReplicasDoNotDoubleRun starts a second replica beside the first; it waits, and takes over when the first ends.
func TestTwoReplicasDoNotDoubleRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, js := connect(t, w.broker.ClientURL())
	defer nc.Close()
	second := newService(contract.NodeConfig{Grid: &contract.GridConfig{}}, w.pool, w.in, nc, js, prometheus.NewRegistry(), quiet())
	waiting := make(chan struct{})
	var once sync.Once
	second.worker.ready = func(error) { once.Do(func() { close(waiting) }) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- second.worker.run(ctx) }()
	<-waiting
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case by the first", func() bool { return w.cases("Dispatched") == 1 })
	w.stop()
	w.send("s2", 1, `{"smoke":true}`)
	eventually(t, "case by the second", func() bool { return w.cases("Dispatched") == 2 })
	cancel()
	<-done
	if n := number(t, w.pool, "SELECT max(signals) FROM grid.cases"); n != 1 {
		t.Errorf("a case has %d signals: both replicas worked", n)
	}
}

func TestLostDatabaseConnectionLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	killer, err := w.pool.Acquire(t.Context()) // always the same: another one of the pool may be among the killed
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Release()
	for i := range 30 {
		w.send(testDevices()[i], 1, `{"smoke":true}`)
		if i%5 == 0 {
			if _, err := killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid() AND datname = current_database()"); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all cases", func() bool {
		var n int64
		return w.pool.QueryRow(t.Context(), "SELECT count(*) FROM grid.cases").Scan(&n) == nil && n == 30
	})
	if n := number(t, w.pool, "SELECT max(signals) FROM grid.cases"); n != 1 {
		t.Errorf("a case has %d signals: a message was taken twice", n)
	}
}

func TestReportIsIdempotent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resident := w.token("committee", "r-1", RoleResident)
	report := NewCase{Community: "jinghu", Class: "sanitation", Severity: contract.SeverityLow, Title: "synthetic report", Source: SourceResident, Note: "by the gate"}
	var a, b CaseRef
	if got := w.call("POST", "/v1/cases", resident, report, &a, "Idempotency-Key", "key-0001"); got != 201 {
		t.Fatalf("first: %d", got)
	}
	if got := w.call("POST", "/v1/cases", resident, report, &b, "Idempotency-Key", "key-0001"); got != 201 || a.ID != b.ID || a.Number != b.Number {
		t.Errorf("again: %d, %+v, want %+v", got, b, a)
	}
	report.Title = "another"
	if got := w.call("POST", "/v1/cases", resident, report, nil, "Idempotency-Key", "key-0001"); got != 422 {
		t.Errorf("another report with the key: %d, want 422", got)
	}
	if got := w.call("POST", "/v1/cases", resident, report, nil); got != 422 {
		t.Errorf("no key: %d, want 422", got)
	}
	report.Community = "other"
	if got := w.call("POST", "/v1/cases", resident, report, nil, "Idempotency-Key", "key-0002"); got != 404 {
		t.Errorf("outside the jurisdiction: %d, want 404", got)
	}
	if got := w.call("GET", "/v1/cases/"+a.ID.String(), resident, nil, nil); got != 404 {
		t.Errorf("a resident reads cases: %d, want 404", got)
	}
	boss := w.token("committee", "p-9", RoleDispatcher)
	path := "/v1/cases/" + a.ID.String() + "/actions"
	for _, c := range []struct {
		body map[string]any
		want int
	}{
		{map[string]any{"action": "File"}, 409}, {map[string]any{"action": "Dispatch"}, 409}, {map[string]any{"action": "Dispatch", "duties": []string{"fire"}, "note": "n"}, 200},
	} {
		if got := w.call("POST", path, boss, c.body, nil); got != c.want {
			t.Errorf("%v: %d, want %d", c.body, got, c.want)
		}
	}
	eventually(t, "webhook", func() bool { return w.hooks.count("/fire-xinxiang") == 1 })
}

// TestAForeignNumberIsReportedOnce: whoever reports it, and under whatever key; without the name of a system it is no number.
func TestAForeignNumberIsReportedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	report := NewCase{Community: "jinghu", Class: "sanitation", Severity: contract.SeverityLow, Title: "synthetic report", Source: SourceResident, SourceSystem: "snap", ExternalID: "A-1"}
	resident, worker := w.token("committee", "r-1", RoleResident), w.token("committee", "p-2", RoleGridWorker)
	for i, c := range []struct {
		who, system, number, key string
		want                     int
	}{
		{resident, "snap", "A-1", "key-0001", 201}, {resident, "snap", "A-1", "key-0001", 201}, {resident, "snap", "A-1", "key-0002", 409}, {worker, "snap", "A-1", "key-0003", 409},
		{resident, "snap", "A-2", "key-0004", 201}, {resident, "other", "A-1", "key-0005", 201}, {resident, "", "A-1", "key-0006", 422}, {resident, "", "", "key-0007", 201}, {resident, "snap", "", "key-0008", 201},
	} {
		report.SourceSystem, report.ExternalID = c.system, c.number
		if got := w.call("POST", "/v1/cases", c.who, report, nil, "Idempotency-Key", c.key); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases"); n != 5 {
		t.Errorf("%d cases, want 5", n)
	}
}

func TestMissedTimeIsMarkedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return w.cases("Dispatched") == 1 })
	later := &sweeper{pool: w.pool, in: w.in, metrics: w.svc.sweep.metrics, log: quiet(), now: func() time.Time { return time.Now().Add(3 * time.Minute) }}
	for range 3 {
		if err := later.sweep(t.Context(), w.bundle); err != nil {
			t.Fatal(err)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'AcknowledgeOverdue'"); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE acknowledge_overdue AND NOT resolve_overdue"); n != 1 {
		t.Errorf("%d cases marked, want 1", n)
	}
}

func TestAPIRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.call("GET", "/v1/cases", "", nil, nil); got != 401 {
		t.Errorf("no token: %d", got)
	}
	if got := w.call("GET", "/v1/cases", "x.y.z", nil, nil); got != 401 {
		t.Errorf("garbage: %d", got)
	}
	if got := w.call("GET", "/v1/cases?cursor=x", w.token("committee", "p", RoleDispatcher), nil, nil); got != 400 {
		t.Errorf("bad cursor: %d", got)
	}
	if got := w.call("GET", "/openapi.yaml", "", nil, nil); got != 200 {
		t.Errorf("openapi: %d", got)
	}
	token := w.token("committee", "p", RoleDispatcher)
	old := *w.bundle
	old.Lease.ExpiresAt = time.Now().Add(-time.Second)
	w.in.Set(&old)
	if got := w.call("GET", "/v1/cases", token, nil, nil); got != 503 {
		t.Errorf("lease over: %d, want 503", got)
	}
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "a fire does not wait for a lease", func() bool { return w.cases("Dispatched") == 1 })
}
