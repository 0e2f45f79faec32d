package auth

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
)

// maxServerNames bounds the names in a request for a node's own listener.
const maxServerNames = 16

// oidSubjectAlternativeName is the one extension that a request may hold (RFC 5280, 4.2.1.6).
var oidSubjectAlternativeName = asn1.ObjectIdentifier{2, 5, 29, 17}

// checkEnrolment checks what an edge node asks certificates for and gives the digest of its key. Whether the names of a server are its
// own is for the control plane to say: it knows spec.hostnames.
func checkEnrolment(platform, edge string, req contract.EnrolRequest) (key string, err error) {
	client, err := readCSR(edge, req.CSR)
	if err != nil {
		return "", fmt.Errorf("csr: %w", err)
	}
	want := contract.EdgeURI(platform, edge)
	if len(client.URIs) != 1 || client.URIs[0].String() != want || len(client.DNSNames)+len(client.IPAddresses)+len(client.EmailAddresses) > 0 {
		return "", fmt.Errorf("csr: names something other than the URI %s; ask for that alone", want)
	}
	if req.ServerCSR == "" {
		return contract.Digest(client.RawSubjectPublicKeyInfo), nil
	}
	server, err := readCSR(edge, req.ServerCSR)
	if err != nil {
		return "", fmt.Errorf("serverCSR: %w", err)
	}
	names := len(server.DNSNames) + len(server.IPAddresses)
	if len(server.URIs)+len(server.EmailAddresses) > 0 || names == 0 || names > maxServerNames {
		return "", fmt.Errorf("serverCSR: ask for 1 to %d DNS names and addresses and for nothing else", maxServerNames)
	}
	for _, name := range server.DNSNames {
		if strings.Contains(name, "*") {
			return "", errors.New("serverCSR: a wildcard is not given; name each host")
		}
	}
	return contract.Digest(client.RawSubjectPublicKeyInfo), nil
}

// readCSR reads a request, checks that who asks holds its key, and refuses what no request for an edge node needs.
func readCSR(edge, text string) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("want one PEM block CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS#10 request")
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve.Params().BitSize < 256 {
		return nil, errors.New("key: want ECDSA over P-256, P-384 or P-521")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("its signature is not by its key")
	}
	for _, e := range csr.Extensions {
		if !e.Id.Equal(oidSubjectAlternativeName) {
			return nil, fmt.Errorf("extension %s: ask for names only", e.Id)
		}
	}
	if s := csr.Subject; len(s.Names) > 1 || (len(s.Names) == 1 && s.CommonName != edge) {
		return nil, fmt.Errorf("subject: leave it empty, or write CN=%s", edge)
	}
	return csr, nil
}

// over reports whether a chain (PEM) begins with a certificate over the key of a digest.
func over(text, key string) bool {
	certs, err := chain.Parse(text)
	return err == nil && contract.Digest(certs[0].RawSubjectPublicKeyInfo) == key
}
