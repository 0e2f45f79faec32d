package kit

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/internal/shelf"
)

// More objects than any channel would hold are called while nobody reads, before the controller runs and after; none waits, none is
// lost, and none is there twice.
func TestWakesNeverWait(t *testing.T) {
	const objects = 5000
	w := NewWakes("Community")
	call := func(from, to int) {
		for i := from; i < to; i++ {
			w.Wake(shelf.Key{Kind: "Community", Namespace: "ns", Name: fmt.Sprint("c", i)})
			w.Wake(shelf.Key{Kind: "Community", Namespace: "ns", Name: fmt.Sprint("c", i)})
			w.Wake(shelf.Key{Kind: "EdgeNode", Namespace: "ns", Name: "nobody reconciles it"})
		}
	}
	call(0, objects/2)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	if err := w.Source("Community").Start(context.Background(), queue); err != nil {
		t.Fatal(err)
	}
	call(objects/2, objects)
	if n := queue.Len(); n != objects {
		t.Errorf("%d objects are called, want %d", n, objects)
	}
	one, _ := queue.Get()
	w.Wake(shelf.Key{Kind: "Community", Namespace: one.Namespace, Name: one.Name})
	queue.Done(one)
	if n := queue.Len(); n != objects {
		t.Errorf("one that was called while it was looked at is not looked at again: %d wait, want %d", n, objects)
	}
}

// A change that a person made is looked at before all calls, however many came before it.
func TestWakesStandBehindChanges(t *testing.T) {
	queue := priorityqueue.New[reconcile.Request]("test")
	defer queue.ShutDown()
	w := NewWakes("Community")
	if err := w.Source("Community").Start(context.Background(), queue); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		w.Wake(shelf.Key{Kind: "Community", Namespace: "ns", Name: fmt.Sprint("c", i)})
	}
	edit := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "edited"}}
	queue.Add(edit)
	if first, _ := queue.Get(); first != edit {
		t.Errorf("%s is looked at before the edit", first)
	}
}

// What ends something goes before what is new, however many came before it, and also where it waits already.
func TestEndsGoAhead(t *testing.T) {
	queue := priorityqueue.New[reconcile.Request]("test")
	defer queue.ShutDown()
	object := func(name string) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	}
	for i := range 1000 {
		queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: fmt.Sprint("c", i)}})
	}
	for _, name := range []string{"c900", "ended"} {
		o := object(name)
		Ahead(&handler.EnqueueRequestForObject{}).Update(t.Context(), event.UpdateEvent{ObjectOld: o, ObjectNew: o}, queue)
	}
	for _, want := range []string{"c900", "ended"} {
		if first, _ := queue.Get(); first.Name != want {
			t.Errorf("%s is looked at before %s", first, want)
		}
	}
}

// What is only counted waits, however often it is called; a change of the object itself does not wait with it.
func TestLaterWaits(t *testing.T) {
	queue := priorityqueue.New[reconcile.Request]("test")
	defer queue.ShutDown()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "counted"}}
	to := Later(Mapped(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "counted"}}}
	}))
	for range 1000 {
		to.Create(t.Context(), event.CreateEvent{Object: o}, queue)
		to.Update(t.Context(), event.UpdateEvent{ObjectOld: o, ObjectNew: o}, queue)
		to.Delete(t.Context(), event.DeleteEvent{Object: o}, queue)
	}
	if n := queue.Len(); n != 0 {
		t.Fatalf("%d are looked at at once", n)
	}
	queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "counted"}})
	if first, _ := queue.Get(); first.Name != "counted" || queue.Len() != 0 {
		t.Errorf("%s is looked at first, %d wait", first, queue.Len())
	}
}
