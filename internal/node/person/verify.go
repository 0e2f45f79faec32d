package person

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
)

// skew is by how much the clock of an organisation may run ahead of ours.
const skew = 30 * time.Second

// Identity is a person, as an organisation vouches for them.
type Identity struct {
	// Organization is the object name of the organisation that signed.
	Organization string
	// Subject is a pseudonym of the person, meaningful to the organisation.
	Subject string
	// Role of the person, such as "GridWorker".
	Role string
}

// Verify reads a token and says who it speaks for. It takes the token only if all of this holds:
//
//   - iss is an organisation of dir;
//   - it is signed (ES256 or EdDSA) by a key that dir binds to that organisation: its digest is in PersonKeyDigests; where
//     those are empty, it is in KeyDigests, or its certificate chains to caPool for client authentication and bears one of the organisation's URIs (a nil pool admits
//     none);
//   - aud holds audience; see contract.PersonAudience;
//   - iat, exp and, if present, nbf enclose now, and exp is at most contract.MaxPersonTokenLife after iat;
//   - sub and role are given.
//
// The error says which of these failed and never repeats the token.
func Verify(token string, dir contract.Directory, caPool *x509.CertPool, audience string, now time.Time) (Identity, error) {
	who, _, err := VerifyUntil(token, dir, caPool, audience, now)
	return who, err
}

// VerifyUntil is Verify and also says until when the answer stays the same under the same directory and CAs: until the token ends or a
// certificate that it rests on.
func VerifyUntil(token string, dir contract.Directory, caPool *x509.CertPool, audience string, now time.Time) (who Identity, until time.Time, err error) {
	if len(token) > maxToken {
		return Identity{}, until, fmt.Errorf("token is %d bytes long, want at most %d", len(token), maxToken)
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return Identity{}, until, fmt.Errorf("token is no JWT signed with ES256 or EdDSA: %w", err)
	}
	var said claims
	if err := parsed.UnsafeClaimsWithoutVerification(&said); err != nil {
		return Identity{}, until, fmt.Errorf("token claims: %w", err)
	}
	org, ok := dir.Organizations[said.Issuer]
	if !ok {
		return Identity{}, until, fmt.Errorf("token iss %q: no such organisation", said.Issuer)
	}
	key, end, err := boundKey(token, parsed.Headers[0], said.Issuer, org, caPool, now)
	if err != nil {
		return Identity{}, until, err
	}
	var proven claims
	if err := parsed.Claims(key, &proven); err != nil {
		return Identity{}, until, fmt.Errorf("token of organisation %q: signature does not verify", said.Issuer)
	}
	if err := check(proven, audience, now); err != nil {
		return Identity{}, until, fmt.Errorf("token of organisation %q: %w", said.Issuer, err)
	}
	if until = proven.Expiry.Time(); !end.IsZero() && end.Before(until) {
		until = end
	}
	return Identity{Organization: proven.Issuer, Subject: proven.Subject, Role: proven.Role}, until, nil
}

// boundKey gives the public key that the token carries, if the directory binds it to the organisation, and when a certificate that this
// rests on ends; zero if none does.
func boundKey(token string, h jose.Header, name string, org contract.Organization, pool *x509.CertPool, now time.Time) (_ crypto.PublicKey, end time.Time, _ error) {
	chain, err := chainOf(token)
	if err != nil {
		return nil, end, err
	}
	var key crypto.PublicKey
	switch {
	case len(chain) > 0:
		key = chain[0].PublicKey
	case h.JSONWebKey != nil && h.JSONWebKey.Valid() && h.JSONWebKey.IsPublic():
		key = h.JSONWebKey.Key
	default:
		return nil, end, errors.New("token carries no key: put the certificate into header x5c or the public key into header jwk")
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, end, fmt.Errorf("token key: %w", err)
	}
	if len(org.PersonKeyDigests) > 0 { // a system's key then makes no people
		if slices.Contains(org.PersonKeyDigests, contract.Digest(spki)) {
			return key, end, nil
		}
		return nil, end, fmt.Errorf("token of organisation %q: its key is none of the organisation's keys for tokens (personTokenKeys)", name)
	}
	if slices.Contains(org.KeyDigests, contract.Digest(spki)) {
		return key, end, nil
	}
	end, err = certified(chain, org, pool, now)
	if err != nil {
		return nil, end, fmt.Errorf("token of organisation %q: its key is not among the organisation's key digests, and %w", name, err)
	}
	return key, end, nil
}

// certified says whether the chain leads to the pool and its leaf bears a URI of the organisation.
func certified(shown []*x509.Certificate, org contract.Organization, pool *x509.CertPool, now time.Time) (end time.Time, _ error) {
	if len(shown) == 0 {
		return end, errors.New("it carries no certificate")
	}
	chains, err := chain.Verify(shown, pool, now)
	if err != nil {
		return end, fmt.Errorf("its certificate does not verify: %w", err)
	}
	for _, u := range shown[0].URIs {
		if slices.Contains(org.URIs, u.String()) {
			return chain.End(chains[0]), nil
		}
	}
	return end, errors.New("its certificate bears no URI of the organisation")
}

// check reads the claims of a token whose signature holds.
func check(c claims, audience string, now time.Time) error {
	switch {
	case !slices.Contains(c.Audience, audience):
		return fmt.Errorf("aud is %q, want %q", []string(c.Audience), audience)
	case c.IssuedAt == nil || c.Expiry == nil:
		return errors.New("iat and exp must be given")
	case c.IssuedAt.Time().After(now.Add(skew)):
		return fmt.Errorf("iat %s lies in the future", c.IssuedAt.Time().UTC().Format(time.RFC3339))
	case c.NotBefore != nil && c.NotBefore.Time().After(now.Add(skew)):
		return fmt.Errorf("nbf %s lies in the future", c.NotBefore.Time().UTC().Format(time.RFC3339))
	case !c.Expiry.Time().After(now):
		return fmt.Errorf("expired at %s", c.Expiry.Time().UTC().Format(time.RFC3339))
	case c.Expiry.Time().Sub(c.IssuedAt.Time()) > contract.MaxPersonTokenLife:
		return fmt.Errorf("lives %s, want at most %s", c.Expiry.Time().Sub(c.IssuedAt.Time()), contract.MaxPersonTokenLife)
	case c.Subject == "" || len(c.Subject) > maxName:
		return fmt.Errorf("sub must be given, with at most %d bytes", maxName)
	case c.Role == "" || len(c.Role) > maxName:
		return fmt.Errorf("role must be given, with at most %d bytes", maxName)
	}
	return nil
}
