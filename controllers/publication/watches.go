package publication

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
)

// coalesce is how long a publication waits for more changes.
const coalesce = 100 * time.Millisecond

// Dirty carries calls from the shelf to the queue.
type Dirty chan event.GenericEvent

// NewDirty gives a channel.
func NewDirty() Dirty { return make(Dirty, 1024) }

// Call asks for a publication.
func (d Dirty) Call(platform types.NamespacedName) {
	o := &v1alpha1.GridPlatform{}
	o.Namespace, o.Name = platform.Namespace, platform.Name
	d <- event.GenericEvent{Object: o}
}

// SetupWithManager starts the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	soon := handler.Funcs{GenericFunc: func(_ context.Context, e event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: e.Object.GetName()}}, coalesce)
	}}
	return ctrl.NewControllerManagedBy(mgr).Named("publication").For(&v1alpha1.GridPlatform{}, kit.SpecChanged()).
		Watches(&appsv1.StatefulSet{}, kit.ByOwner("GridPlatform"), kit.Ours()).
		WatchesRawSource(source.Channel(r.Dirty, soon)).
		Complete(kit.Again(r))
}
