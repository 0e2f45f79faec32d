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
	measured, ok := r.measured(s, o)
	quality, standing := qualityOf(o, measured, ok)
	r.Common(s, o, problems, status.Facts{Named: []status.Named{available}, Informative: append(standing, fully),
		Claims: compile.DatasetClaims(o), ReadyMessage: "the dataset is in the sharing list"})
	o.Status.Enforcement, o.Status.Quality, o.Status.DataClass = enforcement, quality, v1alpha1.DataClass(plan.Document.Class)
}
