//go:build envtest

package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/offline"
)

// reach is a platform with cert-manager's real certificates and a broker that the operator reaches. What its nodes would say is said by
// the test.
type reach struct {
	t  *testing.T
	ns string
	js jetstream.JetStream
}

// reachable starts an API server of the test's own with cert-manager's controllers and an operator, and a broker with the certificate
// that is issued for the platform in ns.
func reachable(t *testing.T, ns string) *reach {
	t.Helper()
	s, ctx := started(t, certManager(t))
	if err := errors.Join(s.KubeControllers(), s.CertManager()); err != nil {
		t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(s.Operator(), ctrl.Options{Scheme: controllers.Scheme(), Cache: controllers.Caches(),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	var address atomic.Pointer[string]
	address.Store(new("tls://127.0.0.1:1"))
	options := controllers.Options{Catalog: catalog, Images: compile.Images{Node: "dizuo/dizuo:test", Postgres: "postgres:15"},
		Address: func(types.NamespacedName) string { return *address.Load() }}
	if err := controllers.Setup(ctx, mgr, options); err != nil {
		t.Fatal(err)
	}
	go func() { _ = mgr.Start(ctx) }()
	create(t, namespace(ns, ""))
	admit(t, ns)
	create(t, platform(ns))
	secret := &corev1.Secret{}
	eventually(t, "the broker's certificate is issued", func() error {
		if err := c.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: compile.SecretBrokerTLS}, secret); err != nil {
			return err
		}
		if len(secret.Data["tls.crt"]) == 0 || len(secret.Data["ca.crt"]) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	b := &reach{t: t, ns: ns}
	address.Store(new(b.serve(secret)))
	return b
}

// serve runs a broker with the buckets of a platform, and gives its URL.
func (b *reach) serve(secret *corev1.Secret) string {
	b.t.Helper()
	cert, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		b.t.Fatal(err)
	}
	server, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: b.t.TempDir(), NoLog: true, NoSigs: true,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}})
	if err != nil {
		b.t.Fatal(err)
	}
	server.Start()
	b.t.Cleanup(server.Shutdown)
	if !server.ReadyForConnections(10 * time.Second) {
		b.t.Fatal("the broker does not start")
	}
	_, port, _ := strings.Cut(server.Addr().String(), ":")
	at := "tls://localhost:" + port
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(secret.Data["ca.crt"])
	nc, err := nats.Connect(at, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	if b.js, err = jetstream.New(nc); err != nil {
		b.t.Fatal(err)
	}
	for _, bucket := range []string{contract.LeaseBucket, contract.ReportBucket} {
		if _, err := b.js.CreateKeyValue(b.t.Context(), jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
			b.t.Fatal(err)
		}
	}
	if _, err := b.js.CreateObjectStore(b.t.Context(), jetstream.ObjectStoreConfig{Bucket: contract.BundleStore}); err != nil {
		b.t.Fatal(err)
	}
	return at
}

// lease gives the lease of a scope as it stands; ok is false where there is none. The signature is not looked at.
func (b *reach) lease(scope string) (l contract.Lease, ok bool) {
	b.t.Helper()
	kv, err := b.js.KeyValue(b.t.Context(), contract.LeaseBucket)
	if err != nil {
		b.t.Fatal(err)
	}
	entry, err := kv.Get(b.t.Context(), scope)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return l, false
	}
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(string(entry.Value()), ".")[1])
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		b.t.Fatal(err)
	}
	return l, true
}

// bundle reads what a scope runs, verified as a node verifies it.
func (b *reach) bundle(scope string) (*intake.Bundle, contract.Index) {
	b.t.Helper()
	l, ok := b.lease(scope)
	if !ok {
		b.t.Fatalf("no lease of %s", scope)
	}
	store, err := b.js.ObjectStore(b.t.Context(), contract.BundleStore)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := store.GetBytes(b.t.Context(), contract.ObjectName("index", l.Revision))
	if err != nil {
		b.t.Fatal(err)
	}
	var index contract.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		b.t.Fatal(err)
	}
	got, err := intake.Fetch(b.t.Context(), b.js, b.trust(), l, index)
	if err != nil {
		b.t.Fatal(err)
	}
	return got, index
}

