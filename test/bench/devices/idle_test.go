package devices

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// TestBenchIdle measures what the broker's resident memory grows by with each idle connection: the slope between two numbers of
// them, so that what the process takes for itself is not counted.
func TestBenchIdle(t *testing.T) {
	needed(t)
	const few, many = 2000, 8000
	// Garbage of the connecting would hide the slope: it is collected early here. A broker as it is deployed takes up to twice the heap.
	t.Setenv("GOGC", "10")
	s := newStack(t, "2m")
	players := s.passwords(many)
	s.publish(&players[0])
	var at []float64
	from := 1
	for _, to := range []int{few, many} {
		got := s.load(load{Kind: "hold", Players: players[from:to], Workers: 16}).result()
		if got.Failed > 0 {
			t.Fatalf("%d of %d did not come in", got.Failed, to-from)
		}
		holds(t, s.broker.Process.Pid, to-1)
		from = to
		at = append(at, resident(t, s.broker.Process.Pid))
		record(figure.AtMost(fmt.Sprintf("broker with %d idle connections", to), at[len(at)-1]/1024, "MiB", 0))
	}
	record(figure.AtMost("memory of an idle connection", (at[1]-at[0])/(many-few), "KiB", 0))
}

// resident gives the resident memory of a process in KiB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	for line := range strings.Lines(string(raw)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
