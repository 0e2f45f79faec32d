package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/node/intake"
)

// errSuperseded says that a newer registry came while an answer was made.
var errSuperseded = errors.New("registry superseded")

// resweepAfter is the pause before a sweep that failed is tried again.
const resweepAfter = time.Second

// flushTimeout bounds the wait for the broker to have taken the answers given before.
const flushTimeout = 5 * time.Second

// sweep cuts every device connection that may not stay until none is left, and returns how many it cut. gone are client ids that may
// be cut unseen, before anybody looks. An error means that some may be left.
type sweep func(ctx context.Context, stays func(user, clientID string) bool, gone []string) (cut int, err error)

// enforcer turns bundles into registries and sees to it that nobody stays connected whom the newest one would not admit.
//
// The order makes a revocation complete: switch the registry (while waits for answers in work), flush (the broker has taken
// every answer given before), sweep until none is left, and only then applied. Every replica does so for itself. So when
// the lowest applied sequence of all replicas reaches a change, the change holds: whatever a slower replica still admitted,
// its own sweep found.
type enforcer struct {
	platform string
	// ca reads the platform's CA, under which organisations' certificates stand; nil at an edge node, where none come.
	ca       func() (string, error)
	in       *intake.Intake
	flush    func(context.Context) error
	sweep    sweep
	now      func() time.Time
	log      *slog.Logger
	stats    *stats
	admitted *admitted
	// returning are whom a live lease let in, at an edge node; nil at the centre.
	returning *returning

	// switching is held for reading while an answer is sent, for writing while the registry changes.
	switching sync.RWMutex
	registry  *Registry
	// made is the revision that registry was made from.
	made string
	// gone are the client ids that bundles took the right of since the last sweep that was complete.
	gone map[string]bool

	mu       sync.Mutex
	sequence int64
	revision string
	at       time.Time
	problem  error
}

// Applied gives the lease that is fully enforced, and since when its revision is.
func (e *enforcer) Applied() (sequence int64, revision string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sequence, e.revision, e.at
}

// Problem says why the newest bundle is not fully enforced, or nil.
func (e *enforcer) Problem() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.problem
}

// live gives the registry to decide by, or an error when there is none or the lease has run out: then nobody new comes in.
func (e *enforcer) live(now time.Time) (*Registry, error) {
	if _, err := e.in.Live(now); err != nil {
		return nil, err
	}
	e.switching.RLock()
	defer e.switching.RUnlock()
	if e.registry == nil {
		return nil, intake.ErrNone
	}
	return e.registry, nil
}

// door gives the registry to decide by. Where the lease has run out and this is an edge node, again says that only those may come in who
// were in before.
func (e *enforcer) door(now time.Time) (r *Registry, again bool, err error) {
	if r, err = e.live(now); err == nil || e.returning == nil {
		return r, false, err
	}
	if r = e.present(); r == nil {
		return nil, false, err
	}
	return r, true, nil
}

// while runs f if r is still the registry, and keeps it so until f is done.
func (e *enforcer) while(r *Registry, f func() error) error {
	e.switching.RLock()
	defer e.switching.RUnlock()
	if e.registry != r {
		return errSuperseded
	}
	return f()
}

// Run takes bundles until ctx ends.
func (e *enforcer) Run(ctx context.Context) error {
	bundles := e.in.Subscribe()
	var latest *intake.Bundle
	var again <-chan time.Time
	dirty := true // nobody knows what was admitted before this process lived
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-bundles:
			if !b.Lease.ExpiresAt.After(e.now()) {
				if e.returning != nil && e.registry == nil {
					e.take(b) // who was in before may come back by it
				}
				continue // kept from before and out of date: good neither for letting in anew nor for cutting off
			}
			latest = b
			dirty = e.take(b) || dirty
		case <-again:
		}
		again = nil
		if dirty {
			if err := e.clear(ctx); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				e.fail(err)
				again = time.After(resweepAfter)
				continue
			}
			dirty = false
		}
		e.done(latest)
	}
}

// take switches to the registry of a bundle and reports whether a sweep is needed.
func (e *enforcer) take(b *intake.Bundle) (dirty bool) {
	if e.registry != nil && e.made == b.Lease.Revision {
		return false // a renewed lease
	}
	next, problems := NewRegistry(e.platform, b.Credentials)
	problems = append(problems, next.takeEdges(b.EdgeCredentials)...)
	problems = append(problems, e.organizations(next, b)...)
	for _, err := range problems {
		e.log.Warn("credentials", "err", err)
	}
	dirty = Revokes(e.registry, next)
	if dirty {
		if e.gone == nil {
			e.gone = map[string]bool{}
		}
		for id := range Gone(e.registry, next) {
			e.gone[id] = true
		}
	}
	e.switching.Lock()
	defer e.switching.Unlock()
	e.registry, e.made = next, b.Lease.Revision
	e.admitted.begin()
	e.returning.retain(next.Stays)
	return dirty
}

// organizations gives a registry those that take cases over MQTT. Without a CA that can be read none comes in.
func (e *enforcer) organizations(next *Registry, b *intake.Bundle) []error {
	if e.ca == nil {
		return next.takeOrganizations(nil, "")
	}
	ca, err := e.ca()
	problems := next.takeOrganizations(b.Directory.Organizations, ca)
	if err != nil {
		problems = append(problems, fmt.Errorf("platform's CA: %w", err))
	}
	return problems
}

// clear cuts everybody who may not stay under the present registry.
func (e *enforcer) clear(ctx context.Context) error {
	began := e.now()
	flush, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := e.flush(flush); err != nil {
		return fmt.Errorf("answers of the auth callout not confirmed: %w", err)
	}
	cut, err := e.sweep(ctx, e.registry.Stays, slices.Collect(maps.Keys(e.gone)))
	if err == nil {
		e.gone = nil
	}
	e.stats.cut(cut, e.now().Sub(began))
	if cut > 0 {
		e.log.Info("connections cut", "count", cut)
	}
	return err
}

func (e *enforcer) done(b *intake.Bundle) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.revision != b.Lease.Revision {
		e.at = e.now().UTC()
	}
	e.sequence, e.revision, e.problem = b.Lease.Sequence, b.Lease.Revision, nil
}

func (e *enforcer) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	level := slog.LevelWarn
	if e.problem != nil && e.problem.Error() == err.Error() { // said already, a second ago
		level = slog.LevelDebug
	}
	e.log.Log(context.Background(), level, "connections not all cut, trying again", "err", err)
	e.problem = err
}
