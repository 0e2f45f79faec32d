// Package intake takes signed bundles from the broker: it watches the lease of its scope, fetches the shards that changed,
// verifies everything, keeps the last good bundle on disk, and hands each new one to the role that asked.
//
//	watch lease -> verify.go -> fetch.go -> decode.go -> disk.go -> Subscribe
//
// A bundle that cannot be verified or fetched changes nothing: the last good one stays in force until its lease runs out.
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// Bundle is a verified bundle. It is shared between readers and must not be changed.
type Bundle struct {
	// Lease in force.
	Lease     contract.Lease
	Directory contract.Directory
	// Access has the datasets. Its grants are nil: they stay as they came, in Grants.
	Access contract.Access
	// Grants by shard: see contract.GrantsShard. Empty for roles that do not read them.
	Grants map[string]Grants
	// Modules are the Rego files of the access shard, path to text.
	Modules map[string]string
	Rules   contract.Rules
	// Fleets and Credentials by fleet name; empty for roles that do not read them.
	Fleets      map[string]contract.Fleet
	Credentials map[string]contract.Credentials
	// EdgeCredentials by edge node; empty for roles that do not read them.
	EdgeCredentials map[string]contract.EdgeCredential
	// Edges by name: what the services at the centre know of edge nodes.
	Edges map[string]contract.Edge

	index contract.Index
}

// Grants are those of one shard: 100,000 of them decoded would be ten times as large.
type Grants struct {
	// Digest of the shard: the same digest is the same grants.
	Digest string
	// JSON is the document of contract.Access.Grants: by dataset, consumer and agreement.
	JSON string
}

// ErrNone is what Live gives before the first bundle came.
var ErrNone = errors.New("no policy bundle received yet")

// Intake keeps the bundle in force.
type Intake struct {
	cfg  contract.NodeConfig
	want func(shard string) bool
	log  *slog.Logger
	disk disk
	now  func() time.Time

	mu      sync.Mutex
	current *Bundle
	problem error
	subs    []chan *Bundle

	// parts are decoded shards by name, reused while their digest stays, and seen is the highest sequence; only Open and
	// Run touch them and keyID.
	parts map[string]part
	seen  int64
	// keyID is the key that signed the lease in force and the shards on disk.
	keyID string
}

// Open reads the last good bundle from cfg.StateDir, if there is one. want selects shards by name.
func Open(cfg contract.NodeConfig, want func(shard string) bool, log *slog.Logger) (*Intake, error) {
	d, err := openDisk(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	i := &Intake{cfg: cfg, want: want, log: log, disk: d, now: time.Now, parts: map[string]part{}}
	if err := i.restore(); err != nil {
		// A damaged copy is not fatal: the broker has the bundle. It is said, and nothing is in force until then.
		log.Warn("kept bundle not usable", "err", err)
	}
	return i, nil
}

// NewStatic gives an intake that runs nothing: tests publish with Set.
func NewStatic(b *Bundle) *Intake { return &Intake{current: b, now: time.Now} }

// Current gives the last good bundle whatever its age, or nil.
func (i *Intake) Current() *Bundle {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current
}

// Live gives the bundle in force at the time now, or an error when there is none or its lease has run out.
func (i *Intake) Live(now time.Time) (*Bundle, error) {
	b := i.Current()
	if b == nil {
		return nil, ErrNone
	}
	if !b.Lease.ExpiresAt.After(now) {
		return nil, fmt.Errorf("lease %d of the policy bundle expired at %s", b.Lease.Sequence, b.Lease.ExpiresAt.Format(time.RFC3339))
	}
	return b, nil
}

// Problem says why a newer bundle could not be taken, or nil.
func (i *Intake) Problem() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.problem
}

// Subscribe gives a channel on which the latest bundle waits; one that was not read in time is replaced by a newer one. A
// renewed lease is sent as well.
func (i *Intake) Subscribe() <-chan *Bundle {
	i.mu.Lock()
	defer i.mu.Unlock()
	ch := make(chan *Bundle, 1)
	if i.current != nil {
		ch <- i.current
	}
	i.subs = append(i.subs, ch)
	return ch
}

// Set publishes a bundle.
func (i *Intake) Set(b *Bundle) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current, i.problem = b, nil
	for _, ch := range i.subs {
		select {
		case <-ch:
		default:
		}
		ch <- b
	}
}

func (i *Intake) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.problem = err
}

// Run follows the leases and bundles of a broker until ctx ends. It survives a broker that is away and buckets that do not exist yet.
func (i *Intake) Run(ctx context.Context, js jetstream.JetStream) error {
	return i.Follow(ctx, bucketFeed{js})
}

// Follow takes every lease that a feed gives until ctx ends. It survives a feed that breaks.
func (i *Intake) Follow(ctx context.Context, feed Feed) error {
	again := backoff.NewExponentialBackOff()
	again.InitialInterval, again.MaxInterval = 200*time.Millisecond, 10*time.Second
	for {
		err := i.watch(ctx, feed, again.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		i.fail(err)
		i.log.Warn("policy bundle", "err", err)
		select {
		case <-time.After(again.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch takes every lease that comes. It returns when the watch breaks or a lease could not be taken; the next watch
// begins with the latest lease again.
func (i *Intake) watch(ctx context.Context, feed Feed, good func()) error {
	ctx, cancel := context.WithCancel(ctx) // ends the watch with this function
	defer cancel()
	objects, err := feed.Objects(ctx)
	if err != nil {
		return err
	}
	leases, err := feed.Leases(ctx, i.cfg.Scope)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case jws, ok := <-leases:
			if !ok {
				return errors.New("watch of the lease ended")
			}
			if err := i.take(ctx, objects, jws); err != nil {
				return err
			}
			good()
		}
	}
}
