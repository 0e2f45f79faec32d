package approval

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

const (
	approversFormat = "dizuo-approvers/1"
	approversTyp    = "dizuo-approvers"
)

// ApproversText gives what a signature over a list of approvers is over: canonical JSON (RFC 8785) of the format, the Organization's
// namespace and name, and the keys sorted by name.
func ApproversText(namespace, organization string, keys []v1alpha1.NamedKey) ([]byte, error) {
	return canonical(map[string]any{"format": approversFormat, "namespace": namespace, "name": organization, "approvers": SortedKeys(keys)})
}

// SortedKeys gives keys by name: a list of approvers is a set.
func SortedKeys(keys []v1alpha1.NamedKey) []v1alpha1.NamedKey {
	return slices.SortedFunc(slices.Values(keys), func(a, b v1alpha1.NamedKey) int { return cmp.Compare(a.Name, b.Name) })
}

// SameKeys reports whether two lists hold the same keys under the same names.
func SameKeys(a, b []v1alpha1.NamedKey) bool { return slices.Equal(SortedKeys(a), SortedKeys(b)) }

// SignApprovers gives the signature of an approver over the list that is to follow the one that the approver stands in. The time, in
// whole seconds, is signed too: a list that was left behind cannot be put back by its old signature.
func SignApprovers(key crypto.Signer, o *v1alpha1.Organization, approver string, now time.Time) (string, error) {
	text, err := ApproversText(o.Namespace, o.Name, o.Spec.Approvers)
	if err != nil {
		return "", fmt.Errorf("Organization/%s: approvers: %w", o.Name, err)
	}
	return sign(key, approversTyp, o.Name+"/"+approver, text, map[string]any{"iat": now.Unix()})
}

// VerifyApprovers checks the signature over an Organization's approvers by the key (base64 of its SPKI) that stood under the name of
// approver before, and gives the time that was signed.
func VerifyApprovers(publicKey string, o *v1alpha1.Organization) (time.Time, error) {
	by := o.Spec.ApproversSignature
	text, err := ApproversText(o.Namespace, o.Name, o.Spec.Approvers)
	if err != nil {
		return time.Time{}, err
	}
	header, err := verify(publicKey, approversTyp, o.Name+"/"+by.Approver, text, by.Signature, "list of approvers")
	if err != nil {
		return time.Time{}, err
	}
	return issuedAt(header)
}

// ClaimedAt gives the time that a signature over a list of approvers says it was made at, unchecked.
func ClaimedAt(signature string) (time.Time, error) {
	jws, err := jose.ParseDetached(signature, []byte{}, algorithms)
	if err != nil {
		return time.Time{}, fmt.Errorf("signature is not a detached JWS: %w", err)
	}
	return issuedAt(jws.Signatures[0].Protected)
}

func issuedAt(header jose.Header) (time.Time, error) {
	at, ok := header.ExtraHeaders["iat"].(float64)
	if !ok || at <= 0 || at > 1<<40 {
		return time.Time{}, errors.New("signature names no time (iat)")
	}
	return time.Unix(int64(at), 0), nil
}

// sign gives a detached JWS over a payload. The key is ECDSA on P-256 or Ed25519.
func sign(key crypto.Signer, typ jose.ContentType, kid string, payload []byte, more map[string]any) (string, error) {
	alg, err := algorithm(key)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType(typ).WithHeader("kid", kid)
	for name, value := range more {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("approver's key: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.DetachedCompactSerialize()
}

// verify checks a detached JWS and gives its protected header; what names the payload in errors.
func verify(publicKey, typ, kid string, payload []byte, signature, what string) (jose.Header, error) {
	pub, err := ParsePublicKey(publicKey)
	if err != nil {
		return jose.Header{}, err
	}
	jws, err := jose.ParseDetached(signature, payload, algorithms)
	if err != nil {
		return jose.Header{}, fmt.Errorf("signature is not a detached JWS: %w", err)
	}
	header := jws.Signatures[0].Protected
	if header.KeyID != kid || header.ExtraHeaders[jose.HeaderType] != typ {
		return jose.Header{}, fmt.Errorf("signature was made for %q, want %q", header.KeyID, kid)
	}
	if err := jws.DetachedVerify(payload, pub); err != nil {
		return jose.Header{}, errors.New("signature does not fit this " + what + " and this key")
	}
	return header, nil
}
