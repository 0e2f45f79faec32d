package publication

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/render"
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

// signing gives the key that signs: the one that cert-manager issued, or for a while the one before, of which the operator holds a copy.
// Without the copy it signs with the new one at once: nodes that do not have it yet keep their last good bundle until they do, and edge
// nodes enrol anew.
func (r *Reconciler) signing(ctx context.Context, p *v1alpha1.GridPlatform, issued *seal.Signer, now time.Time) (signing, error) {
	name := kit.PlatformKey(p)
	ring, remembered := r.rings[name]
	if !remembered {
		ring = ringOf(p.Status.Bundle)
	}
	former, err := r.held(ctx, name, ring.signing)
	if err != nil {
		return signing{}, err
	}
	next, changed, due, err := ring.turn(issued, former != nil, r.trusted(name, ring), longestLease(p, r.sent[name]), now)
	if err != nil {
		return signing{}, err
	}
	named, err := next.succeed(name.String(), former, issued, now)
	if err != nil {
		return signing{}, err
	}
	signer := issued
	if next.signing != issued.KeyID {
		signer = former
	}
	return signing{next, signer, changed || named, due}, nil
}

// held gives the key with an id from memory or from its Secret; nil if it is not there, or another is.
func (r *Reconciler) held(ctx context.Context, name types.NamespacedName, id string) (*seal.Signer, error) {
	s := r.signers[name]
	if s == nil && id != "" {
		secret, _, err := r.Gather.Secrets.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: compile.SecretHeld})
		if err != nil {
			return nil, err
		}
		if secret == nil {
			return nil, nil //nolint:nilnil // none is held
		}
		if s, err = seal.NewSigner(secret.Data["tls.key"]); err != nil {
			log.FromContext(ctx).Error(err, "the copy of the key that signs bundles is damaged; a new key signs at once", "secret", compile.SecretHeld)
			return nil, nil //nolint:nilnil // likewise
		}
	}
	if s == nil || s.KeyID != id {
		return nil, nil //nolint:nilnil // likewise
	}
	return s, nil
}

// hold keeps a copy of the key that is to sign, before it does: cert-manager replaces it in place. The copy goes with the platform.
func (r *Reconciler) hold(ctx context.Context, p *v1alpha1.GridPlatform, signer *seal.Signer) error {
	name := kit.PlatformKey(p)
	if before := r.signers[name]; before != nil && before.KeyID == signer.KeyID {
		return nil
	}
	secret := corev1ac.Secret(compile.SecretHeld, name.Namespace).WithLabels(map[string]string{render.LabelManagedBy: render.ManagedBy}).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion(v1alpha1.SchemeGroupVersion.String()).WithKind("GridPlatform").WithName(name.Name).WithUID(p.UID)).
		WithData(map[string][]byte{"tls.key": signer.Private()})
	if err := r.Client.Apply(ctx, secret, client.FieldOwner("dizuo-publication"), client.ForceOwnership); err != nil {
		return fmt.Errorf("Secret %s/%s: %w", name.Namespace, compile.SecretHeld, err)
	}
	return nil
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
