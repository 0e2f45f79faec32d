// Package scenario reconciles a Scenario: a rule that turns signals into alarms. It makes no objects; it contributes to the bundle.
package scenario

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
)

const kind = "Scenario"

// Reconciler reconciles Scenarios.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.Scenario{}
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
	var plan compile.ScenarioPlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Scenario(s, o)
		problems = append(problems, found...)
	}
	key := kit.Key(kind, o)
	name, doc := o.Name, plan.Document
	if !plan.Running && !problems.Fatal() {
		r.Contribute(s, key, problems, false, "off", nil)
	} else {
		r.Contribute(s, key, problems, true, kit.Digest(name, doc), func(p *bundle.Parts) { p.Scenarios[name] = doc })
	}
	o.Status.Running = new(plan.Running && !problems.Fatal())
	r.status(s, o, plan, problems)
	return ctrl.Result{}, r.WriteStatus(ctx, before, o)
}
