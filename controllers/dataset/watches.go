package dataset

import (
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// rivals reports whether two datasets claim the same item or table.
func rivals(a, b *v1alpha1.Dataset) bool {
	same := func(claim func(*v1alpha1.Dataset) string) bool { return claim(a) != "" && claim(a) == claim(b) }
	return same(compile.ItemClaim) || same(compile.TableClaim)
}

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.Dataset{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(&v1alpha1.DatasetList{}, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Dataset{}, r.ToAll(&v1alpha1.DatasetList{}, func(to, from client.Object) bool {
			return to.GetUID() != from.GetUID() && rivals(to.(*v1alpha1.Dataset), from.(*v1alpha1.Dataset))
		}), kit.SpecChanged()).
		Watches(&v1alpha1.Dataset{}, r.Rivals(&v1alpha1.Dataset{}), kit.SpecChanged()).
		Watches(&corev1.Namespace{}, r.ToAll(&v1alpha1.DatasetList{}, nil), kit.LabelsChanged()).
		Watches(&v1alpha1.Organization{}, r.ToAll(&v1alpha1.DatasetList{}, func(to, from client.Object) bool {
			o := from.(*v1alpha1.Dataset)
			return o.Spec.Provider.Name == to.GetName() || (o.Spec.Writer != nil && o.Spec.Writer.Name == to.GetName())
		}), kit.SpecChanged()).
		Watches(&v1alpha1.DataSharingAgreement{}, kit.Later(r.ToAll(&v1alpha1.DatasetList{}, shares)), phaseChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Complete(kit.Again(r))
}
