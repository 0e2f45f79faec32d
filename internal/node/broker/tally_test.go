package broker

import (
	"log/slog"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestViolationsOutliveARestart: a fleet's count goes on where it was, and a damaged copy harms nothing.
func TestViolationsOutliveARestart(t *testing.T) {
	at := tallyIn(t.TempDir())
	start := func() *serverLog {
		l := newServerLog(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		l.remember(at)
		return l
	}
	count := func(l *serverLog) int64 {
		var r contract.Report
		l.report(&r)
		return r.Fleets["smoke"].Violations
	}
	first := start()
	first.violated(`"smoke_s1"`, "publish")
	first.violated(`"smoke_s2"`, "publish")
	if n := count(first); n != 2 {
		t.Fatalf("counts %d, want 2", n)
	}
	second := start()
	second.violated(`"smoke_s1"`, "publish")
	if n := count(second); n != 3 {
		t.Errorf("counts %d after a restart, want 3", n)
	}
	if err := os.WriteFile(at.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := start()
	third.violated(`"smoke_s1"`, "publish")
	if n := count(third); n != 1 {
		t.Errorf("counts %d after the copy was damaged, want 1", n)
	}
}
