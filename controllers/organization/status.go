package organization

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// status says how an Organization stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.Organization, plan compile.OrganizationPlan, problems compile.Problems, report apply.Report) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	named := []status.Named{available}
	o.Status.Identities = nil
	issued := status.True(v1alpha1.ConditionIdentitiesReady, v1alpha1.ReasonSucceeded, "every certificate is issued")
	for i, c := range plan.Certificates {
		o.Status.Identities = append(o.Status.Identities, identity(o.Spec.Identities[c.Index].Name, c))
		if len(plan.Certificates[i].Issued) == 0 {
			issued = status.Waiting(v1alpha1.ConditionIdentitiesReady, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue Certificate "+c.Name)
		}
	}
	if len(plan.Certificates) > 0 && !problems.Fatal() {
		named = []status.Named{kit.Applied(report), issued, available}
	}
	o.Status.Approvers = nil
	if plan.Approvers != nil {
		o.Status.Approvers = plan.Approvers.Approvers
		named = append([]status.Named{accepted(plan)}, named...) // a person must mend it, whatever else waits
	}
	informative := []status.Named{fully}
	if s.Platform != nil && compile.HoldsName(o, s.Organizations) {
		if d, ok := r.Reports.Dispatch(kit.PlatformKey(s.Platform), o.Name); ok {
			informative = append(informative, dispatching(d))
			o.Status.Dispatch = &v1alpha1.DispatchStatus{Delivered: d.Delivered, Failed: d.Failed, LastError: d.LastError}
		}
	}
	r.Common(s, o, problems, status.Facts{Named: named, Informative: informative, Claims: compile.OrganizationClaims(&plan), ReadyMessage: "the organisation is known to every enforcer"})
	o.Status.Enforcement, o.Status.Inventory = enforcement, report.Inventory
}

// identity says which certificate an identity has.
func identity(name string, c compile.IssuedCertificate) v1alpha1.OrganizationIdentityStatus {
	out := v1alpha1.OrganizationIdentityStatus{Name: name, SecretName: c.CopyTo.Name}
	fingerprint, ends := c.Standing()
	if out.KeyFingerprint = fingerprint; !ends.IsZero() {
		out.NotAfter = new(metav1.NewTime(ends))
	}
	return out
}

// dispatching tells whether messages to the organisation were tried in vain for a day.
func dispatching(d contract.DispatchReport) status.Named {
	if d.Failed == 0 {
		return status.True(v1alpha1.ConditionDispatching, v1alpha1.ReasonSucceeded, "no message to the organisation is a dead letter")
	}
	return status.Named{Type: v1alpha1.ConditionDispatching, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDeliveriesFailing,
		Message: fmt.Sprintf("%d messages were tried for a day and not taken: %s; mend the receiver, then replay them (POST /v1/deliveries/replay)", d.Failed, d.LastError)}
}

// accepted tells whether the approvers in the spec are those that stand.
func accepted(plan compile.OrganizationPlan) status.Named {
	if plan.ApproversRefused == "" {
		return status.True(v1alpha1.ConditionApproversAccepted, v1alpha1.ReasonSucceeded, "the first, or signed by one who was an approver before")
	}
	return status.Named{Type: v1alpha1.ConditionApproversAccepted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonApproversChangeUnsigned,
		Message: "the former approvers stand: " + plan.ApproversRefused, Stalled: true}
}
