// Package publication sends the bundle of each platform: it joins what the objects contribute into shards, signs what
// changed, and puts out a lease that gives the bundle time and order. It has a queue of its own, in which changes within
// 100 ms become one publication, after a pause within 10 ms.
//
//	shelf -> settled.go (has every object been looked at?) -> bundle.Prepare -> seal -> send.go -> lease
//	reports.go: what the nodes say comes back --> shelf.Acknowledge --> status.enforcement
package publication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/bundleserver"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/natslink"
)

// again is how long to wait for a broker that is not there: its pod is watched, the process inside is not.
const again = time.Second

// Reconciler publishes bundles.
type Reconciler struct {
	*kit.Kit
	Links *natslink.Pool
	// Follow watches the reports of the platforms that are reached.
	Follow *Reports
	// Modules are the Rego files of policies/access.
	Modules map[string]string
	// Dirty calls a platform.
	Dirty Dirty
	// Bundles serves what is published over HTTPS; nil serves nothing.
	Bundles *bundleserver.Server

	sent map[types.NamespacedName]*sent
	// rings and signers say how each platform's bundles are signed.
	rings   map[types.NamespacedName]keyring
	signers map[types.NamespacedName]*seal.Signer
}

// Reconcile publishes the bundle of one platform if it changed or its lease has lived a third of its life.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	platform := &v1alpha1.GridPlatform{}
	err := r.Client.Get(ctx, req.NamespacedName, platform)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if err != nil || !platform.DeletionTimestamp.IsZero() {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	settled, err := r.settled(ctx, platform)
	if err != nil || !settled {
		return ctrl.Result{}, err // who is missing calls us when it has been looked at
	}
	link, signer, err := r.reach(ctx, platform)
	if err != nil {
		log.FromContext(ctx).V(1).Info("not published yet", "why", err.Error())
		return ctrl.Result{RequeueAfter: again}, nil
	}
	due, err := r.publish(ctx, platform, link, signer)
	if err != nil {
		if unreachable(err) {
			return ctrl.Result{RequeueAfter: again}, nil
		}
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: due}, nil
}

// reach gives the connection to the platform's broker and the key that signs.
func (r *Reconciler) reach(ctx context.Context, p *v1alpha1.GridPlatform) (*natslink.Link, *seal.Signer, error) {
	key, err := r.secret(ctx, p.Namespace, compile.SecretSigning)
	if err != nil {
		return nil, nil, err
	}
	cert, err := r.secret(ctx, p.Namespace, compile.SecretOperator)
	if err != nil {
		return nil, nil, err
	}
	signer, err := seal.NewSigner(key["tls.key"])
	if err != nil {
		return nil, nil, err
	}
	name := kit.PlatformKey(p)
	link, fresh, err := r.Links.Get(name, cert)
	if err != nil {
		return nil, nil, err
	}
	if fresh {
		r.Follow.Follow(name, link)
	}
	return link, signer, nil
}

func (r *Reconciler) secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	s, _, err := r.Gather.Secrets.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("Secret %s/%s is not there yet", namespace, name)
	}
	return s.Data, nil
}

