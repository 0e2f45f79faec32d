package render

import (
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	netac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

type (
	ingress = netac.NetworkPolicyIngressRuleApplyConfiguration
	egress  = netac.NetworkPolicyEgressRuleApplyConfiguration
)

// networkPolicies gives one policy per component: nothing in or out but what it needs. Prometheus may read the health port
// from any namespace.
func (p platform) networkPolicies() []Object {
	broker, peers := to(peer("broker"), portClient), to(peer("broker"), portPeers, portHealth)
	operator := netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector()).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{LabelName: ManagedBy}))
	webhooks := netac.NetworkPolicyEgressRule().WithPorts(tcp(443), tcp(8080), tcp(8443))
	db := p.toDatabase(p.Database.Serves)
	devices, clients := from(nil, portMQTT), []*netac.NetworkPolicyPeerApplyConfiguration{peer("auth"), peer("grid"), peer("gateway"), peer("vault"), operator}
	var out []Object
	inAuth, outAuth := []*ingress(nil), []*egress{broker}
	inIngest, outIngest := []*ingress(nil), []*egress{broker}
	if p.Clouds {
		inIngest = append(inIngest, from(nil, portDoor))
	}
	if p.EMQX != nil {
		inIngest, outIngest = append(inIngest, from(emqxPeers(), portHook)), append(outIngest, to(peer(componentEMQX), portRoles))
		inAuth, outAuth = []*ingress{from(emqxPeers(), portAuth)}, append(outAuth, to(peer(componentEMQX), portDashboard))
		out = append(out, p.emqxPolicy(devices))
	}
	if p.Ingests() {
		clients = append(clients, peer(componentIngest))
		out = append(out, p.networkPolicy(componentIngest, inIngest, outIngest...))
	}
	inBroker := []*ingress{devices, from(clients, portClient), from([]*netac.NetworkPolicyPeerApplyConfiguration{peer("broker")}, portPeers)}
	if p.Edges {
		inBroker = append(inBroker, from(nil, portEdge))
	}
	inVault, toVault := []*ingress{from(nil, portHTTPS)}, []*egress(nil)
	if p.maps() {
		inVault = append(inVault, from([]*netac.NetworkPolicyPeerApplyConfiguration{peer("gateway")}, portMap))
		toVault = append(toVault, to(peer("vault"), portMap))
	}
	out = append(out,
		p.networkPolicy("broker", inBroker, peers),
		p.networkPolicy("auth", inAuth, outAuth...),
		p.networkPolicy("grid", []*ingress{from(nil, portHTTPS)}, broker, db, webhooks),
		p.networkPolicy("gateway", []*ingress{from(nil, portHTTPS)}, slices.Concat(p.toIssuers(), p.toSources(), toVault, p.toWitnesses(), []*egress{broker, db})...),
		p.networkPolicy("vault", inVault, broker, db),
	)
	readers := []*netac.NetworkPolicyPeerApplyConfiguration{peer("grid"), peer("gateway"), peer("vault")}
	if p.Database.To != nil {
		readers = append(readers, peer(componentMove))
		out = append(out, p.networkPolicy(componentMove, nil, db, p.toDatabase(*p.Database.To)))
	}
	for _, d := range p.Database.Runs() {
		switch d.Engine {
		case v1alpha1.DatabaseManaged:
			out = append(out, p.networkPolicy("postgres", []*ingress{from(readers, portDB)}))
		case v1alpha1.DatabaseCloudNativePG:
			out = append(out, p.cnpgPolicy(readers))
		}
	}
	return out
}

// toDatabase allows a database: by its pods, or where it is external by its port alone, for its addresses are not known.
func (p platform) toDatabase(d compile.Database) *egress {
	switch d.Engine {
	case v1alpha1.DatabaseExternal:
		return netac.NetworkPolicyEgressRule().WithPorts(tcp(d.Port))
	case v1alpha1.DatabaseCloudNativePG:
		return to(cnpgPeer(), portDB)
	}
	return to(peer("postgres"), portDB)
}

// toSources allows the databases of providers, by their port alone, for their addresses are not known.
func (p platform) toSources() []*egress {
	ports := compile.SourcePorts(p.SourceDSNs)
	if len(ports) == 0 { // a rule without ports allows every one, and a connection string may have none that can be read
		return nil
	}
	rule := netac.NetworkPolicyEgressRule()
	for _, port := range ports {
		rule.WithPorts(tcp(port))
	}
	return []*egress{rule}
}

func cnpgPeer() *netac.NetworkPolicyPeerApplyConfiguration {
	return netac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{labelCNPGCluster: compile.ClusterCNPG}))
}

