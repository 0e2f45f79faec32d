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
}
