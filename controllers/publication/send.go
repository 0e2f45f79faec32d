package publication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/natslink"
)

// sent is what is known to be in the broker of a platform.
type sent struct {
	lease contract.Lease
	keyID string
	// objects names the shards in the store, by digest, that keyID signed.
	objects map[string]bool
	// entry is the revision of the lease in its bucket; 0 where it is not known.
	entry uint64
	// atStart is set until the first publication of this process.
	atStart bool
	// memo and cuts spare what has not changed.
	memo bundle.Memo
	cuts bundle.Cuts
	// edges is what is out for each edge node.
	edges map[string]*edgeSent
	// history holds the last indexes of each scope, newest last.
	history history
}

// state gives what was sent, read from the broker the first time: after a restart nothing is sent again that is there.
func (r *Reconciler) state(ctx context.Context, name types.NamespacedName, p *v1alpha1.GridPlatform, link *natslink.Link, trust *seal.Trust) (*sent, error) {
	if s := r.sent[name]; s != nil {
		return s, nil
	}
	s := &sent{objects: map[string]bool{}, atStart: true, edges: map[string]*edgeSent{}, history: newHistory()}
	lease, index, keyID, err := current(ctx, link.JetStream, trust, contract.ScopeCenter)
	if err != nil {
		return nil, err
	}
	if lease != nil {
		s.lease, s.keyID = *lease, keyID
		s.found(contract.ScopeCenter, *index)
	}
	if b := p.Status.Bundle; b != nil && b.Sequence > s.lease.Sequence {
		s.lease.Sequence, s.lease.Revision = b.Sequence, "" // a later lease was made: what the broker has may be older
	}
	if r.sent == nil {
		r.sent = map[types.NamespacedName]*sent{}
	}
	r.sent[name] = s
	return s, nil
}

// found notes what an index that is in force names.
func (s *sent) found(scope string, index contract.Index) {
	s.history.push(scope, index)
	for _, ref := range index.Shards {
		s.objects[ref.Digest] = true
	}
}

// current reads the lease of a scope in the broker, its index and the key that signed it; nil where there is none, or one that no key
// of ours signed.
func current(ctx context.Context, js jetstream.JetStream, trust *seal.Trust, scope string) (*contract.Lease, *contract.Index, string, error) {
	leases, err := js.KeyValue(ctx, contract.LeaseBucket)
	if err != nil {
		return nil, nil, "", errBroker{fmt.Errorf("bucket %s: %w", contract.LeaseBucket, err)}
	}
	entry, err := leases.Get(ctx, scope)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil, "", nil
	}
	if err != nil {
		return nil, nil, "", errBroker{err}
	}
	lease, err := trust.Lease(string(entry.Value()))
	if err != nil || lease.Scope != scope {
		return nil, nil, "", nil //nolint:nilerr // another key signed it: what is there must be signed anew
	}
	store, err := js.ObjectStore(ctx, contract.BundleStore)
	if err != nil {
		return nil, nil, "", errBroker{err}
	}
	raw, err := store.GetBytes(ctx, contract.ObjectName("index", lease.Revision))
	if err != nil {
		return nil, nil, "", nil //nolint:nilerr // a lease without its index is as good as none
	}
	var index contract.Index
	if err := json.Unmarshal(raw, &index); err != nil || index.Revision() != lease.Revision {
		return nil, nil, "", nil //nolint:nilerr // likewise
	}
	return &lease, &index, seal.LeaseKey(string(entry.Value())), nil
}

// send puts shards, index and lease into the broker, in this order: whoever sees the lease finds all that it names. It gives the revision
// of the lease in its bucket.
func (s *sent) send(ctx context.Context, js jetstream.JetStream, signer *seal.Signer, shards []bundle.Prepared, index contract.Index, lease contract.Lease) (uint64, error) {
	store, err := s.lay(ctx, js, signer, shards, index)
	if err != nil {
		return 0, err
	}
	return s.lead(ctx, js, store, signer, index, lease)
}

