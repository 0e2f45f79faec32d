package compile_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

var serial = compile.NewDeviceClaim(compile.ClaimSerial, "SN-1")

func fleetName(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "vendor-" + name, Name: name}
}

// claimingFleet gives a fleet that won its name on a day of January, if not 0, and whose status records claims.
func claimingFleet(name string, day int, recorded ...compile.DeviceClaim) *v1alpha1.DeviceFleet {
	o := &v1alpha1.DeviceFleet{ObjectMeta: metav1.ObjectMeta{Namespace: "vendor-" + name, Name: name}}
	if day > 0 {
		since := metav1.NewTime(time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC))
		o.Status.Claims = append(o.Status.Claims, v1alpha1.Claim{Kind: compile.ClaimName, Value: name, Since: &since})
	}
	for _, c := range recorded {
		o.Status.Claims = append(o.Status.Claims, c.Record())
	}
	return o
}

// ledger is an index with what a controller does around it.
type ledger struct {
	*compile.DeviceClaims
	t *testing.T
}

// set gives a fleet its claims, as often as the index asks for, and who is called.
func (l ledger) set(name string, claims ...compile.DeviceClaim) string {
	l.t.Helper()
	var called []string
	for range 3 {
		turns := l.Turns(fleetName(name))
		again, others := l.Set(fleetName(name), claims, turns)
		for _, o := range others {
			called = append(called, o.Name)
		}
		if !again {
			return strings.Join(called, " ")
		}
	}
	l.t.Fatalf("%s is compiled for ever", name)
	return ""
}

func (l ledger) holds(name string, claim compile.DeviceClaim) {
	l.t.Helper()
	if holder, lost := l.Lost(fleetName(name), claim); lost {
		l.t.Errorf("%s does not hold the claim, %s does", name, holder)
	}
	if holder, lost := l.Lost(fleetName("nobody"), claim); !lost || holder != fleetName(name) {
		l.t.Errorf("the claim is held by %q, want %s", holder, name)
	}
}

func newLedger(t *testing.T, fleets ...*v1alpha1.DeviceFleet) ledger {
	l := ledger{compile.NewDeviceClaims(), t}
	l.Know(fleets)
	return l
}

func TestFirstFleetKeepsAClaim(t *testing.T) {
	l := newLedger(t, claimingFleet("late", 9), claimingFleet("early", 1))
	l.set("early")
	if called := l.set("late", serial); called != "" {
		t.Errorf("%s is called without a contest", called)
	}
	if called := l.set("early", serial); called != "late" {
		t.Errorf("called %q, want the holder, which records what it won", called)
	}
	l.holds("late", serial)
	if won := l.Won(fleetName("late"), 10); !slices.Equal(won, []v1alpha1.Claim{serial.Record()}) {
		t.Errorf("late records %v", won)
	}
	if won := l.Won(fleetName("early"), 10); won != nil {
		t.Errorf("early records %v", won)
	}
	if called := l.set("late"); called != "early" {
		t.Errorf("called %q, want the one that waited", called)
	}
	l.holds("early", serial)
	if won := l.Won(fleetName("early"), 10); won != nil {
		t.Errorf("without a rival there is nothing to record: %v", won)
	}
}

func TestClaimOfAFleetThatIsGone(t *testing.T) {
	l := newLedger(t, claimingFleet("a", 1), claimingFleet("b", 2), claimingFleet("c", 3))
	for _, name := range []string{"a", "b", "c"} {
		l.set(name, serial)
	}
	l.holds("a", serial)
	if called := l.Drop(fleetName("a")); fmt.Sprint(called) != "[vendor-b/b vendor-c/c]" {
		t.Errorf("called %v", called)
	}
	l.holds("b", serial)
}

// A restart has no order of arrival: what was recorded counts, then the age, whoever is looked at first.
func TestRestartFlipsNoClaim(t *testing.T) {
	other := compile.NewDeviceClaim(compile.ClaimIMEI, "866123000000001")
	for _, order := range [][]string{{"old", "young", "new"}, {"old", "new", "young"}, {"young", "old", "new"}, {"young", "new", "old"}, {"new", "old", "young"}, {"new", "young", "old"}} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			l := newLedger(t, claimingFleet("old", 1), claimingFleet("young", 2, serial), claimingFleet("new", 0))
			called := map[string]bool{}
			for _, name := range order {
				for c := range strings.FieldsSeq(l.set(name, serial, other)) {
					called[c] = true
				}
				if won := l.Won(fleetName("young"), 10); !slices.Contains(won, serial.Record()) {
					t.Errorf("after %s the record is gone: %v", name, won)
				}
			}
			l.holds("young", serial)
			l.holds("old", other)
		})
	}
}

// Property: whatever fleets claim and let go, each thing has one holder among those that claim it, it changes only when the holder
// lets go, and whoever a change concerns is called.
func TestClaimsAgainstModel(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	values := make([]compile.DeviceClaim, 6)
	for i := range values {
		values[i] = compile.NewDeviceClaim(compile.ClaimClientID, fmt.Sprint(i))
	}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		l := newLedger(t, claimingFleet("a", 4), claimingFleet("b", 3), claimingFleet("c", 2), claimingFleet("d", 1))
		for _, name := range names {
			l.set(name)
		}
		claims, holders := map[string][]compile.DeviceClaim{}, map[compile.DeviceClaim]string{}
		for range 60 {
			name := names[random.IntN(len(names))]
			var now []compile.DeviceClaim
			for _, v := range values {
				if random.IntN(2) == 0 {
					now = append(now, v)
				}
			}
			called := strings.Fields(l.set(name, now...))
			claims[name] = now
			for _, v := range values {
				var rivals []string
				for _, n := range names {
					if slices.Contains(claims[n], v) {
						rivals = append(rivals, n)
					}
				}
				holder, held := l.Lost(fleetName("nobody"), v)
				was := holders[v]
				switch {
				case held != (len(rivals) > 0), held && !slices.Contains(rivals, holder.Name):
					t.Fatalf("seed %d: held by %v, claimed by %v", seed, holder, rivals)
				case was != "" && slices.Contains(rivals, was) && holder.Name != was:
					t.Fatalf("seed %d: %s lost it to %s without letting go", seed, was, holder.Name)
				case held && holder.Name != was && holder.Name != name && !slices.Contains(called, holder.Name):
					t.Fatalf("seed %d: %s holds it now and is not called, %v are", seed, holder.Name, called)
				}
				holders[v] = holder.Name
				record := len(rivals) > 1
				if won := l.Won(holder, 10); held && slices.Contains(won, v.Record()) != record {
					t.Fatalf("seed %d: %d rivals, and the holder records %v", seed, len(rivals), won)
				}
			}
		}
	}
}

// Who loses a claim to another than before has rows that say so: they are to be made anew.
func TestTurnsOfThoseWhoLoseToAnother(t *testing.T) {
	index := ledger{compile.NewDeviceClaims(), t}
	for _, name := range []string{"a", "b", "c"} {
		index.Know([]*v1alpha1.DeviceFleet{claimingFleet("a", 1), claimingFleet("b", 2), claimingFleet("c", 3)})
		index.set(name, serial)
	}
	before := index.Turns(fleetName("c"))
	index.set("a")
	if holder, lost := index.Lost(fleetName("c"), serial); !lost || holder != fleetName("b") || index.Turns(fleetName("c")) == before {
		t.Errorf("held by %s (%t), and turns stayed %d", holder, lost, before)
	}
}
