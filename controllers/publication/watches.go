package publication

import (
	"context"
	"sync"
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

const (
	// coalesce is how long a publication waits for more changes, soon how long the first one after a pause does: a revocation waits for
	// nobody, and a thousand new agreements are still a few publications.
	coalesce, soon = 100 * time.Millisecond, 10 * time.Millisecond
	pause          = time.Second
)

// pace remembers when a platform was last called.
type pace struct {
	mu   sync.Mutex
	last map[types.NamespacedName]time.Time
}

// wait gives how long the publication that is called now waits for more changes.
func (p *pace) wait(platform types.NamespacedName, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[types.NamespacedName]time.Time{}
	}
	was := p.last[platform]
	p.last[platform] = now
	if now.Sub(was) < pause {
		return coalesce
	}
	return soon
}

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
	pace := &pace{}
	called := handler.Funcs{GenericFunc: func(_ context.Context, e event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		platform := types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: e.Object.GetName()}
		q.AddAfter(reconcile.Request{NamespacedName: platform}, pace.wait(platform, time.Now()))
	}}
	return ctrl.NewControllerManagedBy(mgr).Named("publication").For(&v1alpha1.GridPlatform{}, kit.SpecChanged()).
		Watches(&appsv1.StatefulSet{}, kit.ByOwner("GridPlatform"), kit.Ours()).
		WatchesRawSource(source.Channel(r.Dirty, called)).
		Complete(kit.Again(r))
}
