package compile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/certrule"
	"github.com/dizuo/dizuo/internal/contract/password"
)

// FleetCA is a CA under which a fleet's devices get certificates. The vendor signs with it in its own factory; name
// constraints keep it to the fleet's own names.
type FleetCA struct {
	// Name of the Certificate and its Secret in the platform's namespace.
	Name string
	// Domain that the CA is constrained to.
	Domain string
	Spec   v1alpha1.FleetX509
	// CopyTo is the Secret in the vendor's namespace; empty for a CA that is on its way out.
	CopyTo types.NamespacedName
	// Issued is what cert-manager put into the Secret; empty until it did.
	Issued map[string][]byte
}

const (
	// maxVendorCAs bounds the certificates of a vendor's own bundle.
	maxVendorCAs = 8
	// maxPreviousCAs bounds the CAs that are taken beside the present one: the status has room for eight fingerprints.
	maxPreviousCAs = 7
)

// FleetCAName names the Certificate of a generation of a fleet's CA, and its Secret, in the platform's namespace.
func FleetCAName(fleet string, generation int32) string {
	if generation <= 1 {
		return "fleet-" + fleet + "-ca"
	}
	return fmt.Sprintf("fleet-%s-ca-%d", fleet, generation)
}

// FleetCANames names the CAs that a fleet may have at a time, the present one first; none for a fleet whose devices do not hold
// certificates of ours.
func FleetCANames(o *v1alpha1.DeviceFleet, now time.Time) []string {
	if !issuesCA(o) {
		return nil
	}
	out := []string{FleetCAName(o.Name, caGeneration(o))}
	for _, p := range previousCAs(o, now) {
		out = append(out, FleetCAName(o.Name, p.Generation))
	}
	return out
}

// issuesCA reports whether the fleet has a CA of its own. What stands behind a gateway has no connection, so it needs none.
func issuesCA(o *v1alpha1.DeviceFleet) bool {
	return o.Spec.Identity.Type != v1alpha1.FleetIdentityPassword && o.Spec.AccessMode != v1alpha1.AccessGateway && vendorCA(o) == nil
}

func vendorCA(o *v1alpha1.DeviceFleet) *v1alpha1.VendorCA {
	if x := o.Spec.Identity.X509; x != nil && x.Mode == v1alpha1.X509VendorCA {
		return x.VendorCA
	}
	return nil
}

func caGeneration(o *v1alpha1.DeviceFleet) int32 { return max(1, o.Spec.Identity.CAGeneration) }

// previousCAs gives the CAs that a rotation replaced, each with its end, the youngest first. A rotation begins when a generation is seen
// that the status does not have: from then on the one before is taken for the overlap.
func previousCAs(o *v1alpha1.DeviceFleet, now time.Time) []v1alpha1.PreviousCA {
	present, was := caGeneration(o), o.Status.CAGeneration
	list := slices.Clone(o.Status.PreviousCAs)
	if was > 0 && was < present && !slices.ContainsFunc(list, func(p v1alpha1.PreviousCA) bool { return p.Generation == was }) {
		until := metav1.NewTime(now.Add(o.Spec.Identity.RotationOverlap.Duration).UTC().Truncate(time.Second))
		list = append(list, v1alpha1.PreviousCA{Generation: was, Until: until})
	}
	slices.SortFunc(list, func(a, b v1alpha1.PreviousCA) int { return int(b.Generation) - int(a.Generation) })
	list = slices.DeleteFunc(list, func(p v1alpha1.PreviousCA) bool { return p.Generation == present })
	return list[:min(len(list), maxPreviousCAs)]
}

// identity fills in how the devices of a fleet prove who they are.
func identity(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet, plan *FleetPlan) {
	mode := o.Spec.AccessMode
	if mode != v1alpha1.AccessDevice && mode != "" {
		plan.Credentials.AccessMode = string(mode)
	}
	switch {
	case mode == v1alpha1.AccessGateway:
		// The gateways have credentials, in a fleet of their own.
	case o.Spec.Identity.Type == v1alpha1.FleetIdentityPassword:
		if mode == v1alpha1.AccessPlatform {
			plan.Credentials.PlatformHash = cloudHash(c, o)
		}
	case vendorCA(o) != nil:
		vendorIssuers(c, s, *vendorCA(o), plan)
	default:
		issuers(c, s, o, plan)
	}
	for _, text := range plan.Credentials.Issuers {
		for _, der := range derOf([]byte(text)) {
			sum := sha256.Sum256(der)
			plan.Fingerprints = append(plan.Fingerprints, "sha256:"+hex.EncodeToString(sum[:]))
		}
	}
}

// cloudHash gives the password hash of the cloud that speaks for a fleet.
func cloudHash(c *problems, o *v1alpha1.DeviceFleet) string {
	hash := o.Spec.Identity.PlatformPasswordHash
	if _, err := password.Parse(hash); err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.identity.platformPasswordHash",
			"want a hash as `dizuo fleet passwords` makes it: "+err.Error())
	}
	return hash
}

