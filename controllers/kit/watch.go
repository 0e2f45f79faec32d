package kit

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/internal/shelf"
)

// workers is how many objects of a kind are reconciled at a time. Each spends most of its time waiting for the API server, and one
// that waits longer must not keep its neighbours waiting.
const workers = 4

// Workers gives the options of the controllers of kinds of which there are many.
func Workers() controller.Options { return controller.Options{MaxConcurrentReconciles: workers} }

// Wakes calls objects again for reasons that the API server does not tell: a bundle came into force, a Secret changed, a
// report came.
//
// They go straight into the queue of the kind's controller, which holds each object once: a call never waits, however many objects
// are called at once, and whoever calls may hold locks that a reconciler wants.
type Wakes struct {
	mu    sync.Mutex
	kinds map[string]*wakes
}

// wakes are those of a kind: its controller's queue, and before that runs the objects to put into it.
type wakes struct {
	queue  workqueue.TypedRateLimitingInterface[reconcile.Request]
	before map[reconcile.Request]bool
}

// NewWakes gives wakes for the kinds.
func NewWakes(kinds ...string) *Wakes {
	w := &Wakes{kinds: map[string]*wakes{}}
	for _, k := range kinds {
		w.kinds[k] = &wakes{before: map[reconcile.Request]bool{}}
	}
	return w
}

// Wake calls an object again.
func (w *Wakes) Wake(k shelf.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of, ok := w.kinds[k.Kind]
	if !ok {
		return
	}
	call := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: k.Namespace, Name: k.Name}}
	if of.queue == nil {
		of.before[call] = true
		return
	}
	at(handler.LowPriority, of.queue).Add(call) // when a bundle came into force thousands are called, and a revocation does not wait for them
}

// CallEdges calls the edge nodes that serve one of the communities.
func (k *Kit) CallEdges(ctx context.Context, communities []string) {
	called := map[shelf.Key]bool{}
	for _, c := range communities {
		var list v1alpha1.EdgeNodeList
		if err := k.Client.List(ctx, &list, client.MatchingFields{gather.IndexServes: c}, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list edge nodes of a community")
		}
		for i := range list.Items {
			if key := Key("EdgeNode", &list.Items[i]); !called[key] {
				called[key] = true
				k.Wakes.Wake(key)
			}
		}
	}
}

// Source gives the source of a kind's wakes. One controller may have it.
func (w *Wakes) Source(kind string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		of := w.kinds[kind]
		for call := range of.before {
			at(handler.LowPriority, queue).Add(call)
		}
		of.queue, of.before = queue, nil
		return nil
	})
}

// ByOwner maps an object that we made to the object it was made for.
func ByOwner(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		l := o.GetLabels()
		if l[render.LabelManagedBy] != render.ManagedBy || l[render.LabelOwnerKind] != kind {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: l[render.LabelOwnerNamespace], Name: l[render.LabelOwnerName]}}}
	})
}

// ToAll maps a change of something that an object may refer to (a platform, a namespace, another object) to all objects of a
// kind on the same platform for which refers is true; nil refers to all.
func (k *Kit) ToAll(list client.ObjectList, refers func(to, from client.Object) bool) handler.EventHandler {
	return Mapped(func(ctx context.Context, to client.Object) []reconcile.Request {
		var out []reconcile.Request
		for _, ns := range k.neighbourhood(ctx, to) {
			l := list.DeepCopyObject().(client.ObjectList)
			if err := k.Client.List(ctx, l, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
				log.FromContext(ctx).Error(err, "list for watch")
				continue
			}
			Each(l, func(o client.Object) {
				if refers == nil || refers(to, o) {
					out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
				}
			})
		}
		return out
	})
}

// Mapped maps changes of objects to others. What is there when the operator starts maps to nothing: every object is looked at
// then anyway, and with many of them each would call each.
func Mapped(f handler.MapFunc) handler.EventHandler {
	return afterStart{handler.EnqueueRequestsFromMapFunc(f)}
}

type afterStart struct{ handler.EventHandler }

// Create implements handler.EventHandler.
func (h afterStart) Create(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	if !e.IsInInitialList {
		h.EventHandler.Create(ctx, e, q)
	}
}

// neighbourhood gives the namespaces, of those that are seen, whose objects may care about a change of o.
func (k *Kit) neighbourhood(ctx context.Context, o client.Object) []string {
	own := o.GetNamespace()
	var labels map[string]string
	if ns, ok := o.(*corev1.Namespace); ok { // what it leaves or joins may hold what its objects claim, or name them
		own, labels = ns.Name, ns.Labels
	} else {
		var ns corev1.Namespace
		if err := k.Client.Get(ctx, types.NamespacedName{Name: own}, &ns); err == nil {
			labels = ns.Labels
		}
	}
	home := own
	if named := labels[compile.LabelPlatform]; named != "" {
		home = named
	}
	out := map[string]bool{home: true, own: true}
	var platforms v1alpha1.GridPlatformList
	_ = k.Client.List(ctx, &platforms, client.InNamespace(home))
	if p, ok := o.(*v1alpha1.GridPlatform); ok {
		platforms.Items = append(platforms.Items, *p)
	}
	for _, p := range platforms.Items {
		for _, m := range p.Spec.Members {
			out[m.Namespace] = true
		}
	}
	names := make([]string, 0, len(out))
	for name := range out {
		if k.sees(name) {
			names = append(names, name)
		}
	}
	return names
}

// SpecChanged passes changes of spec, labels and deletion, and not those of status alone.
func SpecChanged() builder.Predicates {
	deleting := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
	return builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, deleting))
}

// Ours passes objects that the operator made.
func Ours() builder.Predicates {
	return builder.WithPredicates(ours())
}

// ours passes objects that the operator made.
func ours() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetLabels()[render.LabelManagedBy] == render.ManagedBy })
}

// oursChanged passes objects that the operator made when more than their status changed.
func oursChanged() predicate.Predicate {
	return predicate.And(ours(), predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
}

// WatchForeign makes a controller look again when an object of a foreign kind that was made for one of its own changes; status
// says whether a change of status alone counts.
func (k *Kit) WatchForeign(c controller.Controller, o client.Object, kind string, status bool) error {
	passes := oursChanged()
	if status {
		passes = ours()
	}
	return k.APIs.Watch(c, o, ByOwner(kind), passes)
}

// LabelsChanged passes changes of labels: a namespace says by them which platform it belongs to.
func LabelsChanged() builder.Predicates {
	return builder.WithPredicates(predicate.LabelChangedPredicate{})
}

// Each calls f for every object of a list.
func Each(list client.ObjectList, f func(client.Object)) {
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		if o, ok := item.(client.Object); ok {
			f(o)
		}
		return nil
	})
}

// Rivals maps an object to the others of its kind on the platform that bear its name, so that one of them takes over when it
// lets go.
func (k *Kit) Rivals(kind client.Object) handler.EventHandler {
	return Mapped(func(ctx context.Context, o client.Object) []reconcile.Request {
		var out []reconcile.Request
		for _, ns := range k.neighbourhood(ctx, o) {
			key := types.NamespacedName{Namespace: ns, Name: o.GetName()}
			if ns == o.GetNamespace() {
				continue
			}
			rival := kind.DeepCopyObject().(client.Object)
			if err := k.Client.Get(ctx, key, rival); err == nil {
				out = append(out, reconcile.Request{NamespacedName: key})
			}
		}
		return out
	})
}
