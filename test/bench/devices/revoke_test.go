package devices

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// TestBenchRevoke measures, with thousands of idle connections around, the time from sending a bundle that lacks a device's row to
// the end of that device's connection.
func TestBenchRevoke(t *testing.T) {
	needed(t)
	const idle, victims = 5000, 100
	s := newStack(t, "2m")
	players := s.passwords(idle + victims)
	s.publish(&players[0])
	got := s.load(load{Kind: "hold", Players: players[victims:], Workers: 16}).result()
	if got.Failed > 0 {
		t.Fatalf("%d of %d did not come in", got.Failed, idle)
	}
	config := s.clientTLS()
	conns := make([]net.Conn, victims)
	for i := range conns {
		s.await("a device", func() (err error) { // the first one was here just now, and is held back for a second
			conns[i], err = players[i].connect(s.address, config)
			return err
		})
	}
	holds(t, s.broker.Process.Pid, idle+victims)
	var took []float64
	for i, c := range conns {
		delete(s.creds["words"].Devices, players[i].name())
		b := s.prepare()
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		began := time.Now()
		s.send(b)
		if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
			t.Fatalf("victim %d is connected after 30 s", i)
		}
		took = append(took, float64(time.Since(began).Milliseconds()))
	}
	holds(t, s.broker.Process.Pid, idle)
	slices.Sort(took)
	record(figure.AtMost("row gone to connection closed, p50", took[len(took)/2], "ms", 0),
		figure.AtMost("row gone to connection closed, p99", took[len(took)*99/100], "ms", 1000))
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
