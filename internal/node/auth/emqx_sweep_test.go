package auth

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// emqxAPI stands for the part of EMQX's management API that a sweep uses, as EMQX documents it: a list in pages, and a call that cuts
// many at once. EMQX itself is not run by any test.
type emqxAPI struct {
	config contract.EMQXAPI

	mu      sync.Mutex
	clients map[string]string // user by client id
	kicked  []string
	page    int
}

func newEMQXAPI(t *testing.T, w *world) *emqxAPI {
	t.Helper()
	a := &emqxAPI{clients: map[string]string{}, page: 2}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v5/clients", a.list)
	mux.HandleFunc("POST /api/v5/clients/kickout/bulk", a.kick)
	mux.HandleFunc("GET /api/v5/nodes", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode([]map[string]string{{"node": "emqx@0", "node_status": "running"}, {"node": "emqx@1", "node_status": "stopped"}})
	})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if key, secret, ok := r.BasicAuth(); !ok || key != "the-key" || secret != "the-secret" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(rw, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.ca.server(t)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	a.config = contract.EMQXAPI{URL: s.URL, Nodes: 1, CAFile: write(t, w.dir, "emqx-api.ca", w.ca.pem),
		KeyFile: write(t, w.dir, "emqx-key", "the-key\n"), SecretFile: write(t, w.dir, "emqx-secret", "the-secret")}
	return a
}

func (a *emqxAPI) list(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); page < 1 || limit < 1 || limit > 10000 || r.URL.Query().Get("fields") != "clientid,client_attrs" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var ids []string
	for id := range a.clients {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	from := min((page-1)*a.page, len(ids))
	to := min(from+a.page, len(ids))
	data := []map[string]any{}
	for _, id := range ids[from:to] {
		data = append(data, map[string]any{"clientid": id, "client_attrs": map[string]string{"user": a.clients[id]}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data, "meta": map[string]any{"page": page, "limit": a.page, "count": len(ids), "hasnext": to < len(ids)}})
}

func (a *emqxAPI) kick(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	if err := json.NewDecoder(r.Body).Decode(&ids); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, id := range ids {
		delete(a.clients, id)
	}
	a.kicked = append(a.kicked, ids...)
	w.WriteHeader(http.StatusNoContent)
}

func (a *emqxAPI) connect(clientID, user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clients[clientID] = user
}

func (a *emqxAPI) connected() (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.clients {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// A row is taken away: by the time that the bundle is reported in force EMQX holds nobody who may not be there, and everybody else
// stays, the role ingest with them.
func TestARevocationCutsConnectionsOfEMQX(t *testing.T) {
	t.Parallel()
	w, api, raw, beat := emqxWorld(t)
	beat()
	ask := asker(t, w, raw, beat)
	for _, device := range []string{"s1", "s2"} {
		await(t, "a device", func() error {
			a := ask(emqxConnect("smoke_"+device, "", "", certificate(t, w.cas["smoke"], contract.DeviceURI(platform, "smoke", device))))
			if a.Result != "allow" {
				return fmt.Errorf("%s is refused", device)
			}
			api.connect("smoke_"+device, a.ClientAttrs["user"])
			return nil
		})
	}
	api.connect("ingest.dizuo-ingest-0", userIngest)
	api.connect("stranger", "")
	delete(w.creds["smoke"].Devices, "s1")
	w.publish()
	if got := api.connected(); !slices.Equal(got, []string{"ingest.dizuo-ingest-0", "smoke_s2"}) {
		t.Errorf("connected: %v", got)
	}
}

// Between the answer and the registration of a session EMQX neither lists nor cuts it: a sweep waits until none can be on its way.
func TestASweepWaitsForWhoIsOnTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := newEMQXAPI(t, w)
	stays := func(user, _ string) bool { return user != "gone" }
	sweep := func(l *ledger) time.Duration {
		began := time.Now()
		if _, err := (emqxSweeper{api.config, l, time.Now}).Sweep(context.Background(), stays, nil); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	late := &ledger{}
	late.add("gone", "late", time.Now().Add(-emqxSettles+500*time.Millisecond))
	registered := make(chan struct{})
	time.AfterFunc(250*time.Millisecond, func() { api.connect("late", "gone"); close(registered) })
	sweep(late)
	if <-registered; len(api.connected()) > 0 {
		t.Errorf("connected: %v", api.connected())
	}
	// Who may stay, and who was admitted long ago, is not waited for.
	settled := &ledger{}
	settled.add("gone", "old", time.Now().Add(-emqxSettles))
	settled.add("stays", "new", time.Now())
	if took := sweep(settled); took > emqxSettles/2 {
		t.Errorf("a sweep with nobody on the way took %s", took)
	}
}

// A ledger that is young knows nothing of what the process before it admitted.
func TestAYoungLedgerWaits(t *testing.T) {
	now := time.Now()
	stays := func(string, string) bool { return true }
	if wait := (&ledger{born: now.Add(-time.Second)}).unsettled(stays, now); wait != emqxSettles-time.Second {
		t.Errorf("waits %s", wait)
	}
	if wait := (&ledger{born: now.Add(-emqxSettles)}).unsettled(stays, now); wait != 0 {
		t.Errorf("waits %s", wait)
	}
}

// A list in pages, taken while devices come and go, may miss a connection: whom the bundle names as gone is cut unseen.
func TestWhoIsNamedIsCutUnseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := newEMQXAPI(t, w)
	api.connect("smoke_s1", "unseen")
	if _, err := (emqxSweeper{api.config, &ledger{}, time.Now}).Sweep(context.Background(), func(string, string) bool { return true }, []string{"smoke_s1", "not there"}); err != nil {
		t.Fatal(err)
	}
	if got := api.connected(); len(got) > 0 {
		t.Errorf("connected: %v", got)
	}
}

// An API that cannot be asked leaves the revocation open; it is never taken as done.
func TestASweepOfEMQXFailsAloud(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := newEMQXAPI(t, w)
	for name, c := range map[string]contract.EMQXAPI{
		"a node away":   {URL: api.config.URL, Nodes: 2, CAFile: api.config.CAFile, KeyFile: api.config.KeyFile, SecretFile: api.config.SecretFile},
		"wrong key":     {URL: api.config.URL, CAFile: api.config.CAFile, KeyFile: api.config.SecretFile, SecretFile: api.config.SecretFile},
		"another CA":    {URL: api.config.URL, CAFile: write(t, w.dir, "other.ca", w.cas["smoke"].pem), KeyFile: api.config.KeyFile, SecretFile: api.config.SecretFile},
		"nobody there":  {URL: "https://" + free(t), CAFile: api.config.CAFile, KeyFile: api.config.KeyFile, SecretFile: api.config.SecretFile},
		"no key at all": {URL: api.config.URL, CAFile: api.config.CAFile, KeyFile: w.dir + "/none", SecretFile: api.config.SecretFile},
	} {
		if _, err := (emqxSweeper{c, &ledger{}, time.Now}).Sweep(context.Background(), func(string, string) bool { return true }, nil); err == nil {
			t.Errorf("%s: the sweep is taken as done", name)
		}
	}
}
