//go:build envtest

package envtest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/internal/bundleserver"
)

// The Service of bundles leads to the replica that leads: the one elected last takes it over, what Kubernetes named itself while the
// Service had a selector is taken away, and the slices of others stay.
func testBundlesEndpoint(t *testing.T, config *rest.Config) {
	c, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	slice := func(name, service string) {
		port := int32(8443)
		err := c.Create(t.Context(), &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.9.9.9"}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bundles"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "bundles", Port: 443}}}}
	if err := c.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	slice("bundles-x7k2p", "bundles")
	slice("other-z4q1m", "other")
	for _, address := range []string{"10.1.2.3:8443", "10.1.2.4:8443"} {
		leads(t, c, address, func() bool {
			var slices discoveryv1.EndpointSliceList
			if err := c.List(t.Context(), &slices, client.MatchingLabels{discoveryv1.LabelServiceName: "bundles"}); err != nil {
				t.Fatal(err)
			}
			if len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 1 {
				return false
			}
			one := slices.Items[0]
			return netip.AddrPortFrom(netip.MustParseAddr(one.Endpoints[0].Addresses[0]), uint16(*one.Ports[0].Port)).String() == address && *one.Ports[0].Name == "bundles"
		})
	}
	var other discoveryv1.EndpointSlice
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: "other-z4q1m"}, &other); err != nil {
		t.Errorf("the slice of another Service: %v", err)
	}
}

// leads runs a replica that leads until what it should bring about is there.
func leads(t *testing.T, c client.Client, address string, there func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	go func() {
		ended <- bundleserver.Leader{Client: c, Reader: c, Service: types.NamespacedName{Namespace: "default", Name: "bundles"}, Endpoint: netip.MustParseAddrPort(address)}.Start(ctx)
	}()
	for !there() {
		if ctx.Err() != nil {
			t.Fatalf("%s is not the one endpoint", address)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