// cnpgPolicy is for the pods of CloudNativePG. Unlike ours they talk to the API server, to the object store of the backups, and
// to their operator.
func (p platform) cnpgPolicy(readers []*netac.NetworkPolicyPeerApplyConfiguration) Object {
	operator := netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector()).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{LabelName: "cloudnative-pg"}))
	within := []*netac.NetworkPolicyPeerApplyConfiguration{cnpgPeer(), operator}
	metrics := netac.NetworkPolicyIngressRule().WithFrom(netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector())).WithPorts(tcp(portCNPGMetrics))
	return netac.NetworkPolicy(compile.ClusterCNPG, p.Namespace).WithLabels(labels(p.owner, "database")).
		WithSpec(netac.NetworkPolicySpec().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{labelCNPGCluster: compile.ClusterCNPG})).
			WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(from(append(readers, within...), portDB), from(within, portCNPGStatus), metrics).
			WithEgress(to(cnpgPeer(), portDB, portCNPGStatus), p.cnpgOutside(), dns()))
}

// cnpgOutside is the API server and, where backups go to another port, the object store.
func (p platform) cnpgOutside() *egress {
	rule := netac.NetworkPolicyEgressRule().WithPorts(tcp(443), tcp(6443))
	if b := p.Spec.Database.Backups; b != nil {
		if u, err := url.Parse(b.EndpointURL); err == nil && u.Port() != "" {
			if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil && n != 443 && n != 6443 {
				rule.WithPorts(tcp(int32(n)))
			}
		}
	}
	return rule
}

func emqxPeers() []*netac.NetworkPolicyPeerApplyConfiguration {
	return []*netac.NetworkPolicyPeerApplyConfiguration{peer(componentEMQX)}
}

// Ports by which the nodes of EMQX talk to each other.
const portEMQXEkka, portEMQXRPC = 4370, 5369

// emqxPolicy is for the pods of EMQX, which emqx-operator asks over the plain port of the API.
func (p platform) emqxPolicy(devices *ingress) Object {
	operator := netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector()).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{LabelName: "emqx-operator"}))
	within := netac.NetworkPolicyIngressRule().WithFrom(emqxPeers()...).WithPorts(tcp(portEMQXEkka), tcp(portEMQXRPC))
	return netac.NetworkPolicy("dizuo-"+componentEMQX, p.Namespace).WithLabels(labels(p.owner, componentEMQX)).
		WithSpec(netac.NetworkPolicySpec().WithPodSelector(selecting(componentEMQX)).WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(devices, from([]*netac.NetworkPolicyPeerApplyConfiguration{peer(componentIngest)}, portRoles),
				from([]*netac.NetworkPolicyPeerApplyConfiguration{peer("auth")}, portDashboard),
				from([]*netac.NetworkPolicyPeerApplyConfiguration{operator}, portDashboardPlain), within).
			WithEgress(to(peer("auth"), portAuth), to(peer(componentIngest), portHook), to(peer(componentEMQX), portEMQXEkka, portEMQXRPC), dns()))
}

// dns allows names to be looked up.
func dns() *egress {
	return netac.NetworkPolicyEgressRule().WithPorts(tcp(53), netac.NetworkPolicyPort().WithProtocol(corev1.ProtocolUDP).WithPort(intstr.FromInt32(53)))
}

func (p platform) networkPolicy(component string, in []*ingress, out ...*egress) Object {
	health := netac.NetworkPolicyIngressRule().WithFrom(netac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector())).WithPorts(tcp(portHealth))
	return netac.NetworkPolicy("dizuo-"+component, p.Namespace).WithLabels(labels(p.owner, component)).
		WithSpec(netac.NetworkPolicySpec().WithPodSelector(selecting(component)).WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(append(in, health)...).WithEgress(append(out, dns())...))
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

func to(who *netac.NetworkPolicyPeerApplyConfiguration, numbers ...int32) *egress {
	rule := netac.NetworkPolicyEgressRule().WithTo(who)
	for _, n := range numbers {
		rule.WithPorts(tcp(n))
	}
	return rule
}

// toWitnesses lets the gateway reach the ports of its witnesses; a policy cannot name their hosts.
func (p platform) toWitnesses() []*egress {
	var out []*egress
	for _, w := range p.Document.Witnesses {
		port := int64(443)
		if u, err := url.Parse(w.URL); err == nil && u.Port() != "" {
			port, _ = strconv.ParseInt(u.Port(), 10, 32) // Parse took it for a number
		}
		out = append(out, netac.NetworkPolicyEgressRule().WithPorts(tcp(int32(port))))
	}
	return out
}
