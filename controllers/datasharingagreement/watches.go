package datasharingagreement

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	agreements := &v1alpha1.DataSharingAgreementList{}
	return ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.DataSharingAgreement{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(agreements, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Organization{}, r.ToAll(agreements, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Dataset{}, r.ToAll(agreements, names), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, r.ToAll(agreements, selects), kit.SpecChanged()).
		Watches(&v1alpha1.DataSharingAgreement{}, r.Rivals(&v1alpha1.DataSharingAgreement{}), kit.SpecChanged()).
		Watches(&v1alpha1.DataSharingAgreement{}, r.sharesAggregates(), kit.SpecChanged()).
		Watches(&corev1.ConfigMap{}, r.ToAll(agreements, nil), acceptedGuardrails()).
		Watches(&corev1.Namespace{}, r.ToAll(agreements, nil), kit.LabelsChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Complete(r)
}

// names reports whether an agreement names a dataset.
func names(to, from client.Object) bool {
	return slices.ContainsFunc(from.(*v1alpha1.DataSharingAgreement).Spec.Datasets, func(d v1alpha1.AgreementDataset) bool { return d.Name == to.GetName() })
}

// selects reports whether an agreement selects communities by label.
func selects(_, from client.Object) bool {
	return slices.ContainsFunc(from.(*v1alpha1.DataSharingAgreement).Spec.Datasets, func(d v1alpha1.AgreementDataset) bool {
		return d.Rows != nil && d.Rows.CommunitySelector != nil
	})
}
