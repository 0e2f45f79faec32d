package datasharingagreement

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	agreements := &v1alpha1.DataSharingAgreementList{}
	return ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.DataSharingAgreement{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, kit.Behind(r.ToAll(agreements, nil)), kit.SpecChanged()).
		Watches(&v1alpha1.Organization{}, r.ToNaming(agreements, gather.IndexOrganization, client.Object.GetName), kit.SpecChanged()).
		Watches(&corev1.ConfigMap{}, r.ToNaming(agreements, gather.IndexOrganization, recordOf), kit.Ours()).
		Watches(&corev1.ConfigMap{}, kit.Behind(kit.Mapped(recorded)), kit.Ours()). // each agreement's first approval writes one
		Watches(&v1alpha1.DataSharingAgreement{}, kit.Ahead(&handler.EnqueueRequestForObject{}), ended()).
		Watches(&v1alpha1.Dataset{}, r.ToNaming(agreements, gather.IndexDataset, client.Object.GetName), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, kit.Behind(r.ToAll(agreements, selects)), kit.SpecChanged()).
		Watches(&v1alpha1.DataSharingAgreement{}, r.Rivals(&v1alpha1.DataSharingAgreement{}), kit.SpecChanged()).
		Watches(&v1alpha1.DataSharingAgreement{}, r.sharesAggregates(), kit.SpecChanged()).
		Watches(&corev1.ConfigMap{}, kit.Behind(r.ToAll(agreements, nil)), acceptedGuardrails()).
		Watches(&corev1.Namespace{}, kit.Behind(r.ToAll(agreements, nil)), kit.LabelsChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Complete(kit.Again(r))
}

// ended passes agreements that somebody ended: a revocation waits for no agreement that is new, however many are.
func ended() builder.Predicates {
	return builder.WithPredicates(predicate.GenerationChangedPredicate{}, predicate.NewPredicateFuncs(func(o client.Object) bool {
		a := o.(*v1alpha1.DataSharingAgreement)
		return a.Spec.Revoked || a.Spec.Suspended || !a.DeletionTimestamp.IsZero()
	}))
}

// recordOf gives the organisation whose approvers a ConfigMap records.
func recordOf(o client.Object) string {
	name, found := strings.CutPrefix(o.GetName(), compile.ApproversName(""))
	if !found {
		return ""
	}
	return name
}

// recorded gives the agreement whose approvals a ConfigMap records.
func recorded(_ context.Context, o client.Object) []reconcile.Request {
	key, ok := compile.AgreementOfRecord(o.GetName())
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// selects reports whether an agreement selects communities by label.
func selects(_, from client.Object) bool {
	return slices.ContainsFunc(from.(*v1alpha1.DataSharingAgreement).Spec.Datasets, func(d v1alpha1.AgreementDataset) bool {
		return d.Rows != nil && d.Rows.CommunitySelector != nil
	})
}
