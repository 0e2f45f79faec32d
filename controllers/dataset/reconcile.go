// Package dataset reconciles a Dataset: an entry of the sharing list. It makes no objects; it contributes to the bundle.
package dataset

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
)

const kind = "Dataset"

// Reconciler reconciles Datasets.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.Dataset{}
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
	var plan compile.DatasetPlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Dataset(s, o)
		problems = append(problems, found...)
	}
	key := kit.Key(kind, o)
	name, doc := o.Name, plan.Document
	// A dataset that does not compile is not read by anyone: its old marking may be laxer than the new one.
	r.Contribute(s, key, problems, false, kit.Digest(name, doc), func(p *bundle.Parts) { p.Datasets[name] = doc })
	r.status(s, o, plan, problems)
	if o.Status.Agreements, err = r.sharing(ctx, s, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.WriteStatus(ctx, before, o)
}
