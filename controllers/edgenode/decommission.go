package edgenode

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// grace is how long a node that is being decommissioned has to send what its outbox holds. An offline one may come back within it.
const grace = 10 * time.Minute

// look is how often a node that is being decommissioned is looked at, beside when it reports.
const look = 10 * time.Second

// decommission takes a node out in order: nothing more is admitted there, its outbox drains, then it leaves the bundle and its
// connection is cut, and only then the object goes.
//
//	bundle cut to nothing -> drained, or 10 minutes -> out of the bundle, in force everywhere -> finalized
func (r *Reconciler) decommission(ctx context.Context, s *compile.Snapshot, before, o *v1alpha1.EdgeNode, plan compile.EdgePlan, problems compile.Problems, news kit.EdgeNews) (ctrl.Result, error) {
	over := s.Now.After(o.DeletionTimestamp.Add(grace))
	if over || !controllerutil.ContainsFinalizer(o, v1alpha1.Finalizer) || s.Platform == nil || !s.Platform.DeletionTimestamp.IsZero() || o.Status.KeyFingerprint == "" {
		return ctrl.Result{}, r.Finalize(ctx, kind, o, nil)
	}
	key, platform := kit.Key(kind, o), kit.PlatformKey(s.Platform)
	// Once drained, always drained: cut off, the node neither runs what is published nor is heard, and would be let in again.
	if o.Status.DrainedAt == nil && r.drained(s, o, news) {
		o.Status.DrainedAt = new(metav1.NewTime(s.Now.Truncate(time.Second)))
	}
	if !problems.Fatal() && o.Status.DrainedAt == nil {
		r.contribute(s, o, plan, problems, true)
	} else {
		r.Shelf.Put(platform, key, "gone", nil, s.Now)
		if e := r.Shelf.Enforcement(platform, key); !e.Known || !e.EffectiveAt.IsZero() {
			return ctrl.Result{}, r.Finalize(ctx, kind, o, nil)
		}
	}
	o.Status.Phase = v1alpha1.EdgeDecommissioning
	wait := status.Waiting(v1alpha1.ConditionAvailable, v1alpha1.ReasonDeleting, "the node sends what its outbox holds, at most until "+o.DeletionTimestamp.Add(grace).UTC().Format(time.RFC3339))
	r.Common(s, o, problems, status.Facts{Named: []status.Named{wait}, Claims: claims(plan)})
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: look}, nil
}

// drained reports whether the node runs the bundle that is cut to nothing and has nothing left to send.
func (r *Reconciler) drained(s *compile.Snapshot, o *v1alpha1.EdgeNode, news kit.EdgeNews) bool {
	e := r.Shelf.Enforcement(kit.PlatformKey(s.Platform), kit.Key(kind, o))
	runs := e.Known && e.Sequence > 0 && !slices.Contains(e.Pending, contract.ReportKey(contract.RoleEdge, o.Name))
	return runs && o.Status.Phase == v1alpha1.EdgeDecommissioning && news.Online && news.Report != nil && news.Report.Outbox != nil && news.Report.Outbox.Messages == 0
}
