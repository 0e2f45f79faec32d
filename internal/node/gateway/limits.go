package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate at which one organisation may ask one gateway: what a person and their colleagues need many times over, and far less than it
// takes to keep the database from others. Quotas of agreements are another matter: they count days, and what was read.
const (
	requestsPerSecond = 50
	requestsAtOnce    = 100
)

// limits bounds how often each organisation asks.
type limits struct {
	mu sync.Mutex
	of map[string]*rate.Limiter
	// each is the rate of one organisation.
	each rate.Limit
}

func newLimits() *limits { return &limits{of: map[string]*rate.Limiter{}, each: requestsPerSecond} }

// take counts a request. The time to wait is 0 if it may go on. Organisations come from the directory, so the map stays small.
func (l *limits) take(organization string, now time.Time) time.Duration {
	l.mu.Lock()
	limiter := l.of[organization]
	if limiter == nil {
		limiter = rate.NewLimiter(l.each, requestsAtOnce)
		l.of[organization] = limiter
	}
	l.mu.Unlock()
	reservation := limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}
