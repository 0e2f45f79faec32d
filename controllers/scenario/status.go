package scenario

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// status says how a Scenario stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.Scenario, plan compile.ScenarioPlan, problems compile.Problems) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	r.Common(s, o, problems, status.Facts{Named: []status.Named{available}, Informative: []status.Named{fully}, ReadyMessage: plan.Why})
	o.Status.Enforcement = enforcement
	if s.Platform == nil {
		return
	}
	if !problems.Fatal() {
		o.Status.EstimatedCost = plan.Cost
	}
	if !compile.HoldsName(o, s.Scenarios) {
		return // the cases are those of the one that holds it
	}
	if open, ok := r.Reports.ScenarioCases(kit.PlatformKey(s.Platform), o.Name); ok {
		o.Status.OpenCases = int32(open)
	}
}
