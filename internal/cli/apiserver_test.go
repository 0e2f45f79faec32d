//go:build envtest

package cli

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// The commands that ask a cluster, against a real API server (etcd and kube-apiserver from KUBEBUILDER_ASSETS).
func TestAgainstAPIServer(t *testing.T) {
	ctx := context.Background()
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	create := func(o client.Object) {
		t.Helper()
		if err := c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	dizuo := func(args ...string) ran { return run(t, "", append(args, "--kubeconfig", kubeconfig)...) }

	if r := dizuo("status", "-n", "qi"); r.code != ExitFailed || !strings.Contains(r.err, "holds no GridPlatform") {
		t.Errorf("empty: exit code %d: %s", r.code, r.err)
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "qi"}})
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vendor"}})
	platform := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "qi", Namespace: "qi"}}
	platform.Spec.Divisions = []string{"41"}
	platform.Spec.Members = []v1alpha1.Member{{Namespace: "vendor", Role: v1alpha1.MemberVendor}}
	create(platform)
	fleet := &v1alpha1.DeviceFleet{ObjectMeta: metav1.ObjectMeta{Name: "smoke", Namespace: "vendor"}}
	fleet.Spec.ProfileRef.Name = "smoke-detector"
	fleet.Spec.Identity.X509 = &v1alpha1.FleetX509{CertificateDuration: metav1.Duration{Duration: 240 * time.Hour}}
	create(fleet)
	if r := dizuo("status", "-n", "qi"); r.code != ExitNotReady || !strings.Contains(r.out, "vendor/smoke: has no status yet") {
		t.Errorf("no status: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	for _, o := range []statused{platform, fleet} {
		meta.SetStatusCondition(&o.GetCommonStatus().Conditions, metav1.Condition{Type: "Ready", Status: "True", Reason: "Succeeded", ObservedGeneration: o.GetGeneration()})
		if err := c.Status().Update(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if r := dizuo("status", "-A", "--watch"); r.code != ExitOK || !strings.Contains(r.out, "1 DeviceFleet Ready") {
		t.Errorf("ready: exit code %d:\n%s%s", r.code, r.out, r.err)
	}

	// What `fleet verify` reads: the count of violations, and the engine where the platform may be read.
	fleet.Status.Violations, fleet.Status.Platform = 7, &v1alpha1.PlatformReference{Namespace: "qi", Name: "qi"}
	if err := c.Status().Update(ctx, fleet); err != nil {
		t.Fatal(err)
	}
	v := verification{kube: kubeFlags{kubeconfig: kubeconfig}, fleetStatus: "vendor/smoke"}
	counter, err := v.counter("smoke")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := counter.Violations(ctx); n != 7 || err != nil || counter.Engine(ctx) != "NATS" {
		t.Errorf("%d violations, %v, engine %q; want 7 and NATS", n, err, counter.Engine(ctx))
	}
	if _, err := v.counter("doors"); err == nil {
		t.Error("the status of another fleet must not prove anything")
	}

	cert, key := fleetCA(t, "smoke.qi.dizuo.internal", at.AddDate(0, 0, -1), at.AddDate(1, 0, 0))
	data := map[string][]byte{}
	for name, path := range map[string]string{"tls.crt": cert, "tls.key": key} {
		if data[name], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "smoke-ca", Namespace: "vendor"}, Data: data})
	out := t.TempDir()
	if r := dizuo("fleet", "enroll", "--secret", "vendor/smoke-ca", "--fleet", "smoke", "--platform", "qi", "--device", "d", "--out", out); r.code != ExitOK || strings.Contains(r.err, "# ") {
		t.Errorf("enroll: %s", r.err)
	}
	if pair, err := tls.LoadX509KeyPair(filepath.Join(out, "d", "tls.crt"), filepath.Join(out, "d", "tls.key")); err != nil || !pair.Leaf.NotAfter.Equal(at.Add(240*time.Hour)) {
		t.Errorf("%v; it lasts until %v, want what the fleet says", err, pair.Leaf.NotAfter)
	}

	var binding rbacv1.RoleBinding
	if err := yaml.UnmarshalStrict([]byte(run(t, "", "admit", "qi").out), &binding); err != nil {
		t.Fatal(err)
	}
	create(&binding)
}
