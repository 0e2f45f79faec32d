package compile

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// EdgeRequest is a CertificateRequest of an edge node, in the platform's namespace.
type EdgeRequest struct {
	Name string
	// Server tells the request for the node's own listener from the one for its identity.
	Server bool
	// CSR is the request (PEM).
	CSR []byte
	// Life is how long the certificate is to be good.
	Life time.Duration
}

// EdgeCertificateLife is the life of an edge node's certificates. The node renews them after two thirds of it.
const EdgeCertificateLife = 90 * 24 * time.Hour

func edgeRequest(edge string, server bool, csr string) EdgeRequest {
	use := "client"
	if server {
		use = "server"
	}
	sum := sha256.Sum256([]byte(csr))
	return EdgeRequest{Name: "edge-" + edge + "-" + use + "-" + hex.EncodeToString(sum[:5]), Server: server, CSR: []byte(csr), Life: EdgeCertificateLife}
}

// enrol says how far the node has come, and what it is to be given. Keys decide: a certificate is made for the approved one alone, and
// whoever asks for another is told of, not served.
//
//	token made -> the node asks (requested key) -> approved key -> CertificateRequests -> chains in the bundle -> heard: token gone
func enrol(c *problems, s *Snapshot, o *v1alpha1.EdgeNode, plan *EdgePlan) {
	e := &plan.Enrolment
	if o.Spec.Approved != nil && !*o.Spec.Approved {
		*e = EdgeEnrolment{Phase: v1alpha1.EdgeRejected, RequestedKey: o.Status.RequestedKeyFingerprint, Reason: v1alpha1.ReasonRejected,
			Message: "spec.approved is false: the node is shut out. Remove it, and the node enrols with a new token"}
		return
	}
	if ca := issued(s, SecretEdges)["tls.crt"]; len(ca) > 0 {
		plan.Credential.Issuers = []string{string(ca)}
	}
	heard := heard(s, o)
	e.Key, e.RequestedKey = keys(s, o, heard)
	if e.Key != "" {
		plan.Credential.KeyDigests = []string{e.Key}
	}
	refused := requests(s, o, plan, heard)
	live := certificates(s, plan)
	token(c, s, o, plan, live)
	stand(o, plan, heard, live, refused)
}

// heard gives what the machine asks. What was asked with a token that is gone counts no more.
func heard(s *Snapshot, o *v1alpha1.EdgeNode) []EdgeHeard {
	if s.Edge.Made && newest(s, o, known(o), false) == nil {
		return nil
	}
	return s.Edge.Heard
}

// known gives the key that was approved before this pass, or in advance.
func known(o *v1alpha1.EdgeNode) string {
	switch {
	case o.Spec.KeyFingerprint != "":
		return o.Spec.KeyFingerprint
	case o.Status.Phase == v1alpha1.EdgeRejected: // it begins anew
		return ""
	}
	return o.Status.KeyFingerprint
}

// keys gives the approved key and the one that is asked for. The first key that came with a token stays the one asked for until the
// token is made anew: who approves must not find another behind what was shown.
func keys(s *Snapshot, o *v1alpha1.EdgeNode, heard []EdgeHeard) (approved, requested string) {
	approved, requested = known(o), o.Status.RequestedKeyFingerprint
	if s.Edge.Made && newest(s, o, approved, false) == nil {
		requested = ""
	}
	asks := make([]string, 0, len(heard))
	for _, h := range heard {
		asks = append(asks, h.Key)
	}
	switch {
	case slices.Contains(asks, approved):
		requested = approved
	case requested == "" && len(asks) > 0:
		requested = slices.Min(asks)
	}
	yes := o.Spec.Approved != nil && *o.Spec.Approved
	auto := s.Platform.Spec.Edge.AutoApprove != nil && *s.Platform.Spec.Edge.AutoApprove
	if approved == "" && (yes || auto) {
		approved = requested
	}
	return approved, requested
}

// requests takes what may be issued into the plan, and says what may not.
func requests(s *Snapshot, o *v1alpha1.EdgeNode, plan *EdgePlan, heard []EdgeHeard) (refused string) {
	wanted := map[string]EdgeRequest{}
	for _, h := range heard {
		if plan.Enrolment.Key == "" || h.Key != plan.Enrolment.Key {
			continue
		}
		if err := checkClient(s.Platform.Name, o.Name, plan.Enrolment.Key, h.Request.CSR); err != nil {
			refused = "the node's request is refused: " + err.Error()
			continue
		}
		r := edgeRequest(o.Name, false, h.Request.CSR)
		wanted[r.Name] = r
		if h.Request.ServerCSR == "" {
			continue
		}
		if err := checkServer(o.Spec.Hostnames, h.Request.ServerCSR); err != nil {
			refused = "the node's request for its own listener is refused: " + err.Error()
			continue
		}
		r = edgeRequest(o.Name, true, h.Request.ServerCSR)
		wanted[r.Name] = r
	}
	for _, server := range []bool{false, true} { // the newest stays until it is replaced, and while nobody asks
		if newest := newest(s, o, plan.Enrolment.Key, server); newest != nil {
			wanted[newest.Name] = newest.EdgeRequest
		}
	}
	for _, i := range s.Edge.Issued {
		if i.Failed == "" && len(i.Chain) == 0 && pending(s.Platform.Name, o, plan.Enrolment.Key, i) {
			wanted[i.Name] = i.EdgeRequest
		}
		if _, ok := wanted[i.Name]; ok {
			wanted[i.Name] = i.EdgeRequest // a CertificateRequest never changes
			if i.Failed != "" {
				refused = "cert-manager refuses CertificateRequest " + i.Name + ": " + i.Failed
			}
		}
	}
	for _, r := range wanted {
		plan.Requests = append(plan.Requests, r)
	}
	slices.SortFunc(plan.Requests, func(a, b EdgeRequest) int { return strings.Compare(a.Name, b.Name) })
	return refused
}

