package render

import (
	"maps"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// portEdge is where the broker takes edge nodes.
const portEdge = 7422

// serviceEdge is the Service in front of it.
const serviceEdge = "dizuo-edge"

// edges gives the CA under which edge nodes get certificates. It has a root of its own, so that none of them is ever good for a device,
// a role or an organisation, and its key signs no URI but those of this platform's edge nodes.
func (p platform) edges() []Object {
	if !p.Edges {
		return nil
	}
	permitted := cmac.NameConstraintItem().WithURIDomains(contract.EdgeDomain(p.Name))
	ca := leaf(compile.SecretEdges, issuerSelfSigned, 10*year).WithIsCA(true).WithCommonName("Dizuo edge nodes of "+p.Name).
		WithPrivateKey(key(cmv1.RotationPolicyNever)).WithUsages(cmv1.UsageCertSign, cmv1.UsageCRLSign).
		WithNameConstraints(cmac.NameConstraints().WithCritical(true).WithPermitted(permitted))
	return []Object{p.certificate(compile.SecretEdges, ca), p.caIssuer(compile.SecretEdges)}
}

// edgeListener gives the door for edge nodes; nil where the platform has none.
func (p platform) edgeListener() *contract.EdgeListener {
	if !p.Edges {
		return nil
	}
	return &contract.EdgeListener{Port: portEdge, TLS: tlsFiles(compile.SecretBrokerTLS)}
}

// edgeService gives the address of that door.
func (p platform) edgeService() []Object {
	if !p.Edges {
		return nil
	}
	l := p.Spec.Broker.LeafListener
	return []Object{p.service(serviceEdge, "broker", l.ServiceType, l.NodePort, l.Port, portEdge, "edge")}
}

// Edge gives what an edge node needs to enrol, in its own namespace, and its certificates, in the platform's.
func Edge(platformNamespace string, owner compile.Owner, plan compile.EdgePlan) []Object {
	var out []Object
	for _, r := range plan.Requests {
		use := cmv1.UsageClientAuth
		if r.Server {
			use = cmv1.UsageServerAuth
		}
		spec := cmac.CertificateRequestSpec().WithRequest(r.CSR...).WithDuration(metav1.Duration{Duration: r.Life}).WithIsCA(false).
			WithIssuerRef(issuerRef(compile.SecretEdges)).WithUsages(cmv1.UsageDigitalSignature, use)
		out = append(out, cmac.CertificateRequest(r.Name, platformNamespace).WithLabels(labels(owner, "")).WithSpec(spec))
	}
	if t := plan.Token; t != nil {
		out = append(out, corev1ac.Secret(t.Secret.Name, t.Secret.Namespace).WithLabels(labels(owner, "")).
			WithAnnotations(map[string]string{AnnotationCreateOnly: "true"}).WithData(maps.Clone(t.Data)))
	}
	return out
}
