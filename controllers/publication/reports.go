package publication

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/natslink"
	"github.com/dizuo/dizuo/internal/shelf"
)

// fresh is how old a report may be to be believed; nodes write one at least every 15 s.
const fresh = 45 * time.Second

// enforcing are the roles without whose acknowledgement no change is in force.
var enforcing = []contract.Role{contract.RoleBroker, contract.RoleAuth, contract.RoleGrid, contract.RoleGateway}

// Reports follows the report buckets of the platforms and hands what it learns to the shelf.
type Reports struct {
	Shelf *shelf.Shelf
	// Wake calls an object of which the nodes say something new.
	Wake func(shelf.Key)
	Now  func() time.Time

	ctx       context.Context
	mu        sync.Mutex
	platforms map[types.NamespacedName]*followed
}

type followed struct {
	stop    context.CancelFunc
	reports map[string]contract.Report
	calls   calls
	// told says whether a fresh report told of devices when it was last looked at.
	told bool
	// edges is what edge nodes said last, facts what they are held against; see edgereports.go.
	edges map[string]edgeNews
	facts map[string]edgeFact
}

// NewReports gives reports that live as long as ctx.
func NewReports(ctx context.Context, s *shelf.Shelf, now func() time.Time) *Reports {
	return &Reports{Shelf: s, Now: now, Wake: func(shelf.Key) {}, ctx: ctx, platforms: map[types.NamespacedName]*followed{}}
}

// Follow watches the reports of a platform over a new link.
func (r *Reports) Follow(name types.NamespacedName, link *natslink.Link) {
	ctx, stop := context.WithCancel(r.ctx)
	r.mu.Lock()
	if was := r.platforms[name]; was != nil {
		was.stop()
	}
	f := &followed{stop: stop, reports: map[string]contract.Report{}, calls: newCalls(), edges: map[string]edgeNews{}}
	if was := r.platforms[name]; was != nil { // another link to the same broker
		f.edges, f.facts = was.edges, was.facts
	}
	r.platforms[name] = f
	r.mu.Unlock()
	go r.run(ctx, name, f, link)
}

// Forget ends the watch of a platform.
func (r *Reports) Forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.platforms[name]; f != nil {
		f.stop()
	}
	delete(r.platforms, name)
}

