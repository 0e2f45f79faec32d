package render

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"
)

type (
	ingress = netac.NetworkPolicyIngressRuleApplyConfiguration
	egress  = netac.NetworkPolicyEgressRuleApplyConfiguration
)

// networkPolicies gives one policy per component: nothing in or out but what it needs. Prometheus may read the health port
// from any namespace.
func (p platform) networkPolicies() []Object {
	broker, db := to(peer("broker"), portClient), to(peer("postgres"), portDB)
	operator := netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector()).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{LabelName: ManagedBy}))
	webhooks := netac.NetworkPolicyEgressRule().WithPorts(tcp(443), tcp(8080), tcp(8443))
	return []Object{
		p.networkPolicy("broker", []*ingress{from(nil, portMQTT), from([]*netac.NetworkPolicyPeerApplyConfiguration{peer("auth"), peer("grid"), peer("gateway"), operator}, portClient)}),
		p.networkPolicy("auth", nil, broker),
		p.networkPolicy("grid", []*ingress{from(nil, portHTTPS)}, broker, db, webhooks),
		p.networkPolicy("gateway", []*ingress{from(nil, portHTTPS)}, broker, db),
		p.networkPolicy("postgres", []*ingress{from([]*netac.NetworkPolicyPeerApplyConfiguration{peer("grid"), peer("gateway")}, portDB)}),
	}
}

func (p platform) networkPolicy(component string, in []*ingress, out ...*egress) Object {
	dns := netac.NetworkPolicyEgressRule().WithPorts(tcp(53), netac.NetworkPolicyPort().WithProtocol(corev1.ProtocolUDP).WithPort(intstr.FromInt32(53)))
	health := netac.NetworkPolicyIngressRule().WithFrom(netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector())).WithPorts(tcp(portHealth))
	return netac.NetworkPolicy("dizuo-"+component, p.Namespace).WithLabels(labels(p.owner, component)).
		WithSpec(netac.NetworkPolicySpec().WithPodSelector(selecting(component)).WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(append(in, health)...).WithEgress(append(out, dns)...))
}

func peer(component string) *netac.NetworkPolicyPeerApplyConfiguration {
	return netac.NetworkPolicyPeer().WithPodSelector(selecting(component))
}

func tcp(number int32) *netac.NetworkPolicyPortApplyConfiguration {
	return netac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(number))
}

// from allows peers, or anyone where none are named, to a port.
func from(peers []*netac.NetworkPolicyPeerApplyConfiguration, number int32) *ingress {
	return netac.NetworkPolicyIngressRule().WithFrom(peers...).WithPorts(tcp(number))
}

func to(who *netac.NetworkPolicyPeerApplyConfiguration, number int32) *egress {
	return netac.NetworkPolicyEgressRule().WithTo(who).WithPorts(tcp(number))
}
