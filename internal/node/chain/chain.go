// Package chain verifies the client certificates of devices, clouds, edge nodes and organisations against the CAs that are listed for
// each. Whom a certificate names is for the caller to read.
package chain

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Key is the SHA-256 of the public key (SPKI) of a CA.
type Key = [sha256.Size]byte

// Issuers are the CAs listed for one fleet or one edge node. The zero value trusts nobody.
type Issuers struct {
	roots *x509.CertPool
	// Keys of the CAs, in the order of the list.
	Keys []Key
	// ends by the digest of a CA's certificate, of those that have one: a CA that is made anew with the same key does not end with the
	// certificate before.
	ends map[[sha256.Size]byte]time.Time
}

// Read takes CA certificates (PEM), one or more in each text; end gives when those of the n-th text are taken no more beside their own
// end, and may be nil. What cannot be read is left out and told, and the rest counts.
func Read(texts []string, end func(n int) (time.Time, bool)) (Issuers, []error) {
	i := Issuers{roots: x509.NewCertPool(), ends: map[[sha256.Size]byte]time.Time{}}
	var problems []error
	for n, text := range texts {
		certs, err := Parse(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("issuers[%d]: %w", n, err))
		}
		for _, cert := range certs {
			i.roots.AddCert(cert)
			i.Keys = append(i.Keys, sha256.Sum256(cert.RawSubjectPublicKeyInfo))
			if end == nil {
				continue
			}
			if at, ok := end(n); ok {
				i.ends[sha256.Sum256(cert.Raw)] = at
			}
		}
	}
	return i, problems
}

// Verify checks a chain, the certificate that the client proved to hold the key of and then what it sent with it, and gives the key of
// the CA that it stands under and when that is over: with the certificate or with its CA, whichever comes first.
func (i Issuers) Verify(shown []*x509.Certificate, now time.Time) (issuer Key, until time.Time, err error) {
	chains, err := Verify(shown, i.roots, now)
	if err != nil {
		return issuer, until, err
	}
	err = errors.New("the certificate stands under a CA that is taken no more")
	for _, c := range chains {
		root, end := c[len(c)-1], shown[0].NotAfter
		if at, ok := i.ends[sha256.Sum256(root.Raw)]; ok && at.Before(end) {
			end = at
		}
		if !now.After(end) && end.After(until) {
			issuer, until, err = sha256.Sum256(root.RawSubjectPublicKeyInfo), end, nil
		}
	}
	return issuer, until, err
}

// Verify checks a chain of a client, as Issuers.Verify, against roots and gives every chain that stands. Nil roots trust nobody.
func Verify(shown []*x509.Certificate, roots *x509.CertPool, now time.Time) ([][]*x509.Certificate, error) {
	if len(shown) == 0 {
		return nil, errors.New("no certificate was shown")
	}
	if roots == nil { // x509 would take the system's
		return nil, errors.New("no CA is known")
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	return shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// End gives when the first certificate of a chain ends.
func End(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// Parse reads the certificates of a PEM text. What cannot be read is left out of them, and the error tells of it.
func Parse(text string) (certs []*x509.Certificate, err error) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, wrong := x509.ParseCertificate(block.Bytes)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("certificate: %w", wrong))
			continue
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 && err == nil {
		err = errors.New("no PEM certificate found; write one that begins with -----BEGIN CERTIFICATE-----")
	}
	return certs, err
}
