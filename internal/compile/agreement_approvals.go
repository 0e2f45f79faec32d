package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

// approvals checks that every party has signed this very text: the providers of the datasets, the consumer, and the data
// office where the platform asks for one. It reports whether anybody signed anything, be it void by now.
func approvals(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset, record *ApprovalsRecord, plan *AgreementPlan) (begun bool) {
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
		field := fmt.Sprintf("spec.approvals[%d]", i)
		if !parties[a.Organization] {
			c.invalid(v1alpha1.ConditionApproved, v1alpha1.ReasonApprovalInvalid, field+".organization", a.Organization+" is no party of this agreement; remove the approval")
			continue
		}
		if plan.Digest == "" {
			continue // it relies on what is not there: nobody can have signed that
		}
		at, wrong := checkApproval(s, a, plan.Digest, parties)
		if wrong == "" && s.Approvals != nil {
			wrong = record.refuses(s.Now, a.Organization, plan.Digest, at)
		}
		if wrong != "" {
			c.invalid(v1alpha1.ConditionApproved, v1alpha1.ReasonApprovalVoid, field+".signature", wrong)
			continue
		}
		signed[a.Organization] = true
		record.accept(a.Organization, plan.Digest, at)
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

// checkApproval gives the time at which an approval was signed, or says why it is void.
func checkApproval(s *Snapshot, a v1alpha1.Approval, digest string, parties map[string]bool) (at time.Time, wrong string) {
	org, ok := s.Organizations.Get(a.Organization)
	if !ok {
		return at, "Organization " + a.Organization + " is not there"
	}
	for _, k := range approversOf(s, org) {
		if k.Name != a.Approver {
			continue
		}
		at, err := approval.Verify(k.PublicKey, a.Organization, a.Approver, digest, a.Signature)
		if err != nil {
			return at, err.Error() + "; sign again with `dizuo agreement approve`"
		}
		return at, keyOfTwo(s, a.Organization, k.PublicKey, parties)
	}
	if slices.ContainsFunc(org.Spec.Approvers, func(k v1alpha1.NamedKey) bool { return k.Name == a.Approver }) {
		return at, a.Approver + " is not among the accepted approvers of Organization " + a.Organization + "; see its condition " + v1alpha1.ConditionApproversAccepted
	}
	return at, a.Approver + " is not among spec.approvers of Organization " + a.Organization
}

// keyOfTwo says that a key stands among the approvers of another party too: whoever holds it would sign an agreement with himself.
func keyOfTwo(s *Snapshot, organization, publicKey string, parties map[string]bool) string {
	for _, party := range slices.Sorted(maps.Keys(parties)) {
		other, ok := s.Organizations.Get(party)
		if party == organization || !ok {
			continue
		}
		if approval.HasKey(approversOf(s, other), publicKey) {
			return "the key stands among the approvers of " + party + " too, and two parties do not sign with one key; sign with another"
		}
	}
	return ""
}
