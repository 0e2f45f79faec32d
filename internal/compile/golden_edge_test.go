package compile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Annotations of an EdgeNode that stand for what only a cluster and a machine have; KEY is the name of a test key:
//
//	test/token: made | stands | broken       the Secret with the token; made unless something else is said
//	test/heard: KEY [uri=...] [server=a,b]   what the machine asks, several separated by ";"
//	test/issued: KEY [server=a,b] [at=TIME]  a certificate that stands, begun an hour ago unless said, several separated by ";"
//	test/heard-at: TIME                      when the node reported last
//	test/status: phase=X requested=KEY key=KEY
//
// and ${edgekey KEY} in the text is the fingerprint of a key.

// edgeKey gives the P-256 key of a name.
func edgeKey(t *testing.T, name string) *ecdsa.PrivateKey {
	t.Helper()
	seed := sha256.Sum256([]byte("dizuo test edge key " + name))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func fingerprint(t *testing.T, name string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(edgeKey(t, name).Public())
	if err != nil {
		t.Fatal(err)
	}
	return contract.Digest(der)
}

// words splits "a b=c d=e" into "a" and {b: c, d: e}.
func words(text string) (first string, rest map[string]string) {
	rest = map[string]string{}
	for i, w := range strings.Fields(text) {
		if k, v, ok := strings.Cut(w, "="); ok {
			rest[k] = v
		} else if i == 0 {
			first = w
		}
	}
	return first, rest
}

func listed(text string) []string {
	var out []string
	for _, part := range strings.Split(text, ";") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func hosts(list string) (dns []string, ips []net.IP) {
	for _, h := range strings.Split(list, ",") {
		if ip := net.ParseIP(h); ip != nil {
			ips = append(ips, ip)
		} else if h != "" {
			dns = append(dns, h)
		}
	}
	return dns, ips
}

func csr(t *testing.T, key *ecdsa.PrivateKey, uri, server string) string {
	t.Helper()
	template := &x509.CertificateRequest{}
	template.DNSNames, template.IPAddresses = hosts(server)
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificateRequest(nil, template, key) // without randomness the signature is the same each time (RFC 6979)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// standing reads the annotations of an EdgeNode.
func standing(t *testing.T, s *compile.Snapshot, o *v1alpha1.EdgeNode) compile.EdgeStanding {
	t.Helper()
	platform := s.Platform.Name
	st := compile.EdgeStanding{Token: map[string][]byte{"token": []byte("t"), "hash": []byte("h")}}
	note := func(name string) string { return o.Annotations["test/"+name] }
	switch note("token") {
	case "stands":
	case "broken":
		st.Token = map[string][]byte{"token": []byte("t")}
	default:
		st.Made = true
	}
	for _, h := range listed(note("heard")) {
		name, more := words(h)
		uri := contract.EdgeURI(platform, o.Name)
		if more["uri"] != "" {
			uri = more["uri"]
		}
		ask := contract.EnrolRequest{CSR: csr(t, edgeKey(t, name), uri, "")}
		if more["server"] != "" {
			ask.ServerCSR = csr(t, edgeKey(t, name), "", more["server"])
		}
		st.Heard = append(st.Heard, compile.EdgeHeard{Request: ask, Key: fingerprint(t, name)})
	}
	for _, i := range listed(note("issued")) {
		st.Issued = append(st.Issued, issuedTo(t, s.Now, platform, o.Name, i))
	}
	if at := note("heard-at"); at != "" {
		st.HeardAt = moment(t, at)
	}
	_, more := words("- " + note("status"))
	o.Status.Phase = v1alpha1.EdgeNodePhase(more["phase"])
	if k := more["requested"]; k != "" {
		o.Status.RequestedKeyFingerprint = fingerprint(t, k)
	}
	if k := more["key"]; k != "" {
		o.Status.KeyFingerprint = fingerprint(t, k)
	}
	for name := range s.Fleets {
		f, _ := s.Fleets.Get(name)
		plan, _ := compile.Fleet(s, f)
		for community, l := range compile.EdgeLoads(f, plan) {
			for _, c := range o.Spec.Communities {
				if c == community {
					st.Loads = append(st.Loads, l)
				}
			}
		}
	}
	return st
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func issuedTo(t *testing.T, now time.Time, platform, edge, text string) compile.EdgeIssued {
	t.Helper()
	name, more := words(text)
	began := now.Add(-time.Hour)
	if more["at"] != "" {
		began = moment(t, more["at"])
	}
	server := more["server"] != ""
	uri := contract.EdgeURI(platform, edge)
	if server {
		uri = ""
	}
	key := edgeKey(t, name)
	ask := csr(t, key, uri, more["server"])
	out := compile.EdgeIssued{EdgeRequest: compile.EdgeRequest{Name: "edge-" + edge + "-of-" + name, Server: server, CSR: []byte(ask), Life: compile.EdgeCertificateLife}}
	if server {
		out.Name += "-server"
	}
	if more["failed"] != "" {
		out.Failed = more["failed"]
		return out
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{}, NotBefore: began, NotAfter: began.Add(compile.EdgeCertificateLife)}
	template.DNSNames, template.IPAddresses = hosts(more["server"])
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	out.Chain = bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return out
}
