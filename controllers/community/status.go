package community

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
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
	r.devices(s, o)
	o.Status.EdgeNodes = edgeNodes(s, o)
	if s.Platform != nil && !problems.Fatal() {
		if open, ok := r.Reports.OpenCases(kit.PlatformKey(s.Platform), o.Name); ok {
			o.Status.OpenCases = int32(open)
		}
	}
}

// devices fills in who is there of the devices whose rows name the community. While no fresh report tells, all that were last
// counted are unknown.
func (r *Reconciler) devices(s *compile.Snapshot, o *v1alpha1.Community) {
	if s.Platform != nil && compile.HoldsName(o, s.Communities) {
		if p, fresh := r.Reports.Community(kit.PlatformKey(s.Platform), o.Name); fresh {
			counts := kit.DeviceCounts(int32(p.Online+p.Offline+p.NeverSeen+p.Unknown), p, true)
			o.Status.Devices = &counts
			return
		}
	}
	if d := o.Status.Devices; d != nil {
		*d = kit.DeviceCounts(d.Total, contract.PresenceReport{}, false)
	}
}

// edgeNodes counts the edge nodes that hold the community; several may name it. It is nil where none holds it.
func edgeNodes(s *compile.Snapshot, o *v1alpha1.Community) *v1alpha1.EdgeNodeCounts {
	var n v1alpha1.EdgeNodeCounts
	for _, named := range s.Edges {
		for _, e := range named {
			if !serves(e, o.Name) {
				continue
			}
			n.Total++
			if meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.ConditionConnected) {
				n.Connected++
			}
		}
	}
	if n.Total == 0 {
		return nil
	}
	return &n
}

func serves(e *v1alpha1.EdgeNode, community string) bool {
	return slices.ContainsFunc(e.Status.Claims, func(c v1alpha1.Claim) bool { return c.Kind == compile.ClaimCommunity && c.Value == community })
}

// claims are the division codes that the community speaks for.
func claims(o *v1alpha1.Community) []v1alpha1.Claim {
	var out []v1alpha1.Claim
	for _, code := range compile.Codes(o) {
		out = append(out, v1alpha1.Claim{Kind: compile.ClaimDivision, Value: code})
	}
	return out
}
