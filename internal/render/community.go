package render

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"
	rbacac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/dizuo/dizuo/internal/compile"
)

// RoleWorkspaceAdmin is the ClusterRole of the people of a workspace; the operator may bind it and no other.
const RoleWorkspaceAdmin = "dizuo-workspace-admin"

// Community gives the workspace of a community: a namespace with Pod Security restricted, a quota, a network policy that
// lets pods of the namespace speak to each other and out, but nobody in, and the rights of its people.
func Community(plan compile.CommunityPlan) []Object {
	w := plan.Workspace
	if w == nil {
		return nil
	}
	l := labels(w.Owner, "workspace")
	spaced := labels(w.Owner, "workspace")
	for _, mode := range []string{"enforce", "audit", "warn"} {
		spaced["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	out := []Object{
		corev1ac.Namespace(w.Namespace).WithLabels(spaced),
		corev1ac.ResourceQuota("dizuo-workspace", w.Namespace).WithLabels(l).WithSpec(corev1ac.ResourceQuotaSpec().WithHard(quota(w))),
		corev1ac.LimitRange("dizuo-workspace", w.Namespace).WithLabels(l).WithSpec(corev1ac.LimitRangeSpec().WithLimits(limits())),
		defaultDeny(w.Namespace, l),
	}
	if len(w.Workspace.Admins) > 0 {
		out = append(out, admins(w, l))
	}
	return out
}

func quota(w *compile.WorkspacePlan) corev1.ResourceList {
	q := w.Workspace.Quota
	return corev1.ResourceList{
		corev1.ResourcePods: *resource.NewQuantity(int64(q.Pods), resource.DecimalSI), corev1.ResourceLimitsCPU: q.CPU,
		corev1.ResourceLimitsMemory: q.Memory, corev1.ResourceRequestsStorage: q.Storage,
	}
}

// limits gives containers that say nothing a small share, because the quota refuses pods without limits.
func limits() *corev1ac.LimitRangeItemApplyConfiguration {
	return corev1ac.LimitRangeItem().WithType(corev1.LimitTypeContainer).
		WithDefault(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("128Mi")}).
		WithDefaultRequest(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")})
}

func defaultDeny(namespace string, l map[string]string) Object {
	same := netac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector())
	dns := netac.NetworkPolicyEgressRule().WithPorts(tcp(53), netac.NetworkPolicyPort().WithProtocol(corev1.ProtocolUDP).WithPort(intstr.FromInt32(53)))
	services := netac.NetworkPolicyEgressRule().WithPorts(tcp(443), tcp(portHTTPS), tcp(portMQTT))
	return netac.NetworkPolicy("dizuo-workspace", namespace).WithLabels(l).
		WithSpec(netac.NetworkPolicySpec().WithPodSelector(metav1ac.LabelSelector()).
			WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(netac.NetworkPolicyIngressRule().WithFrom(same)).
			WithEgress(netac.NetworkPolicyEgressRule().WithTo(same), dns, services))
}

func admins(w *compile.WorkspacePlan, l map[string]string) Object {
	b := rbacac.RoleBinding("dizuo-workspace-admin", w.Namespace).WithLabels(l).
		WithRoleRef(rbacac.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("ClusterRole").WithName(RoleWorkspaceAdmin))
	for _, a := range w.Workspace.Admins {
		b.WithSubjects(rbacac.Subject().WithAPIGroup("rbac.authorization.k8s.io").WithKind(string(a.Kind)).WithName(a.Name))
	}
	return b
}