func (r *Reports) run(ctx context.Context, name types.NamespacedName, f *followed, link *natslink.Link) {
	age := time.NewTicker(look)
	defer age.Stop()
	var watcher jetstream.KeyWatcher
	var updates <-chan jetstream.KeyValueEntry
	for {
		if watcher == nil {
			if kv, err := link.JetStream.KeyValue(ctx, contract.ReportBucket); err == nil {
				if watcher, err = kv.WatchAll(ctx); err == nil {
					updates = watcher.Updates()
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case entry, ok := <-updates:
			if !ok {
				watcher, updates = nil, nil
				continue
			}
			for _, key := range r.take(name, f, entry) {
				r.Wake(key)
			}
			r.tell(name, f)
		case <-age.C:
			r.tell(name, f)
			r.mu.Lock()
			due := f.calls.due(r.Now())
			r.mu.Unlock()
			for _, key := range due {
				r.Wake(key)
			}
		}
	}
}

// take records a report and gives the objects of which it says something new.
func (r *Reports) take(name types.NamespacedName, f *followed, entry jetstream.KeyValueEntry) []shelf.Key {
	if entry == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var report contract.Report
	if entry.Operation() != jetstream.KeyValuePut || json.Unmarshal(entry.Value(), &report) != nil ||
		contract.ReportKey(report.Role, report.Instance) != entry.Key() {
		delete(f.reports, entry.Key())
		if edge, ok := strings.CutPrefix(entry.Key(), edgePrefix); ok && entry.Operation() != jetstream.KeyValuePut {
			delete(f.edges, edge)
		}
		return nil
	}
	if report.Role == contract.RoleEdge { // the role auth put it there, under the name of the machine that sent it
		return f.calls.now(r.edgeKeys(name, f.hear(report.Instance, contract.EdgeReport{Report: entry.Value(), HeardAt: entry.Created()}, r.Now())), r.Now())
	}
	was := f.reports[entry.Key()]
	f.reports[entry.Key()] = report
	platform := shelf.Key{Kind: "GridPlatform", Namespace: name.Namespace, Name: name.Name}
	agreements := changed(was.Decisions, report.Decisions)
	maps.Copy(agreements, changed(was.BreakGlass, report.BreakGlass))
	var counted []shelf.Key
	fleets, communities := changed(shown(was.Fleets), shown(report.Fleets)), changed(was.OpenCases, report.OpenCases)
	maps.Copy(communities, changed(was.Communities, report.Communities))
	if len(fleets)+len(communities) > 0 || was.OverdueCases != report.OverdueCases {
		counted = append(counted, platform)
	}
	for _, of := range []struct {
		kind string
		said map[string]bool
	}{{"DeviceFleet", fleets}, {"Organization", changed(was.Dispatch, report.Dispatch)},
		{"DataSharingAgreement", agreements}, {"Community", communities}, {"Scenario", changed(was.ScenarioCases, report.ScenarioCases)},
		{"Dataset", changed(measuredAt(was.Datasets), measuredAt(report.Datasets))}} {
		if len(of.said) == 0 {
			continue
		}
		for _, key := range r.Shelf.Find(name, of.kind, "") {
			if of.said[key.Name] {
				counted = append(counted, key)
			}
		}
	}
	counted = append(counted, r.edgeKeys(name, f.hearAll(was, report, r.Now()))...)
	out := f.calls.now(counted, r.Now())
	stands := was.Contract == report.Contract && ptr.Deref(was.Mode, contract.ModeReport{}) == ptr.Deref(report.Mode, contract.ModeReport{}) && ptr.Deref(was.Broker, contract.BrokerReport{}) == ptr.Deref(report.Broker, contract.BrokerReport{})
	if !stands && !slices.Contains(out, platform) {
		out = append(out, platform)
	}
	return out
}

// measuredAt gives when each dataset was measured: nothing else of a measurement changes without it.
func measuredAt(datasets map[string]contract.DatasetReport) map[string]int64 {
	out := make(map[string]int64, len(datasets))
	for name, d := range datasets {
		out[name] = d.MeasuredAt.UnixNano()
	}
	return out
}

// shown gives of the counts of fleets what a status shows: refused connections it does not, and any stranger can cause them.
func shown(fleets map[string]contract.FleetReport) map[string]contract.FleetReport {
	out := make(map[string]contract.FleetReport, len(fleets))
	for name, f := range fleets {
		f.Rejected = 0
		out[name] = f
	}
	return out
}

// changed gives the keys whose values differ between two maps.
func changed[V comparable](was, is map[string]V) map[string]bool {
	out := map[string]bool{}
	for k, v := range is {
		if old, had := was[k]; !had || old != v {
			out[k] = true
		}
	}
	for k := range was {
		if _, has := is[k]; !has {
			out[k] = true
		}
	}
	return out
}

// tell hands the enforcers to the shelf. A role of which no node ever reported still counts: without it nothing is in force.
func (r *Reports) tell(name types.NamespacedName, f *followed) {
	now := r.Now()
	r.mu.Lock()
	var enforcers []shelf.Enforcer
	seen := map[contract.Role]bool{}
	for key, report := range f.reports {
		online := now.Sub(report.At) < fresh
		if !online && now.Sub(report.At) > 10*fresh {
			delete(f.reports, key) // an instance that is gone for good
			continue
		}
		seen[report.Role] = seen[report.Role] || online
		enforcers = append(enforcers, shelf.Enforcer{Name: key, Sequence: report.Sequence, Online: online, Problem: problem(report, online)})
	}
	r.mu.Unlock()
	for _, role := range enforcing {
		if !seen[role] {
			enforcers = append(enforcers, shelf.Enforcer{Name: string(role) + ".?", Online: true})
		}
	}
	_, present, was := r.Shelf.Lease(name)
	r.mu.Lock()
	enforcers = append(enforcers, f.edgeEnforcers(present, now)...)
	r.mu.Unlock()
	r.Shelf.Acknowledge(name, enforcers, now)
	_, _, is := r.Shelf.Lease(name)
	for _, key := range r.flipped(name, f, was, is, now) {
		r.Wake(key)
	}
	was, is = center(was), center(is)
	if !slices.EqualFunc(was, is, func(a, b shelf.Enforcer) bool {
		return a.Name == b.Name && a.Online == b.Online && a.Problem == b.Problem
	}) {
		r.Wake(shelf.Key{Kind: "GridPlatform", Namespace: name.Namespace, Name: name.Name})
	}
	for _, key := range r.silent(name, f) {
		r.Wake(key)
	}
}

// maxProblem bounds what of a node's words stands in a status.
const maxProblem = 256

// problem gives why a node that is there refuses the newest bundle.
func problem(report contract.Report, online bool) string {
	if !online {
		return ""
	}
	return strings.ToValidUTF8(report.Problem[:min(len(report.Problem), maxProblem)], "")
}

// silent gives the objects whose devices nobody tells of any more.
func (r *Reports) silent(name types.NamespacedName, f *followed) []shelf.Key {
	reports, _ := r.Platform(name)
	_, tells := presence(reports)
	r.mu.Lock()
	defer r.mu.Unlock()
	told := f.told
	f.told = tells
	if !told || tells {
		return nil
	}
	counted := []shelf.Key{{Kind: "GridPlatform", Namespace: name.Namespace, Name: name.Name}}
	return f.calls.now(slices.Concat(counted, r.Shelf.Find(name, "DeviceFleet", ""), r.Shelf.Find(name, "Community", "")), r.Now())
}

// Platform gives the fresh reports of a platform and when the last one came.
func (r *Reports) Platform(name types.NamespacedName) (reports []contract.Report, last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.platforms[name]
	if f == nil {
		return nil, last
	}
	for _, report := range f.reports {
		if r.Now().Sub(report.At) < fresh {
			reports = append(reports, report)
		}
		if report.At.After(last) {
			last = report.At
		}
	}
	return reports, last
}

// presence gives the newest of the reports that tells of devices: two instances of the role grid that hand over to each other may
// both have told of the same ones.
func presence(reports []contract.Report) (newest contract.Report, ok bool) {
	for _, report := range reports {
		if report.Role == contract.RoleGrid && report.Fleets != nil && report.At.After(newest.At) {
			newest, ok = report, true
		}
	}
	return newest, ok
}

// Fleet gives what the nodes of a platform say of a fleet: presence and invalid messages as the role grid has them, the rest summed
// up; ok is false when no fresh report speaks of presence.
func (r *Reports) Fleet(name types.NamespacedName, fleet string) (sum contract.FleetReport, ok bool) {
	reports, _ := r.Platform(name)
	if newest, tells := presence(reports); tells {
		var f contract.FleetReport
		f, ok = newest.Fleets[fleet]
		sum.PresenceReport, sum.InvalidMessages = f.PresenceReport, f.InvalidMessages
	}
	for _, report := range reports {
		f := report.Fleets[fleet]
		sum.Rejected, sum.Violations = sum.Rejected+f.Rejected, sum.Violations+f.Violations
		if f.LastViolationAt.After(sum.LastViolationAt) {
			sum.LastViolationAt = f.LastViolationAt
		}
	}
	return sum, ok
}

// Community gives the presence of the devices in a community; ok is false when no fresh report tells of any devices.
func (r *Reports) Community(name types.NamespacedName, community string) (contract.PresenceReport, bool) {
	reports, _ := r.Platform(name)
	newest, ok := presence(reports)
	return newest.Communities[community], ok
}

// Devices gives the presence of the devices of all fleets; ok is false when no fresh report tells of any.
func (r *Reports) Devices(name types.NamespacedName) (sum contract.PresenceReport, ok bool) {
	reports, _ := r.Platform(name)
	newest, ok := presence(reports)
	for _, f := range newest.Fleets {
		sum.Online, sum.Offline, sum.NeverSeen, sum.Unknown = sum.Online+f.Online, sum.Offline+f.Offline, sum.NeverSeen+f.NeverSeen, sum.Unknown+f.Unknown
	}
	return sum, ok
}

// OpenCases gives the open cases of a community. ok is false when no fresh report counts any.
func (r *Reports) OpenCases(name types.NamespacedName, community string) (n int64, ok bool) {
	report, ok := r.cases(name, func(c contract.Report) bool { return c.ScenarioCases != nil || c.OpenCases != nil }) // nodes of before say the second alone
	return report.OpenCases[community], ok
}

// ScenarioCases gives the open cases that a scenario opened. ok is false when no fresh report counts any.
func (r *Reports) ScenarioCases(name types.NamespacedName, scenario string) (n int64, ok bool) {
	report, ok := r.cases(name, func(c contract.Report) bool { return c.ScenarioCases != nil })
	return report.ScenarioCases[scenario], ok
}

// cases gives the newest report that counts cases: every replica of the grid service counts the same rows.
func (r *Reports) cases(name types.NamespacedName, counts func(contract.Report) bool) (newest contract.Report, ok bool) {
	reports, _ := r.Platform(name)
	for _, report := range reports {
		if report.Role == contract.RoleGrid && counts(report) && report.At.After(newest.At) {
			newest, ok = report, true
		}
	}
	return newest, ok
}

// Dispatch gives the deliveries to an organisation. Every instance of the role grid counts the same rows: the one that has seen most tells.
func (r *Reports) Dispatch(name types.NamespacedName, organization string) (sum contract.DispatchReport, ok bool) {
	reports, _ := r.Platform(name)
	for _, report := range reports {
		if d, has := report.Dispatch[organization]; has && (!ok || d.Delivered+d.Failed > sum.Delivered+sum.Failed) {
			sum, ok = d, true
		}
	}
	return sum, ok
}

// Decisions gives what the gateways decided by an agreement, and since when the first of them counts.
func (r *Reports) Decisions(name types.NamespacedName, agreement string) (sum contract.DecisionReport, ok bool) {
	reports, _ := r.Platform(name)
	for _, report := range reports {
		if d, has := report.Decisions[agreement]; has {
			if !d.Since.IsZero() && (sum.Since.IsZero() || d.Since.Before(sum.Since)) {
				sum.Since = d.Since
			}
			sum.Allowed, sum.Denied, ok = sum.Allowed+d.Allowed, sum.Denied+d.Denied, true
		}
	}
	return sum, ok
}

// BreakGlass gives the uses of break-glass under an agreement that no review has closed, as the gateway that counted last has them: all of
// them count in the same table. ok is false when no fresh report counts any.
func (r *Reports) BreakGlass(name types.NamespacedName, agreement string) (contract.BreakGlassReport, bool) {
	reports, _ := r.Platform(name)
	var newest contract.Report
	for _, report := range reports {
		if report.BreakGlass != nil && report.At.After(newest.At) {
			newest = report
		}
	}
	return newest.BreakGlass[agreement], newest.BreakGlass != nil
}
