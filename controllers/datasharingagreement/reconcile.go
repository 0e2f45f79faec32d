// Package datasharingagreement reconciles a DataSharingAgreement: guardrails, approvals and time decide whether it grants
// anything; what it grants goes into the bundle and nowhere else.
package datasharingagreement

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	before := o.DeepCopy()
	s, problems, err := r.gather(ctx, o)
	if err != nil {
		return r.stopped(o, err)
	}
	r.end(s, o)
	var plan compile.AgreementPlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Agreement(ctx, s, r.Guard, o)
		problems = append(problems, found...)
	}
	if err := r.record(ctx, s, o, plan); apierrors.IsForbidden(err) {
		problems = append(problems, compile.Problem{Condition: v1alpha1.ConditionApproved, Reason: v1alpha1.ReasonForbidden, Message: err.Error(), Waiting: true})
	} else if err != nil {
		return r.stopped(o, err)
	}
	r.contribute(s, o, plan, problems)
	r.status(s, o, plan, problems)
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	r.alert(before, o)
	if plan.WakeAt.After(s.Now) {
		return ctrl.Result{RequeueAfter: plan.WakeAt.Sub(s.Now)}, nil
	}
	return ctrl.Result{}, nil
}

// end takes what is revoked or suspended out of the bundle before anything else is looked at or written: that it grants nothing hangs on
// nothing but the agreement itself, and somebody waits for it.
func (r *Reconciler) end(s *compile.Snapshot, o *v1alpha1.DataSharingAgreement) {
	switch {
	case o.Spec.Revoked:
		r.contribute(s, o, compile.AgreementPlan{Phase: v1alpha1.AgreementRevoked}, nil)
	case o.Spec.Suspended:
		r.contribute(s, o, compile.AgreementPlan{Phase: v1alpha1.AgreementSuspended}, nil)
	}
}

// stopped gives up this pass for an error. What is revoked or suspended grants nothing from now on all the same: that needs nothing but the
// agreement itself.
func (r *Reconciler) stopped(o *v1alpha1.DataSharingAgreement, err error) (ctrl.Result, error) {
	if o.Spec.Revoked || o.Spec.Suspended {
		r.Shelf.Drop(kit.Key(kind, o))
	}
	return ctrl.Result{}, err
}

// record keeps what was approved and revoked in a ConfigMap of the platform's namespace, which outlives the agreement: one that is made anew
// does not come back with the signatures that it once had.
func (r *Reconciler) record(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DataSharingAgreement, plan compile.AgreementPlan) error {
	if plan.Record == nil {
		return nil
	}
	key := client.ObjectKeyFromObject(o)
	name := types.NamespacedName{Namespace: s.Platform.Namespace, Name: compile.ApprovalsName(key)}
	if err := r.Record(ctx, name, compile.ApprovalsKey, plan.Record); err != nil {
		return fmt.Errorf("record of the approvals of DataSharingAgreement %s: %w", key, err)
	}
	return nil
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
