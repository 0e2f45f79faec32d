package scenario

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.Scenario{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(&v1alpha1.ScenarioList{}, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Scenario{}, r.Rivals(&v1alpha1.Scenario{}), kit.SpecChanged()).
		Watches(&v1alpha1.Scenario{}, r.ToAll(&v1alpha1.ScenarioList{}, func(_, from client.Object) bool {
			return len(from.(*v1alpha1.Scenario).Spec.Combines) > 0 // a chain of combinations may pass through any
		}), kit.SpecChanged()).
		Watches(&corev1.Namespace{}, r.ToAll(&v1alpha1.ScenarioList{}, nil), kit.LabelsChanged()).
		Watches(&v1alpha1.DeviceProfile{}, r.ToAll(&v1alpha1.ScenarioList{}, func(to, from client.Object) bool {
			return slices.Contains(compile.ProfilesOf(from.(*v1alpha1.Scenario)), to.GetName())
		}), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, r.ToAll(&v1alpha1.ScenarioList{}, func(to, from client.Object) bool {
			return compile.Selects(to.(*v1alpha1.Community), from.GetName())
		}), kit.SpecChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Complete(kit.Again(r))
}
