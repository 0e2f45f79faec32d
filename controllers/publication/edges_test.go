package publication

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/shelf"
)

func indexOf(digests ...string) contract.Index {
	var out contract.Index
	for i, d := range digests {
		out.Shards = append(out.Shards, contract.ShardRef{Name: fmt.Sprint(i), Digest: d})
	}
	return out
}

// An object goes when no revision of any scope names it, and not before.
func TestHistoryKeepsWhatAnyScopeNames(t *testing.T) {
	h := newHistory()
	gone := func(refs []contract.ShardRef) (shards []string) {
		for _, r := range refs {
			if r.Name != indexObject {
				shards = append(shards, r.Digest)
			}
		}
		return shards
	}
	for i := range keepRevisions {
		if got := h.push("center", indexOf("shared", fmt.Sprint("center-", i))); len(got) > 0 {
			t.Fatalf("revision %d: gone %v", i, got)
		}
	}
	h.push("edge.a", indexOf("shared", "center-0", "own"))
	if got := h.push("center", indexOf("other")); len(gone(got)) != 0 || len(got) != 1 {
		t.Errorf("what edge.a names is gone from the store: %v", got)
	}
	if got := h.push("center", indexOf("other")); got != nil {
		t.Errorf("the same revision again: %v", got)
	}
	if got := gone(h.forget("edge.a")); !slices.Equal(got, []string{"center-0", "own"}) {
		t.Errorf("with edge.a went %v", got)
	}
}

// An edge node counts by the revision that is out for it: its lease is not renewed with every change of the platform.
func TestEdgeNodesAsEnforcers(t *testing.T) {
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	fact := edgeFact{lease: contract.Lease{Revision: "new", Sequence: 40}, changedAt: 30, life: time.Hour}
	for name, c := range map[string]struct {
		revision string
		sequence int64
		ago      time.Duration
		want     shelf.Enforcer
	}{
		"runs what is out":                    {"new", 31, time.Second, shelf.Enforcer{Sequence: 50, Online: true}},
		"runs the former":                     {"old", 29, time.Second, shelf.Enforcer{Sequence: 29, Online: true}},
		"says more than it can have":          {"old", 1 << 40, time.Second, shelf.Enforcer{Sequence: 29, Online: true}},
		"offline with the former":             {"old", 29, 30 * time.Minute, shelf.Enforcer{Sequence: 29}},
		"offline for longer than it may act":  {"old", 29, 61 * time.Minute, shelf.Enforcer{Sequence: 50}},
		"offline, and had what is out":        {"new", 31, 30 * time.Minute, shelf.Enforcer{Sequence: 50}},
		"silent a little longer than a round": {"new", 31, edgeFresh, shelf.Enforcer{Sequence: 50}},
	} {
		report := contract.Report{Revision: c.revision, Sequence: c.sequence}
		f := &followed{edges: map[string]edgeNews{"box": {&report, now.Add(-c.ago)}}, facts: map[string]edgeFact{"box": fact}}
		c.want.Name = "edge.box"
		if got := f.edgeEnforcers(50, now); !slices.Equal(got, []shelf.Enforcer{c.want}) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	never := &followed{facts: map[string]edgeFact{"box": fact}}
	if got := never.edgeEnforcers(50, now); !slices.Equal(got, []shelf.Enforcer{{Name: "edge.box"}}) {
		t.Errorf("never heard: %+v", got)
	}
}

// Of several who heard a node the newest counts; a clock that is ahead makes nobody younger than now.
func TestHearing(t *testing.T) {
	now := time.Date(2026, 6, 1, 8, 0, 30, 0, time.UTC)
	f := &followed{edges: map[string]edgeNews{}}
	said := func(sequence int64, at time.Time) contract.EdgeReport {
		raw, err := json.Marshal(contract.Report{Sequence: sequence})
		if err != nil {
			t.Fatal(err)
		}
		return contract.EdgeReport{Report: raw, HeardAt: at}
	}
	if got := f.hear("box", said(1, now.Add(time.Hour)), now); len(got) != 1 || !f.edges["box"].heardAt.Equal(now) {
		t.Errorf("from the future: %v, %v", got, f.edges["box"].heardAt)
	}
	if got := f.hear("box", said(2, now.Add(time.Second)), now.Add(time.Second)); len(got) != 0 || f.edges["box"].report.Sequence != 2 {
		t.Errorf("within the minute: %v, %+v", got, f.edges["box"].report)
	}
	if got := f.hear("box", said(1, now), now.Add(2*time.Second)); len(got) != 0 || f.edges["box"].report.Sequence != 2 {
		t.Errorf("an older one: %v, %+v", got, f.edges["box"].report)
	}
	if got := f.hear("box", said(3, now.Add(time.Minute)), now.Add(time.Minute)); len(got) != 1 {
		t.Errorf("the next minute: %v", got)
	}
	if got := f.hear("box", contract.EdgeReport{Report: json.RawMessage("{"), HeardAt: now.Add(time.Hour)}, now.Add(time.Hour)); len(got) != 0 || f.edges["box"].report.Sequence != 3 {
		t.Errorf("what cannot be read: %v", got)
	}
}

// Reports of edge nodes come under keys of their own, and from an instance of auth of the version before in its own report: both are
// heard, also beside each other in an upgrade, and the newer one counts. What is deleted is forgotten.
func TestHearingByKeyAndFromAnOlderAuth(t *testing.T) {
	now := time.Date(2026, 6, 1, 8, 0, 30, 0, time.UTC)
	r := NewReports(t.Context(), shelf.New(), func() time.Time { return now })
	name := types.NamespacedName{Namespace: "city", Name: "henan"}
	f := &followed{reports: map[string]contract.Report{}, calls: newCalls(), edges: map[string]edgeNews{}}
	r.platforms[name] = f
	own := func(sequence int64) contract.Report {
		return contract.Report{Role: contract.RoleEdge, Instance: "box", Sequence: sequence}
	}
	raw, err := json.Marshal(own(1))
	if err != nil {
		t.Fatal(err)
	}
	older := told{report: contract.Report{Role: contract.RoleAuth, Instance: "auth-0", At: now, Edges: map[string]contract.EdgeReport{"box": {Report: raw, HeardAt: now.Add(-20 * time.Second)}}}}
	heard := func(what string, sequence int64) {
		t.Helper()
		news := r.Edge(name, "box")
		if sequence == 0 && news.Report != nil || sequence > 0 && (news.Report == nil || news.Report.Sequence != sequence || !news.Online) {
			t.Errorf("%s: %+v, want sequence %d", what, news, sequence)
		}
	}
	r.take(name, f, older)
	heard("from an older auth", 1)
	r.take(name, f, told{report: own(2), at: now.Add(-10 * time.Second)})
	heard("under its key", 2)
	r.take(name, f, older)
	heard("the older auth says the same again", 2)
	r.take(name, f, foreign{told{report: own(9), at: now}})
	heard("under another's key", 2)
	if len(f.reports) != 1 {
		t.Errorf("%d reports of the centre, want 1: %v", len(f.reports), f.reports)
	}
	r.take(name, f, deleted{told{report: own(2)}})
	heard("deleted", 0)
}

// foreign is an entry whose key is not that of its report, deleted the end of one.
type (
	foreign struct{ told }
	deleted struct{ told }
)

func (foreign) Key() string                     { return "edge.other" }
func (deleted) Operation() jetstream.KeyValueOp { return jetstream.KeyValueDelete }
