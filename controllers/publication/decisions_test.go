package publication

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/shelf"
)

// TestDecisionsSince: counts of gateways add up, and count from the start of the one that has counted longest. One that does not tell its
// start says nothing of it.
func TestDecisionsSince(t *testing.T) {
	name, at := types.NamespacedName{Namespace: "p", Name: "p"}, time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	r := NewReports(context.Background(), shelf.New(), func() time.Time { return at })
	f := &followed{reports: map[string]contract.Report{}, calls: newCalls()}
	r.platforms[name] = f
	for instance, since := range map[string]time.Time{"a": at.Add(-time.Hour), "b": at.Add(-2 * time.Hour), "c": {}} {
		f.reports[instance] = contract.Report{Role: contract.RoleGateway, Instance: instance, At: at, Decisions: map[string]contract.DecisionReport{"visits": {Allowed: 1, Denied: 2, Since: since}}}
	}
	for range 20 { // in whatever order they come
		if d, ok := r.Decisions(name, "visits"); !ok || d != (contract.DecisionReport{Allowed: 3, Denied: 6, Since: at.Add(-2 * time.Hour)}) {
			t.Fatalf("%+v, %t", d, ok)
		}
	}
}
