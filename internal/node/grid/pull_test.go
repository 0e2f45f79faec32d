package grid

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// pulling gives a session over a broker's ingest log that has its consumer and nothing else, and who publishes into the log.
func pulling(t *testing.T, now func() time.Time) (s *session, js jetstream.JetStream, publish func()) {
	t.Helper()
	nc, js := connect(t, broker(t).ClientURL())
	t.Cleanup(nc.Close)
	cons, err := js.CreateConsumer(t.Context(), contract.IngestStream, jetstream.ConsumerConfig{Durable: contract.IngestConsumer, FilterSubject: contract.IngestFilter,
		AckPolicy: jetstream.AckAllPolicy, AckWait: ackWait, MaxAckPending: 4 * maxBatch})
	if err != nil {
		t.Fatal(err)
	}
	s = &session{w: &worker{metrics: newMetrics(prometheus.NewRegistry()), now: now}, edges: &edges{}, cons: cons}
	return s, js, func() {
		t.Helper()
		if _, err := js.Publish(t.Context(), contract.IngestPrefix+contract.DeviceSubject("smokes", "s1", contract.ChannelSignal), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALoneMessageIsTakenAsItComes: whoever is alone does not wait for others, and of a backlog as much is taken as fits.
func TestALoneMessageIsTakenAsItComes(t *testing.T) {
	t.Parallel()
	s, _, publish := pulling(t, time.Now)
	least := time.Hour
	for range 5 { // a machine may be busy once
		publish()
		start := time.Now()
		got, err := s.fetch(t.Context())
		if err != nil || len(got) != 1 {
			t.Fatal(len(got), err)
		}
		least = min(least, time.Since(start))
	}
	if least > fetchWait/2 {
		t.Errorf("a message waits %s for others", least)
	}
	if got, err := s.fetch(t.Context()); err != nil || len(got) != 0 {
		t.Fatal(len(got), err)
	}
	// The request that is under way takes what comes between, and the next what it had no room for.
	for range maxBatch + 100 {
		publish()
	}
	for left := maxBatch + 100; left > 0; {
		got, err := s.fetch(t.Context())
		if err != nil || len(got) == 0 || len(got) > maxBatch {
			t.Fatal(left, len(got), err)
		}
		left -= len(got)
	}
}

// TestWhatWasDeliveredAndNeverCameEndsTheSession: the broker would not give it again before ackWait, and nothing else would show the gap.
func TestWhatWasDeliveredAndNeverCameEndsTheSession(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	s, js, publish := pulling(t, func() time.Time { return clock })
	publish()
	other, err := js.Consumer(t.Context(), contract.IngestStream, contract.IngestConsumer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Next(); err != nil {
		t.Fatal(err)
	}
	if err := s.advanceWatermark(t.Context(), nil, clock); err != nil || !s.watermark.IsZero() {
		t.Fatalf("a message may be on its way: %v, %s", err, s.watermark)
	}
	clock = clock.Add(amissFor)
	if err := s.advanceWatermark(t.Context(), nil, clock); err == nil {
		t.Error("the session waits for a message that nobody will send")
	}
}