// pending reports whether what cert-manager has yet to issue is still to be issued.
func pending(platform string, o *v1alpha1.EdgeNode, key string, i EdgeIssued) bool {
	if i.Server {
		return key != "" && checkServer(o.Spec.Hostnames, string(i.CSR)) == nil
	}
	return key != "" && checkClient(platform, o.Name, key, string(i.CSR)) == nil
}

// newest gives the CertificateRequest of the certificate that began last, of those that are still good for what the spec says.
func newest(s *Snapshot, o *v1alpha1.EdgeNode, key string, server bool) *EdgeIssued {
	var best *EdgeIssued
	var began time.Time
	for n := range s.Edge.Issued {
		i := &s.Edge.Issued[n]
		cert := leafOf(i.Chain)
		if i.Server != server || cert == nil || key == "" || !cert.NotAfter.After(s.Now) {
			continue
		}
		fits := contract.Digest(cert.RawSubjectPublicKeyInfo) == key
		if server {
			fits = onlyNames(o.Spec.Hostnames, cert.DNSNames, cert.IPAddresses) == nil
		}
		if fits && (best == nil || cert.NotBefore.After(began) || (cert.NotBefore.Equal(began) && i.Name > best.Name)) {
			best, began = i, cert.NotBefore
		}
	}
	return best
}

// certificates puts the newest chains into the bundle and gives the certificate that the node is known by; nil where it has none.
func certificates(s *Snapshot, plan *EdgePlan) *x509.Certificate {
	var live *x509.Certificate
	var server time.Time
	for _, i := range s.Edge.Issued {
		cert := leafOf(i.Chain)
		if cert == nil || !cert.NotAfter.After(s.Now) || !slices.ContainsFunc(plan.Requests, func(r EdgeRequest) bool { return r.Name == i.Name }) {
			continue
		}
		switch {
		case i.Server && (server.IsZero() || cert.NotBefore.After(server)):
			server, plan.Credential.Server = cert.NotBefore, string(i.Chain)
		case !i.Server && (live == nil || cert.NotBefore.After(live.NotBefore)):
			live, plan.Credential.Certificate = cert, string(i.Chain)
		}
	}
	if live != nil {
		plan.Enrolment.NotAfter = live.NotAfter
	}
	return live
}

// token keeps the one-time token for as long as the node has no other way in: until it was heard with its certificate.
func token(c *problems, s *Snapshot, o *v1alpha1.EdgeNode, plan *EdgePlan, live *x509.Certificate) {
	data := s.Edge.Token
	if live != nil && (s.Edge.Made || len(data) == 0 || !s.Edge.HeardAt.Before(live.NotBefore)) {
		return
	}
	at := types.NamespacedName{Namespace: o.Namespace, Name: EdgeTokenName(o.Name)}
	if len(data[EdgeTokenKey]) == 0 || len(data[EdgeTokenHashKey]) == 0 {
		c.waiting(v1alpha1.ConditionEnrolled, v1alpha1.ReasonSecretInvalid, "", fmt.Sprintf("Secret %s holds no token of ours; delete it, and it is made anew", at))
		return
	}
	ca := s.Secrets[types.NamespacedName{Namespace: s.Platform.Namespace, Name: SecretBrokerTLS}]["ca.crt"]
	if len(ca) == 0 {
		return // the machine would not know the broker
	}
	plan.Token = &EdgeToken{Secret: at, Data: map[string][]byte{
		EdgeTokenKey: data[EdgeTokenKey], EdgeTokenHashKey: data[EdgeTokenHashKey], "ca.crt": ca, "edge": []byte(o.Name),
		"platform": []byte(s.Platform.Namespace + "/" + s.Platform.Name), "url": []byte(EdgeEndpoint(s.Platform)),
	}}
	if !s.Edge.Made { // what was made up now is the token only once it stands
		plan.Credential.TokenHash = string(data[EdgeTokenHashKey])
	}
}

