package broker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// rig is the brokers of a platform on the loopback interface, with the health pages that they ask each other for.
type rig struct {
	t       *testing.T
	base    contract.NodeConfig
	peers   []contract.PeerConfig
	folders []string
	brokers []*Broker
	health  []*process.Health
	pages   []*httptest.Server
	cancel  []context.CancelFunc
	group   sync.WaitGroup
}

func newRig(t *testing.T, n int) *rig {
	t.Helper()
	r := &rig{t: t, base: config(t), brokers: make([]*Broker, n), cancel: make([]context.CancelFunc, n)}
	for i := range n {
		folder := filepath.Join(t.TempDir(), "store")
		h := &process.Health{}
		h.Set("server", errors.New("starting"))
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+ClusterPath, tellStanding(folder, h.Err))
		page := httptest.NewServer(mux)
		t.Cleanup(page.Close)
		r.folders, r.health, r.pages = append(r.folders, folder), append(r.health, h), append(r.pages, page)
		r.peers = append(r.peers, contract.PeerConfig{Name: fmt.Sprint("broker-", i), Route: free(t), Health: page.URL})
	}
	t.Cleanup(func() {
		for i := range n {
			r.stop(i)
		}
		r.group.Wait()
	})
	return r
}

// free gives an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	return l.Addr().String()
}

// config gives the configuration of broker i among the first n.
func (r *rig) config(i, n, replicas int) contract.NodeConfig {
	cfg, broker := r.base, *r.base.Broker
	cfg.Broker = &broker
	broker.ServerName, broker.StoreDir, broker.Peers, broker.Replicas = r.peers[i].Name, r.folders[i], r.peers[:n], replicas
	_, port, err := net.SplitHostPort(r.peers[i].Route)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Sscan(port, &broker.PeerPort); err != nil {
		r.t.Fatal(err)
	}
	return cfg
}

// start starts broker i among n and does not wait for it.
func (r *rig) start(i, n, replicas int) {
	r.t.Helper()
	cfg := r.config(i, n, replicas)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel[i] = cancel
	r.group.Add(1)
	go func() {
		defer r.group.Done()
		b, err := Start(ctx, cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			if ctx.Err() == nil {
				r.t.Errorf("broker %d: %v", i, err)
			}
			return
		}
		r.brokers[i] = b
		r.health[i].Set("server", nil)
		_ = b.replicate(ctx, *cfg.Broker)
	}()
}

func (r *rig) ready(of ...int) {
	r.t.Helper()
	for _, i := range of {
		r.await(fmt.Sprintf("broker %d to serve", i), func() error { return r.health[i].Err() })
	}
}

func (r *rig) stop(i int) {
	if r.cancel[i] == nil {
		return
	}
	r.cancel[i]()
	r.cancel[i] = nil
	if r.health[i].Err() == nil {
		r.brokers[i].Stop()
	}
	r.health[i].Set("server", errors.New("stopped"))
}

func (r *rig) await(what string, f func() error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var last error
	if err := until(ctx, 20*time.Millisecond, func() (bool, error) { last = f(); return last == nil, nil }); err != nil {
		r.t.Fatalf("%s: %v", what, last)
	}
}

// replicated waits until every stream has its replicas, all of them current.
func (r *rig) replicated(by, peers, replicas int) {
	r.t.Helper()
	b := r.brokers[by]
	r.await(fmt.Sprintf("%d replicas of every stream", replicas), func() error {
		var report contract.Report
		if b.tellCluster(&report); report.Broker == nil || report.Broker.Peers != peers || report.Broker.Replicas != replicas {
			return fmt.Errorf("the report says %+v", report.Broker)
		}
		streams := b.js.ListStreams(context.Background())
		for info := range streams.Info() {
			current := 1
			for _, p := range info.Cluster.Replicas {
				if p.Current {
					current++
				}
			}
			if current != replicas || info.Cluster.Leader == "" {
				return fmt.Errorf("%s: %d replicas, leader %q", info.Config.Name, current, info.Cluster.Leader)
			}
		}
		return streams.Err()
	})
}

// upToDate fails unless every copy of a broker's is up to date now.
func (r *rig) upToDate(i int) {
	r.t.Helper()
	streams := r.brokers[i].js.ListStreams(context.Background())
	for info := range streams.Info() {
		if !current(info, r.peers[i].Name) {
			r.t.Errorf("broker %d is ready and its copy of %s is not up to date: %+v", i, info.Config.Name, info.Cluster)
		}
	}
	if err := streams.Err(); err != nil {
		r.t.Error(err)
	}
}

const device = "$MQTT.msgs.dizuo.v1.d.f.d.signal"

// send puts messages into the ingest log; every one of them was acknowledged when it returns.
func (r *rig) send(by, n int) {
	r.t.Helper()
	for i := range n {
		r.await("a message to be acknowledged", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, err := r.brokers[by].js.Publish(ctx, device, fmt.Append(nil, i))
			return err
		})
	}
}

// holds fails unless the ingest log has at least so many messages: one that was sent twice is there twice.
func (r *rig) holds(by, n int) {
	r.t.Helper()
	r.await(fmt.Sprintf("%d messages", n), func() error {
		s, err := r.brokers[by].js.Stream(context.Background(), contract.IngestStream)
		if err != nil {
			return err
		}
		if got := s.CachedInfo().State.Msgs; got < uint64(n) {
			return fmt.Errorf("%d messages of %d", got, n)
		}
		return nil
	})
}

