package kit

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// ToNaming maps a change of an object to those of a kind on the same platform that name it, found by a field index; name gives by what
// they name it, "" for an object that none names.
func (k *Kit) ToNaming(list client.ObjectList, index string, name func(to client.Object) string) handler.EventHandler {
	return Mapped(func(ctx context.Context, to client.Object) []reconcile.Request {
		value := name(to)
		if value == "" {
			return nil
		}
		var out []reconcile.Request
		for _, ns := range k.neighbourhood(ctx, to) {
			l := list.DeepCopyObject().(client.ObjectList)
			if err := k.Client.List(ctx, l, client.InNamespace(ns), client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy); err != nil {
				log.FromContext(ctx).Error(err, "list for watch")
				continue
			}
			Each(l, func(o client.Object) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
			})
		}
		return out
	})
}

// Behind lets the objects that a handler calls wait behind those that somebody edited: a change of a platform calls thousands, and a
// revocation must not stand in their queue.
func Behind(h handler.EventHandler) handler.EventHandler { return ranked{h, handler.LowPriority} }

// highPriority is that of what ends something.
const highPriority = 100

// Ahead lets the objects that a handler calls go before all others of their kind.
func Ahead(h handler.EventHandler) handler.EventHandler { return ranked{h, highPriority} }

type ranked struct {
	handler.EventHandler
	priority int
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create implements handler.EventHandler.
func (h ranked) Create(ctx context.Context, e event.CreateEvent, q queue) {
	h.EventHandler.Create(ctx, e, at(h.priority, q))
}

// Update implements handler.EventHandler.
func (h ranked) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	h.EventHandler.Update(ctx, e, at(h.priority, q))
}

// Delete implements handler.EventHandler.
func (h ranked) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	h.EventHandler.Delete(ctx, e, at(h.priority, q))
}

// at gives a queue that takes everything at a priority; one without priorities stays as it is.
func at(priority int, q queue) queue {
	if p, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		return rankedQueue{p, priority}
	}
	return q
}

type rankedQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	priority int
}

// Add implements workqueue.TypedInterface.
func (q rankedQueue) Add(r reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, r) }

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q rankedQueue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	o.Priority = &q.priority
	q.PriorityQueue.AddWithOpts(o, requests...)
}
