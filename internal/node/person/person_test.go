package person

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/dizuo/dizuo/internal/contract"
)

var (
	now      = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	audience = contract.PersonAudience("henan", "henan", contract.RoleGrid)
	uri      = contract.OrganizationURI("henan", "henan", "fire", "id")
)

// authority is a certificate authority made for one test.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := p256(t)
	cert := issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key.Public(), key)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{key, cert, pool}
}

// leaf issues a certificate with a URI for the given uses.
func (a authority) leaf(t *testing.T, pub crypto.PublicKey, uri string, use ...x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return issue(t, &x509.Certificate{URIs: []*url.URL{u}, ExtKeyUsage: use, KeyUsage: x509.KeyUsageDigitalSignature}, a.cert, pub, a.key)
}

func issue(t *testing.T, c, parent *x509.Certificate, pub crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "synthetic"}
	c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func digest(t *testing.T, pub crypto.PublicKey) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return contract.Digest(spki)
}

func TestVerifyTakesBoundKeys(t *testing.T) {
	ca := newAuthority(t)
	ec := p256(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	selfSigned := issue(t, &x509.Certificate{}, nil, ec.Public(), ec)
	for name, c := range map[string]struct {
		key   crypto.Signer
		chain []*x509.Certificate
		org   contract.Organization
		pool  *x509.CertPool
	}{
		"pinned ECDSA key":        {ec, nil, contract.Organization{KeyDigests: []string{digest(t, ec.Public())}}, nil},
		"pinned Ed25519 key":      {ed, nil, contract.Organization{KeyDigests: []string{"sha256:other", digest(t, ed.Public())}}, nil},
		"pinned self-signed":      {ec, []*x509.Certificate{selfSigned}, contract.Organization{KeyDigests: []string{digest(t, ec.Public())}}, nil},
		"certificate of platform": {ec, []*x509.Certificate{ca.leaf(t, ec.Public(), uri, x509.ExtKeyUsageClientAuth)}, contract.Organization{URIs: []string{uri}}, ca.pool},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := Sign(c.key, c.chain, "fire", "p-17", "Dispatcher", audience, now, 15*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Verify(token, contract.Directory{Organizations: map[string]contract.Organization{"fire": c.org}}, c.pool, audience, now.Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if want := (Identity{"fire", "p-17", "Dispatcher"}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	key, other := p256(t), p256(t)
	dir := contract.Directory{Organizations: map[string]contract.Organization{
		"parted": {PersonKeyDigests: []string{digest(t, other.Public())}, KeyDigests: []string{digest(t, key.Public())}, URIs: []string{uri}},
		"fire":   {KeyDigests: []string{digest(t, key.Public())}, URIs: []string{uri}},
		"health": {KeyDigests: []string{digest(t, other.Public())}},
	}}
	sign := func(key crypto.Signer, org string, chain ...*x509.Certificate) string {
		token, err := Sign(key, chain, org, "p-17", "Dispatcher", audience, now, 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	forge := func(alg jose.SignatureAlgorithm, key any, c any) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{EmbedJWK: alg != jose.HS256})
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	said := func(change func(c map[string]any)) map[string]any {
		c := map[string]any{"iss": "fire", "sub": "p-17", "role": "Dispatcher", "aud": audience, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
		change(c)
		return c
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(key, "fire")
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct {
		token string
		at    time.Time
		want  string
	}{
		"garbage":                 {"x.y.z", now, "no JWT"},
		"too long":                {strings.Repeat("a", maxToken+1), now, "at most"},
		"unknown organisation":    {sign(key, "nobody"), now, "no such organisation"},
		"key of another":          {sign(other, "fire"), now, "not among"},
		"another in our name":     {sign(key, "health"), now, "not among"},
		"a system's key":          {sign(key, "parted"), now, "personTokenKeys"},
		"a system's certificate":  {sign(key, "parted", ca.leaf(t, key.Public(), uri, x509.ExtKeyUsageClientAuth)), now, "personTokenKeys"},
		"foreign authority":       {sign(other, "fire", foreign.leaf(t, other.Public(), uri, x509.ExtKeyUsageClientAuth)), now, "does not verify"},
		"URI of another":          {sign(other, "fire", ca.leaf(t, other.Public(), contract.OrganizationURI("henan", "henan", "health", "id"), x509.ExtKeyUsageClientAuth)), now, "no URI"},
		"server certificate":      {sign(other, "fire", ca.leaf(t, other.Public(), uri, x509.ExtKeyUsageServerAuth)), now, "does not verify"},
		"signature swapped":       {parts[0] + "." + parts[1] + "." + strings.Split(sign(key, "fire"), ".")[2][:80] + "AAAAAA", now, "signature"},
		"payload changed":         {parts[0] + "." + strings.Split(forge(jose.ES256, key, said(func(c map[string]any) { c["role"] = "Auditor" })), ".")[1] + "." + parts[2], now, "signature"},
		"expired":                 {good, now.Add(10 * time.Minute), "expired"},
		"future":                  {good, now.Add(-time.Minute), "future"},
		"symmetric":               {forge(jose.HS256, []byte(strings.Repeat("k", 32)), said(func(map[string]any) {})), now, "no JWT"},
		"RSA":                     {forge(jose.RS256, rsaKey, said(func(map[string]any) {})), now, "no JWT"},
		"wrong audience":          {forge(jose.ES256, key, said(func(c map[string]any) { c["aud"] = contract.PersonAudience("henan", "henan", contract.RoleGateway) })), now, "aud"},
		"lives too long":          {forge(jose.ES256, key, said(func(c map[string]any) { c["exp"] = now.Add(16 * time.Minute).Unix() })), now, "lives"},
		"no exp":                  {forge(jose.ES256, key, said(func(c map[string]any) { delete(c, "exp") })), now, "iat and exp"},
		"not yet":                 {forge(jose.ES256, key, said(func(c map[string]any) { c["nbf"] = now.Add(2 * time.Minute).Unix() })), now, "nbf"},
		"no subject":              {forge(jose.ES256, key, said(func(c map[string]any) { delete(c, "sub") })), now, "sub"},
		"no role":                 {forge(jose.ES256, key, said(func(c map[string]any) { delete(c, "role") })), now, "role"},
		"too many certificates":   {sign(key, "fire", issue(t, &x509.Certificate{}, nil, key.Public(), key), ca.cert, ca.cert, ca.cert, ca.cert), now, "certificates"},
		"no key in the token":     {noKey(t, key, said(func(map[string]any) {})), now, "carries no key"},
		"certificate has expired": {sign(other, "fire", ca.leaf(t, other.Public(), uri, x509.ExtKeyUsageClientAuth)), now.Add(2 * time.Hour), "does not verify"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Verify(c.token, dir, ca.pool, audience, c.at)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v; want an error with %q", got, err, c.want)
			}
			if got != (Identity{}) {
				t.Errorf("a refused token gave the identity %+v", got)
			}
		})
	}
	if _, err := Verify(good, dir, ca.pool, audience, now); err != nil {
		t.Errorf("the good token must pass: %v", err)
	}
	// The platform's CA may well be among the system's roots; that must not matter.
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots)
	certified := sign(other, "fire", ca.leaf(t, other.Public(), uri, x509.ExtKeyUsageClientAuth))
	if _, err := Verify(certified, dir, nil, audience, now); err == nil {
		t.Error("a nil pool must admit no certificate, not the system's roots")
	}
}

func noKey(t *testing.T, key crypto.Signer, c any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestSignRefuses(t *testing.T) {
	key := p256(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger := issue(t, &x509.Certificate{}, nil, p384.Public(), p384)
	for name, err := range map[string]error{
		"life":     second(Sign(key, nil, "fire", "p", "r", "a", now, contract.MaxPersonTokenLife+1)),
		"no life":  second(Sign(key, nil, "fire", "p", "r", "a", now, 0)),
		"subject":  second(Sign(key, nil, "fire", "", "r", "a", now, time.Minute)),
		"long":     second(Sign(key, nil, "fire", strings.Repeat("p", 129), "r", "a", now, time.Minute)),
		"curve":    second(Sign(p384, nil, "fire", "p", "r", "a", now, time.Minute)),
		"no key":   second(Sign(nil, nil, "fire", "p", "r", "a", now, time.Minute)),
		"stranger": second(Sign(key, []*x509.Certificate{stranger}, "fire", "p", "r", "a", now, time.Minute)),
	} {
		if err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func second(_ string, err error) error { return err }
