//go:build envtest

package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/test/apiserver"
	"github.com/dizuo/dizuo/test/bench/figure"
)

// counted counts an operator's writes by the resource that they go to.
type counted struct {
	next http.RoundTripper
	mu   *sync.Mutex
	by   map[string]int
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		what := r.Method
		for i, p := range parts {
			if p == "namespaces" && i+2 < len(parts) {
				what += " " + strings.Join(append([]string{parts[i+2]}, parts[min(len(parts), i+4):]...), "/")
			}
		}
		c.mu.Lock()
		c.by[what]++
		c.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

func (c counted) take() (map[string]int, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out, n := map[string]int{}, 0
	for k, v := range c.by {
		out[k] = v
		if !strings.Contains(k, "events") && !strings.Contains(k, "leases") {
			n += v
		}
		delete(c.by, k)
	}
	return out, n
}

// seconds gives the processor time of this process: the operator, a broker, and the few hands of the benchmark.
func seconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// TestBenchScale signs many agreements on a real API server under an operator in this process, and revokes some of them one after the
// other. It measures to the lease in the broker, behind which only the gateway's own share is missing: see internal/node/gateway.
func TestBenchScale(t *testing.T) {
	if os.Getenv("DIZUO_BENCH_OUT") == "" {
		t.Skip("make bench-access runs it")
	}
	w := &world{T: t, ns: "bench", many: number("DIZUO_BENCH_AGREEMENTS", 10000)}
	server, writes := w.begin()
	defer func() { _ = server.Stop() }()
	ctx := t.Context()
	stop, js := w.operate(ctx, server, writes)
	defer stop()
	w.parties(ctx)
	before, cpu, began := heap(), seconds(), time.Now()
	writes.take()
	w.sign(ctx)
	made := time.Since(began)
	w.inForce(ctx, 20*time.Minute)
	settled := time.Since(began)
	leases := w.watch(ctx, js)
	leases.quiet(5 * time.Second)
	by, n := writes.take()
	perAgreement := float64(n) / float64(w.many)
	t.Logf("%d agreements made in %s, in force after %s, writes %v", w.many, made, settled, by)
	used, memory := seconds()-cpu, (heap()-before)/float64(w.many)

	m := min(w.many/2, number("DIZUO_BENCH_REVOCATIONS", 50))
	var took []time.Duration
	cpu = seconds()
	for i := range m {
		sequence := leases.now().Sequence
		begin := time.Now()
		w.revoke(ctx, agreementName(i*(w.many/m)))
		took = append(took, leases.after(sequence).Sub(begin))
		leases.quiet(300 * time.Millisecond)
	}
	leases.quiet(3 * time.Second)
	by, n = writes.take()
	t.Logf("%d revoked, writes %v", m, by)
	name := fmt.Sprintf("operator_%d_", w.many)
	w.tell([]figure.Figure{
		figure.AtMost(name+"in_force", settled.Seconds(), "s", 0), figure.AtMost(name+"writes_per_agreement", perAgreement, "writes", 4),
		figure.AtMost(name+"cpu_per_agreement", used/float64(w.many)*1000, "ms", 0), figure.AtMost(name+"memory_per_agreement", memory/1024, "KiB", 0),
		figure.AtMost(name+"revoke_to_lease_p50", percentile(took, 50), "ms", 0), figure.AtMost(name+"revoke_to_lease_p99", percentile(took, 99), "ms", 1000),
		figure.AtMost(name+"writes_per_revocation", float64(n)/float64(m), "writes", 5), figure.AtMost(name+"cpu_per_revocation", (seconds()-cpu)/float64(m)*1000, "ms", 0),
	})
}

func (w *world) begin() (*apiserver.Server, counted) {
	w.Helper()
	crds, err := apiserver.CertManagerCRDs()
	w.must(err)
	s, err := apiserver.Start(context.Background(), crds)
	w.must(err)
	w.client = s.Client
	w.must(errors.Join(s.KubeControllers(), s.CertManager()))
	return s, counted{mu: &sync.Mutex{}, by: map[string]int{}}
}

// operate runs an operator and the broker of one platform.
func (w *world) operate(ctx context.Context, s *apiserver.Server, writes counted) (stop func(), js jetstream.JetStream) {
	w.Helper()
	ctx, cancel := context.WithCancel(ctx)
	config := s.Operator()
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { writes.next = next; return writes }
	config = rest.CopyConfig(config)
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: controllers.Scheme(), Cache: controllers.Caches(), Metrics: metricsserver.Options{BindAddress: "0"}})
	w.must(err)
	catalog, err := offline.Catalog()
	w.must(err)
	var address atomic.Pointer[string]
	address.Store(new("tls://127.0.0.1:1"))
	w.must(controllers.Setup(ctx, mgr, controllers.Options{Catalog: catalog, Images: compile.Images{Node: "dizuo/dizuo:test", Postgres: "postgres:15"},
		Address: func(types.NamespacedName) string { return *address.Load() }}))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.must(w.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}))
	w.must(w.client.Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dizuo-namespace", Namespace: w.ns},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "dizuo-namespace"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "dizuo-operator", Namespace: "dizuo-system"}}}))
	w.must(w.client.Create(ctx, &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: w.ns}, Spec: v1alpha1.GridPlatformSpec{Divisions: []string{"41"}}}))
	secret := &corev1.Secret{}
	for limit := time.Now().Add(2 * time.Minute); len(secret.Data["ca.crt"]) == 0 || len(secret.Data["tls.crt"]) == 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(limit) {
			w.Fatal("the broker's certificate was not issued")
		}
		_ = w.client.Get(ctx, types.NamespacedName{Namespace: w.ns, Name: compile.SecretBrokerTLS}, secret)
	}
	js, at := w.broker(secret)
	address.Store(&at)
	return func() { cancel(); <-ended }, js
}

