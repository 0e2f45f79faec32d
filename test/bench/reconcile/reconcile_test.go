//go:build envtest

// Package reconcile measures the control plane against a real API server: how many writes an object costs, how fast they come
// beside a null controller that makes the same writes, and how long one change takes while everything else is settled.
package reconcile

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/test/apiserver"
	"github.com/dizuo/dizuo/test/bench/figure"
)

// size of a world. Every workspaceEvery-th community asks for a workspace.
type size struct{ platforms, communities, fleets, agreements int }

const workspaceEvery = 10

// scale divides the world, to try the benchmark itself: DIZUO_BENCH_SCALE=20.
func scale() int {
	n, err := strconv.Atoi(os.Getenv("DIZUO_BENCH_SCALE"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

func TestBenchReconcile(t *testing.T) {
	if os.Getenv("DIZUO_BENCH_OUT") == "" {
		t.Skip("make bench-reconcile runs it")
	}
	log.SetLogger(logr.Discard())
	n := scale()
	var figures []figure.Figure
	for _, s := range []size{{1, 2000 / n, 200 / n, 200 / n}, {20, 2000 / n, 200 / n, 200 / n}} {
		figures = append(figures, measure(t, s)...)
	}
	for _, f := range figures {
		fmt.Printf("%-62s %12g %-12s target %g, met: %t\n", f.Name, f.Value, f.Unit, f.Target, f.Met)
	}
	if err := figure.Write(os.Getenv("DIZUO_BENCH_OUT"), figures); err != nil {
		t.Fatal(err)
	}
}

func measure(t *testing.T, s size) []figure.Figure {
	t.Helper()
	b := &bench{t: t, size: s, record: filepath.Join(t.TempDir(), "writes.ndjson")}
	stop := b.begin()
	ours := b.run(b.operator())
	memory := float64(heap()-b.began) / float64(b.objects())
	perWorkspace, perPlain := ours.perWorkspace(), ours.perPlain(b)
	p99, perChange := b.changes(ours.writes)
	ours.stop()
	again := b.rerun()
	stop()

	stop = b.begin()
	null := b.run(b.null())
	null.stop()
	stop()
	if n, m := ours.created, null.writes.count(""); n != m {
		t.Fatalf("the null controller made %d writes, ours %d: they do not compare", m, n)
	}
	if n, m := ours.events, null.events; m < n*9/10 || m > n*11/10 {
		t.Fatalf("the null controller sent %d events, ours %d: they do not compare", m, n)
	}
	name := fmt.Sprintf("%d platforms, %d communities: ", s.platforms, s.communities)
	return []figure.Figure{
		figure.AtMost(name+"writes beyond children, per community with a workspace", perWorkspace, "writes", 3),
		figure.AtMost(name+"writes per community without", perPlain, "writes", 1),
		figure.AtMost(name+"writes per change of one community", perChange, "writes", 1),
		figure.AtMost(name+"events per object, beside the writes", float64(ours.events)/float64(b.objects()), "events", 0),
		figure.AtMost(name+"writes when nothing changed", float64(again), "writes", 0),
		figure.AtLeast(name+"objects a second", float64(b.objects())/ours.took.Seconds(), "objects/s", 0),
		figure.AtLeast(name+"ratio to the null controller", null.took.Seconds()/ours.took.Seconds(), "x", 0.8),
		figure.AtMost(name+"one change to its status, p99", p99, "s", 1),
		figure.AtMost(name+"memory per object", memory/1024, "KiB", 0),
	}
}

type bench struct {
	t      *testing.T
	server *apiserver.Server
	size   size
	// record is the file of the operator's writes.
	record string
	began  uint64
}

// begin starts an API server with the objects of the world; nobody reconciles them yet. Ours and the null controller each have
// one of their own, so that neither works on what the other left.
func (b *bench) begin() (stop func()) {
	b.t.Helper()
	certManager, err := apiserver.CertManagerCRDs()
	if err != nil {
		b.t.Fatal(err)
	}
	if b.server, err = apiserver.Start(b.t.Context(), certManager); err != nil {
		b.t.Fatal(err)
	}
	b.populate()
	b.began = heap()
	return func() { _ = b.server.Stop() }
}

// objects are those that are reconciled.
func (b *bench) objects() int {
	return b.size.communities + b.size.fleets + b.size.agreements + b.size.platforms
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (b *bench) namespaces() []string {
	var out []string
	for p := range b.size.platforms {
		out = append(out, fmt.Sprint("p", p))
	}
	return out
}

// populate creates the objects.
func (b *bench) populate() {
	b.t.Helper()
	for p, ns := range b.namespaces() {
		b.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		b.create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dizuo-namespace", Namespace: ns},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "dizuo-namespace"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "dizuo-operator", Namespace: "dizuo-system"}}})
		b.create(&v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: ns}, Spec: v1alpha1.GridPlatformSpec{Divisions: []string{"41"}}})
		for i := p; i < b.size.communities; i += b.size.platforms {
			c := &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i), Namespace: ns}, Spec: v1alpha1.CommunitySpec{Division: fmt.Sprintf("41%010d", i)}}
			if i%workspaceEvery == 0 {
				c.Spec.Workspace = &v1alpha1.Workspace{}
			}
			b.create(c)
		}
		for i := p; i < b.size.fleets; i += b.size.platforms {
			b.create(&v1alpha1.DeviceFleet{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("f", i), Namespace: ns}, Spec: v1alpha1.DeviceFleetSpec{
				ProfileRef: v1alpha1.ProfileRef{Name: "smoke-detector"}, Identity: v1alpha1.FleetIdentity{Type: v1alpha1.FleetIdentityPassword}}})
		}
		for i := p; i < b.size.agreements; i += b.size.platforms {
			b.create(agreement(ns, fmt.Sprint("a", i)))
		}
	}
}

