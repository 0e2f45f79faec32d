package audit

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
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/internal/contract"
)

// Keys are public keys by their id (KeyID): ECDSA P-256 or Ed25519.
type Keys map[string]crypto.PublicKey

// KeyID gives the hex SHA-256 of a public key's SPKI.
func KeyID(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// ParseKeys reads PEM public keys (SPKI) or certificates, one after the other.
func ParseKeys(text []byte) (Keys, error) {
	keys := Keys{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		der := block.Bytes
		if block.Type == "CERTIFICATE" {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("certificate: %w", err)
			}
			der = cert.RawSubjectPublicKeyInfo
		}
		if err := keys.add(der); err != nil {
			return nil, err
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no public key; write PEM blocks PUBLIC KEY or CERTIFICATE")
	}
	return keys, nil
}

// KeysOf reads public keys as the directory has them: base64 of SPKI.
func KeysOf(texts ...string) (Keys, error) {
	keys := Keys{}
	for _, text := range texts {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("public key: %w; write the base64 of the DER (PKIX)", err)
		}
		if err := keys.add(der); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (k Keys) add(der []byte) error {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	if _, err := algorithmOf(pub); err != nil {
		return err
	}
	id, err := KeyID(pub)
	k[id] = pub
	return err
}

func algorithmOf(pub crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return jose.ES256, nil
		}
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", fmt.Errorf("public key is %T, want ECDSA on P-256 or Ed25519", pub)
}

// Sign gives a payload as compact JWS of a type; the header names key and algorithm.
func Sign(key crypto.Signer, typ string, payload any) (string, error) {
	algorithm, err := algorithmOf(key.Public())
	if err != nil {
		return "", err
	}
	id, err := KeyID(key.Public())
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("%s: %w", typ, err)
	}
	raw, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("%s: %w", typ, err)
	}
	jws, err := signer.Sign(raw)
	if err != nil {
		return "", fmt.Errorf("%s: %w", typ, err)
	}
	return jws.CompactSerialize()
}

// open reads a compact JWS of a type. Without keys no signature is checked.
func open(compact, typ string, keys Keys, out any) error {
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return fmt.Errorf("%s: %w", typ, err)
	}
	if again, err := jws.CompactSerialize(); err != nil || again != compact {
		return fmt.Errorf("%s is not in the form in which it was written", typ) // base64 has several spellings
	}
	header := jws.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != typ {
		return fmt.Errorf("JWS header typ is %v, want %s", header.ExtraHeaders[jose.HeaderType], typ)
	}
	raw := jws.UnsafePayloadWithoutVerification()
	if keys != nil {
		key, ok := keys[header.KeyID]
		if !ok {
			return fmt.Errorf("%s: signed by key %.12s, which is not among the keys given", typ, header.KeyID)
		}
		if raw, err = jws.Verify(key); err != nil {
			return fmt.Errorf("%s: the signature is not good: %w", typ, err)
		}
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s: %w", typ, err)
	}
	return nil
}

// signer gives the id of the key by which a compact JWS says that it was signed; empty if it is none.
func signer(compact string) string {
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return ""
	}
	return jws.Signatures[0].Protected.KeyID
}

// OpenCheckpoint reads a checkpoint; nil keys check no signature.
func OpenCheckpoint(compact string, keys Keys) (contract.Checkpoint, error) {
	var c contract.Checkpoint
	if err := open(compact, contract.CheckpointType, keys, &c); err != nil {
		return c, err
	}
	if c.Format != contract.CheckpointFormat || c.Instance == "" || c.Sequence < 1 {
		return c, fmt.Errorf("checkpoint of format %q, instance %q, line %d: this version knows %q", c.Format, c.Instance, c.Sequence, contract.CheckpointFormat)
	}
	return c, nil
}

// OpenReceipt reads a receipt of a checkpoint and holds it against that; nil keys check no signature.
func OpenReceipt(compact, checkpoint string, keys Keys) (contract.Receipt, error) {
	var r contract.Receipt
	if err := open(compact, contract.ReceiptType, keys, &r); err != nil {
		return r, err
	}
	if r.Format != contract.ReceiptFormat {
		return r, fmt.Errorf("receipt of format %q, this version knows %q", r.Format, contract.ReceiptFormat)
	}
	if r.Checkpoint != contract.Digest([]byte(checkpoint)) {
		return r, errors.New("the receipt is of another checkpoint")
	}
	return r, nil
}