// lay puts shards and index into the broker, where nobody looks at them before a lease names them.
func (s *sent) lay(ctx context.Context, js jetstream.JetStream, signer *seal.Signer, shards []bundle.Prepared, index contract.Index) (jetstream.ObjectStore, error) {
	store, err := js.ObjectStore(ctx, contract.BundleStore)
	if err != nil {
		return nil, errBroker{fmt.Errorf("object store %s: %w", contract.BundleStore, err)}
	}
	for i, ref := range index.Shards {
		if s.objects[ref.Digest] {
			continue
		}
		shard, err := shards[i].Open()
		if err != nil {
			return nil, err
		}
		raw, err := signer.ShardOf(shard, ref.Digest)
		if err != nil {
			return nil, err
		}
		if _, err := store.PutBytes(ctx, contract.ObjectName("shard", ref.Digest), raw); err != nil {
			return nil, errBroker{fmt.Errorf("shard %s: %w", ref.Name, err)}
		}
		s.objects[ref.Digest] = true
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	if _, err := store.PutBytes(ctx, contract.ObjectName("index", index.Revision()), raw); err != nil {
		return nil, errBroker{fmt.Errorf("index: %w", err)}
	}
	return store, nil
}

// lead puts out the lease that names what was laid, and removes what no lease names any more.
func (s *sent) lead(ctx context.Context, js jetstream.JetStream, store jetstream.ObjectStore, signer *seal.Signer, index contract.Index, lease contract.Lease) (uint64, error) {
	entry, err := putLease(ctx, js, signer, lease)
	if err != nil {
		return 0, err
	}
	s.drop(ctx, store, s.history.push(lease.Scope, index))
	return entry, nil
}

func putLease(ctx context.Context, js jetstream.JetStream, signer *seal.Signer, lease contract.Lease) (uint64, error) {
	jws, err := signer.Lease(lease)
	if err != nil {
		return 0, err
	}
	leases, err := js.KeyValue(ctx, contract.LeaseBucket)
	if err != nil {
		return 0, errBroker{err}
	}
	entry, err := leases.Put(ctx, lease.Scope, []byte(jws))
	if err != nil {
		return 0, errBroker{fmt.Errorf("lease %d: %w", lease.Sequence, err)}
	}
	return entry, nil
}

// lost reports whether the lease in the broker is another than the one that was put there: the broker lost its storage.
func (s *sent) lost(ctx context.Context, js jetstream.JetStream) (bool, error) {
	if s.entry == 0 {
		return false, nil
	}
	leases, err := js.KeyValue(ctx, contract.LeaseBucket)
	if err != nil {
		return false, errBroker{err}
	}
	entry, err := leases.Get(ctx, contract.ScopeCenter)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return true, nil
	}
	if err != nil {
		return false, errBroker{err}
	}
	return entry.Revision() != s.entry, nil
}

// drop removes what no scope names any more. What cannot be removed costs space and nothing else.
func (s *sent) drop(ctx context.Context, store jetstream.ObjectStore, gone []contract.ShardRef) {
	for _, ref := range gone {
		if ref.Name == indexObject {
			_ = store.Delete(ctx, contract.ObjectName("index", ref.Digest))
			continue
		}
		_ = store.Delete(ctx, contract.ObjectName("shard", ref.Digest))
		delete(s.objects, ref.Digest)
	}
}

// adopt takes the documents of objects that do not compile now from the bundle that is in force, after a restart of the
// operator: the last good configuration stays.
func (r *Reconciler) adopt(ctx context.Context, name types.NamespacedName, link *natslink.Link, trust *seal.Trust) error {
	kept := r.Shelf.Kept(name)
	if len(kept) == 0 {
		return nil
	}
	parts, err := former(ctx, link.JetStream, trust)
	if err != nil {
		return err
	}
	for _, key := range kept {
		r.Shelf.Adopt(name, key, bundle.Only(parts, key.Kind, key.Name))
	}
	return nil
}
