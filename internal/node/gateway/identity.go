package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
	"github.com/dizuo/dizuo/internal/node/process"
)

// callers finds the organisation that a client certificate speaks for.
type callers struct {
	// byKey and byURI hold organisations by the digest of a public key and by a certificate URI. An entry that two
	// organisations claim speaks for nobody and is empty.
	byKey, byURI map[string]string
	// byIssuer holds identities by the name of an OIDC provider.
	byIssuer map[string][]vouched
	// chains remembers client certificates that stand under the platform's CA. Whom they name is looked up for every request.
	chains *memory[shown, verified[struct{}]]
}

// vouched is an identity that tokens of an issuer vouch for.
type vouched struct {
	contract.OIDCIdentity
	organization string
}

func newCallers(d contract.Directory) callers {
	c := callers{byKey: map[string]string{}, byURI: map[string]string{}, byIssuer: map[string][]vouched{}, chains: &memory[shown, verified[struct{}]]{}}
	for name, o := range d.Organizations {
		for _, digest := range o.KeyDigests {
			claim(c.byKey, strings.ToLower(digest), name)
		}
		for _, uri := range o.URIs {
			claim(c.byURI, uri, name)
		}
		for _, id := range o.OIDC {
			c.byIssuer[id.Provider] = append(c.byIssuer[id.Provider], vouched{id, name})
		}
	}
	return c
}

func claim(index map[string]string, key, organization string) {
	if holder, taken := index[key]; taken && holder != organization {
		organization = ""
	}
	index[key] = organization
}

// organization names the organisation that the connection's certificate speaks for: by its public key, or by a URI under
// the platform's CA. TLS has proven that the client holds the key. It is asked for every request and not once per
// connection, so that a revoked key or an expired certificate stops at once.
func (c callers) organization(state *tls.ConnectionState, roots *x509.CertPool, now time.Time) (string, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return "", errors.New("no client certificate was shown")
	}
	leaf := state.PeerCertificates[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return "", fmt.Errorf("the client certificate is valid from %s to %s", leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	byKey := c.byKey[contract.Digest(leaf.RawSubjectPublicKeyInfo)]
	byURI := c.certified(state.PeerCertificates, roots, now)
	switch {
	case byKey == "" && byURI == "":
		return "", errors.New("the client certificate speaks for no organisation of this platform")
	case byKey != "" && byURI != "" && byKey != byURI:
		return "", errors.New("the client certificate speaks for two organisations")
	case byKey != "":
		return byKey, nil
	}
	return byURI, nil
}

// certified gives the organisation that the URIs of a certificate under the platform's CA name, or "".
func (c callers) certified(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) string {
	if !c.stands(certs, roots, now) {
		return ""
	}
	found := ""
	for _, uri := range certs[0].URIs {
		name := c.byURI[uri.String()]
		if name == "" {
			continue
		}
		if found != "" && found != name {
			return ""
		}
		found = name
	}
	return found
}

// stands verifies a chain, or knows that it did under the same CAs and that no certificate of it has ended since.
func (c callers) stands(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) bool {
	h := sha256.New()
	for _, cert := range certs {
		h.Write(cert.Raw) // DER says itself where it ends
	}
	key := shown{[sha256.Size]byte(h.Sum(nil)), roots}
	if known, ok := c.chains.get(key); ok && known.holds(now) {
		return true
	}
	chains, err := chain.Verify(certs, roots, now)
	if err != nil {
		return false
	}
	c.chains.put(key, verified[struct{}]{from: now, until: chain.End(chains[0])})
	return true
}

// rootsFile keeps the platform's CA and reads it again when the file changes, looking at most once a second.
type rootsFile struct {
	path string

	mu     sync.Mutex
	looked time.Time
	raw    []byte
	pool   *x509.CertPool
}

// get gives the pool; while a changed file cannot be read, the one before.
func (r *rootsFile) get(now time.Time) (*x509.CertPool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pool != nil && now.Sub(r.looked) < time.Second && now.Sub(r.looked) >= 0 {
		return r.pool, nil
	}
	raw, err := os.ReadFile(r.path)
	if err == nil && r.pool != nil && bytes.Equal(raw, r.raw) {
		r.looked = now
		return r.pool, nil
	}
	pool, err := process.ReadPool(r.path)
	if err != nil {
		if r.pool != nil {
			return r.pool, nil
		}
		return nil, err
	}
	r.pool, r.raw, r.looked = pool, raw, now
	return pool, nil
}
