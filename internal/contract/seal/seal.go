// Package seal signs and verifies what travels in a bundle: each shard as a signed OPA bundle, which plain opa verifies
// too, and the lease as a compact JWS. Both use ES256 and name the algorithm and the key, so SM2 can stand beside it.
package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/dizuo/dizuo/internal/contract"
)

// Algorithm of every signature here (RFC 7518: ECDSA with P-256 and SHA-256).
const Algorithm = "ES256"

// maxShardBytes bounds one decompressed file of a shard, so that a hostile object cannot fill a node's memory.
const maxShardBytes = 512 << 20

// Signer signs with one private key.
type Signer struct {
	// KeyID names the key: see KeyID.
	KeyID string

	key *ecdsa.PrivateKey
	pem string
}

// NewSigner reads a PEM private key (PKCS#8 or SEC 1) on the curve P-256.
func NewSigner(keyPEM []byte) (*Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("bundle signing key: no PEM block found")
	}
	key, err := parseKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	id, err := KeyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("bundle signing key: %w", err)
	}
	return &Signer{KeyID: id, key: key, pem: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}, nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		var parsed any
		if parsed, err = x509.ParsePKCS8PrivateKey(der); err != nil {
			return nil, fmt.Errorf("bundle signing key: %w", err)
		}
		var ok bool
		if key, ok = parsed.(*ecdsa.PrivateKey); !ok {
			return nil, fmt.Errorf("bundle signing key: is %T, want an ECDSA key on P-256", parsed)
		}
	}
	if key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("bundle signing key: curve %s, want P-256", key.Curve.Params().Name)
	}
	return key, nil
}

