package intake

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// Feed is where leases and bundles come from.
type Feed interface {
	// Leases gives the present lease of a scope, signed, and every later one, until ctx ends or the feed breaks; then it closes the
	// channel.
	Leases(ctx context.Context, scope string) (<-chan string, error)
	// Objects gives the store of indexes and shards.
	Objects(ctx context.Context) (Objects, error)
}

// Objects gives an object by its name: see contract.ObjectName. A jetstream.ObjectStore is one.
type Objects interface {
	GetBytes(ctx context.Context, name string, opts ...jetstream.GetObjectOpt) ([]byte, error)
}

// bucketFeed is the feed of the roles at the centre: they read the buckets of the broker.
type bucketFeed struct{ js jetstream.JetStream }

// Objects opens the object store.
func (f bucketFeed) Objects(ctx context.Context) (Objects, error) {
	store, err := f.js.ObjectStore(ctx, contract.BundleStore)
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", contract.BundleStore, err)
	}
	return store, nil
}

// Leases watches the bucket.
func (f bucketFeed) Leases(ctx context.Context, scope string) (<-chan string, error) {
	leases, err := f.js.KeyValue(ctx, contract.LeaseBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", contract.LeaseBucket, err)
	}
	watcher, err := leases.Watch(ctx, scope)
	if err != nil {
		return nil, fmt.Errorf("watch lease %s: %w", scope, err)
	}
	out := make(chan string)
	go func() {
		defer close(out)
		defer func() { _ = watcher.Stop() }()
		for {
			select {
			case <-ctx.Done():
				return
			case entry, ok := <-watcher.Updates():
				if !ok {
					return
				}
				if entry == nil { // end of what was there at the start
					continue
				}
				select {
				case out <- string(entry.Value()):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}
