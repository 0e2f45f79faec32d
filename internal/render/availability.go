package render

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// highlyAvailable says that a lost machine must stop nothing.
func (p platform) highlyAvailable() bool {
	return p.Spec.Profile == v1alpha1.ProfileHighAvailability
}

// redundant says that a component has more than one pod. The brokers may be several when the profile says otherwise already.
func (p platform) redundant(component string) bool {
	switch component {
	case "broker":
		return p.Brokers.Peers > 1
	case componentEMQX:
		return p.EMQX.Replicas > 1
	case "auth", "grid", "gateway", componentIngest:
		return p.highlyAvailable()
	}
	return false
}

// spread keeps the pods of a component on different machines, and in different zones where the cluster has them, as far as there
// is room: a pod on the wrong machine is better than none.
func (p platform) spread(component string, spec *corev1ac.PodSpecApplyConfiguration) {
	if !p.redundant(component) { // one pod has nobody to keep away from
		return
	}
	term := corev1ac.PodAffinityTerm().WithLabelSelector(selecting(component)).WithTopologyKey(corev1.LabelHostname)
	spec.WithAffinity(corev1ac.Affinity().WithPodAntiAffinity(corev1ac.PodAntiAffinity().
		WithPreferredDuringSchedulingIgnoredDuringExecution(corev1ac.WeightedPodAffinityTerm().WithWeight(100).WithPodAffinityTerm(term))))
	spec.WithTopologySpreadConstraints(corev1ac.TopologySpreadConstraint().WithMaxSkew(1).WithTopologyKey(corev1.LabelTopologyZone).
		WithWhenUnsatisfiable(corev1.ScheduleAnyway).WithLabelSelector(selecting(component)))
}

// disruptionBudgets let one pod of each component go at a time. A component of one pod has none: it would keep its machine from
// ever being drained.
func (p platform) disruptionBudgets() []Object {
	var out []Object
	components := []string{"broker", "auth", "grid", "gateway"}
	if p.Ingests() {
		components = append(components, componentIngest)
	}
	for _, component := range components {
		if !p.redundant(component) {
			continue
		}
		out = append(out, policyv1ac.PodDisruptionBudget("dizuo-"+component, p.Namespace).WithLabels(labels(p.owner, component)).
			WithSpec(policyv1ac.PodDisruptionBudgetSpec().WithSelector(selecting(component)).WithMaxUnavailable(intstr.FromInt32(1))))
	}
	return out
}
