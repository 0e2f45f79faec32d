package broker

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// The server's own lines about edge nodes are counted; what a client calls itself neither hides one nor makes one.
func TestViolationsOfEdgeNodes(t *testing.T) {
	l := newServerLog(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	for _, line := range []string{
		`127.0.0.1:41234 - wid:17 - "v1.55.0:go:edge" - Publish Violation - Subject "dizuo.v1.d.f.d.signal"`,
		`127.0.0.1:41234 - wid:17 - Publish Violation - Reply "_R_.x"`,
		`127.0.0.1:41234 - wid:17 - "v1.55.0:go:x - Subscription Violation" - Publish Violation - Subject "x"`,
		`127.0.0.1:41234 - wid:17 - "mid:3 - \"smoke_s1\" - Subscription Violation" - Publish Violation - Subject "x"`,
	} {
		l.Errorf("%s", line)
	}
	if got := testutil.ToFloat64(l.edges.WithLabelValues("publish")); got != 4 {
		t.Errorf("%v publishes counted, want 4", got)
	}
	if got := testutil.CollectAndCount(l.violations); got != 0 {
		t.Errorf("%d counts against fleets, want none", got)
	}
	l.Errorf("%s", `127.0.0.1:41234 - wid:18 - "v1.55.0:go:edge" - Subscription Violation - Subject ">", SID 3`)
	if got := testutil.ToFloat64(l.edges.WithLabelValues("subscription")); got != 1 {
		t.Errorf("%v subscriptions counted, want 1", got)
	}
}

// What edge nodes may send and get is what the contract lists, each answered by one role.
func TestEveryVerbOfEdgeNodesIsServed(t *testing.T) {
	if got, want := len(edgeOfAuth())+len(edgeOfGrid()), len(edgeImports())-2; got != want {
		t.Errorf("%d requests are answered, %d are imported", got, want)
	}
	if len(edgeExports()) != len(edgeImports()) || len(edgeMappings()) != 2 {
		t.Errorf("exports %d, imports %d, mappings %d", len(edgeExports()), len(edgeImports()), len(edgeMappings()))
	}
}
