package render

import (
	"fmt"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	cmmetaac "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

const (
	issuerSelfSigned = "dizuo-selfsigned"
	// issuerPlatform signs servers, roles and organisations; issuerDevices signs the CAs of fleets. They share no root, so
	// that no device certificate is ever good for anything but a device.
	issuerPlatform = "dizuo-ca"
	issuerDevices  = compile.SecretDevices

	year = 365 * 24 * time.Hour
)

// certificates gives the PKI of a platform. cert-manager issues everything.
func (p platform) certificates() []Object {
	out := []Object{
		cmac.Issuer(issuerSelfSigned, p.Namespace).WithLabels(labels(p.owner, "")).WithSpec(cmac.IssuerSpec().WithSelfSigned(cmac.SelfSignedIssuer())),
		p.authority(issuerPlatform, "Dizuo platform "+p.Name),
		p.caIssuer(issuerPlatform),
		p.authority(issuerDevices, "Dizuo devices of "+p.Name),
		p.caIssuer(issuerDevices),
		p.signingKey(),
		p.auditKey(),
	}
	for _, s := range p.servers() {
		spec := leaf(s.secret, issuerPlatform, s.life).WithDNSNames(s.hosts...).WithUsages(cmv1.UsageServerAuth, cmv1.UsageDigitalSignature)
		if s.secret == secretCNPGTLS { // without the label CloudNativePG does not read a renewed certificate
			spec.WithSecretTemplate(cmac.CertificateSecretTemplate().WithLabels(map[string]string{labelCNPGReload: "true"}))
		}
		out = append(out, p.certificate(s.secret, spec))
	}
	out = append(out, p.peerCertificate(), p.receiptCertificate())
	users := []string{contract.UserAuth, contract.UserAuthBundle, contract.UserAuthSystem, contract.UserGrid, contract.UserGateway, contract.UserVault, contract.UserOperator}
	if p.Ingests() {
		users = append(users, contract.UserIngest)
	}
	if p.EMQX != nil {
		users = append(users, contract.UserEMQX)
	}
	for _, user := range users {
		spec := leaf(roleSecret(user), issuerPlatform, quarter).WithURIs(contract.RoleURI(p.Name, user)).WithUsages(cmv1.UsageClientAuth, cmv1.UsageDigitalSignature)
		out = append(out, p.certificate(roleSecret(user), spec))
	}
	return out
}

// peerCertificate is what one broker shows another, whichever of the two dialled.
func (p platform) peerCertificate() Object {
	secret := roleSecret(contract.UserBroker)
	return p.certificate(secret, leaf(secret, issuerPlatform, quarter).WithURIs(contract.RoleURI(p.Name, contract.UserBroker)).
		WithDNSNames("*."+p.host(servicePeers), "localhost").WithUsages(cmv1.UsageServerAuth, cmv1.UsageClientAuth, cmv1.UsageDigitalSignature))
}

// roleSecret names the Secret of a broker user's client certificate.
func roleSecret(user string) string {
	if user == contract.UserOperator {
		return compile.SecretOperator
	}
	return "dizuo-role-" + user + "-tls"
}

// quarter is the life of certificates whose holders read them again when they are renewed.
const quarter = 90 * 24 * time.Hour

type server struct {
	secret string
	hosts  []string
	life   time.Duration
}

func (p platform) servers() []server {
	broker := append(p.hosts("dizuo-broker"), p.hosts("dizuo-nats")...)
	if p.Edges {
		broker = append(broker, p.hosts(serviceEdge)...)
	}
	if p.EMQX != nil {
		broker = append(broker, p.hosts(compile.ObjectEMQX)...)
	}
	out := []server{
		{compile.SecretBrokerTLS, append(broker, p.Spec.Broker.Hostnames...), quarter},
		{"dizuo-grid-tls", append(p.hosts("dizuo-grid"), p.Spec.Grid.Hostnames...), quarter},
		{"dizuo-gateway-tls", append(p.hosts("dizuo-gateway"), p.Spec.Gateway.Hostnames...), quarter},
	}
	vault := p.hosts("dizuo-vault")
	if p.maps() {
		vault = append(vault, p.host(serviceMap))
	}
	out = append(out, server{"dizuo-vault-tls", vault, quarter})
	if p.EMQX != nil {
		out = append(out, server{secretAuthTLS, p.hosts("dizuo-auth"), quarter})
	}
	if p.Ingests() {
		hosts := p.hosts("dizuo-ingest")
		if p.Clouds {
			hosts = append(append(hosts, p.hosts(compile.ServiceClouds)[:4]...), p.Spec.Broker.Hostnames...) // localhost is there
		}
		out = append(out, server{secretIngestTLS, hosts, quarter})
	}
	for _, d := range p.Database.Runs() {
		switch d.Engine {
		case v1alpha1.DatabaseManaged:
			// PostgreSQL reads its certificate at start only, and is not restarted for a renewal.
			out = append(out, server{secretPostgresTLS, p.hosts(compile.ServicePostgres), 5 * year})
		case v1alpha1.DatabaseCloudNativePG:
			out = append(out, server{secretCNPGTLS, p.hosts(compile.ClusterCNPG + "-rw"), quarter})
		}
	}
	return out
}

// hosts gives the names under which a Service is reached.
func (p platform) hosts(service string) []string {
	return []string{service, service + "." + p.Namespace, service + "." + p.Namespace + ".svc", service + "." + p.Namespace + ".svc.cluster.local", "localhost"}
}

// host gives the name by which other components reach a Service.
func (p platform) host(service string) string { return service + "." + p.Namespace + ".svc" }

func (p platform) certificate(name string, spec *cmac.CertificateSpecApplyConfiguration) *cmac.CertificateApplyConfiguration {
	return cmac.Certificate(name, p.Namespace).WithLabels(labels(p.owner, "")).WithSpec(spec)
}

func leaf(secret, issuer string, life time.Duration) *cmac.CertificateSpecApplyConfiguration {
	return cmac.CertificateSpec().WithSecretName(secret).WithDuration(metav1.Duration{Duration: life}).
		WithPrivateKey(key(cmv1.RotationPolicyAlways)).WithIssuerRef(issuerRef(issuer))
}

func key(rotation cmv1.PrivateKeyRotationPolicy) *cmac.CertificatePrivateKeyApplyConfiguration {
	return cmac.CertificatePrivateKey().WithAlgorithm(cmv1.ECDSAKeyAlgorithm).WithSize(256).WithEncoding(cmv1.PKCS8).WithRotationPolicy(rotation)
}

func issuerRef(name string) *cmmetaac.IssuerReferenceApplyConfiguration {
	return cmmetaac.IssuerReference().WithName(name).WithKind("Issuer").WithGroup("cert-manager.io")
}

// authority gives a self-signed CA whose key stays when the certificate is renewed: everything below hangs on it.
func (p platform) authority(name, commonName string) Object {
	return p.certificate(name, leaf(name, issuerSelfSigned, 10*year).WithIsCA(true).WithCommonName(commonName).
		WithPrivateKey(key(cmv1.RotationPolicyNever)).WithUsages(cmv1.UsageCertSign, cmv1.UsageCRLSign))
}

func (p platform) caIssuer(name string) Object {
	return cmac.Issuer(name, p.Namespace).WithLabels(labels(p.owner, "")).WithSpec(cmac.IssuerSpec().WithCA(cmac.CAIssuer().WithSecretName(name)))
}

// signingKey gives the key of bundles and leases (ES256). Nodes trust the key, not the certificate around it. A new one takes over while
// both are trusted (status.bundle.keys); an edge node learns it by its succession.
func (p platform) signingKey() Object {
	return p.certificate(compile.SecretSigning, leaf(compile.SecretSigning, issuerSelfSigned, year).WithCommonName("Dizuo bundles of "+p.Name).
		WithPrivateKey(key(cmv1.RotationPolicyAlways)).WithUsages(cmv1.UsageDigitalSignature))
}

// auditKey gives the key by which gateways sign checkpoints of their decision logs. It stays: what it signed is checked years later.
func (p platform) auditKey() Object {
	return p.certificate(compile.SecretAudit, leaf(compile.SecretAudit, issuerSelfSigned, year).WithCommonName("Dizuo decision logs of "+p.Name).
		WithPrivateKey(key(cmv1.RotationPolicyNever)).WithUsages(cmv1.UsageDigitalSignature))
}

// fleetCA gives the CA of a fleet. Name constraints keep it to the fleet's own names, whoever holds its key.
func fleetCA(namespace string, owner compile.Owner, ca compile.FleetCA) Object {
	life := 10 * year
	if d := ca.Spec.CADuration.Duration; d > 0 {
		life = d
	}
	permitted := cmac.NameConstraintItem().WithURIDomains(ca.Domain)
	spec := leaf(ca.Name, issuerDevices, life).WithIsCA(true).WithCommonName("Dizuo fleet "+owner.Name).
		WithPrivateKey(key(cmv1.RotationPolicyNever)).WithUsages(cmv1.UsageCertSign, cmv1.UsageCRLSign).
		WithNameConstraints(cmac.NameConstraints().WithCritical(true).WithPermitted(permitted))
	return cmac.Certificate(ca.Name, namespace).WithLabels(labels(owner, "")).WithSpec(spec)
}

// organizationCertificate gives a client certificate for an organisation.
func organizationCertificate(namespace string, owner compile.Owner, c compile.IssuedCertificate) Object {
	life := quarter
	if d := c.Spec.Duration.Duration; d > 0 {
		life = d
	}
	spec := leaf(c.Name, issuerPlatform, life).WithURIs(c.URI).WithCommonName(fmt.Sprintf("Dizuo organization %.40s", owner.Name)).
		WithUsages(cmv1.UsageClientAuth, cmv1.UsageDigitalSignature)
	return cmac.Certificate(c.Name, namespace).WithLabels(labels(owner, "")).WithSpec(spec)
}
