//go:build envtest

// Package reconcile measures the control plane against a real API server: how many writes an object costs, how fast they come
// beside a null controller that makes the same writes, and how long one change takes while everything else is settled.
package reconcile

import (
	"context"
	"fmt"
	"os"
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
	ctx := context.Background()
	certManager, err := apiserver.CertManagerCRDs()
	if err != nil {
		t.Fatal(err)
	}
	server, err := apiserver.Start(ctx, certManager)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()

	b := &bench{t: t, server: server, size: s}
	b.populate("ours")
	b.populate("null")
	b.began = heap()
	name := fmt.Sprintf("%d platforms, %d communities: ", s.platforms, s.communities)

	null := b.run("null", startNull)
	null.stop()
	ours := b.run("ours", startOperator)
	memory := float64(heap()-b.began) / float64(b.objects())
	p99 := b.changes("ours")
	ours.stop()
	again := b.rerun("ours")
	return []figure.Figure{
		figure.AtMost(name+"writes beyond children, per community with a workspace", ours.perWorkspace(b), "writes", 3),
		figure.AtMost(name+"writes per community without", ours.perPlain(b), "writes", 1),
		figure.AtMost(name+"writes when nothing changed", float64(again), "writes", 0),
		figure.AtLeast(name+"objects a second", ours.rate, "objects/s", 0),
		figure.AtLeast(name+"ratio to the null controller", ours.rate/null.rate, "x", 0.8),
		figure.AtMost(name+"one change to its status, p99", p99, "s", 1),
		figure.AtMost(name+"memory per object", memory/1024, "KiB", 0),
	}
}

type bench struct {
	t      *testing.T
	server *apiserver.Server
	size   size
	began  uint64
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

func (b *bench) namespaces(side string) []string {
	var out []string
	for p := range b.size.platforms {
		out = append(out, fmt.Sprintf("%s-%d", side, p))
	}
	return out
}

// populate creates the objects of a side; nobody reconciles them yet.
func (b *bench) populate(side string) {
	b.t.Helper()
	for p, ns := range b.namespaces(side) {
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
		if side == "null" {
			continue
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

// said reports how many communities of a side have a status of their present generation.
func (b *bench) said(side string) int {
	b.t.Helper()
	n := 0
	for _, ns := range b.namespaces(side) {
		var list v1alpha1.CommunityList
		if err := b.server.Client.List(b.t.Context(), &list, client.InNamespace(ns)); err != nil {
			b.t.Fatal(err)
		}
		for i := range list.Items {
			if c := &list.Items[i]; len(c.Status.Conditions) > 0 && c.Status.ObservedGeneration == c.Generation {
				n++
			}
		}
	}
	return n
}

// side is one controller at work.
type side struct {
	writes *writes
	stop   func()
	rate   float64
}

// run starts a controller and measures until every community has its status.
func (b *bench) run(name string, start func(*bench, *writes) func()) side {
	b.t.Helper()
	w := &writes{}
	began := time.Now()
	stop := start(b, w)
	for b.said(name) < b.size.communities {
		if time.Since(began) > 15*time.Minute {
			b.t.Fatalf("%s: %d of %d communities have a status after %s", name, b.said(name), b.size.communities, time.Since(began))
		}
		time.Sleep(100 * time.Millisecond) // the interval of the poll
	}
	s := side{writes: w, stop: stop, rate: float64(b.size.communities) / time.Since(began).Seconds()}
	w.quiet()
	return s
}

// changes changes one community after the other, and gives the p99 of the time to its status in seconds.
func (b *bench) changes(name string) float64 {
	b.t.Helper()
	var took []time.Duration
	for i := range 100 {
		p := i % b.size.platforms
		key := client.ObjectKey{Namespace: b.namespaces(name)[p], Name: fmt.Sprint("c", p+(i/b.size.platforms+1)*b.size.platforms)}
		c := &v1alpha1.Community{}
		if err := b.server.Client.Get(b.t.Context(), key, c); err != nil {
			continue // a small world has fewer
		}
		before := c.DeepCopy()
		c.Spec.DisplayName = fmt.Sprint("change ", i)
		began := time.Now()
		if err := b.server.Client.Patch(b.t.Context(), c, client.MergeFrom(before)); err != nil {
			b.t.Fatal(err)
		}
		for c.Status.ObservedGeneration != c.Generation {
			if err := b.server.Client.Get(b.t.Context(), key, c); err != nil {
				b.t.Fatal(err)
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)*99/100].Seconds()
}

// rerun starts the operator again on what is settled and counts its writes.
func (b *bench) rerun(name string) int {
	b.t.Helper()
	w := &writes{}
	stop := startOperator(b, w)
	w.quiet()
	stop()
	return w.count("")
}

// perWorkspace gives the writes that a community with a workspace took beyond one for each of its children.
func (s side) perWorkspace(b *bench) float64 {
	children, own := s.writes.count("-c0"), s.writes.count("/communities/c0")
	return float64(children+own) - float64(max(children, 4))
}

// perPlain gives the writes to the first community without a workspace.
func (s side) perPlain(b *bench) float64 {
	return float64(s.writes.count(fmt.Sprint("/communities/c", b.size.platforms)))
}
