package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// scopesKept is how many revisions of a node's bundle it may still fetch objects of: the present one, and the one before, which it may be
// in the middle of.
const scopesKept = 2

// edgeScopes holds the leases of edge nodes and what their bundles consist of. A node gets an object only if the index that its own
// lease names has it: names of objects are hashes, but whoever learns one must not learn what is in it.
type edgeScopes struct {
	platform  string
	trustFile string

	mu     sync.Mutex
	leases map[string]string
	named  map[string][]scope
}

// scope is one revision of a node's bundle.
type scope struct {
	revision string
	objects  map[string]bool
}

func newEdgeScopes(platform, trustFile string) *edgeScopes {
	return &edgeScopes{platform: platform, trustFile: trustFile, leases: map[string]string{}, named: map[string][]scope{}}
}

// lease gives the present lease of a node's scope as it was signed, or "".
func (s *edgeScopes) lease(edge string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[edge]
}

// set takes a lease and reports whether it is new. An empty one takes it away.
func (s *edgeScopes) set(edge, jws string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if jws == "" {
		delete(s.leases, edge)
		delete(s.named, edge)
		return false
	}
	changed := s.leases[edge] != jws
	s.leases[edge] = jws
	return changed
}

// retain forgets the leases of all other nodes: they were taken away while nobody watched.
func (s *edgeScopes) retain(there map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := func(edge string) bool { return !there[edge] }
	maps.DeleteFunc(s.leases, func(edge, _ string) bool { return gone(edge) })
	maps.DeleteFunc(s.named, func(edge string, _ []scope) bool { return gone(edge) })
}

// allows says whether an object belongs to a node's bundle.
func (s *edgeScopes) allows(ctx context.Context, store jetstream.ObjectStore, edge, object string) error {
	if s.has(edge, object) {
		return nil
	}
	jws := s.lease(edge)
	if jws == "" {
		return edgeNoLease
	}
	lease, err := s.verify(edge, jws)
	if err != nil {
		return err
	}
	if s.holds(edge, lease.Revision) {
		return edgeNotNamed
	}
	sc, err := readScope(ctx, store, lease.Revision)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[edge] != "" { // it may have been taken away meanwhile
		s.named[edge] = append([]scope{sc}, s.named[edge][:min(len(s.named[edge]), scopesKept-1)]...)
	}
	if !sc.objects[object] {
		return edgeNotNamed
	}
	return nil
}

// verify reads a lease as the node itself would, short of its age: who can write the bucket must not open the store.
func (s *edgeScopes) verify(edge, jws string) (contract.Lease, error) {
	raw, err := os.ReadFile(s.trustFile)
	if err != nil {
		return contract.Lease{}, fmt.Errorf("bundle trust: %w", err)
	}
	trust, err := seal.NewTrust(raw)
	if err != nil {
		return contract.Lease{}, err
	}
	lease, err := trust.Lease(jws)
	if err != nil {
		return lease, err
	}
	if lease.Platform != s.platform || lease.Scope != contract.ScopeEdge(edge) {
		return lease, fmt.Errorf("lease of edge node %s is for %s %s", edge, lease.Platform, lease.Scope)
	}
	return lease, nil
}

func (s *edgeScopes) has(edge, object string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.named[edge] {
		if sc.objects[object] {
			return true
		}
	}
	return false
}

func (s *edgeScopes) holds(edge, revision string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.named[edge]) > 0 && s.named[edge][0].revision == revision
}

// readScope reads the index of a revision.
func readScope(ctx context.Context, store jetstream.ObjectStore, revision string) (scope, error) {
	name := contract.ObjectName("index", revision)
	raw, err := readObject(ctx, store, name)
	if err != nil {
		return scope{}, err
	}
	var index contract.Index
	if err := json.Unmarshal(raw, &index); err != nil || index.Revision() != revision {
		return scope{}, fmt.Errorf("index %s: its content is another", revision)
	}
	sc := scope{revision: revision, objects: map[string]bool{name: true}}
	for _, ref := range index.Shards {
		sc.objects[contract.ObjectName("shard", ref.Digest)] = true
	}
	return sc, nil
}

// follow tells pushed of every lease of an edge node that is new, until ctx ends. It survives a broker that is away.
func (s *edgeScopes) follow(ctx context.Context, js jetstream.JetStream, pushed func(edge, jws string), failed func(error)) error {
	again := backoff.NewExponentialBackOff()
	again.InitialInterval, again.MaxInterval = 200*time.Millisecond, 10*time.Second
	for {
		err := s.watch(ctx, js, pushed, again.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed(err)
		select {
		case <-time.After(again.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *edgeScopes) watch(ctx context.Context, js jetstream.JetStream, pushed func(edge, jws string), good func()) error {
	leases, err := js.KeyValue(ctx, contract.LeaseBucket)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", contract.LeaseBucket, err)
	}
	watcher, err := leases.Watch(ctx, contract.ScopeEdge("*"))
	if err != nil {
		return fmt.Errorf("watch leases of edge nodes: %w", err)
	}
	defer func() { _ = watcher.Stop() }()
	there := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case entry, ok := <-watcher.Updates():
			if !ok {
				return errors.New("watch of the leases of edge nodes ended")
			}
			good()
			if entry == nil { // end of what was there at the start
				s.retain(there)
				continue
			}
			edge, jws := strings.TrimPrefix(entry.Key(), contract.ScopeEdge("")), ""
			there[edge] = true
			if entry.Operation() == jetstream.KeyValuePut {
				jws = string(entry.Value())
			}
			if s.set(edge, jws) {
				pushed(edge, jws)
			}
		}
	}
}
