package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

// approvals checks that every party has signed this very text: the providers of the datasets, the consumer, and the data
// office where the platform asks for one. It reports whether anybody signed anything, be it void by now.
func approvals(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset, plan *AgreementPlan) (begun bool) {
	parties := map[string]bool{consumer.Name: true}
	for _, d := range datasets {
		parties[d.Spec.Provider.Name] = true
	}
	if office := s.Platform.Spec.DataOffice; office != nil {
		parties[office.Name] = true
		if org, ok := s.Organizations.Get(office.Name); ok && (org.Spec.Type != v1alpha1.OrganizationDataOffice || org.Namespace != s.Platform.Namespace) {
			c.waiting(v1alpha1.ConditionApproved, v1alpha1.ReasonOrganizationTypeNotAllowed, "spec.approvals", fmt.Sprintf(
				"Organization %s, which GridPlatform %s names as its data office, is of type %s in namespace %s; only one of type %s in namespace %s approves as such",
				org.Name, s.Platform.Name, org.Spec.Type, org.Namespace, v1alpha1.OrganizationDataOffice, s.Platform.Namespace))
		}
	}
	signed := map[string]bool{}
	begun = len(o.Spec.Approvals) > 0
	for i, a := range o.Spec.Approvals {
		at := fmt.Sprintf("spec.approvals[%d]", i)
		if !parties[a.Organization] {
			c.invalid(v1alpha1.ConditionApproved, v1alpha1.ReasonApprovalInvalid, at+".organization", a.Organization+" is no party of this agreement; remove the approval")
			continue
		}
		if plan.Digest == "" {
			continue // it relies on what is not there: nobody can have signed that
		}
		if wrong := checkApproval(s, a, plan.Digest); wrong != "" {
			c.invalid(v1alpha1.ConditionApproved, v1alpha1.ReasonApprovalVoid, at+".signature", wrong)
			continue
		}
		signed[a.Organization] = true
	}
	for party := range parties {
		if !signed[party] {
			plan.Pending = append(plan.Pending, party)
		}
	}
	slices.Sort(plan.Pending)
	if len(plan.Pending) > 0 {
		reason := v1alpha1.ReasonAwaitingApproval
		if !begun {
			reason = v1alpha1.ReasonDraft
		}
		c.waiting(v1alpha1.ConditionApproved, reason, "spec.approvals",
			"approval of "+strings.Join(plan.Pending, ", ")+" is missing; an approver signs with `dizuo agreement approve`")
	}
	return begun
}

func checkApproval(s *Snapshot, a v1alpha1.Approval, digest string) string {
	org, ok := s.Organizations.Get(a.Organization)
	if !ok {
		return "Organization " + a.Organization + " is not there"
	}
	for _, k := range approversOf(s, org) {
		if k.Name != a.Approver {
			continue
		}
		if err := approval.Verify(k.PublicKey, a.Organization, a.Approver, digest, a.Signature); err != nil {
			return err.Error() + "; sign again with `dizuo agreement approve`"
		}
		return ""
	}
	if slices.ContainsFunc(org.Spec.Approvers, func(k v1alpha1.NamedKey) bool { return k.Name == a.Approver }) {
		return a.Approver + " is not among the accepted approvers of Organization " + a.Organization + "; see its condition " + v1alpha1.ConditionApproversAccepted
	}
	return a.Approver + " is not among spec.approvers of Organization " + a.Organization
}
