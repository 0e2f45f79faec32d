package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/dizuo/dizuo/internal/reason"
)

// What one organisation may do at once at one gateway. The rate of its requests says nothing of how long each takes: slow ones would
// take every connection from the others, and streams whose client hardly reads would fill the memory.
const (
	readsAtOnce   = 4
	streamsAtOnce = 4
	// readsWait is how long a read waits for one of the organisation's own to end.
	readsWait = 2 * time.Second
)

var errCrowded = errors.New("this organisation has as many requests under way as it may; wait for one to end")

// crowds counts what is under way by organisation. Organisations and sources come from the bundle, so the map stays small.
type crowds struct {
	mu sync.Mutex
	of map[string]*semaphore.Weighted
}

func newCrowds() *crowds { return &crowds{of: map[string]*semaphore.Weighted{}} }

func (c *crowds) places(key string, n int64) *semaphore.Weighted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[key] == nil {
		c.of[key] = semaphore.NewWeighted(n)
	}
	return c.of[key]
}

// read takes a place among the organisation's reads of one database, that of the platform by the empty name; leave gives it back.
func (c *crowds) read(ctx context.Context, organization, source string) (leave func(), err error) {
	places := c.places("read\x00"+organization+"\x00"+source, readsAtOnce)
	waiting, cancel := context.WithTimeout(ctx, readsWait)
	defer cancel()
	if places.Acquire(waiting, 1) != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, errCrowded
	}
	return func() { places.Release(1) }, nil
}

// stream takes a place among the organisation's streams, or says that there is none.
func (c *crowds) stream(organization string) (leave func(), err error) {
	places := c.places("stream\x00"+organization, streamsAtOnce)
	if !places.TryAcquire(1) {
		return nil, errCrowded
	}
	return func() { places.Release(1) }, nil
}

// crowded is the problem of errCrowded.
func crowded() *Problem {
	p := problem(http.StatusTooManyRequests, reasonRateLimited, reason.Of(reasonRateLimited).English)
	p.Detail, p.retryAfter = errCrowded.Error(), time.Second
	return p
}
