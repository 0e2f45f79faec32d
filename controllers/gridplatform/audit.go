package gridplatform

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// witnessFresh is how old the last receipt may be. A log that does not grow gets a checkpoint each hour.
const witnessFresh = time.Hour + 10*time.Minute

// witnessed says how the gateways' decision logs stand, and whether a witness has a fresh checkpoint of each.
func witnessed(reports []contract.Report, witnesses int, now time.Time) ([]v1alpha1.DecisionLogStatus, status.Named) {
	logs := []v1alpha1.DecisionLogStatus{}
	var forked, late []string
	for _, rep := range reports {
		if rep.Role != contract.RoleGateway || rep.Audit == nil {
			continue
		}
		l := v1alpha1.DecisionLogStatus{Instance: rep.Instance, Sequence: rep.Audit.Sequence, UnshippedBytes: rep.Audit.UnshippedBytes}
		if at := rep.Audit.CheckpointAt; !at.IsZero() {
			l.CheckpointAt = &metav1.Time{Time: at}
		}
		var last time.Time
		for name, w := range rep.Audit.Witnesses {
			if w.Forked {
				forked = append(forked, fmt.Sprintf("witness %s knows another history of the decision log of %s", name, rep.Instance))
			}
			if w.ReceivedAt.After(last) {
				last = w.ReceivedAt
			}
		}
		if !last.IsZero() {
			l.WitnessedAt = &metav1.Time{Time: last}
		}
		if rep.Audit.Sequence > 0 && now.Sub(last) > witnessFresh {
			late = append(late, rep.Instance)
		}
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b v1alpha1.DecisionLogStatus) int { return strings.Compare(a.Instance, b.Instance) })
	slices.Sort(forked)
	slices.Sort(late)
	logs = logs[:min(len(logs), 16)]
	const condition = v1alpha1.ConditionAuditWitnessed
	switch {
	case len(forked) > 0:
		return logs, status.Waiting(condition, v1alpha1.ReasonWitnessForked, strings.Join(forked, "; ")+": look at both before anything else")
	case witnesses == 0:
		return logs, status.Waiting(condition, v1alpha1.ReasonNoWitness, "spec.auditWitnesses names none: that the end of a log was not cut off cannot be shown")
	case len(late) > 0:
		return logs, status.Waiting(condition, v1alpha1.ReasonNoWitness, "no witness has a fresh checkpoint of the decision log of "+strings.Join(late, ", "))
	}
	return logs, status.True(condition, v1alpha1.ReasonSucceeded, fmt.Sprintf("%d decision logs", len(logs)))
}
