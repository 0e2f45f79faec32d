package edgenode

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// silence is how long a node that was heard counts as there while the operator itself has not heard it: after a start it takes a moment.
const silence = 2 * time.Minute

// skewed is how far a clock may be off before it is said: times of alarms come from it.
const skewed = 5 * time.Second

// status says how an EdgeNode stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.EdgeNode, plan compile.EdgePlan, problems compile.Problems, report apply.Report, news kit.EdgeNews) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	facts := status.Facts{Named: []status.Named{kit.Applied(report)}, Claims: claims(plan), ReadyMessage: "the node is enrolled and in force"}
	facts.Named = append(facts.Named, unserved(plan)...)
	if plan.Enrolment.Phase == v1alpha1.EdgeRejected { // it stands as the spec wants it
		facts.Informative = append(facts.Informative, enrolled(plan))
		facts.ReadyMessage = "the node is shut out"
	} else {
		facts.Named = append(facts.Named, enrolled(plan))
	}
	facts.Named = append(facts.Named, available)
	if problems.Fatal() {
		facts.Named, facts.Informative = nil, nil
	}
	facts.Informative = append(facts.Informative, fully, connected(s, o, news), covered(o, plan))
	r.Common(s, o, problems, facts)
	o.Status.Enforcement, o.Status.Inventory = enforcement, report.Inventory
	heard(o, plan, news)
	if problems.Fatal() || s.Platform == nil {
		return
	}
	e := plan.Enrolment
	o.Status.Phase, o.Status.RequestedKeyFingerprint, o.Status.KeyFingerprint = e.Phase, e.RequestedKey, e.Key
	o.Status.TokenSecret, o.Status.CertificateNotAfter = "", nil
	if plan.Token != nil {
		o.Status.TokenSecret = plan.Token.Secret.Name
	}
	if !e.NotAfter.IsZero() {
		at := metav1.NewTime(e.NotAfter.UTC())
		o.Status.CertificateNotAfter = &at
	}
	if plan.Autonomy.Known {
		o.Status.AutonomyCovered = nil
		if plan.Autonomy.Needed > 0 {
			o.Status.AutonomyCovered = &metav1.Duration{Duration: plan.Autonomy.Covered}
		}
	}
}

// claims are the communities that the node serves.
func claims(plan compile.EdgePlan) []v1alpha1.Claim {
	var out []v1alpha1.Claim
	for _, c := range plan.Document.Communities {
		out = append(out, v1alpha1.Claim{Kind: compile.ClaimCommunity, Value: c})
	}
	return out
}

// unserved keeps Ready from being True while a community is not served; the others are.
func unserved(plan compile.EdgePlan) []status.Named {
	if len(plan.Unserved) == 0 {
		return nil
	}
	first := plan.Unserved[0]
	return []status.Named{status.Waiting(first.Condition, first.Reason, fmt.Sprintf("%d of the communities are served", len(plan.Document.Communities)))}
}

func enrolled(plan compile.EdgePlan) status.Named {
	e := plan.Enrolment
	n := status.Named{Type: v1alpha1.ConditionEnrolled, Status: metav1.ConditionFalse, Reason: e.Reason, Message: e.Message, Stalled: e.Stalled}
	if e.Phase == v1alpha1.EdgeEnrolled {
		n.Status = metav1.ConditionTrue
	}
	return n
}

// connected tells whether the node is heard, and what it says is wrong. Right after a start of the operator what was said stays.
func connected(s *compile.Snapshot, o *v1alpha1.EdgeNode, news kit.EdgeNews) status.Named {
	was := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionConnected)
	no := func(reason, message string) status.Named {
		return status.Named{Type: v1alpha1.ConditionConnected, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	}
	switch {
	case news.Report == nil && recently(o, s.Now) && was != nil:
		return status.Named{Type: was.Type, Status: was.Status, Reason: was.Reason, Message: was.Message}
	case news.Report == nil && o.Status.LastHeartbeat == nil:
		return no(v1alpha1.ReasonAwaitingEnrolment, "was never heard")
	case !news.Online:
		last := news.HeardAt
		if last.IsZero() {
			last = o.Status.LastHeartbeat.Time
		}
		return no(v1alpha1.ReasonOffline, "was last heard at "+last.UTC().Truncate(time.Minute).Format(time.RFC3339))
	}
	n := status.True(v1alpha1.ConditionConnected, v1alpha1.ReasonSucceeded, "is heard")
	switch out := news.Report.Outbox; {
	case out != nil && out.DiskFull:
		n.Reason, n.Message = v1alpha1.ReasonDiskFull, "is heard; the disk beneath its outbox is full, and its devices are not let in"
	case news.Report.Problem != "":
		n.Reason, n.Message = v1alpha1.ReasonEnforcementRejected, fmt.Sprintf("is heard; it keeps the last good bundle: %.200q", news.Report.Problem)
	case out == nil:
	case out.Full:
		n.Reason, n.Message = v1alpha1.ReasonOutboxFull, "is heard; its outbox is full, and its devices get no acknowledgement"
	case out.Lost > 0:
		n.Reason, n.Message = v1alpha1.ReasonStoreCorrupted, fmt.Sprintf("is heard; %d messages that it had acknowledged cannot be read any more", out.Lost)
	case time.Duration(max(out.SkewMillis, -out.SkewMillis))*time.Millisecond > skewed:
		n.Reason, n.Message = v1alpha1.ReasonClockSkew, fmt.Sprintf("is heard; its clock is off by more than %s: let it follow a time server", skewed)
	}
	return n
}

