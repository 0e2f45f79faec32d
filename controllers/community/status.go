package community

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// status says how a Community stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.Community, plan compile.CommunityPlan, problems compile.Problems, report apply.Report) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	named := []status.Named{available}
	if plan.Workspace != nil && !problems.Fatal() {
		named = []status.Named{kit.Applied(report), available}
	}
	r.Common(s, o, problems, status.Facts{Named: named, Informative: []status.Named{fully}, Claims: claims(o), ReadyMessage: "the community is a tenant of the platform"})
	o.Status.Enforcement, o.Status.Inventory = enforcement, report.Inventory
	o.Status.WorkspaceNamespace = ""
	if plan.Workspace != nil {
		o.Status.WorkspaceNamespace = plan.Workspace.Namespace
	}
	if s.Platform != nil && !problems.Fatal() {
		if open, ok := r.Reports.OpenCases(kit.PlatformKey(s.Platform), o.Name); ok {
			o.Status.OpenCases = int32(open)
		}
	}
}

// claims are the division codes that the community speaks for.
func claims(o *v1alpha1.Community) []v1alpha1.Claim {
	var out []v1alpha1.Claim
	for _, code := range compile.Codes(o) {
		out = append(out, v1alpha1.Claim{Kind: compile.ClaimDivision, Value: code})
	}
	return out
}
