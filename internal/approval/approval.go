// Package approval makes and checks the approvals of a DataSharingAgreement: detached signatures (JWS with detached
// payload, RFC 7515 appendix F) over the digest of the agreement and of what it relies on. An approval travels in the YAML, so
// it works under GitOps, and whoever holds the YAML and the organisations' public keys can check it alone. Changing the
// substance changes the digest and voids every approval. Lists of approvers are signed in the same form.
package approval

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

const typ = "dizuo-approval"

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}

// Sign gives an approval's signature over a digest. The key is ECDSA on P-256 or Ed25519.
func Sign(key crypto.Signer, organization, approver, digest string) (string, error) {
	return sign(key, typ, organization+"/"+approver, []byte(digest), nil)
}

func algorithm(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("approver's key: curve %s, want P-256", k.Curve.Params().Name)
		}
		return jose.ES256, nil
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	}
	return "", fmt.Errorf("approver's key: is %T, want ECDSA on P-256 or Ed25519", key)
}

// Verify checks an approval's signature over a digest with the approver's public key (base64 of its SPKI, as in
// Organization.spec.approvers).
func Verify(publicKey, organization, approver, digest, signature string) error {
	_, err := verify(publicKey, typ, organization+"/"+approver, []byte(digest), signature, "text of the agreement")
	return err
}

// ParsePublicKey reads the base64 SPKI of an ECDSA P-256 or Ed25519 key.
func ParsePublicKey(text string) (crypto.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("public key: not base64: %w", err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("public key: is no SPKI (SubjectPublicKeyInfo, DER)") // the parser's own words help nobody
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	case ed25519.PublicKey:
		return k, nil
	}
	return nil, errors.New("public key: want ECDSA on P-256 or Ed25519")
}