func (b *reach) trust() *seal.Trust {
	b.t.Helper()
	secret := &corev1.Secret{}
	if err := c.Get(b.t.Context(), types.NamespacedName{Namespace: b.ns, Name: compile.SecretSigning}, secret); err != nil {
		b.t.Fatal(err)
	}
	cert := certificate(b.t, secret.Data["tls.crt"])
	trust, err := seal.NewTrust(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: cert.RawSubjectPublicKeyInfo}))
	if err != nil {
		b.t.Fatal(err)
	}
	return trust
}

// credential gives how the services are told that a node proves who it is.
func (b *reach) credential(edge string) (contract.EdgeCredential, error) {
	b.t.Helper()
	l, ok := b.lease(contract.ScopeCenter)
	if !ok {
		return contract.EdgeCredential{}, errors.New("nothing is published")
	}
	store, err := b.js.ObjectStore(b.t.Context(), contract.BundleStore)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := store.GetBytes(b.t.Context(), contract.ObjectName("index", l.Revision))
	if err != nil {
		return contract.EdgeCredential{}, err
	}
	var index contract.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		b.t.Fatal(err)
	}
	at := slices.IndexFunc(index.Shards, func(r contract.ShardRef) bool { return r.Name == contract.ShardEdgeCredentials })
	if at < 0 {
		return contract.EdgeCredential{}, errors.New("no shard of edge credentials")
	}
	if raw, err = store.GetBytes(b.t.Context(), contract.ObjectName("shard", index.Shards[at].Digest)); err != nil {
		return contract.EdgeCredential{}, err
	}
	shard, err := b.trust().Shard(raw, index.Shards[at])
	if err != nil {
		b.t.Fatal(err)
	}
	var doc struct {
		Dizuo struct {
			EdgeCredentials map[string]contract.EdgeCredential
		}
	}
	plain, err := json.Marshal(shard.Data)
	if err == nil {
		err = json.Unmarshal(plain, &doc)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	got, ok := doc.Dizuo.EdgeCredentials[edge]
	if !ok {
		return got, errors.New("not among the edge credentials")
	}
	return got, nil
}

// say lets every role at the centre report that it runs what is out, and the role auth what it heard of edge nodes: their own reports under
// their keys, what they ask in its own.
func (b *reach) say(edges map[string]contract.EdgeReport) {
	b.t.Helper()
	kv, err := b.js.KeyValue(b.t.Context(), contract.ReportBucket)
	if err != nil {
		b.t.Fatal(err)
	}
	l, _ := b.lease(contract.ScopeCenter)
	asking := map[string]contract.EdgeReport{}
	for edge, e := range edges {
		if e.Report != nil {
			if _, err := kv.Put(b.t.Context(), contract.ReportKey(contract.RoleEdge, edge), e.Report); err != nil {
				b.t.Fatal(err)
			}
		}
		asking[edge] = contract.EdgeReport{Enrolment: e.Enrolment, KeyDigest: e.KeyDigest}
	}
	for _, role := range []contract.Role{contract.RoleBroker, contract.RoleGrid, contract.RoleGateway, contract.RoleAuth} {
		report := contract.Report{Role: role, Instance: "0", At: time.Now(), Revision: l.Revision, Sequence: l.Sequence}
		if role == contract.RoleAuth {
			report.Edges = asking
		}
		raw, err := json.Marshal(report)
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := kv.Put(b.t.Context(), contract.ReportKey(role, "0"), raw); err != nil {
			b.t.Fatal(err)
		}
	}
}

