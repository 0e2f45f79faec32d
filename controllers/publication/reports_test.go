package publication

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/shelf"
)

// told is a report as the bucket gives it.
type told struct {
	jetstream.KeyValueEntry
	report contract.Report
	at     time.Time
}

func (e told) Created() time.Time              { return e.at }
func (e told) Key() string                     { return contract.ReportKey(e.report.Role, e.report.Instance) }
func (e told) Operation() jetstream.KeyValueOp { return jetstream.KeyValuePut }
func (e told) Value() []byte                   { raw, _ := json.Marshal(e.report); return raw }

// Presence is that of the newest report of the role grid, and of nobody while none is fresh; who shows it is called then. Refused
// connections, which any stranger can cause, call nobody.
func TestPresenceOfReports(t *testing.T) {
	name, now := types.NamespacedName{Namespace: "p", Name: "p"}, time.Unix(10_000, 0)
	board := shelf.New()
	board.Wake, board.Dirty = func(shelf.Key) {}, func(types.NamespacedName) {}
	fleet, community := shelf.Key{Kind: "DeviceFleet", Namespace: "v", Name: "f"}, shelf.Key{Kind: "Community", Namespace: "p", Name: "c"}
	platform := shelf.Key{Kind: "GridPlatform", Namespace: "p", Name: "p"}
	for _, k := range []shelf.Key{fleet, community, {Kind: "Community", Namespace: "p", Name: "quiet"}} {
		board.Put(name, k, "x", func(*bundle.Parts) {}, now)
	}
	r := NewReports(context.Background(), board, func() time.Time { return now })
	f := &followed{reports: map[string]contract.Report{}, calls: newCalls()}
	r.platforms[name] = f
	tell := func(instance string, at time.Time, online int64, rejected int64) []shelf.Key {
		n := contract.PresenceReport{Online: online}
		return r.take(name, f, told{report: contract.Report{Role: contract.RoleGrid, Instance: instance, At: at, Communities: map[string]contract.PresenceReport{"c": n},
			Fleets: map[string]contract.FleetReport{"f": {PresenceReport: n, InvalidMessages: 2, Rejected: rejected}}}})
	}
	if got := tell("a", now.Add(-time.Second), 3, 0); len(got) != 3 || !slices.Contains(got, fleet) || !slices.Contains(got, community) || !slices.Contains(got, platform) {
		t.Errorf("the first report calls %v", got)
	}
	tell("b", now, 5, 0)
	r.take(name, f, told{report: contract.Report{Role: contract.RoleBroker, Instance: "x", At: now, Fleets: map[string]contract.FleetReport{"f": {Violations: 4}}}})
	if sum, ok := r.Fleet(name, "f"); !ok || sum.Online != 5 || sum.InvalidMessages != 2 || sum.Violations != 4 {
		t.Errorf("fleet: %+v, %t; want what the newer instance tells, and the broker's violations", sum, ok)
	}
	if n, ok := r.Community(name, "c"); !ok || n.Online != 5 {
		t.Errorf("community: %+v, %t", n, ok)
	}
	if n, ok := r.Community(name, "quiet"); !ok || n != (contract.PresenceReport{}) {
		t.Errorf("a community without devices: %+v, %t", n, ok)
	}
	if n, ok := r.Devices(name); !ok || n.Online != 5 {
		t.Errorf("platform: %+v, %t", n, ok)
	}
	if got := r.silent(name, f); len(got) > 0 {
		t.Errorf("while it is told: %v is called", got)
	}
	now = now.Add(calm + time.Second)
	f.calls.due(now)
	if got := tell("b", now, 5, 99); len(got) > 0 {
		t.Errorf("refused connections call %v", got)
	}
	gateway := contract.Report{Role: contract.RoleGateway, Instance: "g", At: now}
	r.take(name, f, told{report: gateway})
	gateway.Contract = contract.ContractVersion
	if got := r.take(name, f, told{report: gateway}); !slices.Equal(got, []shelf.Key{platform}) {
		t.Errorf("a gateway that enforces more than before calls %v, want the platform", got)
	}
	if got := r.take(name, f, told{report: gateway}); len(got) > 0 {
		t.Errorf("the same again calls %v", got)
	}
	gateway.Mode = &contract.ModeReport{Name: contract.ModeEmergency, ExpiresAt: now.Add(time.Hour)}
	if got := r.take(name, f, told{report: gateway}); !slices.Equal(got, []shelf.Key{platform}) {
		t.Errorf("a switch of the mode calls %v, want the platform", got)
	}
	now = now.Add(fresh + time.Second)
	f.calls.due(now)
	if got := r.silent(name, f); len(got) != 4 || got[0] != platform {
		t.Errorf("when nobody tells any more, %v are called, want platform, fleet and both communities", got)
	}
	if _, ok := r.Fleet(name, "f"); ok {
		t.Error("a stale report tells of a fleet")
	}
	if _, ok := r.Community(name, "c"); ok {
		t.Error("a stale report tells of a community")
	}
}

