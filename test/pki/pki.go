// Package pki makes certificate authorities and certificates for tests.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// CA is a certificate authority made for one test.
type CA struct {
	Cert *x509.Certificate
	// PEM is Cert as text.
	PEM string
	key crypto.Signer
}

// New makes a CA. change may alter what is signed.
func New(t testing.TB, name string, change ...func(*x509.Certificate)) CA {
	t.Helper()
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	for _, f := range change {
		f(&template)
	}
	cert := issue(t, nil, template)
	return CA{Cert: cert.Leaf, PEM: string(block("CERTIFICATE", cert.Leaf.Raw)), key: cert.PrivateKey.(crypto.Signer)}
}

// Client gives a client certificate that bears a URI. change may alter what is signed.
func (c CA) Client(t testing.TB, uri string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := x509.Certificate{URIs: parse(t, uri), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, f := range change {
		f(&template)
	}
	return issue(t, &c, template)
}

// Server gives a certificate of a server on this machine.
func (c CA) Server(t testing.TB) tls.Certificate {
	t.Helper()
	return issue(t, &c, x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

// ServerAt gives a certificate of a server at an address, and on this machine.
func (c CA) ServerAt(t testing.TB, address string) tls.Certificate {
	t.Helper()
	return issue(t, &c, x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(address)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

// ServerUntil gives one that began a while before it ended, or ends.
func (c CA) ServerUntil(t testing.TB, end time.Time) tls.Certificate {
	t.Helper()
	return issue(t, &c, x509.Certificate{DNSNames: []string{"localhost"}, NotBefore: end.Add(-30 * time.Minute), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

// Named gives a certificate that has a common name and no use, as one for signing.
func (c CA) Named(t testing.TB, name string) tls.Certificate {
	t.Helper()
	return issue(t, &c, x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature})
}

// Peer gives a certificate for both sides of a connection on this machine, that bears a URI.
func (c CA) Peer(t testing.TB, uri string) tls.Certificate {
	t.Helper()
	return issue(t, &c, x509.Certificate{DNSNames: []string{"localhost"}, URIs: parse(t, uri), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
}

// Pool gives the CA as what a client trusts.
func (c CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Cert)
	return pool
}

// Files writes a certificate, its key and the CA into a folder of the test's own.
func (c CA) Files(t testing.TB, cert tls.Certificate) contract.TLSFiles {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return contract.TLSFiles{CertFile: write("tls.crt", block("CERTIFICATE", cert.Certificate[0])), KeyFile: write("tls.key", block("PRIVATE KEY", der)),
		CAFile: write("ca.crt", []byte(c.PEM))}
}

// issue gives a key and a certificate signed by parent, or self-signed when parent is nil.
func issue(t testing.TB, parent *CA, template x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(12 * time.Hour)
	}
	issuer, signer := &template, crypto.Signer(key)
	if parent != nil {
		issuer, signer = parent.Cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func parse(t testing.TB, uri string) []*url.URL {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return []*url.URL{u}
}

// Signer makes a key that signs bundles and leases.
func Signer(t testing.TB) *seal.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := seal.NewSigner(block("PRIVATE KEY", der))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Sealed makes a key as Signer does, and a reader that trusts it alone.
func Sealed(t testing.TB) (*seal.Signer, *seal.Trust) {
	t.Helper()
	s := Signer(t)
	public, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := seal.NewTrust(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, trust
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
