package rules

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkMemory fills the engine with keys of both scenarios and tells the heap that each costs.
func BenchmarkMemory(b *testing.B) {
	const keys = 200_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		e, _ := New(testRules(), Options{})
		for i := range keys {
			m := door(0, "exit")
			m.Device = fmt.Sprintf("d%d", i)
			e.Step(m)
			for h := range 3 {
				m.Payload, m.Time = map[string]any{"event": "heartbeat"}, t0.Add(time.Duration(h+1)*time.Hour)
				e.Step(m)
			}
		}
		clear(e.dirty)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(e.Keys()), "heap-B/key")
		start := time.Now()
		raised := 0
		for h := range 30 {
			raised += len(e.Tick(t0.Add(time.Duration(h)*time.Hour), nil))
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "sweeps-ms")
		if raised != 0 {
			b.Fatalf("%d alarms of devices that are offline", raised)
		}
	}
}