// stand says in words how far the node has come.
func stand(o *v1alpha1.EdgeNode, plan *EdgePlan, heard []EdgeHeard, live *x509.Certificate, refused string) {
	e := &plan.Enrolment
	other := e.RequestedKey
	for _, h := range heard {
		if h.Key != e.Key && (other == "" || other == e.Key) {
			other = h.Key
		}
	}
	mismatch := e.Key != "" && other != "" && other != e.Key
	say := func(phase v1alpha1.EdgeNodePhase, reason, message string, stalled bool) {
		e.Phase, e.Reason, e.Message, e.Stalled = phase, reason, message, stalled
	}
	switch {
	case live != nil && mismatch:
		say(v1alpha1.EdgeEnrolled, v1alpha1.ReasonKeyMismatch, "the approved key "+e.Key+" holds a certificate; the key "+other+" asked for one and gets none", false)
	case live != nil && refused != "":
		say(v1alpha1.EdgeEnrolled, v1alpha1.ReasonInvalidKey, "the key "+e.Key+" holds a certificate; "+refused, false)
	case live != nil:
		say(v1alpha1.EdgeEnrolled, v1alpha1.ReasonSucceeded, "the key "+e.Key+" holds a certificate", false)
	case mismatch && e.RequestedKey != e.Key:
		say(v1alpha1.EdgeAwaitingApproval, v1alpha1.ReasonKeyMismatch, fmt.Sprintf("the approved key is %s, the node asks for %s: write that into spec.keyFingerprint if it is the machine's, "+
			"or delete Secret %s, and the token is made anew", e.Key, other, EdgeTokenName(o.Name)), true)
	case refused != "":
		say(v1alpha1.EdgeAwaitingApproval, v1alpha1.ReasonInvalidKey, refused, true)
	case e.Key != "" && e.RequestedKey != "":
		say(v1alpha1.EdgeAwaitingApproval, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue the node's certificate", false)
	case e.RequestedKey != "":
		say(v1alpha1.EdgeAwaitingApproval, v1alpha1.ReasonAwaitingApproval, "the node asks for the key "+e.RequestedKey+
			": compare it with what the machine shows, then set spec.approved to true or write it into spec.keyFingerprint", true)
	case plan.Token == nil:
		say(v1alpha1.EdgeAwaitingEnrolment, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue the broker's certificate, by which the machine knows it", false)
	default:
		say(v1alpha1.EdgeAwaitingEnrolment, v1alpha1.ReasonAwaitingEnrolment, "waits for the machine to ask with the token of Secret "+plan.Token.Secret.String(), false)
	}
}

// checkClient checks a request for a node's identity: signed by the approved key, for the node's URI and nothing else.
func checkClient(platform, edge, key, text string) error {
	csr, err := parseCSR(text)
	if err != nil {
		return err
	}
	switch {
	case contract.Digest(csr.RawSubjectPublicKeyInfo) != key:
		return fmt.Errorf("it is not for the approved key %s", key)
	case len(csr.URIs) != 1 || csr.URIs[0].String() != contract.EdgeURI(platform, edge):
		return fmt.Errorf("want the one URI %s", contract.EdgeURI(platform, edge))
	case len(csr.DNSNames)+len(csr.IPAddresses)+len(csr.EmailAddresses) > 0:
		return errors.New("want no name beside the URI")
	}
	return nil
}

// checkServer checks a request for a node's own listener: for names and addresses that the spec gives it, and nothing else. None of
// those is the platform's; see platformHost.
func checkServer(hostnames []string, text string) error {
	csr, err := parseCSR(text)
	if err != nil {
		return err
	}
	if len(csr.URIs)+len(csr.EmailAddresses) > 0 {
		return errors.New("want DNS names and addresses only")
	}
	return onlyNames(hostnames, csr.DNSNames, csr.IPAddresses)
}

// onlyNames reports what of the names and addresses of a certificate is not among the hostnames.
func onlyNames(hostnames, dns []string, ips []net.IP) error {
	if len(dns)+len(ips) == 0 {
		return errors.New("it names no host")
	}
	names := slices.Clone(dns)
	for _, ip := range ips {
		names = append(names, ip.String())
	}
	for _, n := range names {
		if !slices.ContainsFunc(hostnames, func(h string) bool {
			return strings.EqualFold(h, n) || (net.ParseIP(h) != nil && net.ParseIP(h).Equal(net.ParseIP(n)))
		}) {
			return fmt.Errorf("%.64q is not in spec.hostnames", n)
		}
	}
	return nil
}

// Extensions that a request may ask for: names, and the two usages, which cert-manager compares with what it is told.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// parseCSR reads a request and checks its own signature, by which whoever asks shows that it holds the key.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("it is not one certificate request (PEM)")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not a certificate request (PKCS#10)")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("its signature does not verify")
	}
	if _, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok {
		return nil, errors.New("want an ECDSA key")
	}
	for _, x := range csr.Extensions {
		if !x.Id.Equal(oidSubjectAltName) && !x.Id.Equal(oidKeyUsage) && !x.Id.Equal(oidExtKeyUsage) {
			return nil, fmt.Errorf("extension %s is not allowed", x.Id)
		}
	}
	return csr, nil
}

// leafOf gives the first certificate of a chain; nil where there is none.
func leafOf(chain []byte) *x509.Certificate {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}
