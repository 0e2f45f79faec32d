package bundleserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// lead is how often the replica that leads says again that requests go to it: somebody may have deleted what it said.
const lead = 30 * time.Second

// portName is the Service's name for its port.
const portName = "bundles"

// Leader makes the replica that leads the one endpoint of the Service of bundles: only that one has published any. The Service has no
// selector, so nobody else names its endpoints. A replica that dies without a word is named until the next one leads.
type Leader struct {
	Client client.Client
	// Reader reads past the cache, which has no slices.
	Reader client.Reader
	// Service is the one that whoever pulls calls; the slice of its endpoints has its name.
	Service types.NamespacedName
	// Endpoint is where this replica serves.
	Endpoint netip.AddrPort
}

// Start implements manager.Runnable. It runs while this replica leads.
func (l Leader) Start(ctx context.Context) error {
	ticker := time.NewTicker(lead)
	defer ticker.Stop()
	for {
		if err := l.say(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "requests for bundles may go to a replica that has none", "service", l.Service)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (Leader) NeedLeaderElection() bool { return true }

// say writes the slice, which goes with the Service, and removes those that Kubernetes made while the Service had a selector: nobody would ever empty them.
func (l Leader) say(ctx context.Context) error {
	var service corev1.Service
	if err := l.Reader.Get(ctx, l.Service, &service); err != nil {
		return fmt.Errorf("Service %s: %w", l.Service, err)
	}
	family := discoveryv1.AddressTypeIPv4
	if l.Endpoint.Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	slice := discoveryv1ac.EndpointSlice(l.Service.Name, l.Service.Namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: l.Service.Name, discoveryv1.LabelManagedBy: "dizuo-operator"}).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion("v1").WithKind("Service").WithName(service.Name).WithUID(service.UID)).
		WithAddressType(family).WithPorts(discoveryv1ac.EndpointPort().WithName(portName).WithPort(int32(l.Endpoint.Port())).WithProtocol("TCP")).
		WithEndpoints(discoveryv1ac.Endpoint().WithAddresses(l.Endpoint.Addr().String()).WithConditions(discoveryv1ac.EndpointConditions().WithReady(true)))
	if err := l.Client.Apply(ctx, slice, client.FieldOwner("dizuo-operator"), client.ForceOwnership); err != nil {
		return fmt.Errorf("EndpointSlice %s: %w", l.Service, err)
	}
	var slices discoveryv1.EndpointSliceList
	if err := l.Reader.List(ctx, &slices, client.InNamespace(l.Service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: l.Service.Name}); err != nil {
		return fmt.Errorf("EndpointSlices of Service %s: %w", l.Service, err)
	}
	var failed error
	for i := range slices.Items {
		if slices.Items[i].Name != l.Service.Name {
			failed = errors.Join(failed, client.IgnoreNotFound(l.Client.Delete(ctx, &slices.Items[i])))
		}
	}
	return failed
}
