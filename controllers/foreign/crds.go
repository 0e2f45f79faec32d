package foreign

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// settle is how long the API server may take to serve a CRD that is there, or to stop serving one that is gone, before it is
// asked again.
const settle = time.Second

// SetupWithManager follows CustomResourceDefinitions, by their metadata alone. changed is called when a foreign kind came or
// went.
func (a *APIs) SetupWithManager(mgr ctrl.Manager, changed func(context.Context)) error {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	names := map[string]schema.GroupVersionKind{}
	for gvk, plural := range Kinds {
		names[plural+"."+gvk.Group] = gvk
	}
	known := predicate.NewPredicateFuncs(func(o client.Object) bool { _, ok := names[o.GetName()]; return ok })
	byName := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: o.GetName()}}}
	})
	return ctrl.NewControllerManagedBy(mgr).Named("foreign").WatchesMetadata(crd, byName, builder.WithPredicates(known)).
		Complete(reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
			o := crd.DeepCopy()
			err := mgr.GetClient().Get(ctx, req.NamespacedName, o)
			if client.IgnoreNotFound(err) != nil {
				return reconcile.Result{}, err
			}
			there := err == nil && o.DeletionTimestamp.IsZero()
			moved, err := a.look()
			if err != nil {
				return reconcile.Result{}, err
			}
			if moved {
				changed(ctx)
			}
			if err := a.follow(ctx); err != nil {
				return reconcile.Result{}, err
			}
			if a.Serves(names[req.Name]) != there {
				return reconcile.Result{RequeueAfter: settle}, nil
			}
			return reconcile.Result{}, nil
		}))
}
