package kit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/shelf"
	"github.com/dizuo/dizuo/internal/status"
)

// Digest names a contribution by its content.
func Digest(parts ...any) string {
	raw, err := json.Marshal(parts)
	if err != nil {
		panic(err) // documents are plain values
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// binding are reasons for which an object has no place on the platform, so that nothing of it may stay in force.
var binding = []string{
	v1alpha1.ReasonNamespaceNotAdmitted, v1alpha1.ReasonNamespaceRoleNotAllowed, v1alpha1.ReasonPlatformNotFound, v1alpha1.ReasonPlatformDeleting,
	v1alpha1.ReasonPlatformExists, v1alpha1.ReasonNameClaimed, v1alpha1.ReasonDivisionClaimed, v1alpha1.ReasonDivisionOutsidePlatform,
	v1alpha1.ReasonWriterClaimed, v1alpha1.ReasonItemClaimed, v1alpha1.ReasonSchemaNotAdmitted,
}

// KeepsLastGood reports whether what an object last contributed stays in force while it has these problems.
func KeepsLastGood(ps compile.Problems) bool {
	return !slices.ContainsFunc(ps, func(p compile.Problem) bool { return slices.Contains(binding, p.Reason) })
}

// Contribute puts what an object contributes on the shelf: its documents, or nothing, or what it last contributed if it
// does not compile now and lastGood says that this may stay.
func (k *Kit) Contribute(s *compile.Snapshot, key shelf.Key, problems compile.Problems, lastGood bool, digest string, f shelf.Fragment) {
	switch {
	case s.Platform == nil:
		k.Shelf.Drop(key)
	case !problems.Fatal():
		k.Shelf.Put(PlatformKey(s.Platform), key, digest, f, s.Now)
	case lastGood && KeepsLastGood(problems):
		k.Shelf.Keep(PlatformKey(s.Platform), key)
	default:
		k.Shelf.Put(PlatformKey(s.Platform), key, "", nil, s.Now)
	}
}

// Enforced gives how far an object's contribution has come, for its status, and the two conditions that tell of it. Before
// the operator knows, after a start, what was said of the same generation still stands.
func (k *Kit) Enforced(s *compile.Snapshot, key shelf.Key, o Object) (*v1alpha1.EnforcementStatus, status.Named, status.Named) {
	common := o.GetCommonStatus()
	if s.Platform == nil {
		wait := status.Waiting(v1alpha1.ConditionAvailable, v1alpha1.ReasonPlatformNotFound, "belongs to no platform")
		full := wait
		full.Type = v1alpha1.ConditionFullyEnforced
		return nil, wait, full
	}
	e := k.Shelf.Enforcement(PlatformKey(s.Platform), key)
	if !e.Known {
		if common.ObservedGeneration == o.GetGeneration() && common.Enforcement != nil {
			return common.Enforcement, former(common, v1alpha1.ConditionAvailable), former(common, v1alpha1.ConditionFullyEnforced)
		}
		// What was said of another generation is not this one's.
		wait := status.Waiting(v1alpha1.ConditionAvailable, v1alpha1.ReasonPlatformNotReady, "waits for the platform to publish its first bundle")
		full := wait
		full.Type = v1alpha1.ConditionFullyEnforced
		return nil, wait, full
	}
	out := &v1alpha1.EnforcementStatus{
		Revision: e.Revision, Sequence: e.Sequence, RequestedAt: stamp(e.RequestedAt), EffectiveAt: stamp(e.EffectiveAt),
		TookMilliseconds: took(e), Acked: int32(e.Acked), Total: int32(e.Total), Pending: bounded(e.Pending),
	}
	if was := common.Enforcement; was != nil && was.EffectiveAt != nil && (was.Sequence == e.Sequence || (e.Recognised && common.ObservedGeneration == o.GetGeneration())) {
		out.Sequence = was.Sequence
		out.RequestedAt, out.EffectiveAt, out.Revision, out.TookMilliseconds = was.RequestedAt, was.EffectiveAt, was.Revision, was.TookMilliseconds
	}
	return out, available(e), fully(e)
}

// took gives the time from the change to its being in force, as the operator measured it; nil until it is.
func took(e shelf.Enforcement) *int64 {
	if e.EffectiveAt.IsZero() || e.RequestedAt.IsZero() {
		return nil
	}
	ms := max(e.EffectiveAt.Sub(e.RequestedAt).Milliseconds(), 0)
	return &ms
}

func former(c *v1alpha1.CommonStatus, conditionType string) status.Named {
	for _, was := range c.Conditions {
		if was.Type == conditionType {
			return status.Named{Type: was.Type, Status: was.Status, Reason: was.Reason, Message: was.Message}
		}
	}
	return status.Waiting(conditionType, v1alpha1.ReasonProgressing, "not known yet")
}

func available(e shelf.Enforcement) status.Named {
	if !e.EffectiveAt.IsZero() {
		return status.True(v1alpha1.ConditionAvailable, v1alpha1.ReasonSucceeded, "in force at every enforcer that is online")
	}
	if len(e.Refusals) > 0 {
		return status.Waiting(v1alpha1.ConditionAvailable, v1alpha1.ReasonEnforcementRejected, refused(e))
	}
	return status.Waiting(v1alpha1.ConditionAvailable, v1alpha1.ReasonEnforcementPending, "waits for "+who(e))
}

func fully(e shelf.Enforcement) status.Named {
	if len(e.Refusals) > 0 {
		return status.Waiting(v1alpha1.ConditionFullyEnforced, v1alpha1.ReasonEnforcementRejected, refused(e))
	}
	if e.Sequence > 0 && e.Total > 0 && e.Acked == e.Total {
		return status.True(v1alpha1.ConditionFullyEnforced, v1alpha1.ReasonSucceeded, fmt.Sprintf("%d of %d enforcers acknowledged", e.Acked, e.Total))
	}
	return status.Waiting(v1alpha1.ConditionFullyEnforced, v1alpha1.ReasonEnforcementPending, "waits for "+who(e))
}

// refused names the enforcers that refuse the newest bundle, and why.
func refused(e shelf.Enforcement) string {
	var out []string
	for _, name := range bounded(slices.Sorted(maps.Keys(e.Refusals))) {
		out = append(out, name+" refuses the newest bundle and goes on by its last good one: "+e.Refusals[name])
	}
	return strings.Join(out, "; ")
}

func who(e shelf.Enforcement) string {
	if e.Sequence == 0 {
		return "the next bundle"
	}
	if len(e.Pending) == 0 {
		return "enforcers to report"
	}
	return strings.Join(bounded(e.Pending), ", ") + " to acknowledge"
}

func bounded(names []string) []string {
	if len(names) > 16 {
		return names[:16]
	}
	return names
}

func stamp(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}

// claims gives what an object holds: its name, and what is particular to its kind. It keeps the time at which each was won.
// An object that has no place on the platform lets go.
func claims(held []v1alpha1.Claim, o Object, problems compile.Problems, now time.Time, particular []v1alpha1.Claim) []v1alpha1.Claim {
	if !KeepsLastGood(problems) {
		return nil
	}
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	out := append([]v1alpha1.Claim{{Kind: compile.ClaimName, Value: o.GetName()}}, particular...)
	for i := range out {
		out[i].Since = &at
		for _, was := range held {
			if was.Kind == out[i].Kind && was.Value == out[i].Value && was.Since != nil {
				out[i].Since = was.Since
			}
		}
	}
	return out
}

// Common fills in the part of the status that every kind has. facts brings what is particular to the kind.
func (k *Kit) Common(s *compile.Snapshot, o Object, problems compile.Problems, facts status.Facts) {
	common := o.GetCommonStatus()
	facts.Generation, facts.Previous, facts.Problems, facts.Now = o.GetGeneration(), common.Conditions, problems, s.Now
	common.Conditions = status.Conditions(facts)
	common.ObservedGeneration = o.GetGeneration()
	common.Claims = claims(common.Claims, o, problems, s.Now, facts.Claims)
	common.Platform = nil
	if s.Platform != nil {
		common.Platform = &v1alpha1.PlatformReference{Namespace: s.Platform.Namespace, Name: s.Platform.Name}
	}
}
