// Package devices measures what devices cost, by their number: in the control plane from their inventories to the shards of the
// bundle.
package devices

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/bench/figure"
)

const (
	fleetRows   = 50_000
	secretRows  = 12_500 // gzipped they fit a Secret
	communities = 200
	largest     = 250_000
)

func TestBenchDevices(t *testing.T) {
	needed(t)
	var figures []figure.Figure
	var perRow []float64
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		w := newWorld(t, n)
		whole, change, peak := w.measure(t)
		kept := w.kept()
		perRow = append(perRow, whole.Seconds()/float64(n))
		name := fmt.Sprintf("%d devices: ", n)
		limits := [2]float64{}
		if n == 1_000_000 {
			limits = [2]float64{1, 1536}
		}
		figures = append(figures, figure.AtMost(name+"compile of all", whole.Seconds(), "s", 0),
			figure.AtMost(name+"change of one row", change.Seconds(), "s", limits[0]), figure.AtMost(name+"heap, peak", peak, "MiB", limits[1]),
			figure.AtMost(name+"heap, kept", kept, "MiB", 0))
	}
	figures = append(figures, figure.AtMost("growth per row from 10,000 to 1,000,000", perRow[2]/perRow[0], "x", 1.5))
	record(figures...)
}

// One fleet as large as a fleet may be: what a row costs in it, and what a wake that changes no row.
func TestBenchDevicesInOneFleet(t *testing.T) {
	needed(t)
	w := newWorldOf(t, largest, largest)
	_, change, _ := w.measure(t)
	o := w.fleets[0]
	before := w.plans[o.Name]
	began := time.Now()
	w.compile(t, o)
	w.publish(t)
	wake := time.Since(began)
	if &w.plans[o.Name].Rows[0] != &before.Rows[0] {
		t.Error("a wake that changes no row made them anew")
	}
	record(figure.AtMost("one fleet of 250000: change of one row", change.Seconds(), "s", 0),
		figure.AtMost("one fleet of 250000: wake that changes no row", wake.Seconds(), "s", 0.1))
}

// world is a platform with fleets whose inventories are in Secrets.
type world struct {
	snapshot *compile.Snapshot
	fleets   []*v1alpha1.DeviceFleet
	parts    bundle.Parts
	memo     bundle.Memo
	claims   *compile.DeviceClaims
	plans    map[string]compile.FleetPlan
	// sent are the digests of shards that were opened, to be signed and sent.
	sent map[string]bool
}

func newWorld(t *testing.T, devices int) *world { return newWorldOf(t, devices, fleetRows) }

// newWorldOf gives a world with fleets of so many rows.
func newWorldOf(t *testing.T, devices, fleetRows int) *world {
	t.Helper()
	p := &v1alpha1.GridPlatform{}
	p.Name, p.Namespace = "p", "p"
	w := &world{parts: bundle.NewParts(), sent: map[string]bool{}, plans: map[string]compile.FleetPlan{}, snapshot: &compile.Snapshot{Now: time.Now(), Platform: p, Platforms: []*v1alpha1.GridPlatform{p},
		Namespaces: map[string]compile.Namespace{"p": {}}, Communities: compile.Named[*v1alpha1.Community]{}, Fleets: compile.Named[*v1alpha1.DeviceFleet]{},
		Profiles: compile.Named[*v1alpha1.DeviceProfile]{}, Secrets: map[types.NamespacedName]map[string][]byte{},
		Inventories: map[types.NamespacedName]*compile.Source{}}}
	maintainer := &v1alpha1.Organization{}
	maintainer.Name, maintainer.Namespace = "fire", "p"
	w.snapshot.Organizations = compile.Named[*v1alpha1.Organization]{}
	w.snapshot.Organizations.Add(maintainer)
	profile := &v1alpha1.DeviceProfile{}
	profile.Name, profile.Namespace, profile.Spec.SchemaVersion = "smoke", "p", 1
	w.snapshot.Profiles.Add(profile)
	for i := range communities {
		c := &v1alpha1.Community{}
		c.Name, c.Namespace, c.Spec.Division = community(i), "p", fmt.Sprintf("41%010d", i)
		w.snapshot.Communities.Add(c)
	}
	for f := 0; f*fleetRows < devices; f++ {
		o := &v1alpha1.DeviceFleet{}
		o.Name, o.Namespace = fmt.Sprint("f", f), "p"
		o.Spec = v1alpha1.DeviceFleetSpec{ProfileRef: v1alpha1.ProfileRef{Name: "smoke"}, AccessMode: v1alpha1.AccessDevice,
			Identity: v1alpha1.FleetIdentity{Type: v1alpha1.FleetIdentityX509}, Inventory: &v1alpha1.FleetInventory{}}
		w.snapshot.Secrets[types.NamespacedName{Namespace: "p", Name: compile.FleetCAName(o.Name, 1)}] = map[string][]byte{"tls.crt": []byte("CA of " + o.Name)}
		for from := 0; from < min(fleetRows, devices-f*fleetRows); from += secretRows {
			name := fmt.Sprintf("%s-%d", o.Name, from)
			o.Spec.Inventory.Secrets = append(o.Spec.Inventory.Secrets, v1alpha1.SecretRef{Name: name})
			w.snapshot.Secrets[types.NamespacedName{Namespace: "p", Name: name}] = inventory(t, o.Name, from, min(from+secretRows, devices-f*fleetRows), "")
		}
		w.fleets = append(w.fleets, o)
		w.snapshot.Fleets.Add(o)
	}
	w.claims = compile.NewDeviceClaims()
	w.claims.Know(w.fleets)
	w.snapshot.Claimed = w.claims.Lost
	return w
}

