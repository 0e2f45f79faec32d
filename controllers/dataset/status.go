package dataset

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// status says how a Dataset stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.Dataset, plan compile.DatasetPlan, problems compile.Problems) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	r.Common(s, o, problems, status.Facts{Named: []status.Named{available}, Informative: []status.Named{fully},
		Claims: []v1alpha1.Claim{{Kind: compile.ClaimTable, Value: compile.TableClaim(o)}}, ReadyMessage: "the dataset is in the sharing list"})
	o.Status.Enforcement = enforcement
}
