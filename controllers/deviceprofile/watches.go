package deviceprofile

import (
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.DeviceProfile{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(&v1alpha1.DeviceProfileList{}, nil), kit.SpecChanged()).
		Watches(&v1alpha1.DeviceProfile{}, r.Rivals(&v1alpha1.DeviceProfile{}), kit.SpecChanged()).
		Watches(&corev1.Namespace{}, r.ToAll(&v1alpha1.DeviceProfileList{}, nil), kit.LabelsChanged()).
		Watches(&v1alpha1.DeviceFleet{}, kit.Later(r.ToAll(&v1alpha1.DeviceProfileList{}, uses)), kit.SpecChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Complete(kit.Again(r))
}
