// Package approval makes and checks the approvals of a DataSharingAgreement: detached signatures (JWS with detached
// payload, RFC 7515 appendix F) over the digest of the agreement and of what it relies on. An approval travels in the YAML, so
// it works under GitOps, and whoever holds the YAML and the organisations' public keys can check it alone. Changing the
// substance changes the digest and voids every approval. Lists of approvers are signed in the same form.
package approval

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

const typ = "dizuo-approval"

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}

// Sign gives an approval's signature over a digest. The time, in whole seconds, is signed too: an approval that was left behind does not
// count again. The key is ECDSA on P-256 or Ed25519.
func Sign(key crypto.Signer, organization, approver, digest string, now time.Time) (string, error) {
	return sign(key, typ, organization+"/"+approver, []byte(digest), map[string]any{"iat": now.Unix()})
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
// Organization.spec.approvers), and gives the time that was signed.
func Verify(publicKey, organization, approver, digest, signature string) (time.Time, error) {
	header, err := verify(publicKey, typ, organization+"/"+approver, []byte(digest), signature, "text of the agreement")
	if err != nil {
		return time.Time{}, err
	}
	return issuedAt(header)
}

// HasKey reports whether a public key stands in a list, under whatever name and however its base64 is written.
func HasKey(list []v1alpha1.NamedKey, publicKey string) bool {
	key, err := base64.StdEncoding.DecodeString(publicKey)
	return err == nil && slices.ContainsFunc(list, func(k v1alpha1.NamedKey) bool {
		other, err := base64.StdEncoding.DecodeString(k.PublicKey)
		return err == nil && bytes.Equal(key, other)
	})
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
