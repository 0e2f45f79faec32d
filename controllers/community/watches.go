package community

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.Community{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(&v1alpha1.CommunityList{}, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, r.Rivals(&v1alpha1.Community{}), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, r.rivals(), kit.SpecChanged()).
		Watches(&v1alpha1.Scenario{}, r.ToAll(&v1alpha1.CommunityList{}, func(to, from client.Object) bool {
			return compile.Selects(from.(*v1alpha1.Community), to.GetName())
		}), kit.SpecChanged()).
		Watches(&v1alpha1.EdgeNode{}, r.ToAll(&v1alpha1.CommunityList{}, func(to, from client.Object) bool {
			return slices.Contains(to.(*v1alpha1.EdgeNode).Spec.Communities, from.GetName())
		}), edgeTurned()).
		Watches(&corev1.Namespace{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&corev1.Namespace{}, r.ToAll(&v1alpha1.CommunityList{}, nil), kit.LabelsChanged()).
		Watches(&corev1.ResourceQuota{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&corev1.LimitRange{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&networkingv1.NetworkPolicy{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&rbacv1.RoleBinding{}, kit.ByOwner(kind), kit.Ours()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Complete(kit.Again(r))
}

// edgeTurned passes what a Community counts of an EdgeNode: that it comes and goes, which communities it holds, and whether it is heard.
// Where it lets go of one by its spec, both the former and the present object are mapped.
func edgeTurned() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*v1alpha1.EdgeNode), e.ObjectNew.(*v1alpha1.EdgeNode)
		heard := func(o *v1alpha1.EdgeNode) bool {
			return meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionConnected)
		}
		held := func(a, b v1alpha1.Claim) bool { return a.Kind == b.Kind && a.Value == b.Value }
		return heard(was) != heard(is) || !slices.EqualFunc(was.Status.Claims, is.Status.Claims, held) || !slices.Equal(was.Spec.Communities, is.Spec.Communities)
	}})
}

// rivals calls communities that contend for the same code when one of them changes or lets go.
func (r *Reconciler) rivals() handler.EventHandler {
	return kit.Mapped(func(ctx context.Context, o client.Object) []reconcile.Request {
		var out []reconcile.Request
		for _, code := range compile.Codes(o.(*v1alpha1.Community)) {
			var rivals v1alpha1.CommunityList
			if err := r.Client.List(ctx, &rivals, client.MatchingFields{gather.IndexDivision: code}, client.UnsafeDisableDeepCopy); err != nil {
				log.FromContext(ctx).Error(err, "list for watch")
			}
			for i := range rivals.Items {
				if rivals.Items[i].UID != o.GetUID() {
					out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&rivals.Items[i])})
				}
			}
		}
		return out
	})
}
