//go:build envtest

package controlplane

import (
	"errors"
	"fmt"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// issue does what cert-manager does for the CA of a fleet.
func issue(t *testing.T, ns, name string) {
	t.Helper()
	eventually(t, "Certificate "+name, func() error {
		return c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &cmv1.Certificate{})
	})
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Annotations: map[string]string{cmv1.CertificateNameKey: name}}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": []byte("certificate of " + name), "tls.key": []byte("key"), "ca.crt": []byte("root")}})
}

// TestRotationOfAFleetsCA: raised, the new CA is made beside the old one; when the overlap is over the old one goes, and not before the new
// one is there.
func TestRotationOfAFleetsCA(t *testing.T) {
	const ns = "rotation"
	create(t, namespace(ns, ""))
	admit(t, ns)
	create(t, platform(ns))
	o := fleet(ns, "smoke")
	o.Spec.Identity.RotationOverlap = metav1.Duration{Duration: 2 * time.Second}
	create(t, o)
	issue(t, ns, "dizuo-broker-tls")
	issue(t, ns, "fleet-smoke-ca")
	stands := func(generation int32, previous int, vendor string, certificates ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("generation %d with %d before it", generation, previous), func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			if o.Status.CAGeneration != generation || len(o.Status.PreviousCAs) != previous {
				return fmt.Errorf("status has %d and %v", o.Status.CAGeneration, o.Status.PreviousCAs)
			}
			var list cmv1.CertificateList
			if err := c.List(t.Context(), &list, client.InNamespace(ns), client.MatchingLabels{"dizuo.io/owner-kind": "DeviceFleet"}); err != nil {
				return err
			}
			var names []string
			for _, cert := range list.Items {
				names = append(names, cert.Name)
			}
			if fmt.Sprint(names) != fmt.Sprint(certificates) {
				return fmt.Errorf("certificates %v, want %v", names, certificates)
			}
			var given corev1.Secret
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "smoke-ca"}, &given); err != nil {
				return err
			}
			if got := string(given.Data["tls.crt"]); got != "certificate of "+vendor {
				return fmt.Errorf("the vendor signs with the %s", got)
			}
			return nil
		})
	}
	stands(1, 0, "fleet-smoke-ca", "fleet-smoke-ca")
	patch(t, o, func() { o.Spec.Identity.CAGeneration = 2 })
	// cert-manager takes longer than the overlap: the old CA stays.
	stands(2, 1, "fleet-smoke-ca", "fleet-smoke-ca", "fleet-smoke-ca-2")
	until := o.Status.PreviousCAs[0].Until.Time
	eventually(t, "the overlap to be over", func() error {
		if time.Now().Before(until) {
			return fmt.Errorf("it ends at %s", until)
		}
		return nil
	})
	stands(2, 1, "fleet-smoke-ca", "fleet-smoke-ca", "fleet-smoke-ca-2")
	issue(t, ns, "fleet-smoke-ca-2")
	stands(2, 0, "fleet-smoke-ca-2", "fleet-smoke-ca-2")
	eventually(t, "the old CA's key to be gone", func() error {
		err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "fleet-smoke-ca"}, &corev1.Secret{})
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

// TestSensorsWaitForTheirGateway: a row whose gateway is not there is refused with the reason, and goes in when the gateway comes.
func TestSensorsWaitForTheirGateway(t *testing.T) {
	const ns = "gateways"
	create(t, namespace(ns, ""))
	admit(t, ns)
	doors := fleet(ns, "doors")
	doors.Spec.AccessMode = v1alpha1.AccessGateway
	doors.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "d1", Community: "c", Via: "gw.g1"}, {Device: "d2", Community: "c", Via: "gw.g2"}}}
	create(t, platform(ns), community(ns, "c", "410103014006"), doors)
	accepted := func(want int32) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d sensors", want), func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(doors), doors); err != nil {
				return err
			}
			if d := doors.Status.Devices; d == nil || d.Accepted != want || d.Rejected != 2-want {
				return fmt.Errorf("devices %+v, rejected %v", d, doors.Status.RejectedRows)
			}
			return nil
		})
	}
	accepted(0)
	gw := fleet(ns, "gw")
	gw.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "g1", Community: "c"}}}
	create(t, gw)
	accepted(1)
	patch(t, gw, func() {
		gw.Spec.Inventory.Rows = append(gw.Spec.Inventory.Rows, v1alpha1.InventoryRow{Device: "g2", Community: "c"})
	})
	accepted(2)
	remove(t, gw)
	accepted(0)
}
