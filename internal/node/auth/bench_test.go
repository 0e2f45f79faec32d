package auth

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// BenchmarkConnect measures whole admissions (TCP, TLS 1.3, CONNECT, callout, CONNACK) from clients on the same machine.
func BenchmarkConnect(b *testing.B) {
	for _, method := range []string{"X509", "Password"} {
		b.Run(method, func(b *testing.B) {
			w := newWorld(b)
			const n = 64
			devices := make([]device, n)
			for i := range devices {
				name := fmt.Sprintf("b%d", i)
				if method == "X509" {
					w.creds["smoke"].Devices[name] = contract.Credential{}
					devices[i] = w.x509("smoke", name)
				} else {
					w.creds["door"].Devices[name] = w.creds["door"].Devices["d1"]
					devices[i] = withPassword("door", name, door1)
				}
			}
			w.start()
			var next, busy atomic.Int64
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				d := devices[next.Add(1)%n]
				for pb.Next() {
					s, err := w.dial(w.broker.MQTTAddress(), d)
					if err != nil {
						busy.Add(1) // the same device connecting too quickly is held back for a second by the server
						continue
					}
					_ = s.conn.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
			b.ReportMetric(float64(busy.Load()), "failed")
		})
	}
}

// TestIdleMemory prints the resident memory of both roles as processes of their own; a Standalone platform must fit 400 MiB
// in all, so each is held to a bound.
func TestIdleMemory(t *testing.T) {
	w := newWorld(t)
	b, a, address := w.spawnAll()
	await(t, "auth to answer", func() error {
		s, err := w.dial(address, w.x509("smoke", "s1"))
		if err == nil {
			_ = s.conn.Close()
		}
		return err
	})
	for role, pid := range map[string]int{"broker": b.Process.Pid, "auth": a.Process.Pid} {
		mib := resident(t, pid)
		t.Logf("%s: %.1f MiB resident", role, mib)
		if mib > 120 {
			t.Errorf("%s: %.1f MiB resident, want at most 120", role, mib)
		}
	}
}

func resident(t *testing.T, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	for line := range strings.Lines(string(raw)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