// Public gives the public key as PEM, for a trust file.
func (s *Signer) Public() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("bundle signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Private gives the private key as PEM (PKCS#8), for the Secret that holds it.
func (s *Signer) Private() []byte { return []byte(s.pem) }

// KeyID gives the hex SHA-256 of a public key's SPKI.
func KeyID(pub *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("bundle signing key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// Normalize turns the data of a shard into plain JSON values, so that it has the same digest before it is sent and after
// it was read.
func Normalize(s contract.Shard) (contract.Shard, error) {
	raw, err := json.Marshal(s.Data)
	if err != nil {
		return s, fmt.Errorf("shard %s: %w", s.Name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	s.Data = nil
	if err := dec.Decode(&s.Data); err != nil {
		return s, fmt.Errorf("shard %s: %w", s.Name, err)
	}
	if s.Modules == nil {
		s.Modules = map[string]string{}
	}
	return s, nil
}

// Shard gives a normalized shard as the tarball of a signed OPA bundle whose revision is the shard's digest.
func (s *Signer) Shard(sh contract.Shard) ([]byte, error) {
	digest, err := sh.ContentDigest()
	if err != nil {
		return nil, err
	}
	return s.ShardOf(sh, digest)
}

// ShardOf is Shard where the digest is known already.
func (s *Signer) ShardOf(sh contract.Shard, digest string) ([]byte, error) {
	b := bundle.Bundle{Data: sh.Data, Manifest: bundle.Manifest{
		Revision: digest, Roots: &sh.Roots, Metadata: map[string]any{"shard": sh.Name},
	}}
	b.Manifest.SetRegoVersion(ast.RegoV1)
	for _, path := range slices.Sorted(mapKeys(sh.Modules)) {
		module, err := ast.ParseModule(path, sh.Modules[path])
		if err != nil {
			return nil, fmt.Errorf("shard %s: module %s: %w", sh.Name, path, err)
		}
		b.Modules = append(b.Modules, bundle.ModuleFile{Path: path, URL: path, Raw: []byte(sh.Modules[path]), Parsed: module})
	}
	if err := b.GenerateSignature(bundle.NewSigningConfig(s.pem, Algorithm, ""), s.KeyID, true); err != nil {
		return nil, fmt.Errorf("shard %s: sign: %w", sh.Name, err)
	}
	var buf bytes.Buffer
	if err := bundle.NewWriter(&buf).UseModulePath(true).DisableFormat(true).Write(b); err != nil {
		return nil, fmt.Errorf("shard %s: write: %w", sh.Name, err)
	}
	return buf.Bytes(), nil
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Lease gives a signed lease as compact JWS.
func (s *Signer) Lease(l contract.Lease) (string, error) {
	raw, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("lease %d: %w", l.Sequence, err)
	}
	options := (&jose.SignerOptions{}).WithType("dizuo-lease").WithHeader("kid", s.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, options)
	if err != nil {
		return "", fmt.Errorf("lease %d: %w", l.Sequence, err)
	}
	jws, err := signer.Sign(raw)
	if err != nil {
		return "", fmt.Errorf("lease %d: %w", l.Sequence, err)
	}
	return jws.CompactSerialize()
}

// Trust holds the public keys whose signatures are taken; two during a rotation.
type Trust struct {
	keys map[string]*ecdsa.PublicKey
	opa  map[string]*bundle.KeyConfig
}

// NewTrust reads PEM public keys (SPKI), one after the other.
func NewTrust(keysPEM []byte) (*Trust, error) {
	t := &Trust{keys: map[string]*ecdsa.PublicKey{}, opa: map[string]*bundle.KeyConfig{}}
	for block, rest := pem.Decode(keysPEM); block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("bundle trust: %w", err)
		}
		pub, ok := parsed.(*ecdsa.PublicKey)
		if !ok || pub.Curve != elliptic.P256() {
			return nil, fmt.Errorf("bundle trust: key is %T, want an ECDSA key on P-256", parsed)
		}
		id, err := KeyID(pub)
		if err != nil {
			return nil, err
		}
		t.keys[id] = pub
		t.opa[id] = &bundle.KeyConfig{Key: string(pem.EncodeToMemory(block)), Algorithm: Algorithm}
	}
	if len(t.keys) == 0 {
		return nil, errors.New("bundle trust: no public key found")
	}
	return t, nil
}

// LeaseKey gives the id of the key that a compact lease says it is signed by; "" if it says none. It verifies nothing.
func LeaseKey(compact string) string {
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return ""
	}
	return jws.Signatures[0].Protected.KeyID
}

// Lease verifies a signed lease. Time and order are the caller's to check: see contract.Lease.Follows.
func (t *Trust) Lease(compact string) (contract.Lease, error) {
	var l contract.Lease
	raw, err := t.verify(compact, "dizuo-lease")
	if err != nil {
		return l, fmt.Errorf("lease: %w", err)
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("lease: %w", err)
	}
	return l, nil
}

// Holds reports whether the key with an id is trusted.
func (t *Trust) Holds(id string) bool { return t.keys[id] != nil }

// Count gives how many keys are trusted.
func (t *Trust) Count() int { return len(t.keys) }

// Only gives the key with an id as PEM; nil where it is not trusted.
func (t *Trust) Only(id string) []byte {
	if t.opa[id] == nil {
		return nil
	}
	return []byte(t.opa[id].Key)
}

// verify gives the payload of a compact JWS with a header typ that one of the keys signed.
func (t *Trust) verify(compact, typ string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, err
	}
	header := jws.Signatures[0].Protected
	key, ok := t.keys[header.KeyID]
	if !ok {
		return nil, fmt.Errorf("signed by key %.12s, which is not trusted here", header.KeyID)
	}
	if header.ExtraHeaders[jose.HeaderType] != typ {
		return nil, errors.New("header typ is not " + typ)
	}
	return jws.Verify(key)
}

// Shard verifies the tarball of a shard against the keys and against the digest that the index names.
func (t *Trust) Shard(raw []byte, ref contract.ShardRef) (contract.Shard, error) {
	reader := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(raw), "")).
		WithBundleVerificationConfig(bundle.NewVerificationConfig(t.opa, "", "", nil)).
		WithSizeLimitBytes(maxShardBytes).WithRegoVersion(ast.RegoV1)
	b, err := reader.Read()
	if err != nil {
		return contract.Shard{}, fmt.Errorf("shard %s: %w", ref.Name, err)
	}
	sh := contract.Shard{Name: ref.Name, Data: b.Data, Modules: map[string]string{}}
	if b.Manifest.Roots != nil {
		sh.Roots = *b.Manifest.Roots
	}
	for _, m := range b.Modules {
		sh.Modules[strings.TrimPrefix(m.Path, "/")] = string(m.Raw)
	}
	digest, err := sh.ContentDigest()
	if err != nil {
		return sh, err
	}
	if digest != ref.Digest {
		return sh, fmt.Errorf("shard %s: content is %s, the index names %s", ref.Name, digest, ref.Digest)
	}
	return sh, nil
}