func community(i int) string { return fmt.Sprint("c", i%communities) }

// inventory gives rows as a vendor writes them; building is that of the first.
func inventory(t *testing.T, fleet string, from, to int, building string) map[string][]byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	fmt.Fprintln(z, "device,community,building,unit,serial,maintainer")
	for i := from; i < to; i++ {
		b := fmt.Sprint(i % 40)
		if i == from && building != "" {
			b = building
		}
		fmt.Fprintf(z, "sd-%06d,%s,%s,%d,%s-%09d,fire\n", i, community(i), b, i%6, fleet, i)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 900<<10 {
		t.Fatalf("an inventory of %d bytes does not fit a Secret", out.Len())
	}
	return map[string][]byte{"inventory.csv.gz": out.Bytes()}
}

// measure gives the time from all inventories to all shards, the time after one row has changed, and the highest heap in MiB.
func (w *world) measure(t *testing.T) (whole, change time.Duration, peak float64) {
	t.Helper()
	stop := watchHeap()
	began := time.Now()
	for _, o := range w.fleets {
		w.compile(t, o)
	}
	w.publish(t)
	whole = time.Since(began)
	o := w.fleets[0]
	moved := types.NamespacedName{Namespace: "p", Name: o.Spec.Inventory.Secrets[0].Name}
	w.snapshot.Secrets[moved] = inventory(t, o.Name, 0, min(secretRows, len(w.parts.Rows[o.Name])), "moved")
	began = time.Now()
	delete(w.snapshot.Inventories, moved)
	w.compile(t, o)
	w.publish(t)
	return whole, time.Since(began), stop()
}

// kept gives the heap in MiB that is taken while nothing changes: Secrets are not kept.
func (w *world) kept() float64 {
	clear(w.snapshot.Secrets)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(w)
	return float64(m.HeapAlloc) / (1 << 20)
}

// compile does for a fleet what its controller does, but for what it writes.
func (w *world) compile(t *testing.T, o *v1alpha1.DeviceFleet) {
	t.Helper()
	at := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	for _, ref := range o.Spec.Inventory.Secrets {
		secret := types.NamespacedName{Namespace: o.Namespace, Name: ref.Name}
		if w.snapshot.Inventories[secret] == nil {
			w.snapshot.Inventories[secret] = compile.SourceOfSecret(ref.Name, w.snapshot.Secrets[secret])
		}
	}
	w.snapshot.Turns = w.claims.Turns(at)
	plan, problems := compile.FleetAgain(w.snapshot, o, w.plans[o.Name])
	w.plans[o.Name] = plan
	if problems.Fatal() || plan.Refused > 0 || len(plan.Rows) == 0 {
		t.Fatalf("%s: %v, %d rows refused", o.Name, problems, plan.Refused)
	}
	if again, _ := w.claims.Set(at, plan.Claims(), w.snapshot.Turns); again {
		t.Fatalf("%s: verdicts on its claims changed", o.Name)
	}
	version := kit.Digest(o.Name, plan.Document, plan.Credentials, plan.RowsDigest())
	w.parts.Fleets[o.Name], w.parts.Credentials[o.Name], w.parts.Rows[o.Name], w.parts.Versions[o.Name] = plan.Document, plan.Credentials, plan.Rows, version
}

// publish does for a platform what its publication does, but for signing and sending.
func (w *world) publish(t *testing.T) contract.Index {
	t.Helper()
	shards, err := w.memo.Prepare(w.parts)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shards {
		if w.sent[s.Digest] {
			continue
		}
		if _, err := s.Open(); err != nil {
			t.Fatal(err)
		}
		w.sent[s.Digest] = true
	}
	return bundle.Index(shards)
}

// watchHeap looks at the heap often; stop gives the highest in MiB.
func watchHeap() (stop func() float64) {
	runtime.GC()
	done, highest := make(chan struct{}), uint64(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			highest = max(highest, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() float64 {
		close(done)
		wg.Wait()
		return float64(highest) / (1 << 20)
	}
}
