package person

import (
	"crypto"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestWhomACertificateSpeaksFor(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	pinned, issued, both, people := p256(t), p256(t), p256(t), p256(t)
	dir := contract.Directory{Organizations: map[string]contract.Organization{
		"fire":   {URIs: []string{uri}, KeyDigests: []string{digest(t, both.Public())}},
		"health": {KeyDigests: []string{"sha256:other", strings.ToUpper(digest(t, pinned.Public()))}, PersonKeyDigests: []string{digest(t, people.Public())}},
		"police": {KeyDigests: []string{digest(t, both.Public())}},
	}}
	self := func(key crypto.Signer) []*x509.Certificate {
		return []*x509.Certificate{issue(t, &x509.Certificate{}, nil, key.Public(), key)}
	}
	good := ca.leaf(t, issued.Public(), uri, x509.ExtKeyUsageClientAuth)
	for what, tc := range map[string]struct {
		shown []*x509.Certificate
		pool  *x509.CertPool
		at    time.Time
		want  string // or what the error says
	}{
		"pinned key":                  {self(pinned), nil, now, "health"},
		"under the platform's CA":     {[]*x509.Certificate{good}, ca.pool, now, "fire"},
		"none":                        {nil, ca.pool, now, "no client certificate"},
		"no CA at hand":               {[]*x509.Certificate{good}, nil, now, "no organisation"},
		"another CA":                  {[]*x509.Certificate{foreign.leaf(t, issued.Public(), uri, x509.ExtKeyUsageClientAuth)}, ca.pool, now, "no organisation"},
		"URI of nobody":               {[]*x509.Certificate{ca.leaf(t, issued.Public(), contract.OrganizationURI("henan", "henan", "fire", "old"), x509.ExtKeyUsageClientAuth)}, ca.pool, now, "no organisation"},
		"no client's certificate":     {[]*x509.Certificate{ca.leaf(t, issued.Public(), uri, x509.ExtKeyUsageServerAuth)}, ca.pool, now, "no organisation"},
		"a key that signs for people": {self(people), nil, now, "no organisation"},
		"claimed by two":              {self(both), nil, now, "two organisations"},
		"over":                        {self(pinned), nil, now.Add(2 * time.Hour), "valid from"},
		"not yet":                     {self(pinned), nil, now.Add(-2 * time.Hour), "valid from"},
	} {
		got, err := OrganizationOf(tc.shown, dir, tc.pool, tc.at)
		if got != tc.want && (err == nil || got != "" || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %q, %v; want %s", what, got, err, tc.want)
		}
	}
}