func (b *bench) create(o client.Object) {
	b.t.Helper()
	if err := b.server.Client.Create(b.t.Context(), o); err != nil {
		b.t.Fatalf("%T %s/%s: %v", o, o.GetNamespace(), o.GetName(), err)
	}
}

// said fails unless every community has a status of its present generation.
func (b *bench) said() {
	b.t.Helper()
	var list v1alpha1.CommunityList
	if err := b.server.Client.List(b.t.Context(), &list); err != nil {
		b.t.Fatal(err)
	}
	for i := range list.Items {
		if c := &list.Items[i]; len(c.Status.Conditions) == 0 || c.Status.ObservedGeneration != c.Generation {
			b.t.Fatalf("community %s/%s has no status", c.Namespace, c.Name)
		}
	}
	if len(list.Items) != b.size.communities {
		b.t.Fatalf("%d communities of %d", len(list.Items), b.size.communities)
	}
}

// side is one controller at work.
type side struct {
	writes *writes
	stop   func()
	// took is the time from the start to the last write, created how many they were.
	took    time.Duration
	created int
	// events sent by then; of the null controller as many as of ours, or nearly: they are sent beside the work.
	events int
}

// run measures a controller that was just started, until it writes no more.
func (b *bench) run(w *writes, stop func()) side {
	b.t.Helper()
	began := time.Now()
	last := w.quiet()
	if err := w.close(); err != nil {
		b.t.Fatal(err)
	}
	b.said()
	return side{writes: w, stop: stop, took: last.Sub(began), created: w.count(""), events: w.sent()}
}

// changes changes one community after the other, and gives the p99 of the time to its status in seconds, and the writes that a
// change took.
func (b *bench) changes(w *writes) (p99, perChange float64) {
	b.t.Helper()
	before := w.count("")
	var took []time.Duration
	for i := range min(100, b.size.communities) {
		c := &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespaces()[i%b.size.platforms], Name: fmt.Sprint("c", i)}}
		took = append(took, b.change(c, fmt.Sprint("change ", i)))
	}
	w.quiet()
	slices.Sort(took)
	return took[len(took)*99/100].Seconds(), float64(w.count("")-before) / float64(len(took))
}

// change gives a community another name to display, and the time until its status speaks of that.
func (b *bench) change(c *v1alpha1.Community, to string) time.Duration {
	b.t.Helper()
	key := client.ObjectKeyFromObject(c)
	if err := b.server.Client.Get(b.t.Context(), key, c); err != nil {
		b.t.Fatal(err)
	}
	before := c.DeepCopy()
	c.Spec.DisplayName = to
	began := time.Now()
	if err := b.server.Client.Patch(b.t.Context(), c, client.MergeFrom(before)); err != nil {
		b.t.Fatal(err)
	}
	for c.Status.ObservedGeneration != c.Generation {
		if err := b.server.Client.Get(b.t.Context(), key, c); err != nil {
			b.t.Fatal(err)
		}
	}
	return time.Since(began)
}

// rerun starts the operator again on what is settled and counts its writes.
func (b *bench) rerun() int {
	b.t.Helper()
	w, stop := b.operator()
	w.quiet()
	stop()
	return w.count("")
}

// perWorkspace gives the writes that a community with a workspace took beyond one for each of its children.
func (s side) perWorkspace() float64 {
	children, own := s.writes.count("-c0"), s.writes.count("/communities/c0")
	return float64(children+own) - float64(max(children, 4))
}

// perPlain gives the writes to the first community without a workspace.
func (s side) perPlain(b *bench) float64 {
	i := b.size.platforms
	for i%workspaceEvery == 0 {
		i++
	}
	return float64(s.writes.count(fmt.Sprint("/communities/c", i)))
}