// recently reports whether the status itself says that the node was heard a moment ago.
func recently(o *v1alpha1.EdgeNode, now time.Time) bool {
	return o.Status.LastHeartbeat != nil && now.Sub(o.Status.LastHeartbeat.Time) < silence
}

// covered compares the outbox with what may come in during the declared autonomy.
func covered(o *v1alpha1.EdgeNode, plan compile.EdgePlan) status.Named {
	was := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionAutonomyCovered)
	switch a := plan.Autonomy; {
	case !a.Known && was != nil:
		return status.Named{Type: was.Type, Status: was.Status, Reason: was.Reason, Message: was.Message}
	case !a.Known:
		return status.Named{Type: v1alpha1.ConditionAutonomyCovered, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonUnknown, Message: "waits for the fleets to be looked at"}
	case a.Needed == 0:
		return status.True(v1alpha1.ConditionAutonomyCovered, v1alpha1.ReasonSucceeded, "no fleet is placed at the node")
	case !a.Enough(o):
		return status.Named{Type: v1alpha1.ConditionAutonomyCovered, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAutonomyNotCovered,
			Message: fmt.Sprintf("the outbox of %s lasts %s at the fleets' limits; for %s write storage: %s, or lower limits.messagesPerMinute of the fleets",
				o.Spec.Storage.String(), a.Covered, o.Spec.Autonomy.Duration, a.Storage())}
	}
	return status.True(v1alpha1.ConditionAutonomyCovered, v1alpha1.ReasonSucceeded, fmt.Sprintf("the outbox lasts %s at the fleets' limits", plan.Autonomy.Covered))
}

// heard takes over what the node reports, at most once a minute: it reports every few seconds, and each write of a status is one of the
// API server's.
func heard(o *v1alpha1.EdgeNode, plan compile.EdgePlan, news kit.EdgeNews) {
	rep := news.Report
	minute := metav1.NewTime(news.HeardAt.UTC().Truncate(time.Minute))
	if rep == nil || (o.Status.LastHeartbeat != nil && !o.Status.LastHeartbeat.Before(&minute)) {
		return
	}
	o.Status.LastHeartbeat, o.Status.Version = &minute, fmt.Sprintf("%.64s", rep.Version)
	o.Status.AppliedRevision, o.Status.AppliedSequence = fmt.Sprintf("%.128s", rep.Revision), max(0, rep.Sequence)
	o.Status.LeaseExpiresAt = nil
	if !news.LeaseExpiresAt.IsZero() {
		at := metav1.NewTime(news.LeaseExpiresAt.UTC().Truncate(time.Second))
		o.Status.LeaseExpiresAt = &at
	}
	if out := rep.Outbox; out != nil {
		o.Status.Architecture, o.Status.ClockSkewMillis = fmt.Sprintf("%.64s", out.Architecture), out.SkewMillis/100*100
		o.Status.Backlog = &v1alpha1.BacklogStatus{Count: max(0, out.Messages), Bytes: max(0, out.Bytes)}
		if !out.Oldest.IsZero() {
			at := metav1.NewTime(out.Oldest.UTC().Truncate(time.Second))
			o.Status.Backlog.Oldest = &at
		}
	}
	d := &v1alpha1.DeviceCounts{Total: int32(plan.Autonomy.Devices)}
	for _, f := range rep.Fleets {
		d.Online, d.Offline, d.NeverSeen = count(d.Online, f.Online), count(d.Offline, f.Offline), count(d.NeverSeen, f.NeverSeen)
	}
	d.Unknown = max(0, d.Total-d.Online-d.Offline-d.NeverSeen)
	o.Status.Devices = d
}

// count adds what a machine says to a sum, whatever it says.
func count(sum int32, n int64) int32 {
	const most = 10_000_000
	return sum + int32(min(max(n, 0), most))
}
