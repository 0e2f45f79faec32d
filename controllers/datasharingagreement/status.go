package datasharingagreement

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// status says how a DataSharingAgreement stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.DataSharingAgreement, plan compile.AgreementPlan, problems compile.Problems) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	named := []status.Named{inForce(plan), available}
	if problems.Fatal() {
		named = nil // what is wrong is said by the problems
	}
	r.Common(s, o, problems, status.Facts{Named: named, Informative: []status.Named{fully}, ReadyMessage: "the agreement is in force"})
	o.Status.Enforcement = enforcement
	o.Status.Decisions, o.Status.BreakGlass = r.decisions(s, o), r.breakGlass(s, o)
	o.Status.DataClass, o.Status.Relied = plan.DataClass, plan.Relied
	o.Status.Phase, o.Status.Digest, o.Status.PendingApprovals = plan.Phase, plan.Digest, plan.Pending
	o.Status.Guardrails = findings(plan.Findings)
}

// inForce tells whether the agreement grants; one that ended as it should is settled, not broken.
func inForce(plan compile.AgreementPlan) status.Named {
	reasons := map[v1alpha1.AgreementPhase]string{
		v1alpha1.AgreementExpired: v1alpha1.ReasonExpired, v1alpha1.AgreementSuspended: v1alpha1.ReasonSuspended, v1alpha1.AgreementRevoked: v1alpha1.ReasonRevoked,
	}
	switch reason, ended := reasons[plan.Phase]; {
	case ended && len(plan.Grants) > 0:
		return status.True(v1alpha1.ConditionInForce, v1alpha1.ReasonNotYetValid, "grants nothing before validity.notBefore")
	case ended:
		return status.True(v1alpha1.ConditionInForce, reason, "grants nothing: "+string(plan.Phase))
	}
	return status.True(v1alpha1.ConditionInForce, v1alpha1.ReasonSucceeded, "approved by all parties and within its validity")
}

// decisions gives what the gateways decided by the agreement, as they report it; without a report what was last said stays.
func (r *Reconciler) decisions(s *compile.Snapshot, o *v1alpha1.DataSharingAgreement) *v1alpha1.DecisionCounts {
	if s.Platform == nil || !compile.HoldsName(o, s.Agreements) {
		return o.Status.Decisions
	}
	d, ok := r.Reports.Decisions(kit.PlatformKey(s.Platform), o.Name)
	if !ok {
		return o.Status.Decisions
	}
	out := &v1alpha1.DecisionCounts{Allowed: d.Allowed, Denied: d.Denied}
	if !d.Since.IsZero() { // a gateway of before it was told
		out.Since = new(metav1.NewTime(d.Since))
	}
	return out
}

// breakGlass gives the uses in an emergency that wait for a review. Those of an agreement that has no break-glass any more still do. As
// with decisions, what was last said stays while nobody tells.
func (r *Reconciler) breakGlass(s *compile.Snapshot, o *v1alpha1.DataSharingAgreement) *v1alpha1.BreakGlassCounts {
	if s.Platform == nil || !compile.HoldsName(o, s.Agreements) {
		return o.Status.BreakGlass
	}
	n, ok := r.Reports.BreakGlass(kit.PlatformKey(s.Platform), o.Name)
	switch {
	case !ok:
		return o.Status.BreakGlass
	case o.Spec.BreakGlass == nil && n.Pending == 0:
		return nil
	}
	counts := &v1alpha1.BreakGlassCounts{Pending: n.Pending - n.Overdue, Overdue: n.Overdue}
	if was := o.Status.BreakGlass; was != nil {
		counts.LastUsedAt = was.LastUsedAt
	}
	if last := n.LastAt.Truncate(time.Second); !last.IsZero() && (counts.LastUsedAt == nil || last.After(counts.LastUsedAt.Time)) {
		counts.LastUsedAt = &metav1.Time{Time: last}
	}
	return counts
}
