package edgenode

import (
	"context"
	"slices"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again. Secrets and reports are told over the
// kind's wakes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	edges := &v1alpha1.EdgeNodeList{}
	c, err := ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.EdgeNode{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(edges, nil), kit.SpecChanged()).
		Watches(&v1alpha1.Community{}, r.ToAll(edges, func(to, from client.Object) bool {
			return slices.Contains(from.(*v1alpha1.EdgeNode).Spec.Communities, to.GetName())
		}), kit.SpecChanged()).
		Watches(&v1alpha1.EdgeNode{}, r.Rivals(&v1alpha1.EdgeNode{}), kit.SpecChanged()).
		Watches(&v1alpha1.EdgeNode{}, r.contenders(), kit.SpecChanged()).
		Watches(&corev1.Namespace{}, r.ToAll(edges, nil), kit.LabelsChanged()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Build(kit.Again(r))
	if err != nil {
		return err
	}
	return r.WatchForeign(c, &cmv1.CertificateRequest{}, kind, true)
}

// contenders calls edge nodes that name the same community when one of them changes or lets go.
func (r *Reconciler) contenders() handler.EventHandler {
	return kit.Mapped(func(ctx context.Context, o client.Object) []reconcile.Request {
		var out []reconcile.Request
		for _, community := range o.(*v1alpha1.EdgeNode).Spec.Communities {
			var list v1alpha1.EdgeNodeList
			if err := r.Client.List(ctx, &list, client.MatchingFields{gather.IndexServes: community}, client.UnsafeDisableDeepCopy); err != nil {
				log.FromContext(ctx).Error(err, "list for watch")
			}
			for i := range list.Items {
				if list.Items[i].UID != o.GetUID() {
					out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
				}
			}
		}
		return out
	})
}
