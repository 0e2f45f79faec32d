// Package datasharingagreement reconciles a DataSharingAgreement: guardrails, approvals and time decide whether it grants
// anything; what it grants goes into the bundle and nowhere else.
package datasharingagreement

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
)

const kind = "DataSharingAgreement"

// Reconciler reconciles DataSharingAgreements.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, contributes and writes the status. It comes back by itself when time changes the phase.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.DataSharingAgreement{}
	if result, ok, err := r.Load(ctx, kind, req.NamespacedName, o); !ok {
		return result, err
	}
	if !o.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.Finalize(ctx, kind, o, nil)
	}
	if o.Spec.Revoked || o.Spec.Suspended {
		r.Shelf.Drop(kit.Key(kind, o)) // stops whatever else fails below
	}
	before := o.DeepCopy()
	s, problems, err := r.gather(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	var plan compile.AgreementPlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Agreement(ctx, s, r.Guard, o)
		problems = append(problems, found...)
	}
	r.contribute(s, o, plan, problems)
	r.status(s, o, plan, problems)
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	if plan.WakeAt.After(s.Now) {
		return ctrl.Result{RequeueAfter: plan.WakeAt.Sub(s.Now)}, nil
	}
	return ctrl.Result{}, nil
}

// contribute puts the grants on the shelf. An agreement with any problem grants nothing: what was approved before is not
// what is written now.
func (r *Reconciler) contribute(s *compile.Snapshot, o *v1alpha1.DataSharingAgreement, plan compile.AgreementPlan, problems compile.Problems) {
	key := kit.Key(kind, o)
	if len(plan.Grants) == 0 || problems.Fatal() {
		r.Contribute(s, key, nil, false, string(plan.Phase), nil)
		return
	}
	name, granted := o.Name, bundle.Agreement{Consumer: plan.Consumer, Grants: plan.Grants}
	r.Contribute(s, key, nil, false, kit.Digest(name, granted), func(p *bundle.Parts) { p.Agreements[name] = granted })
}
