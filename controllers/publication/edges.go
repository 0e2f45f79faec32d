package publication

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

const (
	// edgeRenewal is how often the lease of an edge node is renewed: not after a third of its life, which would break the promise of its
	// whole autonomy.
	edgeRenewal = 10 * time.Minute
	// edgeEarly is how much earlier a lease is renewed where another is due, so that they fall due together.
	edgeEarly = time.Minute
)

// edgeSent is what is out for an edge node.
type edgeSent struct {
	lease contract.Lease
	keyID string
	// changedAt is the sequence at which its index last changed, as far as is known.
	changedAt int64
}

// recall reads what is out for edge nodes that were not looked at since the operator started.
func (s *sent) recall(ctx context.Context, js jetstream.JetStream, trust *seal.Trust, cuts []bundle.Cut) error {
	for _, c := range cuts {
		if s.edges[c.Edge] != nil {
			continue
		}
		lease, index, keyID, err := current(ctx, js, trust, contract.ScopeEdge(c.Edge))
		if err != nil {
			return err
		}
		e := &edgeSent{}
		if lease != nil {
			e.lease, e.keyID, e.changedAt = *lease, keyID, lease.Sequence
			s.found(contract.ScopeEdge(c.Edge), *index)
		}
		s.edges[c.Edge] = e
	}
	return nil
}

// turned reports whether an edge node came, went, or is to run another revision: then a new sequence is due.
func (s *sent) turned(cuts []bundle.Cut, keyID string) bool {
	for _, c := range cuts {
		if e := s.edges[c.Edge]; e == nil || e.lease.Revision != c.Index.Revision() || e.keyID != keyID {
			return true
		}
	}
	return len(s.edges) > len(cuts)
}

// sendEdges brings every edge node its cut and its lease, of the platform's present sequence, and gives when the next lease is due; zero
// where there is none.
func (s *sent) sendEdges(ctx context.Context, js jetstream.JetStream, signer *seal.Signer, platform string, cuts []bundle.Cut, edges map[string]contract.Edge, now time.Time) (due time.Time, err error) {
	if err := s.forgetEdges(ctx, js, cuts); err != nil {
		return due, err
	}
	early := time.Duration(0)
	if slices.ContainsFunc(cuts, func(c bundle.Cut) bool { return !now.Before(s.edges[c.Edge].lease.IssuedAt.Add(edgeRenewal)) }) {
		early = edgeEarly
	}
	for _, c := range cuts {
		e := s.edges[c.Edge]
		other := e.lease.Revision != c.Index.Revision() || e.keyID != signer.KeyID
		if other || !now.Before(e.lease.IssuedAt.Add(edgeRenewal-early)) {
			lease := contract.Lease{Platform: platform, Scope: contract.ScopeEdge(c.Edge), Revision: c.Index.Revision(), Sequence: s.lease.Sequence,
				IssuedAt: now.UTC(), ExpiresAt: now.Add(edgeLife(edges[c.Edge])).UTC()}
			if _, err := s.send(ctx, js, signer, c.Shards, c.Index, lease); err != nil {
				return due, err
			}
			if other {
				e.changedAt = lease.Sequence
			}
			e.lease, e.keyID = lease, signer.KeyID
		}
		if next := e.lease.IssuedAt.Add(edgeRenewal); due.IsZero() || next.Before(due) {
			due = next
		}
	}
	return due, nil
}

// edgeLife is how long an edge node acts on a lease: its autonomy, and until the next lease would have come.
func edgeLife(e contract.Edge) time.Duration {
	return time.Duration(e.AutonomySeconds)*time.Second + edgeRenewal
}

// forgetEdges takes the leases of edge nodes that are gone out of the broker.
func (s *sent) forgetEdges(ctx context.Context, js jetstream.JetStream, cuts []bundle.Cut) error {
	for edge := range s.edges {
		if slices.ContainsFunc(cuts, func(c bundle.Cut) bool { return c.Edge == edge }) {
			continue
		}
		leases, err := js.KeyValue(ctx, contract.LeaseBucket)
		if err != nil {
			return errBroker{err}
		}
		store, err := js.ObjectStore(ctx, contract.BundleStore)
		if err != nil {
			return errBroker{err}
		}
		if err := leases.Purge(ctx, contract.ScopeEdge(edge)); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return errBroker{err}
		}
		s.drop(ctx, store, s.history.forget(contract.ScopeEdge(edge)))
		delete(s.edges, edge)
	}
	return nil
}

// facts gives what reports of edge nodes are held against: of those that can connect at all.
func (s *sent) facts(p bundle.Parts) map[string]edgeFact {
	out := map[string]edgeFact{}
	for edge, e := range s.edges {
		if p.EdgeCredentials[edge].Certificate != "" {
			out[edge] = edgeFact{lease: e.lease, changedAt: e.changedAt, life: edgeLife(p.Edges[edge])}
		}
	}
	return out
}
