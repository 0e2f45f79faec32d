package grid

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// fetchWait is how long an empty ingest log is waited for.
	fetchWait = 500 * time.Millisecond
	// pullFor is how long a request for messages stands at the broker, pullBeat how often the broker says meanwhile that it still does: a
	// broker that was restarted has forgotten it.
	pullFor, pullBeat = 5 * time.Second, time.Second
	// amissFor is how long a message may be on its way here.
	amissFor = 2 * time.Second
)

// fetch takes what is next in the ingest log: all that is there, and it waits only while nothing is. A lone alarm is taken as it comes. The
// request for more goes on while the batch is worked off. It fails at a gap: then something was delivered that this session never saw.
func (s *session) fetch(ctx context.Context) ([]jetstream.Msg, error) {
	patience := time.NewTimer(s.edges.patience(s.w.now()))
	defer patience.Stop()
	var out []jetstream.Msg
	for wait := true; len(out) < maxBatch; {
		m, err := s.next(ctx, patience.C, wait)
		if err != nil {
			return nil, err
		}
		if m == nil {
			break
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("message: %w", err)
		}
		if s.delivered++; meta.Sequence.Consumer != s.delivered || meta.NumDelivered != 1 || meta.Sequence.Stream <= s.sequence {
			return nil, fmt.Errorf("delivery %d of message %d is not the one expected", meta.Sequence.Consumer, meta.Sequence.Stream)
		}
		out, wait = append(out, m), meta.NumPending > 0 // more of a backlog makes a larger batch
	}
	return out, nil
}

// next gives a message, or nil if there is none: at once, or with wait when patience is over or the request is.
func (s *session) next(ctx context.Context, patience <-chan time.Time, wait bool) (jetstream.Msg, error) {
	if s.pull == nil {
		var err error
		if s.pull, err = s.cons.Fetch(maxBatch, jetstream.FetchMaxWait(pullFor), jetstream.FetchHeartbeat(pullBeat)); err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
	}
	if !wait {
		select {
		case m, ok := <-s.pull.Messages():
			return s.came(m, ok)
		default:
			return nil, nil //nolint:nilnil // none is no error
		}
	}
	select {
	case m, ok := <-s.pull.Messages():
		return s.came(m, ok)
	case <-patience:
		return nil, nil //nolint:nilnil // none is no error
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// came ends the request when its channel is closed: it is full, or its time is over.
func (s *session) came(m jetstream.Msg, ok bool) (jetstream.Msg, error) {
	if ok {
		return m, nil
	}
	err := s.pull.Error()
	s.pull = nil
	if err != nil && !errors.Is(err, jetstream.ErrNoHeartbeat) {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return nil, nil //nolint:nilnil // none is no error
}

// advanceWatermark moves the watermark: to the last message, or to now if nothing waits. Without that, an exit that waits in the ingest log
// would come after the alarm about its absence. before is a time before it was looked for messages.
func (s *session) advanceWatermark(ctx context.Context, got []jetstream.Msg, before time.Time) error {
	if len(got) > 0 {
		meta, err := got[len(got)-1].Metadata()
		if err != nil {
			return fmt.Errorf("message: %w", err)
		}
		s.w.metrics.pending.Set(float64(meta.NumPending))
		s.watermark, s.amiss = meta.Timestamp, time.Time{}
		return nil
	}
	info, err := s.cons.Info(ctx)
	if err != nil {
		return fmt.Errorf("consumer: %w", err) // no answer is no proof that nothing waits
	}
	s.w.metrics.pending.Set(float64(info.NumPending))
	if info.Delivered.Consumer != s.delivered {
		return s.miss(info.Delivered.Consumer)
	}
	if s.amiss = (time.Time{}); info.NumPending == 0 {
		s.watermark = before
	}
	return nil
}

// miss fails once the broker has said for a while that it delivered what never came here, over a connection that broke: nobody would ask for
// that again before ackWait.
func (s *session) miss(delivered uint64) error {
	now := s.w.now()
	if s.amiss.IsZero() {
		s.amiss = now
	}
	if now.Sub(s.amiss) >= amissFor {
		return fmt.Errorf("the broker has delivered %d messages of this session, and %d came", delivered, s.delivered)
	}
	return nil
}
