package approval_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/internal/approval"
)

var at = time.Unix(1780000000, 0)

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ECDSA": ec, "Ed25519": ed}
}

func public(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestSignAndVerify(t *testing.T) {
	const d = "sha256:37bafe5799ea915814cf3c8e1946e8114deece2add95dfb823acc8db48c858e3"
	for name, key := range keys(t) {
		stranger := keys(t)[name]
		good, err := approval.Sign(key, "civil", "office", d, at)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(good, ".")
		for what, c := range map[string]struct {
			key, organization, approver, digest, signature string
			ok                                             bool
		}{
			"good":                    {public(t, key), "civil", "office", d, good, true},
			"another text":            {public(t, key), "civil", "office", d + "0", good, false},
			"another key":             {public(t, stranger), "civil", "office", d, good, false},
			"another organisation":    {public(t, key), "health", "office", d, good, false},
			"another approver":        {public(t, key), "civil", "deputy", d, good, false},
			"payload not detached":    {public(t, key), "civil", "office", d, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(d)) + "." + parts[2], false},
			"signature of zeroes":     {public(t, key), "civil", "office", d, parts[0] + ".." + strings.Repeat("A", 86), false},
			"empty":                   {public(t, key), "civil", "office", d, "", false},
			"a key that is none":      {"AAAA", "civil", "office", d, good, false},
			"a key that is no base64": {"-", "civil", "office", d, good, false},
		} {
			if got, err := approval.Verify(c.key, c.organization, c.approver, c.digest, c.signature); (err == nil) != c.ok || (c.ok && !got.Equal(at)) {
				t.Errorf("%s: %s: %v, signed at %v", name, what, err, got)
			}
		}
	}
}

// A signature of the same key over the same bytes for another purpose is no approval.
func TestOnlyApprovalsAreTaken(t *testing.T) {
	key := keys(t)["ECDSA"]
	const d = "sha256:37bafe5799ea915814cf3c8e1946e8114deece2add95dfb823acc8db48c858e3"
	for typ, ok := range map[string]bool{"dizuo-approval": true, "dizuo-approval without a time": false, "dizuo-lease": false, "JWT": false, "": false} {
		options := (&jose.SignerOptions{}).WithHeader("kid", "civil/office")
		if typ != "dizuo-approval without a time" {
			options = options.WithHeader("iat", at.Unix())
		}
		if typ != "" {
			options = options.WithType(jose.ContentType(strings.TrimSuffix(typ, " without a time")))
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jws.DetachedCompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := approval.Verify(public(t, key), "civil", "office", d, compact); (err == nil) != ok {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

func TestWeakKeysAreRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-384": p384, "RSA": small} {
		if _, err := approval.Sign(key, "o", "a", "d", at); err == nil {
			t.Errorf("%s: signs", name)
		}
		if _, err := approval.ParsePublicKey(public(t, key)); err == nil {
			t.Errorf("%s: is taken as public key", name)
		}
	}
}
