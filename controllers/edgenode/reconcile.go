// Package edgenode reconciles an EdgeNode: its enrolment with a one-time token, its certificates once its key is approved, what the
// services know of it in the bundle, and, of what it reports, its status.
package edgenode

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

const kind = "EdgeNode"

// Reconciler reconciles EdgeNodes.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, renders, applies, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.EdgeNode{}
	if result, ok, err := r.Load(ctx, kind, req.NamespacedName, o); !ok {
		return result, err
	}
	before := o.DeepCopy()
	s, problems, err := r.gather(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	var plan compile.EdgePlan
	var news kit.EdgeNews
	if s.Platform != nil {
		news = r.news(s, o)
		var found compile.Problems
		plan, found = compile.Edge(s, o)
		problems = append(problems, found...)
	}
	if !o.DeletionTimestamp.IsZero() {
		return r.decommission(ctx, s, before, o, plan, problems, news)
	}
	report, err := r.apply(ctx, s, o, plan, problems)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.contribute(s, o, plan, problems, false)
	r.status(s, o, plan, problems, report, news)
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.again(s, o, plan, news)}, report.Err
}

// contribute puts what the services know of the node onto the shelf. leaving takes all from the node itself.
func (r *Reconciler) contribute(s *compile.Snapshot, o *v1alpha1.EdgeNode, plan compile.EdgePlan, problems compile.Problems, leaving bool) {
	name, doc, credential := o.Name, plan.Document, plan.Credential
	r.Contribute(s, kit.Key(kind, o), problems, true, kit.Digest(name, doc, credential, leaving), func(p *bundle.Parts) {
		p.Edges[name], p.EdgeCredentials[name] = doc, credential
		if leaving {
			p.Leaving[name] = true
		}
	})
}

func (r *Reconciler) apply(ctx context.Context, s *compile.Snapshot, o *v1alpha1.EdgeNode, plan compile.EdgePlan, problems compile.Problems) (apply.Report, error) {
	if problems.Fatal() {
		return apply.Report{Inventory: o.Status.Inventory}, nil
	}
	if err := r.EnsureFinalizer(ctx, o); err != nil {
		return apply.Report{}, err
	}
	// While the broker's certificate cannot be read the token is not rendered; that must not take an older one away.
	prune := plan.Token != nil || !plan.Enrolment.NotAfter.IsZero() || plan.Enrolment.Phase == v1alpha1.EdgeRejected
	return r.Apply(ctx, kind, o, render.Edge(s.Platform.Namespace, kit.Owner(kind, o), plan), prune), nil
}

// again says when to look without being called: when the certificate ends, and while it is not known whether the node is there.
func (r *Reconciler) again(s *compile.Snapshot, o *v1alpha1.EdgeNode, plan compile.EdgePlan, news kit.EdgeNews) time.Duration {
	var next time.Duration
	if end := plan.Enrolment.NotAfter; !end.IsZero() {
		next = max(time.Second, end.Sub(s.Now))
	}
	if news.Report == nil && recently(o, s.Now) {
		next = silence
	}
	return next
}
