package grid

import (
	"context"
	"sync"
	"time"
)

const (
	// deliveriesAtOnce bounds the attempts under way. An organisation with deliveriesOfOne of them is given no more: one whose endpoint hangs
	// holds up nobody else's messages.
	deliveriesAtOnce, deliveriesOfOne = 32, 4
	// deliverEvery is how often it is looked for messages that are due.
	deliverEvery = 500 * time.Millisecond
)

// flow is the attempts of a deliverer that are under way.
type flow struct {
	d    *deliverer
	work sync.WaitGroup
	// freed says that an attempt ended.
	freed chan struct{}

	mu   sync.Mutex
	busy map[string]int // by organisation
	all  int
}

// run delivers until ctx ends.
func (d *deliverer) run(ctx context.Context) error {
	f := &flow{d: d, freed: make(chan struct{}, 1), busy: map[string]int{}}
	defer f.work.Wait()
	tick := time.NewTicker(deliverEvery)
	defer tick.Stop()
	for {
		n, err := f.begin(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.Warn("deliver", "err", err)
		}
		if n > 0 && err == nil {
			continue
		}
		wake := f.freed
		if err != nil {
			wake = nil // what ends now must not make the next fault follow at once
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-tick.C:
		}
	}
}

// begin claims what is due and there is room for, and begins to send it. It gives the number of attempts.
func (f *flow) begin(ctx context.Context) (int, error) {
	b := f.d.in.Current()
	limit, full := f.room()
	if b == nil || limit == 0 {
		return 0, nil
	}
	messages, err := f.d.claim(ctx, limit, full)
	for _, m := range messages {
		f.take(m.Organization)
		f.work.Go(func() {
			defer f.give(m.Organization)
			if err := f.d.attempt(ctx, b.Directory, m); err != nil && ctx.Err() == nil {
				f.d.log.Warn("deliver", "err", err)
			}
		})
	}
	return len(messages), err
}

// room says how many messages may be claimed, and of which organisations none.
func (f *flow) room() (limit int, full []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	full = []string{}
	for organization, n := range f.busy {
		if n >= deliveriesOfOne {
			full = append(full, organization)
		}
	}
	return min(deliveriesOfOne, deliveriesAtOnce-f.all), full
}

func (f *flow) take(organization string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy[organization]++
	f.all++
}

func (f *flow) give(organization string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	if f.busy[organization]--; f.busy[organization] == 0 {
		delete(f.busy, organization)
	}
	select {
	case f.freed <- struct{}{}:
	default:
	}
}
