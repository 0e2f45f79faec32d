package grid

import (
	"time"

	"github.com/dizuo/dizuo/internal/node/reading"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// receive reads a message. What is refused it counts, by result and for the fleet. Times are as in reading.Reader.
func (b *batch) receive(subject string, raw []byte, arrived, paced time.Time) (reading.Reading, bool) {
	in, refused := b.s.reader.Read(subject, raw, arrived, paced, b.now)
	if in.Device != "" {
		b.heard(device{in.Fleet, in.Device}, arrived)
	}
	if refused == "" {
		return in, true
	}
	b.s.w.metrics.messages.WithLabelValues(string(refused)).Inc()
	if _, ok := b.s.bundle.Fleets[in.Fleet]; ok && refused != reading.Unplaced {
		b.invalid(in.Fleet)
	}
	return in, false
}

// heard notes that a device is there.
func (b *batch) heard(d device, at time.Time) { b.seen[d] = later(b.seen[d], at) }

// invalid counts a message that did not fit the profile of its fleet, or its limits.
func (b *batch) invalid(fleet string) {
	if b.misfits == nil {
		b.misfits = map[string]int64{}
	}
	b.misfits[fleet]++
}

// newReader makes the reader of a session.
func (w *worker) newReader() *reading.Reader {
	return &reading.Reader{Burst: w.burst, Compiled: func(fleet, profile string, problems []rules.Problem) {
		w.metrics.compiled.Inc()
		for _, p := range problems {
			w.log.Error("mapping does not fit its profile", "fleet", fleet, "profile", profile, "field", p.Field, "problem", p.Message)
		}
	}}
}