// until says the same again and again until a check passes: nodes report every few seconds, and what is out changes meanwhile.
func (b *reach) until(what string, edges func() map[string]contract.EdgeReport, check func() error) {
	b.t.Helper()
	eventually(b.t, what, func() error {
		b.say(edges())
		return check()
	})
}

// machine is an edge node's.
type machine struct {
	t    *testing.T
	name string
	key  *ecdsa.PrivateKey
}

func newMachine(t *testing.T, name string) machine {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return machine{t, name, key}
}

func (m machine) fingerprint() string {
	der, err := x509.MarshalPKIXPublicKey(m.key.Public())
	if err != nil {
		m.t.Fatal(err)
	}
	return contract.Digest(der)
}

func (m machine) csr(template x509.CertificateRequest) string {
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// asks is what the role auth says of it.
func (m machine) asks(hosts ...string) contract.EdgeReport {
	uri, err := url.Parse(contract.EdgeURI("p", m.name))
	if err != nil {
		m.t.Fatal(err)
	}
	ask := contract.EnrolRequest{CSR: m.csr(x509.CertificateRequest{URIs: []*url.URL{uri}})}
	if len(hosts) > 0 {
		ask.ServerCSR = m.csr(x509.CertificateRequest{DNSNames: hosts})
	}
	return contract.EdgeReport{Enrolment: &ask, KeyDigest: m.fingerprint()}
}

// runs is what the role auth says of a machine that reports a revision and its backlog.
func (m machine) runs(l contract.Lease, waiting int64) contract.EdgeReport {
	raw, err := json.Marshal(contract.Report{Role: contract.RoleEdge, Instance: m.name, Version: "v1", At: time.Now(), Revision: l.Revision, Sequence: l.Sequence,
		Outbox: &contract.Outbox{Messages: waiting, Bytes: 100 * waiting, SkewMillis: 1234, Architecture: "linux/arm64"}})
	if err != nil {
		m.t.Fatal(err)
	}
	return contract.EdgeReport{Report: raw}
}

// served fails while a community does not count its edge nodes as so many, and so many of them heard; 0 is none.
func served(t *testing.T, community string, total, connected int32) func() error {
	return func() error {
		var got v1alpha1.Community
		if err := c.Get(t.Context(), types.NamespacedName{Namespace: "e-home", Name: community}, &got); err != nil {
			return err
		}
		if n := ptr.Deref(got.Status.EdgeNodes, v1alpha1.EdgeNodeCounts{}); n.Total != total || n.Connected != connected || (total == 0) != (got.Status.EdgeNodes == nil) {
			return fmt.Errorf("%s has %+v, want %d, %d", community, got.Status.EdgeNodes, total, connected)
		}
		return nil
	}
}

func certificate(t *testing.T, chain []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatalf("no certificate in %q", chain)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func edgeNode(ns, name string, communities ...string) *v1alpha1.EdgeNode {
	return &v1alpha1.EdgeNode{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.EdgeNodeSpec{Communities: communities}}
}

func requestsOf(t *testing.T, ns, edge string) []cmv1.CertificateRequest {
	t.Helper()
	var list cmv1.CertificateRequestList
	if err := c.List(t.Context(), &list, client.InNamespace(ns), client.MatchingLabels{"dizuo.io/owner-kind": "EdgeNode", "dizuo.io/owner-name": edge}); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// An edge node from the first look to the last, with cert-manager's own controllers: token, request, approval, certificates, the bundle
// cut to it, renewal, and decommissioning.
func TestEdgeNodeFromTokenToDecommissioning(t *testing.T) {
	b := reachable(t, "e-home")
	f := fleet("e-home", "smoke")
	f.Spec.Placement = v1alpha1.PlacementEdge
	f.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "here", Community: "jinghu"}, {Device: "there", Community: "dongfeng"}}}
	box := edgeNode("e-home", "box", "jinghu")
	box.Spec.Hostnames = []string{"box.example"}
	box.Spec.Storage.Set(1 << 20)
	create(t, community("e-home", "jinghu", "410103014006"), community("e-home", "dongfeng", "410103014007"), organization("e-home", "org"), f, box)
	m, other := newMachine(t, "box"), newMachine(t, "box")
	silent := func() map[string]contract.EdgeReport { return nil }

	b.until("the community counts a node that was not heard", silent, served(t, "jinghu", 1, 0))

	// A token, of which the services know the hash.
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "e-home", Name: "box-enrolment"}}
	b.until("the hash of the token is in the bundle", silent, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(token), token); err != nil {
			return err
		}
		got, err := b.credential("box")
		if err != nil {
			return err
		}
		hash, err := password.Parse(got.TokenHash)
		if err != nil || !hash.Verify(string(token.Data["token"])) {
			return fmt.Errorf("%q is not the hash of the token: %w", got.TokenHash, err)
		}
		return nil
	})
	expect(t, box, v1alpha1.ConditionEnrolled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingEnrolment, "e-home/box-enrolment")
	expect(t, box, v1alpha1.ConditionAutonomyCovered, metav1.ConditionFalse, v1alpha1.ReasonAutonomyNotCovered, "write storage: 53Mi")
	if string(token.Data["url"]) != "wss://dizuo-edge.e-home.svc:7422" || box.Status.TokenSecret != "box-enrolment" || box.Status.Phase != v1alpha1.EdgeAwaitingEnrolment {
		t.Errorf("%s %+v", token.Data["url"], box.Status)
	}

	// It asks, and gets nothing before its key is approved. Another key that comes later does not take its place.
	asks := m.asks("box.example")
	hears := func() map[string]contract.EdgeReport { return map[string]contract.EdgeReport{"box": asks} }
	b.until("the key is shown", hears, shows(t, box, v1alpha1.ReasonAwaitingApproval, m.fingerprint()))
	foreign := other.asks()
	b.until("the first key stays", func() map[string]contract.EdgeReport { return map[string]contract.EdgeReport{"box": foreign} },
		shows(t, box, v1alpha1.ReasonAwaitingApproval, m.fingerprint()))
	if made := requestsOf(t, "e-home", "box"); len(made) > 0 || box.Status.Phase != v1alpha1.EdgeAwaitingApproval {
		t.Fatalf("phase %s, %d requests before approval", box.Status.Phase, len(made))
	}
	patch(t, box, func() { box.Spec.Approved = new(true) })
	b.until("the other key is refused after approval", func() map[string]contract.EdgeReport { return map[string]contract.EdgeReport{"box": foreign} },
		shows(t, box, v1alpha1.ReasonCertificatePending, ""))
	if made := requestsOf(t, "e-home", "box"); len(made) > 0 {
		t.Fatalf("%d requests for a key that was not approved", len(made))
	}

	// Certificates, under a CA that signs no URI but those of edge nodes.
	var got contract.EdgeCredential
	b.until("the chains are in the bundle", hears, func() (err error) {
		if got, err = b.credential("box"); err == nil && (got.Certificate == "" || got.Server == "" || got.TokenHash == "") {
			return fmt.Errorf("certificate %t, server %t, token %t", got.Certificate != "", got.Server != "", got.TokenHash != "")
		}
		return err
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(got.Issuers[0]))
	cert := certificate(t, []byte(got.Certificate))
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil || len(cert.URIs) != 1 || cert.URIs[0].String() != contract.EdgeURI("p", "box") {
		t.Errorf("the node's certificate: %v, %v", cert.URIs, err)
	}
	if ca := certificate(t, []byte(got.Issuers[0])); !slices.Equal(ca.PermittedURIDomains, []string{contract.EdgeDomain("p")}) {
		t.Errorf("the CA of edge nodes signs %v", ca.PermittedURIDomains)
	}
	server := certificate(t, []byte(got.Server))
	if _, err := server.Verify(x509.VerifyOptions{Roots: roots, DNSName: "box.example"}); err != nil || slices.Contains(server.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		t.Errorf("the certificate of its listener: %v, %v", server.ExtKeyUsage, err)
	}
	if !slices.Equal(got.KeyDigests, []string{m.fingerprint()}) {
		t.Errorf("keys %v", got.KeyDigests)
	}

	// The bundle that is cut to it.
	cut, index := b.bundle(contract.ScopeEdge("box"))
	names := []string{}
	for _, ref := range index.Shards {
		names = append(names, ref.Name)
	}
	if !slices.Equal(names, []string{"credentials.smoke", "directory", "edges", "fleet.smoke", "rules"}) {
		t.Errorf("shards %v", names)
	}
	if _, here := cut.Fleets["smoke"].Devices["here"]; !here || len(cut.Fleets["smoke"].Devices) != 1 || len(cut.Credentials["smoke"].Devices) != 1 || len(cut.Directory.Communities) != 1 || len(cut.Directory.Organizations) != 0 {
		t.Errorf("cut: %+v", cut)
	}
	center, _ := b.bundle(contract.ScopeCenter)
	if len(center.Credentials["smoke"].Devices) != 0 || len(center.Fleets["smoke"].Devices) != 2 {
		t.Errorf("at the centre: %v", center.Credentials["smoke"])
	}
	first, _ := b.lease(contract.ScopeEdge("box"))
	if life := first.ExpiresAt.Sub(first.IssuedAt); life != 24*time.Hour+10*time.Minute {
		t.Errorf("the lease lasts %s", life)
	}

	// Heard with its certificate, the token goes; and what it runs counts.
	runs := func() map[string]contract.EdgeReport {
		l, _ := b.lease(contract.ScopeEdge("box"))
		return map[string]contract.EdgeReport{"box": m.runs(l, 3)}
	}
	b.until("the token is gone", runs, func() error {
		got, err := b.credential("box")
		if err != nil {
			return err
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(token), token); !apierrors.IsNotFound(err) || got.TokenHash != "" || got.Certificate == "" {
			return fmt.Errorf("Secret: %w, hash %q", err, got.TokenHash)
		}
		return nil
	})
	b.until("the node counts among the enforcers", runs, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(box), box); err != nil {
			return err
		}
		if e := box.Status.Enforcement; e == nil || e.Total != 5 || e.Acked != 5 || box.Status.Backlog == nil || box.Status.Backlog.Count != 3 {
			return fmt.Errorf("%+v %+v", e, box.Status.Backlog)
		}
		return nil
	})
	expect(t, box, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, box, v1alpha1.ConditionConnected, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	b.until("the community counts a node that is heard", runs, served(t, "jinghu", 1, 1))
	if err := served(t, "dongfeng", 0, 0)(); err != nil {
		t.Error(err)
	}
	if st := box.Status; st.Phase != v1alpha1.EdgeEnrolled || st.TokenSecret != "" || st.KeyFingerprint != m.fingerprint() || st.ClockSkewMillis != 1200 || st.Architecture != "linux/arm64" || st.AppliedRevision != first.Revision || st.LeaseExpiresAt == nil {
		t.Errorf("%+v", st)
	}

	// A change elsewhere is none of its matter; one in its community is.
	patch(t, f, func() { f.Spec.Inventory.Rows[1].Building = "3" })
	b.until("a change elsewhere is in force", runs, fullyEnforced(t, f))
	if l, _ := b.lease(contract.ScopeEdge("box")); l.Revision != first.Revision {
		t.Error("the cut changed with a row in another community")
	}
	patch(t, f, func() { f.Spec.Inventory.Rows[0].Building = "4" })
	b.until("a change at the node is in force", runs, fullyEnforced(t, f))
	if l, _ := b.lease(contract.ScopeEdge("box")); l.Revision == first.Revision || l.Sequence <= first.Sequence {
		t.Error("the cut did not change with a row in the node's community")
	}

	// Renewal: a new request by the same key, and nobody is asked.
	again := m.asks("box.example")
	renews := func() map[string]contract.EdgeReport {
		l, _ := b.lease(contract.ScopeEdge("box"))
		e := m.runs(l, 3)
		e.Enrolment, e.KeyDigest = again.Enrolment, again.KeyDigest
		return map[string]contract.EdgeReport{"box": e}
	}
	b.until("the certificate is renewed", renews, func() error {
		next, err := b.credential("box")
		if err != nil {
			return err
		}
		if left := len(requestsOf(t, "e-home", "box")); next.Certificate == got.Certificate || next.Server == got.Server || left != 2 {
			return fmt.Errorf("new certificate %t, new server %t, %d requests", next.Certificate != got.Certificate, next.Server != got.Server, left)
		}
		return nil
	})

	// Decommissioning: all is taken from the machine, the services still hear it, it drains, and goes.
	remove(t, box)
	b.until("the cut is empty", runs, func() error {
		cut, _ := b.bundle(contract.ScopeEdge("box"))
		if len(cut.Fleets)+len(cut.Directory.Communities) > 0 {
			return fmt.Errorf("%d fleets, %d communities", len(cut.Fleets), len(cut.Directory.Communities))
		}
		return nil
	})
	expectPhase(t, box, v1alpha1.EdgeDecommissioning)
	var last contract.Lease
	withdrawn := 0
	b.until("it is gone once its outbox is empty", func() map[string]contract.EdgeReport {
		l, leased := b.lease(contract.ScopeEdge("box"))
		if leased && withdrawn > 0 {
			t.Error("a node that was cut off has a lease again")
		}
		if !leased { // it is cut off, and nothing new is heard of it
			withdrawn++
			return map[string]contract.EdgeReport{"box": m.runs(last, 0)}
		}
		last = l
		return map[string]contract.EdgeReport{"box": m.runs(l, 0)}
	}, func() error {
		_, leased := b.lease(contract.ScopeEdge("box"))
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(box), box); !apierrors.IsNotFound(err) || leased {
			return fmt.Errorf("the object: %w, its lease %t", err, leased)
		}
		if left := requestsOf(t, "e-home", "box"); len(left) > 0 {
			return fmt.Errorf("%d certificate requests are left", len(left))
		}
		return served(t, "jinghu", 0, 0)()
	})
}

