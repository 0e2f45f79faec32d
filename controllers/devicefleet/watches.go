package devicefleet

import (
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again. Secrets and reports are
// told over the kind's wakes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	fleets := &v1alpha1.DeviceFleetList{}
	c, err := ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.DeviceFleet{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(fleets, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, r.ToAll(fleets, r.remembered.placed), kit.SpecChanged()).
		Watches(&v1alpha1.DeviceProfile{}, r.ToAll(fleets, func(to, from client.Object) bool {
			return from.(*v1alpha1.DeviceFleet).Spec.ProfileRef.Name == to.GetName()
		}), kit.SpecChanged()).
		Watches(&v1alpha1.Organization{}, r.ToAll(fleets, func(to, from client.Object) bool {
			vendor := from.(*v1alpha1.DeviceFleet).Spec.Vendor
			return vendor != nil && vendor.Name == to.GetName() || r.remembered.maintained(to.GetName(), from)
		}), kit.SpecChanged()).
		Watches(&v1alpha1.DeviceFleet{}, r.ToAll(fleets, spokenFor), kit.SpecChanged()).
		Watches(&v1alpha1.DeviceFleet{}, r.Rivals(&v1alpha1.DeviceFleet{}), kit.SpecChanged()).
		Watches(&corev1.Namespace{}, r.ToAll(fleets, nil), kit.LabelsChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Build(kit.Again(r))
	if err != nil {
		return err
	}
	return r.WatchForeign(c, &cmv1.Certificate{}, kind, false)
}

// spokenFor reports whether devices of one fleet may speak for rows of the other.
func spokenFor(to, from client.Object) bool {
	return from.(*v1alpha1.DeviceFleet).Spec.AccessMode == v1alpha1.AccessGateway && from.GetNamespace() == to.GetNamespace()
}