// Cases of a scenario are those of the newest report of the role grid that could count them. A scenario is called when its number changed, and no other.
func TestCasesOfScenarios(t *testing.T) {
	name, now := types.NamespacedName{Namespace: "p", Name: "p"}, time.Unix(10_000, 0)
	board := shelf.New()
	board.Wake, board.Dirty = func(shelf.Key) {}, func(types.NamespacedName) {}
	for _, scenario := range []string{"fire", "flood", "quiet"} {
		board.Put(name, shelf.Key{Kind: "Scenario", Namespace: "p", Name: scenario}, "off", nil, now)
	}
	r := NewReports(context.Background(), board, func() time.Time { return now })
	f := &followed{reports: map[string]contract.Report{}, calls: newCalls()}
	r.platforms[name] = f
	tell := func(report contract.Report) (called []string) {
		for _, key := range r.take(name, f, told{report: report}) {
			called = append(called, key.Kind+" "+key.Name)
		}
		slices.Sort(called)
		now = now.Add(calm + time.Second)
		f.calls.due(now)
		return called
	}
	if n, ok := r.ScenarioCases(name, "fire"); ok {
		t.Errorf("nobody told, and fire has %d", n)
	}
	counts := func(instance string, cases map[string]int64) contract.Report {
		return contract.Report{Role: contract.RoleGrid, Instance: instance, At: now, ScenarioCases: cases}
	}
	for _, step := range []struct {
		what   string
		report contract.Report
		called []string
		fire   int64
	}{
		{"the first counts", counts("a", map[string]int64{"fire": 2, "flood": 1, "gone": 7}), []string{"Scenario fire", "Scenario flood"}, 2},
		{"nothing changed", counts("a", map[string]int64{"fire": 2, "flood": 1, "gone": 7}), nil, 2},
		{"one more", counts("a", map[string]int64{"fire": 3, "flood": 1}), []string{"Scenario fire"}, 3},
		{"a gateway says so", contract.Report{Role: contract.RoleGateway, Instance: "g", ScenarioCases: map[string]int64{"quiet": 9}}, []string{"Scenario quiet"}, 3},
		{"all are closed", counts("a", map[string]int64{"flood": 1}), []string{"Scenario fire"}, 0},
	} {
		step.report.At = now
		if got := tell(step.report); !slices.Equal(got, step.called) {
			t.Errorf("%s: %v are called, want %v", step.what, got, step.called)
		}
		if n, ok := r.ScenarioCases(name, "fire"); !ok || n != step.fire {
			t.Errorf("%s: fire has %d, %t; want %d", step.what, n, ok, step.fire)
		}
	}
	tell(counts("a", map[string]int64{}))
	newer, older := counts("b", map[string]int64{"fire": 5}), counts("a", map[string]int64{"fire": 4})
	older.At = now.Add(-time.Second)
	for range 20 { // maps have no order
		r.take(name, f, told{report: newer})
		r.take(name, f, told{report: older})
		if n, ok := r.ScenarioCases(name, "fire"); !ok || n != 5 {
			t.Fatalf("two replicas: %d, %t; want what the newer tells", n, ok)
		}
	}
	now = now.Add(fresh + time.Second)
	if n, ok := r.ScenarioCases(name, "fire"); ok {
		t.Errorf("a stale report tells of %d", n)
	}
}
