// Package approval makes and checks the approvals of a DataSharingAgreement: detached signatures (JWS with detached
// payload, RFC 7515 appendix F) over the digest of the agreement without its approvals. An approval travels in the YAML, so
// it works under GitOps, and whoever holds the YAML and the organisations' public keys can check it alone. Changing the
// substance changes the digest and voids every approval.
package approval

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/gowebpki/jcs"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

const typ = "dizuo-approval"

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}

// Digest gives "sha256:" and the hex SHA-256 of the canonical JSON (RFC 8785) of the agreement's API version, kind,
// namespace, name and spec without approvals and without `suspended`, which either party may set without asking the other.
// The spec must carry the defaults of the schema: the API server and internal/schema give the same.
func Digest(a *v1alpha1.DataSharingAgreement) (string, error) {
	spec := a.Spec.DeepCopy()
	spec.Approvals = nil
	spec.Suspended = false
	raw, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "DataSharingAgreement",
		"metadata": map[string]string{"namespace": a.Namespace, "name": a.Name},
		"spec":     spec,
	})
	if err != nil {
		return "", fmt.Errorf("DataSharingAgreement/%s: digest: %w", a.Name, err)
	}
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return "", fmt.Errorf("DataSharingAgreement/%s: digest: %w", a.Name, err)
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Sign gives an approval's signature over a digest. The key is ECDSA on P-256 or Ed25519.
func Sign(key crypto.Signer, organization, approver, digest string) (string, error) {
	alg := jose.ES256
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("approver's key: curve %s, want P-256", k.Curve.Params().Name)
		}
	case ed25519.PrivateKey:
		alg = jose.EdDSA
	default:
		return "", fmt.Errorf("approver's key: is %T, want ECDSA on P-256 or Ed25519", key)
	}
	options := (&jose.SignerOptions{}).WithType(typ).WithHeader("kid", organization+"/"+approver)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("approver's key: %w", err)
	}
	jws, err := signer.Sign([]byte(digest))
	if err != nil {
		return "", fmt.Errorf("sign approval: %w", err)
	}
	return jws.DetachedCompactSerialize()
}

// Verify checks an approval's signature over a digest with the approver's public key (base64 of its SPKI, as in
// Organization.spec.approvers).
func Verify(publicKey, organization, approver, digest, signature string) error {
	pub, err := ParsePublicKey(publicKey)
	if err != nil {
		return err
	}
	jws, err := jose.ParseDetached(signature, []byte(digest), algorithms)
	if err != nil {
		return fmt.Errorf("signature is not a detached JWS: %w", err)
	}
	header := jws.Signatures[0].Protected
	if header.KeyID != organization+"/"+approver || header.ExtraHeaders[jose.HeaderType] != typ {
		return fmt.Errorf("signature was made for %q, want %q", header.KeyID, organization+"/"+approver)
	}
	if err := jws.DetachedVerify([]byte(digest), pub); err != nil {
		return errors.New("signature does not fit this text of the agreement and this key")
	}
	return nil
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
