package publication

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/shelf"
)

// edgeFresh is how long an edge node counts as online after its last report. Its line is worse than one within the cluster.
const edgeFresh = 90 * time.Second

// edgePrefix begins the name of an edge node among the enforcers.
const edgePrefix = string(contract.RoleEdge) + "."

// edgeNews is what an edge node said last.
type edgeNews struct {
	report  *contract.Report
	heardAt time.Time
}

// edgeFact is what is out for an edge node.
type edgeFact struct {
	lease     contract.Lease
	changedAt int64
	life      time.Duration
}

// Edges tells what is out for the edge nodes of a platform that can connect.
func (r *Reports) Edges(name types.NamespacedName, facts map[string]edgeFact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.platforms[name]; f != nil {
		f.facts = facts
	}
}

// hear takes over a report of an edge node, if it is newer, and gives its name if the status has to follow: each minute.
func (f *followed) hear(edge string, e contract.EdgeReport, now time.Time) []string {
	at := e.HeardAt
	if at.After(now) { // the clock of another machine
		at = now
	}
	was := f.edges[edge]
	var report contract.Report
	if e.Report == nil || !at.After(was.heardAt) || json.Unmarshal(e.Report, &report) != nil {
		return nil
	}
	f.edges[edge] = edgeNews{&report, at}
	if was.heardAt.Truncate(time.Minute).Equal(at.Truncate(time.Minute)) {
		return nil
	}
	return []string{edge}
}

// hearAll takes over what a node of the role auth says of edge nodes, and gives the names of those of which it says something new.
func (f *followed) hearAll(was, is contract.Report, now time.Time) (changed []string) {
	for edge, e := range is.Edges {
		changed = append(changed, f.hear(edge, e, now)...)
		if before := was.Edges[edge]; before.KeyDigest != e.KeyDigest || !reflect.DeepEqual(before.Enrolment, e.Enrolment) {
			changed = append(changed, edge)
		}
	}
	return changed
}

// edgeKeys gives the objects of edge nodes.
func (r *Reports) edgeKeys(name types.NamespacedName, edges []string) (keys []shelf.Key) {
	for _, edge := range edges {
		keys = append(keys, r.Shelf.Find(name, "EdgeNode", edge)...)
	}
	return keys
}

// edgeEnforcers gives the edge nodes as enforcers. Leases of theirs are renewed on their own and not with every change of the platform: one
// that runs the revision that is out for it has all that concerns it, and so the platform's present sequence. One that is offline for
// longer than its lease has failed closed, which is as good.
func (f *followed) edgeEnforcers(present int64, now time.Time) []shelf.Enforcer {
	var out []shelf.Enforcer
	for edge, fact := range f.facts {
		said := f.edges[edge]
		e := shelf.Enforcer{Name: contract.ReportKey(contract.RoleEdge, edge), Online: now.Sub(said.heardAt) < edgeFresh}
		switch {
		case said.report == nil:
		case said.report.Revision == fact.lease.Revision, !e.Online && now.Sub(said.heardAt) > fact.life:
			e.Sequence = present
		default:
			e.Sequence = min(said.report.Sequence, fact.changedAt-1)
		}
		out = append(out, e)
	}
	return out
}

// flipped gives the objects to be called because edge nodes came or went: the nodes themselves, and the platform that counts them.
func (r *Reports) flipped(name types.NamespacedName, f *followed, was, is []shelf.Enforcer, now time.Time) []shelf.Key {
	online := map[string]bool{}
	for _, e := range was {
		online[e.Name] = e.Online
	}
	var edges []string
	for _, e := range is {
		edge, ok := strings.CutPrefix(e.Name, edgePrefix)
		if before, known := online[e.Name]; ok && (!known || before != e.Online) {
			edges = append(edges, edge)
		}
	}
	if len(edges) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(f.calls.now([]shelf.Key{{Kind: "GridPlatform", Namespace: name.Namespace, Name: name.Name}}, now), r.edgeKeys(name, edges)...)
}

// center leaves out the edge nodes.
func center(all []shelf.Enforcer) []shelf.Enforcer {
	var out []shelf.Enforcer
	for _, e := range all {
		if !strings.HasPrefix(e.Name, edgePrefix) {
			out = append(out, e)
		}
	}
	return out
}

// Edge gives what is known of an edge node.
func (r *Reports) Edge(name types.NamespacedName, edge string) kit.EdgeNews {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.platforms[name]
	if f == nil {
		return kit.EdgeNews{}
	}
	said := f.edges[edge]
	out := kit.EdgeNews{Report: said.report, HeardAt: said.heardAt, Online: said.report != nil && r.Now().Sub(said.heardAt) < edgeFresh}
	if said.report != nil && said.report.Sequence == f.facts[edge].lease.Sequence {
		out.LeaseExpiresAt = f.facts[edge].lease.ExpiresAt
	}
	for _, report := range f.reports {
		e := report.Edges[edge]
		if r.Now().Sub(report.At) < fresh && report.Role == contract.RoleAuth && e.Enrolment != nil {
			out.Heard = append(out.Heard, kit.EdgeHeard{Sequence: report.Sequence, EdgeHeard: compile.EdgeHeard{Request: *e.Enrolment, Key: e.KeyDigest}})
		}
	}
	return out
}
