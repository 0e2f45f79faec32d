package grid

import (
	"fmt"
	"testing"
	"time"
)

const benchFleets, benchDevices = 20, 50_000

// BenchmarkPresenceCount counts a million devices of 20 fleets in 200 communities.
func BenchmarkPresenceCount(b *testing.B) {
	bundle := crowd(benchFleets, benchDevices, 200)
	p := began(bundle)
	for b.Loop() {
		p.count(bundle, noon)
	}
}

// BenchmarkPresenceHeard notes devices out of a million, in batches as the ingest log gives them; an operation is one device.
func BenchmarkPresenceHeard(b *testing.B) {
	p := began(crowd(benchFleets, benchDevices, 200))
	batches := make([]map[device]time.Time, 64)
	for i := range batches {
		batches[i] = map[device]time.Time{}
		for n := range maxBatch {
			at := i*maxBatch + n
			batches[i][device{fmt.Sprint("f", at%benchFleets), fmt.Sprint("d", at*31%benchDevices)}] = noon
		}
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += maxBatch {
		p.heard(batches[n/maxBatch%len(batches)], nil)
	}
}

// BenchmarkPresenceMap gives the devices of a fleet that changed their places.
func BenchmarkPresenceMap(b *testing.B) {
	f := crowd(1, benchDevices, 200).Fleets["f0"]
	for b.Loop() {
		newRoll(f)
	}
}
