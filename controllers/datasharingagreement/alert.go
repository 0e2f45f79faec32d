package datasharingagreement

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// alert tells in events of the agreement that somebody broke the glass, and that a use was not reviewed in time. It does so after the status
// is written, which remembers what was told: an operator that starts again tells nothing twice, and one that ends in between tells too little,
// where the metric and its alert still say it.
func (r *Reconciler) alert(before, o *v1alpha1.DataSharingAgreement) {
	was, is := emergencies(before), emergencies(o)
	if is.LastUsedAt != nil && (was.LastUsedAt == nil || is.LastUsedAt.After(was.LastUsedAt.Time)) || is.Pending+is.Overdue > was.Pending+was.Overdue {
		at := "at a time that the gateway does not tell"
		if is.LastUsedAt != nil {
			at = "last at " + is.LastUsedAt.UTC().Format(time.RFC3339)
		}
		r.Events.Eventf(o, nil, corev1.EventTypeWarning, "BreakGlassUsed", "Alert", "personal data was read in an emergency, %s; %d uses wait for a review by %s", at, is.Pending+is.Overdue, reviewer(o))
	}
	if is.Overdue > was.Overdue {
		r.Events.Eventf(o, nil, corev1.EventTypeWarning, "BreakGlassReviewOverdue", "Alert", "%d uses of break-glass were not reviewed in time by %s: there is no further one until they are", is.Overdue, reviewer(o))
	}
}

// emergencies gives what the status counts; nothing counted is none.
func emergencies(o *v1alpha1.DataSharingAgreement) v1alpha1.BreakGlassCounts {
	if o.Status.BreakGlass == nil {
		return v1alpha1.BreakGlassCounts{}
	}
	return *o.Status.BreakGlass
}

// reviewer names who is to review. The uses of an agreement that has no break-glass any more have the reviewer that they were made under.
func reviewer(o *v1alpha1.DataSharingAgreement) string {
	if o.Spec.BreakGlass == nil {
		return "the organization that the agreement named then"
	}
	return "Organization " + o.Spec.BreakGlass.Reviewer.Name
}
