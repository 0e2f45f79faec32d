package devices

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// sockets gives how many sockets a process has open: what a benchmark says of connections must be seen at the broker.
func sockets(t *testing.T, pid int) (n int) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	for _, e := range entries {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// holds fails unless a broker has at least so many connections.
func holds(t *testing.T, pid, connections int) {
	t.Helper()
	if n := sockets(t, pid); n < connections {
		t.Fatalf("the broker has %d sockets, want those of %d connections", n, connections)
	}
}

// ticks of /proc are 10 ms on every platform of Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpu gives the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // the name may hold blanks
	var user, system int64
	fields := strings.Fields(rest)
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * tick
}
