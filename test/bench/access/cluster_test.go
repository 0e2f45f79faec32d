//go:build e2e

package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/test/bench/figure"
	"github.com/dizuo/dizuo/test/e2e/story"
)

// table is what a reader reads: one record.
const table = `CREATE SCHEMA IF NOT EXISTS datasets; CREATE TABLE IF NOT EXISTS datasets.addresses (id bigint PRIMARY KEY, division text NOT NULL);
INSERT INTO datasets.addresses VALUES (1, '410199001001') ON CONFLICT DO NOTHING;`

// TestBenchCluster signs many agreements on the local cluster, and measures from the revocation of one until the gateway refuses a reader under
// it, who asks forty times a second and pays the limit of an organisation: first while the operator still writes into each status since when
// it is enforced, then when there is nothing left to write.
func TestBenchCluster(t *testing.T) {
	if os.Getenv("DIZUO_BENCH_OUT") == "" {
		t.Skip("make bench-access-cluster runs it")
	}
	env, err := story.Local(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	w := &world{T: t, ns: "bench-access", identities: []v1alpha1.OrganizationIdentity{{Name: "gateway"}}, many: number("DIZUO_BENCH_AGREEMENTS", 10000)}
	cfg, err := config.GetConfig()
	w.must(err)
	cfg.QPS, cfg.Burst = 200, 400
	w.client, err = client.New(cfg, client.Options{Scheme: controllers.Scheme()})
	w.must(err)
	w.Cleanup(func() { w.leave(context.WithoutCancel(ctx)) })
	w.up(ctx, env)
	began := time.Now()
	w.sign(ctx)
	w.inForce(ctx, 40*time.Minute)
	settled := time.Since(began)
	r := w.reader(ctx, env)
	m := min(w.many/consumers/3, number("DIZUO_BENCH_REVOCATIONS", 30))
	writing := w.revocations(ctx, r, 0, m/2)
	told := settled + w.told(ctx, 40*time.Minute)
	took := w.revocations(ctx, r, m/2, m)
	name := fmt.Sprintf("cluster_%d_", w.many)
	w.tell([]figure.Figure{
		figure.AtMost(name+"in_force", settled.Seconds(), "s", 0), figure.AtMost(name+"told", told.Seconds(), "s", 0),
		figure.AtMost(name+"writing_revoke_to_deny_p50", percentile(writing, 50), "ms", 0), figure.AtMost(name+"writing_revoke_to_deny_longest", percentile(writing, 100), "ms", 0),
		figure.AtMost(name+"revoke_to_deny_p50", percentile(took, 50), "ms", 0), figure.AtMost(name+"revoke_to_deny_longest", percentile(took, 100), "ms", 1000),
	})
}

// revocations revokes so many agreements of the first consumer, one after the other, and gives how long the gateway still answered.
func (w *world) revocations(ctx context.Context, r *reader, from, many int) (took []time.Duration) {
	w.Helper()
	for i := range many {
		name := agreementName((from + i) * consumers)
		r.until(ctx, name, http.StatusOK, time.Minute)
		begin := time.Now()
		w.revoke(ctx, name)
		r.until(ctx, name, http.StatusForbidden, time.Minute)
		took = append(took, time.Since(begin))
	}
	w.Logf("from revocation to refusal, one after the other: %v", took)
	return took
}

// up makes the namespace, admits Dizuo to it, and waits for a platform with parties and one table.
func (w *world) up(ctx context.Context, env story.Env) {
	w.Helper()
	w.must(client.IgnoreAlreadyExists(w.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}})))
	w.shell(ctx, "", "sh", "-c", fmt.Sprintf("%s admit %s | %s apply -f -", env.Dizuo, w.ns, env.Kubectl))
	w.must(w.client.Create(ctx, &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: w.ns, Namespace: w.ns}, Spec: v1alpha1.GridPlatformSpec{Divisions: []string{"41"}}}))
	w.must(w.client.Create(ctx, &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: "all", Namespace: w.ns}, Spec: v1alpha1.CommunitySpec{Division: "410199001001"}}))
	w.parties(ctx)
	w.shell(ctx, "", env.Kubectl, "wait", "--timeout=180s", "--for=condition=Ready", "-n", w.ns, "gridplatform,organization", "--all")
	w.shell(ctx, table, env.Kubectl, "exec", "-n", w.ns, "-i", "statefulset/dizuo-postgres", "--", "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", "dizuo", "-d", "dizuo")
}

// leave removes the platform and its namespace.
func (w *world) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	for err := w.client.Delete(ctx, namespace); !apierrors.IsNotFound(err) && ctx.Err() == nil; time.Sleep(time.Second) {
		err = w.client.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
	}
}

func (w *world) shell(ctx context.Context, stdin, name string, args ...string) {
	w.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// reader is the first consumer.
type reader struct {
	w    *world
	http *http.Client
	url  string
}

func (w *world) reader(ctx context.Context, env story.Env) *reader {
	w.Helper()
	var s corev1.Secret
	w.must(w.client.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: consumer(0) + "-gateway-tls"}, &s))
	pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
	w.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Data["ca.crt"])
	forward, err := story.OpenForward(ctx, env.Kubectl, w.ns, "dizuo-gateway", "8443")
	w.must(err)
	w.Cleanup(forward.Close)
	return &reader{w, &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool}}},
		forward.URL() + "/v1/datasets/" + item + "/records?limit=1&purpose=" + string(v1alpha1.PurposeFireResponse) + "&agreement="}
}

// until asks under an agreement until the answer has a status.
func (r *reader) until(ctx context.Context, agreement string, status int, limit time.Duration) {
	r.w.Helper()
	for began := time.Now(); ; time.Sleep(25 * time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+agreement, nil)
		r.w.must(err)
		resp, err := r.http.Do(req)
		r.w.must(err)
		var said any
		_ = json.NewDecoder(resp.Body).Decode(&said)
		_ = resp.Body.Close()
		if resp.StatusCode == status {
			return
		}
		if time.Since(began) > limit {
			r.w.Fatalf("%s: still %s after %s, want %d: %v", agreement, resp.Status, limit, status, said)
		}
	}
}
