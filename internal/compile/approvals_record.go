package compile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// ApprovalsRecord is what the platform keeps of an agreement's approvals, where whoever writes the agreement cannot reach: else one that
// was revoked, or a wider text from before, would come back with the signatures that it once had.
type ApprovalsRecord struct {
	// RevokedAt is the time, in Unix seconds, at which the agreement was revoked last; 0 where it never was. No approval from before
	// counts, of whatever text.
	RevokedAt int64 `json:"revokedAt,omitempty"`
	// Accepted has the newest approval that was accepted of each party.
	Accepted map[string]AcceptedApproval `json:"accepted,omitempty"`
}

// AcceptedApproval is the newest approval of a party that was accepted.
type AcceptedApproval struct {
	Digest string `json:"digest"`
	// SignedAt in Unix seconds.
	SignedAt int64 `json:"signedAt"`
}

// ApprovalsKey is the key of the ConfigMap in which the record stands, as JSON.
const ApprovalsKey = "approvals.json"

const approvalsPrefix = "approvals."

// ApprovalsName names the ConfigMap, in the platform's namespace, with the record of an agreement. Neither part can hold a dot.
func ApprovalsName(agreement types.NamespacedName) string {
	return approvalsPrefix + agreement.Namespace + "." + agreement.Name
}

// AgreementOfRecord gives the agreement of whose approvals a ConfigMap of that name is the record.
func AgreementOfRecord(name string) (agreement types.NamespacedName, ok bool) {
	rest, ok := strings.CutPrefix(name, approvalsPrefix)
	if !ok {
		return agreement, false
	}
	agreement.Namespace, agreement.Name, ok = strings.Cut(rest, ".")
	return agreement, ok
}

// ParseApprovals reads a record. One that cannot be read voids every approval.
func ParseApprovals(text string) (ApprovalsRecord, error) {
	var out ApprovalsRecord
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return ApprovalsRecord{RevokedAt: math.MaxInt64}, fmt.Errorf("%s: %w", ApprovalsKey, err)
	}
	return out, nil
}

// recordOf gives the record of an agreement, with its revocation put in where it is revoked. Without a cluster there is none.
func recordOf(s *Snapshot, o *v1alpha1.DataSharingAgreement) ApprovalsRecord {
	was := s.Approvals[client.ObjectKeyFromObject(o)]
	next := ApprovalsRecord{RevokedAt: was.RevokedAt, Accepted: maps.Clone(was.Accepted)}
	if !o.Spec.Revoked {
		return next
	}
	// Parties may sign anew before they take `revoked` out: only what was accepted since counts as revoked anew.
	newest := int64(0)
	for _, a := range was.Accepted {
		newest = max(newest, a.SignedAt)
	}
	if was.RevokedAt == 0 || newest > was.RevokedAt {
		next.RevokedAt = max(s.Now.Unix(), newest)
	}
	return next
}

// refuses says why an approval that is good in itself does not count, or nothing.
func (r ApprovalsRecord) refuses(now time.Time, party, digest string, at time.Time) string {
	const again = "; approve again with `dizuo agreement approve`"
	last, known := r.Accepted[party]
	switch {
	case r.RevokedAt == math.MaxInt64:
		return "the record of the agreement's approvals cannot be read; whoever runs the platform puts it right"
	case at.After(now.Add(ahead)):
		return "the approval is of " + at.UTC().Format(time.RFC3339) + ", which is yet to come; set the clock right and approve again"
	case r.RevokedAt != 0 && at.Unix() <= r.RevokedAt:
		return "the approval is of " + at.UTC().Format(time.RFC3339) + ", and the agreement was revoked after that, at " + time.Unix(r.RevokedAt, 0).UTC().Format(time.RFC3339) + again
	case known && last.Digest != digest && at.Unix() <= last.SignedAt:
		return party + " approved another text since, at " + time.Unix(last.SignedAt, 0).UTC().Format(time.RFC3339) + "; an older approval does not bring an older text back" + again
	}
	return ""
}

// accept puts an approval that counts into the record.
func (r *ApprovalsRecord) accept(party, digest string, at time.Time) {
	if at.Unix() <= r.Accepted[party].SignedAt {
		return
	}
	if r.Accepted == nil {
		r.Accepted = map[string]AcceptedApproval{}
	}
	r.Accepted[party] = AcceptedApproval{Digest: digest, SignedAt: at.Unix()}
}

// keepRecord puts the record into the plan where it is to be written. What is signed while the agreement is revoked is accepted later.
func keepRecord(s *Snapshot, o *v1alpha1.DataSharingAgreement, next ApprovalsRecord, plan *AgreementPlan) {
	was := s.Approvals[client.ObjectKeyFromObject(o)]
	if o.Spec.Revoked {
		next.Accepted = was.Accepted
	}
	if s.Approvals != nil && was.RevokedAt != math.MaxInt64 && (was.RevokedAt != next.RevokedAt || len(next.Accepted) > 0 && !reflect.DeepEqual(was.Accepted, next.Accepted)) {
		plan.Record = &next
	}
}
