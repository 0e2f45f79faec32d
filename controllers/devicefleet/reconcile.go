// Package devicefleet reconciles a DeviceFleet: registry rows and credentials in the bundle, the fleet's CA, and what the
// vendor needs in the vendor's own namespace.
package devicefleet

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/artifact"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

const kind = "DeviceFleet"

// Reconciler reconciles DeviceFleets.
type Reconciler struct {
	*kit.Kit
	// Artifacts fetches inventories that stand elsewhere.
	Artifacts *artifact.Store

	claims     indexes
	remembered remembered
}

// Reconcile gathers, compiles, renders, applies, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.DeviceFleet{}
	if result, ok, err := r.Load(ctx, kind, req.NamespacedName, o); !ok {
		if o.UID == "" { // gone
			r.leave(req.NamespacedName)
		}
		return result, err
	}
	if !o.DeletionTimestamp.IsZero() {
		r.CallEdges(ctx, r.Loads.Drop(kit.Key(kind, o)))
		r.leave(req.NamespacedName)
		return ctrl.Result{}, r.Finalize(ctx, kind, o, nil)
	}
	before := o.DeepCopy()
	s, problems, err := r.gather(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.call(r.claims.leave(req.NamespacedName, s.Platform))
	var plan compile.FleetPlan
	if s.Platform != nil {
		plan, problems = r.compile(s, o, problems)
	} else {
		r.remembered.forget(req.NamespacedName)
	}
	r.weigh(ctx, s, o, plan, problems)
	report, err := r.apply(ctx, s, o, plan, problems)
	if err != nil {
		return ctrl.Result{}, err
	}
	name, doc, creds, rows := o.Name, plan.Document, plan.Credentials, plan.Rows
	if o.Spec.Suspended && s.Platform != nil && kit.KeepsLastGood(problems) {
		problems = partial(problems) // a stop must not wait for the fleet to be mended
	}
	version := kit.Digest(name, doc, creds, plan.RowsDigest())
	r.Contribute(s, kit.Key(kind, o), problems, true, version, func(p *bundle.Parts) {
		p.Fleets[name], p.Credentials[name], p.Rows[name], p.Versions[name] = doc, creds, rows, version
	})
	r.status(s, o, plan, problems, report)
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: soonest(wake(plan, s.Now), retry(s))}, report.Err
}

// leave lets go of all that is held for a fleet that is gone.
func (r *Reconciler) leave(name types.NamespacedName) {
	r.call(r.claims.leave(name, nil))
	r.remembered.forget(name)
}

// soonest gives the smaller of two times to wait; 0 is never.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// retry gives the time until an artefact that the fleet waits for, its own or that of its gateways, is fetched again; 0 for never.
func retry(s *compile.Snapshot) (wait time.Duration) {
	for _, a := range s.Artifacts {
		if !a.RetryAt.IsZero() {
			wait = soonest(wait, max(time.Second, a.RetryAt.Sub(s.Now)))
		}
	}
	return wait
}

func (r *Reconciler) apply(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet, plan compile.FleetPlan, problems compile.Problems) (apply.Report, error) {
	if problems.Fatal() {
		return apply.Report{Inventory: o.Status.Inventory}, nil
	}
	if err := r.EnsureFinalizer(ctx, o); err != nil {
		return apply.Report{}, err
	}
	// While a certificate cannot be read its copy is not rendered; that must not take an older copy away.
	return r.Apply(ctx, kind, o, render.Fleet(s.Platform.Namespace, kit.Owner(kind, o), plan), !plan.CAPending && len(plan.Connection.BrokerCA) > 0), nil
}

// wake gives how long it takes until a CA is taken no more; zero if none is on its way out.
func wake(plan compile.FleetPlan, now time.Time) time.Duration {
	if !plan.WakeAt.After(now) {
		return 0
	}
	return plan.WakeAt.Sub(now)
}

// partial gives the problems as ones that do not hold back what there is of the plan.
func partial(problems compile.Problems) compile.Problems {
	out := slices.Clone(problems)
	for i := range out {
		out[i].Partial = true
	}
	return out
}

// weigh tells the edge nodes what the fleet's devices may send them. A fleet that does not compile weighs what it weighed.
func (r *Reconciler) weigh(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet, plan compile.FleetPlan, problems compile.Problems) {
	key := kit.Key(kind, o)
	switch {
	case s.Platform == nil:
		r.CallEdges(ctx, r.Loads.Drop(key))
	case !problems.Fatal():
		r.CallEdges(ctx, r.Loads.Set(kit.PlatformKey(s.Platform), key, compile.EdgeLoads(o, plan)))
	case !r.Loads.Knows(key):
		r.Loads.Set(kit.PlatformKey(s.Platform), key, nil)
	}
}
