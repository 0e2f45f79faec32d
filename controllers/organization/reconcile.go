// Package organization reconciles an Organization: dispatch routes and identities in the bundle, and the certificates that
// the platform issues to it.
package organization

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

const kind = "Organization"

// Reconciler reconciles Organizations.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, renders, applies, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.Organization{}
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
	var plan compile.OrganizationPlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Organization(s, o)
		problems = append(problems, found...)
	}
	if err := r.record(ctx, s, o, plan); apierrors.IsForbidden(err) {
		problems = append(problems, compile.Problem{Condition: v1alpha1.ConditionApproversAccepted, Reason: v1alpha1.ReasonForbidden, Message: err.Error(), Waiting: true, Partial: true})
	} else if err != nil {
		return ctrl.Result{}, err
	}
	report, err := r.apply(ctx, s, o, plan, problems)
	if err != nil {
		return ctrl.Result{}, err
	}
	name, doc := o.Name, plan.Document
	r.Contribute(s, kit.Key(kind, o), problems, true, kit.Digest(name, doc), func(p *bundle.Parts) { p.Organizations[name] = doc })
	r.status(s, o, plan, problems, report)
	if err := r.WriteStatus(ctx, before, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, report.Err
}

// apply brings the organisation's certificates to the cluster. One that holds its own keys needs nothing and no finalizer.
func (r *Reconciler) apply(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Organization, plan compile.OrganizationPlan, problems compile.Problems) (apply.Report, error) {
	if problems.Fatal() || (len(plan.Certificates) == 0 && len(o.Status.Inventory) == 0) {
		return apply.Report{Inventory: o.Status.Inventory}, nil
	}
	if err := r.EnsureFinalizer(ctx, o); err != nil {
		return apply.Report{}, err
	}
	return r.Apply(ctx, kind, o, render.Organization(s.Platform.Namespace, kit.Owner(kind, o), plan), !pending(plan)), nil
}

// pending reports whether a certificate cannot be read now: its copy is then not rendered, and must not be taken away.
func pending(plan compile.OrganizationPlan) bool {
	return slices.ContainsFunc(plan.Certificates, func(c compile.IssuedCertificate) bool { return len(c.Issued) == 0 })
}
