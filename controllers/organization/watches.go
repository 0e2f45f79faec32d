package organization

import (
	"slices"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// recordOf reports whether a ConfigMap is the record of an organisation's approvers.
func recordOf(to, from client.Object) bool {
	return to.GetName() == compile.ApproversName(from.GetName())
}

// shareKey reports whether a key stands in two organisations.
func shareKey(to, from client.Object) bool {
	keys := compile.OrganizationKeys(to.(*v1alpha1.Organization))
	return to.GetUID() != from.GetUID() && slices.ContainsFunc(compile.OrganizationKeys(from.(*v1alpha1.Organization)), func(k string) bool { return slices.Contains(keys, k) })
}

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again. Secrets are told over the
// kind's wakes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	c, err := ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.Organization{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(&v1alpha1.OrganizationList{}, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Organization{}, r.Rivals(&v1alpha1.Organization{}), kit.SpecChanged()).
		Watches(&v1alpha1.Organization{}, r.ToAll(&v1alpha1.OrganizationList{}, shareKey), kit.SpecChanged()).
		Watches(&corev1.ConfigMap{}, r.ToAll(&v1alpha1.OrganizationList{}, recordOf), kit.Ours()).
		Watches(&corev1.Namespace{}, r.ToAll(&v1alpha1.OrganizationList{}, nil), kit.LabelsChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Build(kit.Again(r))
	if err != nil {
		return err
	}
	return r.WatchForeign(c, &cmv1.Certificate{}, kind, false)
}