func (w *world) broker(secret *corev1.Secret) (jetstream.JetStream, string) {
	w.Helper()
	cert, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	w.must(err)
	server, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: w.TempDir(), NoLog: true, NoSigs: true,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}})
	w.must(err)
	server.Start()
	w.Cleanup(server.Shutdown)
	if !server.ReadyForConnections(10 * time.Second) {
		w.Fatal("the broker does not start")
	}
	_, port, _ := strings.Cut(server.Addr().String(), ":")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(secret.Data["ca.crt"])
	nc, err := nats.Connect("tls://localhost:"+port, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}))
	w.must(err)
	w.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	w.must(err)
	for _, bucket := range []string{contract.LeaseBucket, contract.ReportBucket} {
		_, err := js.CreateKeyValue(w.Context(), jetstream.KeyValueConfig{Bucket: bucket})
		w.must(err)
	}
	_, err = js.CreateObjectStore(w.Context(), jetstream.ObjectStoreConfig{Bucket: contract.BundleStore})
	w.must(err)
	return js, "tls://localhost:" + port
}

// seen follows the lease of the centre.
type seen struct {
	w      *world
	mu     sync.Mutex
	leases []contract.Lease
	at     []time.Time
}

func (w *world) watch(ctx context.Context, js jetstream.JetStream) *seen {
	w.Helper()
	kv, err := js.KeyValue(ctx, contract.LeaseBucket)
	w.must(err)
	watcher, err := kv.Watch(ctx, contract.ScopeCenter)
	w.must(err)
	s := &seen{w: w}
	go func() {
		for e := range watcher.Updates() {
			if e == nil {
				continue
			}
			var l contract.Lease
			raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(string(e.Value()), ".")[1])
			_ = json.Unmarshal(raw, &l)
			s.mu.Lock()
			s.leases, s.at = append(s.leases, l), append(s.at, time.Now())
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *seen) now() contract.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) == 0 {
		return contract.Lease{}
	}
	return s.leases[len(s.leases)-1]
}

// after waits for a later lease and gives when it was there.
func (s *seen) after(sequence int64) time.Time {
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		for i, l := range s.leases {
			if l.Sequence > sequence {
				s.mu.Unlock()
				return s.at[i]
			}
		}
		s.mu.Unlock()
	}
	s.w.Fatalf("no lease after %d within 30 s", sequence)
	return time.Time{}
}

// quiet waits until no lease came for a while.
func (s *seen) quiet(d time.Duration) {
	for last, since := s.now().Sequence, time.Now(); time.Since(since) < d; time.Sleep(20 * time.Millisecond) {
		if is := s.now().Sequence; is != last {
			last, since = is, time.Now()
		}
	}
}