// One broker becomes three while it serves, the loss of any one of them loses nothing, and three become one again.
func TestOneToThreeAndBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	r.start(0, 1, 1)
	r.ready(0)
	r.send(0, 100)

	// As a rollout does it: the new pods come first and wait for the old one, which knows nothing of them yet.
	r.start(2, 3, 3)
	r.start(1, 3, 3)
	r.ready(1, 2)
	r.replicated(2, 3, 3)
	r.send(0, 100)
	r.stop(0)
	r.send(1, 100)
	r.start(0, 3, 3)
	r.ready(0)
	r.upToDate(0) // when it is ready, not some time after: a rollout takes the next one then
	r.replicated(0, 3, 3)
	r.holds(0, 300)

	for i := range 3 { // the operator writes the new configuration, and each pod starts again
		r.stop(i)
		r.start(i, 3, 1)
		r.ready(i)
	}
	r.replicated(0, 1, 1)
	r.holds(0, 300)
	for i := range 3 {
		r.stop(i)
	}
	r.start(0, 1, 1)
	r.ready(0)
	r.replicated(0, 1, 1)
	r.holds(0, 300)
}

// Three that start at once with empty stores become one cluster; and one of them, even the first, that lost its volume comes
// back into it and founds none of its own.
func TestThreeFromNothingAndALostVolume(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("long: make test-fault runs it")
	}
	r := newRig(t, 3)
	for i := range 3 {
		r.start(i, 3, 3)
	}
	r.ready(0, 1, 2)
	r.replicated(0, 3, 3)
	r.send(0, 50)
	r.stop(0)
	if err := os.RemoveAll(r.folders[0]); err != nil {
		t.Fatal(err)
	}
	r.start(0, 3, 3)
	r.ready(0)
	r.replicated(0, 3, 3)
	r.holds(0, 50)
}

// A server without a cluster left its streams behind, as brokers did before they were clusters.
func TestStreamsOfAServerWithoutAClusterAreTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	raw, err := json.Marshal(map[string]any{"server_name": "broker-0", "host": loopback, "port": server.RANDOM_PORT, "system_account": contract.AccountSystem,
		"accounts":  map[string]any{contract.AccountSystem: map[string]any{}, contract.AccountDevices: map[string]any{"jetstream": "enabled", "users": []any{map[string]any{"user": "u", "password": "p"}}}},
		"jetstream": map[string]any{"store_dir": r.folders[0], "max_file_store": maxStore}})
	if err != nil {
		t.Fatal(err)
	}
	o := &server.Options{NoSigs: true, NoLog: true}
	if err := o.ProcessConfigString(string(raw)); err != nil {
		t.Fatal(err)
	}
	alone, err := startServer(o)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(alone), nats.UserInfo("u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := ensureStreams(context.Background(), js, *r.base.Broker); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := js.Publish(context.Background(), device, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	nc.Close()
	stopServer(alone)

	r.start(0, 1, 1)
	r.ready(0)
	r.holds(0, 20)
	r.stop(0)
	r.start(0, 1, 1)
	r.ready(0)
	r.holds(0, 20)
}

// Whoever holds a certificate of the platform's CA but not the broker's own is no broker.
func TestAStrangerIsNoBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.start(0, 1, 1)
	r.ready(0)
	dial := func(files contract.TLSFiles) error {
		certificate, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := net.Dial("tcp", r.peers[0].Route)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close() //nolint:errcheck // a test
		if err := raw.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}}) //nolint:gosec // the server's choice counts
		if err := c.Handshake(); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 512)) // in TLS 1.3 the refusal comes with the first read
		return err
	}
	if err := dial(r.base.Broker.PeerTLS); err != nil {
		t.Errorf("the broker's own certificate is refused: %v", err)
	}
	stranger := serverCert(t, t.TempDir(), 7, contract.RoleURI("henan", contract.UserGrid))
	pool, err := os.ReadFile(r.base.Broker.PeerTLS.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := os.ReadFile(stranger.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.base.Broker.PeerTLS.CAFile, append(pool, cert...), 0o600); err != nil { // its CA is trusted
		t.Fatal(err)
	}
	r.stop(0)
	r.start(0, 1, 1)
	r.ready(0)
	if err := dial(stranger); err == nil {
		t.Error("a certificate of another role is taken for a broker's")
	}
}

// The step of a broker with an empty store, by what it knows of the others.
func TestNextStep(t *testing.T) {
	none, empty, founded, serves := (*standing)(nil), &standing{}, &standing{Founded: true}, &standing{Founded: true, Ready: true}
	for name, tc := range map[string]struct {
		self   int
		others map[int]*standing
		want   step
	}{
		"alone":                                 {0, nil, stepFound},
		"first, all empty":                      {0, map[int]*standing{1: empty, 2: empty}, stepFound},
		"first, one unknown":                    {0, map[int]*standing{1: empty, 2: none}, stepWait},
		"first, one unknown, one belongs":       {0, map[int]*standing{1: serves, 2: none}, stepJoin},
		"first, others belong but do not serve": {0, map[int]*standing{1: founded, 2: founded}, stepWait},
		"first, others serve":                   {0, map[int]*standing{1: serves, 2: serves}, stepJoin},
		"second, nobody belongs":                {1, map[int]*standing{0: empty, 2: empty}, stepWait},
		"second, first unknown":                 {1, map[int]*standing{0: none, 2: serves}, stepWait},
		"second, first does not serve":          {1, map[int]*standing{0: founded, 2: empty}, stepWait},
		"second, first serves":                  {1, map[int]*standing{0: serves, 2: empty}, stepJoin},
		"second, first serves, third unknown":   {1, map[int]*standing{0: serves, 2: none}, stepJoin},
		"third, second not there":               {2, map[int]*standing{0: serves, 1: empty}, stepWait},
		"third, both serve":                     {2, map[int]*standing{0: serves, 1: serves}, stepJoin},
	} {
		if got := next(tc.self, tc.others); got != tc.want {
			t.Errorf("%s: step %d, want %d", name, got, tc.want)
		}
	}
}
