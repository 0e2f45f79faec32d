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
func Behind(h handler.EventHandler) handler.EventHandler { return behind{h} }

type behind struct{ handler.EventHandler }

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create implements handler.EventHandler.
func (h behind) Create(ctx context.Context, e event.CreateEvent, q queue) {
	h.EventHandler.Create(ctx, e, low(q))
}

// Update implements handler.EventHandler.
func (h behind) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	h.EventHandler.Update(ctx, e, low(q))
}

// Delete implements handler.EventHandler.
func (h behind) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	h.EventHandler.Delete(ctx, e, low(q))
}

// low gives a queue that takes everything at low priority; one without priorities stays as it is.
func low(q queue) queue {
	if p, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		return lowQueue{p}
	}
	return q
}

type lowQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
}

// Add implements workqueue.TypedInterface.
func (q lowQueue) Add(r reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, r) }

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q lowQueue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	priority := handler.LowPriority
	o.Priority = &priority
	q.PriorityQueue.AddWithOpts(o, requests...)
}
