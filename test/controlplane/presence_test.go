//go:build envtest

package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/test/pki"
)

// nodes is the broker of a platform and what its nodes report there.
type nodes struct {
	t       *testing.T
	url     string
	reports jetstream.KeyValue
}

// startNodes starts a broker with the buckets that the role broker makes, and admits the operator of a platform to it.
func startNodes(t *testing.T, ns string) nodes {
	t.Helper()
	ca := pki.New(t, "platform")
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Server(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the broker does not start")
	}
	n := nodes{t: t, url: "tls://" + s.Addr().(*net.TCPAddr).String()}
	nc, err := nats.Connect(n.url, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ca.Pool()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: contract.BundleStore}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: contract.LeaseBucket, History: 4}); err != nil {
		t.Fatal(err)
	}
	if n.reports, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: contract.ReportBucket}); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]contract.TLSFiles{
		compile.SecretOperator: ca.Files(t, ca.Peer(t, contract.RoleURI("p", contract.UserOperator))), compile.SecretSigning: ca.Files(t, ca.Server(t))} {
		data := map[string][]byte{}
		for key, file := range map[string]string{"tls.crt": files.CertFile, "tls.key": files.KeyFile, "ca.crt": files.CAFile} {
			if data[key], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Data: data})
	}
	return n
}

// tell writes a report that was made some time ago.
func (n nodes) tell(r contract.Report, ago time.Duration) {
	n.t.Helper()
	r.Instance, r.At = "pod-0", time.Now().Add(-ago).UTC()
	raw, err := json.Marshal(r)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.reports.Put(context.Background(), contract.ReportKey(r.Role, r.Instance), raw); err != nil {
		n.t.Fatal(err)
	}
}

// Devices are counted by what the nodes tell, in the fleet, the community and the platform alike; when they tell no more, presence
// is unknown. What only grows stays.
func TestPresenceIsToldAndForgotten(t *testing.T) {
	const ns = "home"
	s, _ := started(t, certManager(t))
	create(t, namespace(ns, ""))
	admit(t, ns)
	n := startNodes(t, ns)
	p, com, f := platform(ns), community(ns, "jinghu", "410103014006"), fleet(ns, "doors")
	f.Spec.Identity.Type = v1alpha1.FleetIdentityPassword
	hash, err := password.HashGenerated("generated-0123456789ab", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.Spec.Inventory = &v1alpha1.FleetInventory{}
	for i := range 5 {
		f.Spec.Inventory.Rows = append(f.Spec.Inventory.Rows, v1alpha1.InventoryRow{Device: fmt.Sprint("d", i), Community: com.Name, PasswordHash: hash})
	}
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: compile.SecretBrokerTLS, Namespace: ns}, StringData: map[string]string{"ca.crt": "any"}}, com, f, p)
	operateAt(t, s, func(types.NamespacedName) string { return n.url })

	counts := func(what string, want v1alpha1.DeviceCounts, violations, invalid int64) {
		t.Helper()
		eventually(t, what, func() error {
			for _, o := range []client.Object{p, com, f} {
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
					return err
				}
			}
			if f.Status.Devices == nil || f.Status.Devices.DeviceCounts != want || f.Status.Devices.Accepted != 5 {
				return fmt.Errorf("fleet: %+v", f.Status.Devices)
			}
			if com.Status.Devices == nil || *com.Status.Devices != want {
				return fmt.Errorf("community: %+v", com.Status.Devices)
			}
			if p.Status.Devices == nil || *p.Status.Devices != want {
				return fmt.Errorf("platform: %+v", p.Status.Devices)
			}
			if f.Status.Violations != violations || f.Status.InvalidMessages != invalid {
				return fmt.Errorf("%d violations, %d invalid messages", f.Status.Violations, f.Status.InvalidMessages)
			}
			return nil
		})
	}
	eventually(t, "a bundle is out", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil || p.Status.Bundle == nil {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	told := contract.PresenceReport{Online: 2, Offline: 1, NeverSeen: 1, Unknown: 1}
	n.tell(contract.Report{Role: contract.RoleGrid, Fleets: map[string]contract.FleetReport{"doors": {PresenceReport: told, InvalidMessages: 7}},
		Communities: map[string]contract.PresenceReport{"jinghu": told}}, 25*time.Second) // it goes stale after 20 s more
	counts("what the grid service tells is shown", v1alpha1.DeviceCounts{Total: 5, Online: 2, Offline: 1, NeverSeen: 1, Unknown: 1}, 0, 7)
	n.tell(contract.Report{Role: contract.RoleBroker, Fleets: map[string]contract.FleetReport{"doors": {Violations: 3, LastViolationAt: time.Now()}}}, 0)
	counts("a stale report leaves devices unknown, and violations stay", v1alpha1.DeviceCounts{Total: 5, Unknown: 5}, 3, 7)
}

// A scenario shows the cases that the grid service counts, though it runs no more, and what its expressions cost.
func TestCasesOfAScenarioAreTold(t *testing.T) {
	const ns = "home"
	s, _ := started(t, certManager(t))
	create(t, namespace(ns, ""))
	admit(t, ns)
	n := startNodes(t, ns)
	p, off, quiet := platform(ns), scenario(ns, "tampered"), scenario(ns, "quiet")
	off.Spec.Enabled = new(false)
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: compile.SecretBrokerTLS, Namespace: ns}, StringData: map[string]string{"ca.crt": "any"}}, off, quiet, p)
	operateAt(t, s, func(types.NamespacedName) string { return n.url })
	shows := func(what string, cases int32) {
		t.Helper()
		eventually(t, what, func() error {
			for _, o := range []*v1alpha1.Scenario{off, quiet} {
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
					return err
				}
				if o.Status.EstimatedCost <= 0 || o.Status.EstimatedCost > 100 {
					return fmt.Errorf("%s costs %d", o.Name, o.Status.EstimatedCost)
				}
			}
			if off.Status.OpenCases != cases || *off.Status.Running || quiet.Status.OpenCases != 0 {
				return fmt.Errorf("off: %d, running %t; quiet: %d", off.Status.OpenCases, *off.Status.Running, quiet.Status.OpenCases)
			}
			return nil
		})
	}
	shows("the cost, before anything is told", 0)
	n.tell(contract.Report{Role: contract.RoleGrid, ScenarioCases: map[string]int64{"tampered": 3, "of-the-catalogue": 4}}, 0)
	shows("what the grid service counts", 3)
	n.tell(contract.Report{Role: contract.RoleGrid, ScenarioCases: map[string]int64{}}, 0)
	shows("the last is closed", 0)
}
