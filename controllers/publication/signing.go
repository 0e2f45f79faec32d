package publication

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/shelf"
)

// signing is how a platform's bundles are signed now.
type signing struct {
	ring   keyring
	signer *seal.Signer
	// changed says that the ring must be written down before it is used.
	changed bool
	due     time.Time
}

// signing gives the key that signs: the one that cert-manager issued, or for a while the one before, which is kept in memory only. An
// operator that starts while a new key waits signs with the new one at once: nodes that do not have it yet keep their last good bundle
// until they do.
func (r *Reconciler) signing(p *v1alpha1.GridPlatform, issued *seal.Signer, now time.Time) (signing, error) {
	name := kit.PlatformKey(p)
	ring, remembered := r.rings[name]
	if !remembered {
		ring = ringOf(p.Status.Bundle)
	}
	former := r.signers[name]
	held := former != nil && former.KeyID == ring.signing
	next, changed, due, err := ring.turn(issued, held, r.trusted(name, ring), longestLease(p, r.sent[name]), now)
	if err != nil {
		return signing{}, err
	}
	signer := issued
	if next.signing != issued.KeyID {
		signer = former
	}
	return signing{next, signer, changed, due}, nil
}

// trusted reports whether every online node says that it trusts the keys of a ring.
func (r *Reconciler) trusted(name types.NamespacedName, ring keyring) bool {
	reports, _ := r.Follow.Platform(name)
	want := contract.Digest(ring.pem())
	for _, report := range reports {
		if report.Trust != want {
			return false
		}
	}
	return len(reports) > 0
}

// longestLease is how long the longest lease lives that may be out: the centre's, or that of an edge node.
func longestLease(p *v1alpha1.GridPlatform, s *sent) time.Duration {
	longest := p.Spec.Lease.Center.Duration
	if s != nil {
		for _, e := range s.edges {
			longest = max(longest, e.lease.ExpiresAt.Sub(e.lease.IssuedAt))
		}
	}
	return longest
}

// use remembers how a platform's bundles are signed, and lets the platform bring a changed ring to its nodes.
func (r *Reconciler) use(name types.NamespacedName, s signing) {
	if r.rings == nil {
		r.rings, r.signers = map[types.NamespacedName]keyring{}, map[types.NamespacedName]*seal.Signer{}
	}
	r.rings[name], r.signers[name] = s.ring, s.signer
	if s.changed {
		r.Follow.Wake(shelf.Key{Kind: "GridPlatform", Namespace: name.Namespace, Name: name.Name})
	}
}
