//go:build envtest

// Package crash kills the operator after every single write to a real API server, and holds the end against an undisturbed
// run: nothing is lost, nothing is left behind, nothing is made twice, and no neighbour is touched.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dizuo/dizuo/test/apiserver"
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	log.SetLogger(logr.Discard()) // that a killed operator complains is no news; the first logger set is the one that stays
	certManager, err := apiserver.CertManagerCRDs()
	if err != nil {
		return 1, err
	}
	if server, err = apiserver.Start(context.Background(), certManager); err != nil {
		return 1, err
	}
	defer func() { _ = server.Stop() }()
	if err := server.KubeControllers(); err != nil {
		return 1, err
	}
	if err := server.CertManager(); err != nil {
		return 1, err
	}
	if watched, err = cache.New(server.Config, cache.Options{}); err != nil {
		return 1, err
	}
	go func() { _ = watched.Start(context.Background()) }()
	return m.Run(), nil
}

// phase is a change of the world that an operator carries out.
type phase struct {
	name string
	// stands brings a world to where the phase begins, nil if that is nothing; make is the phase itself.
	stands, make func(*world)
}

var phases = []phase{
	{"creation", nil, func(w *world) { w.apply(w.before()) }},
	{"change", func(w *world) { w.apply(w.before()) }, func(w *world) { w.apply(w.after()) }},
	{"deletion", func(w *world) { w.apply(w.after()) }, func(w *world) { w.remove() }},
}

// Each operator lives for one write, and the next goes on from there: every state that a crash can leave is begun from once.
func TestEachLivesForOneWrite(t *testing.T) {
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			livesForOneWrite(t, "minimal", p)
		})
	}
}

// The same with the ten communities of the pilots.
func TestEachKilledAfterOneWriteOfThePilots(t *testing.T) {
	if testing.Short() {
		t.Skip("long: make test-fault runs it")
	}
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			livesForOneWrite(t, pilots, p)
		})
	}
}

// sampled is how many of the pilots' writes an operator dies after, once, in each phase.
const sampled = 6

// Of the pilots' writes some are drawn, by a seed that is printed: DIZUO_CRASH_SEED draws the same again.
func TestKilledInThePilots(t *testing.T) {
	if testing.Short() {
		t.Skip("long: make test-fault runs it")
	}
	seed := rand.Uint64()
	if s := os.Getenv("DIZUO_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("DIZUO_CRASH_SEED=%d", seed)
	draw := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a sample
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			everyWrite(t, pilots, p, func(writes int) []int { return draw.Perm(writes)[:min(sampled, writes)] })
		})
	}
}

// livesForOneWrite carries out a phase by operators that each die after their first write.
func livesForOneWrite(t *testing.T, sample string, p phase) {
	letter := sample[:1] + "o" + p.name[:2]
	start, want, writes := undisturbed(t, newWorld(t, sample, letter+"0"), p)
	w := newWorld(t, sample, letter+"1")
	defer w.clear()
	stand(t, w, p, start)
	p.make(w)
	lives, last := 0, []string{}
	for ; lives <= 4*len(writes); lives++ {
		o := begin(t, w, 1)
		err := w.becomes(want, o.died)
		o.end()
		if !o.isDead() {
			if err != nil {
				t.Errorf("after %d lives: %v", lives, err)
			}
			t.Logf("%s of %s: %d writes undisturbed, %d lives", p.name, sample, len(writes), lives)
			return
		}
		last = append(last, o.writes[0])
	}
	t.Errorf("%d lives and no end: each begins with a write that brings it no further; the last are %s", lives, strings.Join(last[len(last)-6:], ", "))
}

// The operator dies once, after each number of writes.
func TestKilledAfterEveryWrite(t *testing.T) {
	if testing.Short() {
		t.Skip("long: make test-fault runs it")
	}
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) { everyWrite(t, "minimal", p, every) })
	}
}

// every takes all writes.
func every(writes int) []int {
	out := make([]int, writes)
	for i := range out {
		out[i] = i
	}
	return out
}

// everyWrite kills the operator after writes that a phase takes, in each world once.
func everyWrite(t *testing.T, sample string, p phase, which func(writes int) []int) {
	letter := sample[:1] + p.name[:2]
	w := newWorld(t, sample, letter+"0")
	start, want, writes := undisturbed(t, w, p)
	t.Logf("%s of %s: %d writes", p.name, sample, len(writes))
	t.Run("killed", func(t *testing.T) {
		for _, i := range which(len(writes)) {
			k := i + 1
			t.Run(fmt.Sprint("after write ", k), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, sample, fmt.Sprint(letter, k))
				defer w.clear()
				killed(t, w, p, k, start, want)
			})
		}
	})
}

// undisturbed makes a phase with an operator that lives on, and gives the states before and after, and the writes.
func undisturbed(t *testing.T, w *world, p phase) (start, want map[string]string, writes []string) {
	t.Helper()
	defer w.clear()
	o := begin(t, w, 0)
	defer o.end()
	if p.stands != nil {
		p.stands(w)
	}
	start = w.settled(o)
	before := o.written()
	p.make(w)
	want = w.settled(o)
	return start, want, o.writes[before:]
}

// killed makes a phase with an operator that dies after write k, and with another that takes over.
func killed(t *testing.T, w *world, p phase, k int, start, want map[string]string) {
	stand(t, w, p, start)
	o := begin(t, w, k)
	p.make(w)
	err := w.becomes(want, o.died)
	o.end()
	if !o.isDead() { // this time it took fewer writes
		if err != nil {
			t.Errorf("undisturbed: %v", err)
		}
		return
	}
	last := o.writes[len(o.writes)-1]
	o = begin(t, w, 0)
	defer o.end()
	if err := w.becomes(want, nil); err != nil {
		t.Errorf("killed after write %d (%s): %v", k, last, err)
	}
}

// stand brings a world to where a phase begins.
func stand(t *testing.T, w *world, p phase, start map[string]string) {
	t.Helper()
	if p.stands == nil {
		return
	}
	o := begin(t, w, 0)
	defer o.end()
	p.stands(w)
	if err := w.becomes(start, nil); err != nil {
		t.Fatalf("the phase does not begin: %v", err)
	}
}
