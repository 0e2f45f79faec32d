// Package status turns what a reconcile found into conditions that follow kstatus: Ready, and while it is not True either
// Reconciling (it heals by itself) or Stalled (a person must act). The same facts give the same bytes.
package status

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// Facts are what conditions are made from.
type Facts struct {
	Generation int64
	// Previous conditions; their transition times are kept where nothing changed.
	Previous []metav1.Condition
	// Problems that compile found.
	Problems compile.Problems
	// Named conditions of this kind, beside Accepted; each False or Unknown one keeps Ready from being True. In the order in
	// which a person would look: the first that is not True is the first blocker.
	Named []Named
	// Informative conditions do not feed Ready.
	Informative []Named
	// Claims that the object holds beside its name; the caller of Conditions records them.
	Claims []v1alpha1.Claim
	// ReadyMessage is said when all is well.
	ReadyMessage string
	Now          time.Time
}

// Named is one condition.
type Named struct {
	Type    string
	Status  metav1.ConditionStatus
	Reason  string
	Message string
	// Stalled says that a person must act when Status is False.
	Stalled bool
}

// True gives a condition that is fine.
func True(conditionType, reason, message string) Named {
	return Named{Type: conditionType, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// Waiting gives a condition that is not fine yet and heals by itself.
func Waiting(conditionType, reason, message string) Named {
	return Named{Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// maxMessage bounds a condition's message; the API allows 32 KiB, a person reads less.
const maxMessage = 1024

// Conditions gives all conditions of an object, sorted by type.
func Conditions(f Facts) []metav1.Condition {
	named := append(fromProblems(f.Problems), f.Named...)
	out := map[string]metav1.Condition{}
	set := func(n Named) {
		if was, have := out[n.Type]; have {
			if was.Status != metav1.ConditionTrue || n.Status == metav1.ConditionTrue {
				return // what compile found comes first
			}
			n.Message += "; " + was.Message // only a part was harmed, and now the whole waits
		}
		out[n.Type] = metav1.Condition{
			Type: n.Type, Status: n.Status, Reason: n.Reason, Message: bounded(n.Message), ObservedGeneration: f.Generation,
		}
	}
	blocker := Named{}
	for _, n := range named {
		if blocker.Type == "" && n.Status != metav1.ConditionTrue {
			blocker = n
		}
		set(n)
	}
	set(True(v1alpha1.ConditionAccepted, v1alpha1.ReasonSucceeded, "the specification is valid"))
	for _, n := range f.Informative {
		set(n)
	}
	for _, n := range summary(blocker, f.ReadyMessage) {
		set(n)
	}
	return stamped(out, f.Previous, f.Now)
}

// fromProblems groups problems by condition. Partial problems are shown, but the condition stays True.
func fromProblems(ps compile.Problems) []Named {
	var out []Named
	sorted := ps.Sorted()
	slices.SortStableFunc(sorted, func(a, b compile.Problem) int { return rank(a) - rank(b) })
	for _, p := range sorted {
		i := slices.IndexFunc(out, func(n Named) bool { return n.Type == p.Condition })
		if i >= 0 {
			out[i].Message += "; " + p.Text()
			continue
		}
		n := Named{Type: p.Condition, Status: metav1.ConditionFalse, Reason: p.Reason, Message: p.Text(), Stalled: !p.Waiting}
		if p.Partial {
			n.Status = metav1.ConditionTrue
		}
		out = append(out, n)
	}
	return out
}

// rank puts what a person must mend before what heals, and both before what harms only a part.
func rank(p compile.Problem) int {
	switch {
	case p.Partial:
		return 2
	case p.Waiting:
		return 1
	}
	return 0
}

// summary gives Ready, Reconciling and Stalled from the first blocker. kstatus reads Reconciling and Stalled only when True.
func summary(blocker Named, message string) []Named {
	if blocker.Type == "" {
		return []Named{
			True(v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded, message),
			{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSucceeded},
			{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSucceeded},
		}
	}
	text := blocker.Type + ": " + blocker.Message
	ready := Named{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: blocker.Reason, Message: text}
	on := Named{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgressing, Message: text}
	off := Named{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonProgressing}
	if blocker.Stalled {
		on.Type, on.Reason, off.Type, off.Reason = v1alpha1.ConditionStalled, blocker.Reason, v1alpha1.ConditionReconciling, blocker.Reason
	}
	return []Named{ready, on, off}
}

// stamped gives each condition its transition time: the former one where the status did not change.
func stamped(conditions map[string]metav1.Condition, previous []metav1.Condition, now time.Time) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(conditions))
	for _, c := range conditions {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		for _, was := range previous {
			if was.Type == c.Type && was.Status == c.Status {
				c.LastTransitionTime = was.LastTransitionTime
			}
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	return out
}

func bounded(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	end := maxMessage - len(" ...")
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + " ..."
}

// IsTrue reports whether a condition is True for the generation.
func IsTrue(conditions []metav1.Condition, conditionType string, generation int64) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return c.Type == conditionType && c.Status == metav1.ConditionTrue && c.ObservedGeneration >= generation
	})
}