// issuers takes the fleet's CA certificates from their Secrets into the bundle: the present one, and for the overlap those before it.
func issuers(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet, plan *FleetPlan) {
	c.requires(s, GroupCertManager, "spec.identity.type", "which issues the fleet's CA")
	for _, ns := range slices.Compact([]string{s.Platform.Namespace, o.Namespace}) {
		if s.Namespaces[ns].SecretsRefused {
			c.waiting(v1alpha1.ConditionSecretsAdmitted, v1alpha1.ReasonSecretNotAdmitted, "metadata.namespace",
				fmt.Sprintf("Dizuo may not write the fleet's credentials to namespace %s: its owner admits it with `dizuo admit %s`", ns, ns))
		}
	}
	present := authority(s, o, caGeneration(o))
	present.CopyTo = types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-ca"}
	plan.CA, plan.CAPending = &present, len(present.Issued) == 0
	if !plan.CAPending {
		plan.Credentials.Issuers = append(plan.Credentials.Issuers, string(present.Issued["tls.crt"]))
	}
	for _, p := range previousCAs(o, s.Now) {
		// While the new CA is not there nobody can have a certificate of it: the old one stays, whatever the time.
		if !plan.CAPending && !s.Now.Before(p.Until.Time) {
			continue
		}
		old := authority(s, o, p.Generation)
		if len(old.Issued) > 0 {
			plan.Credentials.Issuers = append(plan.Credentials.Issuers, string(old.Issued["tls.crt"]))
			if !plan.CAPending { // nodes heed the end, also while the fleet is held back by something else
				if plan.Credentials.IssuersUntil == nil {
					plan.Credentials.IssuersUntil = []int64{0} // the present one
				}
				plan.Credentials.IssuersUntil = append(plan.Credentials.IssuersUntil, p.Until.Unix())
			}
		}
		plan.PreviousCAs = append(plan.PreviousCAs, old)
		plan.Previous = append(plan.Previous, p)
		plan.wake(p.Until.Time)
	}
}

func authority(s *Snapshot, o *v1alpha1.DeviceFleet, generation int32) FleetCA {
	ca := FleetCA{Name: FleetCAName(o.Name, generation), Domain: contract.FleetDomain(o.Name, s.Platform.Name)}
	if o.Spec.Identity.X509 != nil {
		ca.Spec = *o.Spec.Identity.X509
	}
	ca.Issued = issued(s, ca.Name)
	return ca
}

// vendorIssuers takes a vendor's own CAs into the bundle, and the rule that reads a device from a certificate.
func vendorIssuers(c *problems, s *Snapshot, v v1alpha1.VendorCA, plan *FleetPlan) {
	const at = "spec.identity.x509.vendorCA."
	if _, err := certrule.Compile(v.Rule); err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"rule", err.Error())
	}
	list := derOf([]byte(v.CABundle))
	if len(list) == 0 || len(list) > maxVendorCAs {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"caBundle", fmt.Sprintf("holds %d certificates; write 1 to %d (PEM)", len(list), maxVendorCAs))
		return
	}
	if strings.Count(v.CABundle, "-----BEGIN") != len(list) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"caBundle", "holds something else than certificates, or one that is broken; write certificates alone (PEM), and never a key")
		return
	}
	valid, bundle := 0, ""
	for i, der := range list {
		cert, err := x509.ParseCertificate(der)
		reason := ""
		if err != nil {
			reason = "is not readable: " + err.Error()
		} else {
			reason = unfitCA(s, cert)
		}
		if reason != "" {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"caBundle", fmt.Sprintf("certificate %d %s", i+1, reason))
			return
		}
		if s.Now.Before(cert.NotAfter) {
			valid++
		}
		bundle += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) // and nothing that stands around it
	}
	if valid == 0 {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+"caBundle", "every certificate in it has ended; write the CA that signs devices now")
	}
	plan.Credentials.Issuers, plan.Credentials.Rule = []string{bundle}, v.Rule
}

// unfitCA says why a certificate may not sign devices, or nothing.
func unfitCA(s *Snapshot, cert *x509.Certificate) string {
	switch {
	case !cert.IsCA || !cert.BasicConstraintsValid:
		return "is not a CA's; write the certificate that signs devices, not a device's"
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return "may not sign certificates (its key usage); write one that may"
	case cert.SignatureAlgorithm == x509.SHA1WithRSA || cert.SignatureAlgorithm == x509.ECDSAWithSHA1 || cert.SignatureAlgorithm == x509.MD5WithRSA:
		return "is signed with SHA-1 or MD5; have it signed with SHA-256"
	case weak(cert):
		return "has a weak key; use RSA of 2,048 bits or more, an elliptic curve of 256 bits or more, or Ed25519"
	case ownCA(s, cert):
		return "is this platform's own; write the vendor's, or mode Issued"
	}
	return ""
}

func weak(cert *x509.Certificate) bool {
	switch k := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() < 2048
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize < 256
	case ed25519.PublicKey:
		return false
	}
	return true
}

// ownCA reports whether a certificate has the key of a CA of the platform. Under the CA of devices stand the CAs of all fleets: any vendor
// could speak for this one.
func ownCA(s *Snapshot, cert *x509.Certificate) bool {
	ns := s.Platform.Namespace
	own := derOf(issuedCA(s, ns, SecretDevices))
	own = append(own, derOf(s.Secrets[types.NamespacedName{Namespace: ns, Name: SecretBrokerTLS}]["ca.crt"])...)
	return slices.ContainsFunc(own, func(der []byte) bool {
		ca, err := x509.ParseCertificate(der)
		return err == nil && bytes.Equal(ca.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo)
	})
}

// derOf gives the DER of the certificates in a PEM text.
func derOf(text []byte) (out [][]byte) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, block.Bytes)
		}
	}
}
