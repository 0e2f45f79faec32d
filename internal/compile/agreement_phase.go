package compile

import (
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// phase puts the state of an agreement at the time now into the plan, and when time alone changes it, and reports whether it grants. sound
// says that nothing but approvals may be wrong with it, begun that somebody has signed.
func phase(c *problems, now time.Time, o *v1alpha1.DataSharingAgreement, sound, begun bool, plan *AgreementPlan) bool {
	from, to := validity(o)
	plan.WakeAt = to
	switch {
	case !o.DeletionTimestamp.IsZero(), o.Spec.Revoked:
		plan.Phase, plan.WakeAt = v1alpha1.AgreementRevoked, time.Time{}
	case !to.IsZero() && !now.Before(to):
		plan.Phase, plan.WakeAt = v1alpha1.AgreementExpired, time.Time{}
	case o.Spec.Suspended:
		plan.Phase = v1alpha1.AgreementSuspended
	case !sound || !begun:
		plan.Phase = v1alpha1.AgreementDraft
	case c.list.Fatal():
		plan.Phase = v1alpha1.AgreementAwaitingApproval
	case now.Before(from):
		plan.Phase, plan.WakeAt = v1alpha1.AgreementSuspended, from
		return true
	default:
		plan.Phase = v1alpha1.AgreementInForce
		return true
	}
	return false
}