// publish sends what changed and gives when the lease is due again.
func (r *Reconciler) publish(ctx context.Context, p *v1alpha1.GridPlatform, link *natslink.Link, issued *seal.Signer) (time.Duration, error) {
	name, now := kit.PlatformKey(p), r.Gather.Now()
	sign, err := r.signing(ctx, p, issued, now)
	if err != nil {
		return 0, err
	}
	signer := sign.signer
	if err := r.hold(ctx, p, signer); err != nil {
		return 0, err
	}
	trust, err := seal.NewTrust(sign.ring.pem())
	if err != nil {
		return 0, err
	}
	state, err := r.state(ctx, name, p, link, trust)
	if err != nil {
		return 0, err
	}
	if lost, err := state.lost(ctx, link.JetStream); err != nil {
		return 0, err
	} else if lost { // the broker began anew, from nothing or from a backup: so do we
		delete(r.sent, name)
		return time.Second, nil
	}
	if err := r.adopt(ctx, name, link, trust); err != nil {
		return 0, err
	}
	parts, version := r.Shelf.Parts(name)
	parts.Modules = r.Modules
	shards, err := state.memo.Prepare(parts)
	if err != nil {
		return 0, err
	}
	cuts, err := state.cuts.Make(parts)
	if err != nil {
		return 0, err
	}
	if err := state.recall(ctx, link.JetStream, trust, cuts); err != nil {
		return 0, err
	}
	index := bundle.Index(shards)
	life := p.Spec.Lease.Center.Duration
	lease, found := state.lease, true
	if sign.changed || index.Revision() != lease.Revision || state.turned(cuts, signer.KeyID) || signer.KeyID != state.keyID || now.After(lease.IssuedAt.Add(life/3)) {
		found = index.Revision() == lease.Revision && !state.turned(cuts, signer.KeyID)
		lease = contract.Lease{Platform: name.String(), Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: lease.Sequence + 1,
			IssuedAt: now.UTC(), ExpiresAt: now.Add(life).UTC()}
		entry, err := r.lead(ctx, p, link, sign, state, shards, index, lease)
		if err != nil {
			return 0, err
		}
		state.lease, state.keyID, state.entry = lease, signer.KeyID, entry
	}
	due, err := state.sendEdges(ctx, link.JetStream, signer, name.String(), cuts, parts.Edges, now)
	if err != nil {
		return 0, err
	}
	r.use(name, signing{ring: sign.ring, signer: signer})
	r.Follow.Edges(name, state.facts(parts))
	r.Shelf.Published(name, version, lease.Revision, lease.Sequence, found && state.atStart, now)
	state.atStart = false
	if err := r.offer(name, signer, sign.ring.pem(), parts, index, lease); err != nil {
		return 0, err
	}
	measure(lease)
	if center := lease.IssuedAt.Add(life / 3); due.IsZero() || center.Before(due) {
		due = center
	}
	if !sign.due.IsZero() && sign.due.Before(due) {
		due = sign.due
	}
	return max(time.Second, due.Sub(now)), nil
}

// lead puts out a lease, with what it names, once its sequence and the keys are in the status. What it names is brought into the broker
// meanwhile, unless the keys change: nothing looks at it before the lease names it.
func (r *Reconciler) lead(ctx context.Context, p *v1alpha1.GridPlatform, link *natslink.Link, sign signing, state *sent, shards []bundle.Prepared, index contract.Index, lease contract.Lease) (uint64, error) {
	if sign.changed {
		if err := r.record(ctx, p, lease, sign.ring); err != nil {
			return 0, err
		}
	}
	r.use(kit.PlatformKey(p), sign)
	if state.keyID != sign.signer.KeyID {
		state.objects = map[string]bool{}
	}
	var recorded errgroup.Group
	if !sign.changed {
		recorded.Go(func() error { return r.record(ctx, p, lease, sign.ring) })
	}
	store, err := state.lay(ctx, link.JetStream, sign.signer, shards, index)
	if noted := recorded.Wait(); noted != nil {
		return 0, noted
	}
	// The sequence is spent whether or not the lease gets out: it only grows. Whether it got out is not known before lead returns, so
	// what is in force is unknown until then.
	state.lease.Sequence, state.lease.Revision, state.entry = lease.Sequence, "", 0
	if err != nil {
		return 0, err
	}
	return state.lead(ctx, link.JetStream, store, sign.signer, index, lease)
}

// record writes the sequence and the keys to the platform's status before they are used, so that neither goes back.
func (r *Reconciler) record(ctx context.Context, p *v1alpha1.GridPlatform, l contract.Lease, ring keyring) error {
	p = p.DeepCopy()
	p.ResourceVersion = "" // it has fields of its own, whatever else was written
	return r.ApplyStatus(ctx, p, map[string]any{"bundle": map[string]any{
		"revision": l.Revision, "sequence": l.Sequence, "issuedAt": l.IssuedAt.Format(time.RFC3339), "expiresAt": l.ExpiresAt.Format(time.RFC3339),
		"signingKeyID": ring.signing, "keys": ring.status(), "successions": ring.lines(),
	}}, "dizuo-publication")
}

func (r *Reconciler) forget(name types.NamespacedName) {
	r.Shelf.DropPlatform(name)
	r.Follow.Forget(name)
	r.Links.Close(name)
	r.Bundles.Drop(name)
	unmeasure(name)
	delete(r.sent, name)
	delete(r.rings, name)
	delete(r.signers, name)
}

// errBroker marks what failed because the broker did not answer.
type errBroker struct{ error }

func (e errBroker) Unwrap() error { return e.error }

func unreachable(err error) bool {
	var e errBroker
	return errors.As(err, &e)
}
