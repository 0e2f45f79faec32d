package kit

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// countEvery is how long what is only counted waits: changes that come together are counted once.
const countEvery = 5 * time.Second

// Later lets the objects that a handler calls wait: for a figure of the status that many objects change, such as how many agreements share a
// dataset. A change of the object itself waits for nothing.
func Later(h handler.EventHandler) handler.EventHandler { return later{h} }

type later struct{ handler.EventHandler }

// Create implements handler.EventHandler.
func (h later) Create(ctx context.Context, e event.CreateEvent, q queue) {
	h.EventHandler.Create(ctx, e, laterQueue{q})
}

// Update implements handler.EventHandler.
func (h later) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	h.EventHandler.Update(ctx, e, laterQueue{q})
}

// Delete implements handler.EventHandler.
func (h later) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	h.EventHandler.Delete(ctx, e, laterQueue{q})
}

type laterQueue struct{ queue }

// Add implements workqueue.TypedInterface.
func (q laterQueue) Add(r reconcile.Request) {
	low := handler.LowPriority
	if p, ok := q.queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		p.AddWithOpts(priorityqueue.AddOpts{After: countEvery, Priority: &low}, r)
		return
	}
	q.AddAfter(r, countEvery)
}
