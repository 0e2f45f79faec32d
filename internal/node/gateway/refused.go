package gateway

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// refusedAtOnce bounds the lines at once about requests that were refused before a decision: anybody could fill the disk with them. After that
// there is one each refusedEvery, and one of each reason for what was not written.
const refusedAtOnce = 10

// refusedCounts counts what was refused before a decision and is not in the log yet.
type refusedCounts struct {
	limit *rate.Limiter

	mu    sync.Mutex
	count map[string]int64
}

func newRefusedCounts() *refusedCounts {
	return &refusedCounts{limit: rate.NewLimiter(rate.Every(refusedEvery), refusedAtOnce), count: map[string]int64{}}
}

// add counts one more of a reason, and gives how many a line is to be written for: 0 for none now.
func (r *refusedCounts) add(reason string, now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[reason]++
	if !r.limit.AllowN(now, 1) {
		return 0
	}
	n := r.count[reason]
	delete(r.count, reason)
	return n
}

// rest gives what was counted and not written.
func (r *refusedCounts) rest() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.count
	r.count = map[string]int64{}
	return out
}

// logRefused writes a line about requests that were refused before a decision. Nothing waits for it, since nothing leaves.
func (s *server) logRefused(reason string, count int64) {
	if count == 0 || reason == reasonLogUnavailable {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), logTimeout)
	defer cancel()
	_, err := s.log.Enqueue(ctx, chain.Record{Kind: contract.LogRefused, At: s.now(), Request: requestID(),
		LogBody: contract.LogBody{Reason: reason, Count: count}})
	if err != nil {
		s.slog.Error("line of a refusal", "reason", reason, "err", err)
	}
}
