package community

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	if plan.Workspace != nil {
		named = []status.Named{kit.Applied(report), available}
	}
	r.Common(s, o, problems, status.Facts{Named: named, Informative: []status.Named{fully}, ReadyMessage: "the community is a tenant of the platform"})
	o.Status.Enforcement, o.Status.Inventory = enforcement, report.Inventory
	o.Status.WorkspaceNamespace = ""
	if plan.Workspace != nil {
		o.Status.WorkspaceNamespace = plan.Workspace.Namespace
	}
	if s.Platform != nil {
		if open, ok := r.Reports.OpenCases(kit.PlatformKey(s.Platform), o.Name); ok {
			o.Status.OpenCases = int32(open)
		}
	}
	o.Status.Claims = claims(o, problems, s)
}

// claims records the division code that the community won, and keeps the time at which it did.
func claims(o *v1alpha1.Community, problems compile.Problems, s *compile.Snapshot) []v1alpha1.Claim {
	if problems.Fatal() {
		return nil
	}
	now := metav1.NewTime(s.Now.UTC().Truncate(1e9))
	claim := v1alpha1.Claim{Kind: compile.ClaimDivision, Value: o.Spec.Division, Since: &now}
	if i := slices.IndexFunc(o.Status.Claims, func(c v1alpha1.Claim) bool { return c.Kind == claim.Kind && c.Value == claim.Value }); i >= 0 {
		claim.Since = o.Status.Claims[i].Since
	}
	return []v1alpha1.Claim{claim}
}
