// Package community reconciles a Community: a tenant of its platform in the bundle, and where asked a workspace namespace.
package community

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

const kind = "Community"

// Reconciler reconciles Communities.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, renders, applies, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.Community{}
	if result, ok, err := r.Load(ctx, kind, req.NamespacedName, o); !ok {
		return result, err
	}
	if !o.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.Finalize(ctx, kind, o, nil)
	}
	before := o.DeepCopy()
	s, problems, err := r.gather(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	var plan compile.CommunityPlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Community(s, o)
		problems = append(problems, found...)
	}
	report, err := r.apply(ctx, o, plan, problems)
	if err != nil {
		return ctrl.Result{}, err
	}
	name, doc := o.Name, plan.Document
	r.Contribute(s, kit.Key(kind, o), problems, true, kit.Digest(name, doc), func(p *bundle.Parts) { p.Communities[name] = doc })
	r.status(s, o, plan, problems, report)
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, report.Err
}

// apply brings the workspace to the cluster. A Community that has none needs no finalizer.
func (r *Reconciler) apply(ctx context.Context, o *v1alpha1.Community, plan compile.CommunityPlan, problems compile.Problems) (apply.Report, error) {
	if problems.Fatal() {
		return apply.Report{Inventory: o.Status.Inventory}, nil
	}
	objects := render.Community(plan)
	if len(objects) == 0 && len(o.Status.Inventory) == 0 {
		return apply.Report{}, nil
	}
	if err := r.EnsureFinalizer(ctx, o); err != nil {
		return apply.Report{}, err
	}
	return r.Apply(ctx, kind, o, objects, true), nil
}
