package compile

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

// ApproversRecord is what the platform keeps of an organisation's approvers, where whoever writes the Organization cannot reach: else who
// may write it could put in another key and sign for it, or delete the Organization and make it anew.
type ApproversRecord struct {
	Approvers []v1alpha1.NamedKey `json:"approvers"`
	// SignedAt is the time, in Unix seconds, of the latest signature by which the list changed; 0 where it never did.
	SignedAt int64 `json:"signedAt,omitempty"`
}

// ApproversKey is the key of the ConfigMap in which the record stands, as JSON.
const ApproversKey = "approvers.json"

// ApproversName names the ConfigMap, in the platform's namespace, with the record of an organisation.
func ApproversName(organization string) string { return "approvers." + organization }

// ParseApprovers reads a record.
func ParseApprovers(text string) (ApproversRecord, error) {
	var out ApproversRecord
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return out, fmt.Errorf("%s: %w", ApproversKey, err)
	}
	return out, nil
}

// ahead is how far the clock of whoever signs may be ahead of ours.
const ahead = 5 * time.Minute

// approvers gives the approvers that stand: those in the spec where they are the first or are signed by one who stood before, else those
// of before, with the reason.
func approvers(s *Snapshot, o *v1alpha1.Organization) (record ApproversRecord, refused string) {
	was, known := s.Approvers[o.Name]
	next := ApproversRecord{Approvers: approval.SortedKeys(o.Spec.Approvers), SignedAt: was.SignedAt}
	switch {
	case !known:
		next.SignedAt = claimed(s, o)
		return next, ""
	case approval.SameKeys(was.Approvers, o.Spec.Approvers):
		return next, ""
	case len(o.Spec.Approvers) == 0:
		return was, "the list is empty, and nobody could sign the next; leave one approver"
	case o.Spec.ApproversSignature == nil:
		return was, "the list changed and is not signed; one who was an approver before signs it with `dizuo organization approvers sign`"
	}
	by := o.Spec.ApproversSignature
	i := slices.IndexFunc(was.Approvers, func(k v1alpha1.NamedKey) bool { return k.Name == by.Approver })
	if i < 0 {
		return was, by.Approver + " was not among the approvers before the change; one who was signs it"
	}
	at, err := approval.VerifyApprovers(was.Approvers[i].PublicKey, o)
	switch {
	case err != nil:
		return was, err.Error() + "; sign again with `dizuo organization approvers sign`"
	case at.Unix() <= was.SignedAt:
		return was, "the signature is not younger than the one by which the list changed last; sign again with `dizuo organization approvers sign`"
	case at.After(s.Now.Add(ahead)):
		return was, "the signature is of " + at.UTC().Format(time.RFC3339) + ", which is yet to come; set the clock right and sign again"
	}
	next.SignedAt = at.Unix()
	return next, ""
}

// claimed gives the time of the signature that the first list seen brings along: after a restore without the record, lists from before
// it must not come back. It can only make the next change harder, so it need not be checked, and one that is yet to come does not count.
func claimed(s *Snapshot, o *v1alpha1.Organization) int64 {
	if o.Spec.ApproversSignature == nil {
		return 0
	}
	at, err := approval.ClaimedAt(o.Spec.ApproversSignature.Signature)
	if err != nil || at.After(s.Now.Add(ahead)) {
		return 0
	}
	return at.Unix()
}

// checkApprovers puts the approvers that stand into the plan. A change that is not accepted harms nothing else of the organisation.
func checkApprovers(c *problems, s *Snapshot, o *v1alpha1.Organization, plan *OrganizationPlan) {
	good := true
	for i, k := range o.Spec.Approvers {
		good = keyDigest(c, fmt.Sprintf("spec.approvers[%d].publicKey", i), k.PublicKey) != "" && good
	}
	record, known := s.Approvers[o.Name]
	if good {
		record, plan.ApproversRefused = approvers(s, o)
	}
	// An empty list is not the first: it names nobody who could sign the next.
	if HoldsName(o, s.Organizations) && (known || good && len(record.Approvers) > 0) { // a rival must not have its keys recorded under the name
		plan.Approvers = &record
	}
}

// approversOf gives the approvers of an organisation whose signatures count. Without a cluster nothing is recorded, and the list in the
// file counts; with one, an organisation that was not looked at yet has none.
func approversOf(s *Snapshot, o *v1alpha1.Organization) []v1alpha1.NamedKey {
	if s.Approvers == nil {
		return o.Spec.Approvers
	}
	return s.Approvers[o.Name].Approvers
}
