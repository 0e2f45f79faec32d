package compile

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Standing gives the SHA-256 of the certificate's public key (DER, PKIX), as `sha256:` and hexadecimal, and when the certificate ends; nothing
// until it is issued.
func (c IssuedCertificate) Standing() (keyFingerprint string, notAfter time.Time) {
	block, _ := pem.Decode(c.Issued["tls.crt"])
	if block == nil {
		return "", time.Time{}
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", time.Time{}
	}
	return contract.Digest(leaf.RawSubjectPublicKeyInfo), leaf.NotAfter
}