// shows waits for a reason of Enrolled and a requested key.
func shows(t *testing.T, o *v1alpha1.EdgeNode, reason, key string) func() error {
	return func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		for _, got := range o.Status.Conditions {
			if got.Type == v1alpha1.ConditionEnrolled && got.Reason == reason && got.ObservedGeneration == o.Generation && (key == "" || o.Status.RequestedKeyFingerprint == key) {
				return nil
			}
		}
		return fmt.Errorf("requested %q, %v", o.Status.RequestedKeyFingerprint, o.Status.Conditions)
	}
}

func expectPhase(t *testing.T, o *v1alpha1.EdgeNode, phase v1alpha1.EdgeNodePhase) {
	t.Helper()
	eventually(t, "phase "+string(phase), func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if o.Status.Phase != phase {
			return fmt.Errorf("is %s", o.Status.Phase)
		}
		return nil
	})
}

// fullyEnforced waits until every enforcer has acknowledged the present generation of an object.
func fullyEnforced(t *testing.T, o object) func() error {
	return func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		for _, got := range o.GetCommonStatus().Conditions {
			if got.Type == v1alpha1.ConditionFullyEnforced && got.Status == metav1.ConditionTrue && got.ObservedGeneration == o.GetGeneration() {
				return nil
			}
		}
		return fmt.Errorf("%v", o.GetCommonStatus().Conditions)
	}
}
