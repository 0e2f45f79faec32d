package intake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// take verifies a lease, fetches what its revision needs and is not here yet, writes it to disk and publishes it.
func (i *Intake) take(ctx context.Context, store Objects, jws string) error {
	trust, err := i.trusted(ctx, store, jws)
	if err != nil {
		return err
	}
	lease, err := trust.Lease(jws)
	if err != nil {
		return err
	}
	current := i.Current()
	if err := lease.Follows(i.cfg.Platform, i.cfg.Scope, i.seen, i.now()); err != nil {
		return err
	}
	turned := current != nil && seal.LeaseKey(jws) != i.keyID // then all shards are signed anew too
	if current != nil && current.Lease.Revision == lease.Revision && !turned {
		renewed := *current
		renewed.Lease = lease
		if err := i.keep(&renewed, jws); err != nil {
			return err
		}
		i.forget(trust, i.keyID)
		return nil
	}
	index, err := fetchIndex(ctx, store, lease.Revision)
	if err != nil {
		return err
	}
	if err := i.fetchShards(ctx, store, trust, index, turned); err != nil {
		return err
	}
	bundle, err := i.assemble(lease, index)
	if err != nil {
		return err
	}
	if err := i.keep(bundle, jws); err != nil {
		return err
	}
	i.log.Info("policy bundle in force", "revision", lease.Revision, "sequence", lease.Sequence)
	i.disk.prune(index)
	i.forget(trust, i.keyID)
	return nil
}

// keep writes to disk before it publishes: a node that restarts never holds less than what it enforced.
func (i *Intake) keep(b *Bundle, jws string) error {
	if err := i.disk.writeKept(kept{Lease: jws, Index: b.index}); err != nil {
		return err
	}
	i.seen, i.keyID = b.Lease.Sequence, seal.LeaseKey(jws)
	i.Set(b)
	return nil
}

func fetchIndex(ctx context.Context, store Objects, revision string) (contract.Index, error) {
	var index contract.Index
	raw, err := store.GetBytes(ctx, contract.ObjectName("index", revision))
	if err != nil {
		return index, fmt.Errorf("index %s: %w", revision, err)
	}
	return index, readIndex(raw, revision, &index)
}

// readIndex checks an index against the revision that the signed lease names.
func readIndex(raw []byte, revision string, index *contract.Index) error {
	if err := json.Unmarshal(raw, index); err != nil {
		return fmt.Errorf("index %s: %w", revision, err)
	}
	if got := index.Revision(); got != revision {
		return fmt.Errorf("index: content is %s, the lease names %s", got, revision)
	}
	return nil
}

// fetchShards brings every wanted shard that changed into i.parts; after a turn of the signing key all of them, so that what is on disk
// is still verified when the former key is trusted no more.
func (i *Intake) fetchShards(ctx context.Context, store Objects, trust *seal.Trust, index contract.Index, turned bool) error {
	for _, ref := range index.Shards {
		if !i.want(ref.Name) || i.parts[ref.Name].digest == ref.Digest && !turned {
			continue
		}
		raw, err := store.GetBytes(ctx, contract.ObjectName("shard", ref.Digest))
		if err != nil {
			return fmt.Errorf("shard %s: %w", ref.Name, err)
		}
		if err := i.load(trust, raw, ref); err != nil {
			return err
		}
		if err := i.disk.writeShard(ref, raw); err != nil {
			return err
		}
	}
	return nil
}

func (i *Intake) load(trust *seal.Trust, raw []byte, ref contract.ShardRef) error {
	shard, err := trust.Shard(raw, ref)
	if err != nil {
		return err
	}
	p, err := decode(shard, ref.Digest)
	if err != nil {
		return err
	}
	i.parts[ref.Name] = p
	return nil
}

// restore reads the kept bundle and verifies it like one that came over the line. Its lease may have run out: Live says so.
func (i *Intake) restore() error {
	k, err := i.disk.read()
	if err != nil || k.Lease == "" {
		return err
	}
	trust, err := readTrust(i.cfg.TrustFile)
	if err != nil {
		return err
	}
	lease, err := trust.Lease(k.Lease)
	if err != nil {
		return err
	}
	if lease.Platform != i.cfg.Platform || lease.Scope != i.cfg.Scope {
		return fmt.Errorf("kept lease is for %s %s, this node serves %s %s", lease.Platform, lease.Scope, i.cfg.Platform, i.cfg.Scope)
	}
	i.keyID = seal.LeaseKey(k.Lease)
	i.seen = lease.Sequence // also when the rest is damaged: an older lease stays refused
	if got := k.Index.Revision(); got != lease.Revision {
		return fmt.Errorf("kept index is %s, the kept lease names %s", got, lease.Revision)
	}
	for _, ref := range k.Index.Shards {
		if !i.want(ref.Name) {
			continue
		}
		raw, err := i.disk.readShard(ref)
		if err != nil {
			return err
		}
		if err := i.load(trust, raw, ref); err != nil {
			return err
		}
	}
	b, err := i.assemble(lease, k.Index)
	if err != nil {
		return err
	}
	i.Set(b)
	return nil
}

// Trust names what the node trusts: the digest of its file of keys, "" if it cannot be read.
func (i *Intake) Trust() string {
	raw, err := os.ReadFile(i.cfg.TrustFile)
	if err != nil {
		return ""
	}
	return contract.Digest(raw)
}

func readTrust(path string) (*seal.Trust, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bundle trust: %w", err)
	}
	return seal.NewTrust(raw)
}

// Fetch reads a whole bundle once, without keeping it: the control plane looks by it at what is in force.
func Fetch(ctx context.Context, js jetstream.JetStream, trust *seal.Trust, lease contract.Lease, index contract.Index) (*Bundle, error) {
	store, err := js.ObjectStore(ctx, contract.BundleStore)
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", contract.BundleStore, err)
	}
	i := &Intake{want: func(string) bool { return true }, parts: map[string]part{}}
	for _, ref := range index.Shards {
		raw, err := store.GetBytes(ctx, contract.ObjectName("shard", ref.Digest))
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", ref.Name, err)
		}
		if err := i.load(trust, raw, ref); err != nil {
			return nil, err
		}
	}
	return i.assemble(lease, index)
}
