package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// maxOIDCToken bounds a token in bytes, maxOIDCName a claim that names somebody.
	maxOIDCToken = 16 << 10
	maxOIDCName  = 128
	// maxOIDCLife is the longest life of a token: who leaves an organisation reads on no longer.
	maxOIDCLife = time.Hour
	// oidcSkew is how far an issuer's clock may run ahead.
	oidcSkew = time.Minute
	// issuerTimeout bounds a call of an issuer; issuerAgain is how long one that failed is left alone.
	issuerTimeout = 5 * time.Second
	issuerAgain   = 5 * time.Second
)

// oidcAlgorithms that tokens may be signed with. A symmetric one would make the issuer's secret ours, none would make it nobody's.
var oidcAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256}

// issuers verifies tokens of OpenID Connect issuers. Discovery and keys are fetched when they are needed and kept: an issuer that is away
// stops only who comes with a new key.
type issuers struct {
	mu   sync.Mutex
	made map[string]*issuer
}

func newIssuers() *issuers { return &issuers{made: map[string]*issuer{}} }

// issuer is one of them, as the directory had it when it was made.
type issuer struct {
	url    string
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
	failed   error
	again    time.Time
}

// of gives the issuer of a provider. One whose address or CA changed is another issuer.
func (i *issuers) of(p contract.OIDCProvider) (*issuer, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := p.Issuer + "\x00" + p.CABundle
	if found := i.made[key]; found != nil {
		return found, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CABundle != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(p.CABundle)) {
			return nil, fmt.Errorf("issuer %s: its caBundle holds no certificate", p.Name)
		}
	}
	made := &issuer{url: p.Issuer, client: &http.Client{
		Timeout: issuerTimeout, CheckRedirect: httpsOnly,
		// A token with a key that nobody knows makes the keys be fetched again, so strangers could have us call without end.
		Transport: &paced{rate.NewLimiter(1, 10), &http.Transport{TLSClientConfig: t, Proxy: http.ProxyFromEnvironment}},
	}}
	i.made[key] = made
	return made, nil
}

func httpsOnly(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme != "https" || len(via) > 3 {
		return errors.New("an issuer redirects, and not to https")
	}
	return nil
}

// paced is a transport that refuses what comes too fast.
type paced struct {
	limiter *rate.Limiter
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (p *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("an issuer is asked over https only")
	}
	if !p.limiter.Allow() {
		return nil, errors.New("the issuer was asked too often")
	}
	return p.next.RoundTrip(r)
}

// verifier gives what verifies tokens of the issuer. Discovery that failed is not tried again at once.
func (i *issuer) verifier(ctx context.Context, now time.Time) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider == nil {
		if now.Before(i.again) {
			return nil, i.failed
		}
		provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), i.client), i.url)
		if err != nil {
			i.failed, i.again = fmt.Errorf("issuer %s: %w", i.url, err), now.Add(issuerAgain)
			return nil, i.failed
		}
		i.provider = provider
	}
	var algorithms []string
	for _, a := range oidcAlgorithms {
		algorithms = append(algorithms, string(a))
	}
	return i.provider.Verifier(&oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: algorithms, Now: func() time.Time { return now }}), nil
}

// providers gives the providers whose issuer a token claims; none if it claims another, or is no token.
func providers(list []contract.OIDCProvider, token string) []contract.OIDCProvider {
	if len(token) > maxOIDCToken {
		return nil
	}
	parsed, err := jwt.ParseSigned(token, oidcAlgorithms)
	if err != nil {
		return nil
	}
	var claimed jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claimed); err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(p contract.OIDCProvider) bool { return p.Issuer != claimed.Issuer })
}

// verify gives the claims of a token that one of the providers issued for us, and the provider.
func (i *issuers) verify(ctx context.Context, list []contract.OIDCProvider, token string, now time.Time) (contract.OIDCProvider, map[string]any, error) {
	err := errors.New("the token is of no issuer that the platform knows, or is not signed with ES256, EdDSA, RS256 or PS256")
	for _, p := range providers(list, token) {
		var claims map[string]any
		if claims, err = i.verifyOf(ctx, p, token, now); err == nil {
			return p, claims, nil
		}
	}
	return contract.OIDCProvider{}, nil, err
}

// issuerError is what an issuer said, or the way to it: for the log, and not for a caller whom nobody knows yet.
type issuerError struct{ error }

func (i *issuers) verifyOf(ctx context.Context, p contract.OIDCProvider, token string, now time.Time) (map[string]any, error) {
	made, err := i.of(p)
	if err != nil {
		return nil, err
	}
	verifier, err := made.verifier(ctx, now)
	if err != nil {
		return nil, issuerError{err}
	}
	proven, err := verifier.Verify(ctx, token)
	var expired *oidc.TokenExpiredError
	if errors.As(err, &expired) {
		return nil, fmt.Errorf("token of issuer %s: %w", p.Name, err)
	}
	if err != nil {
		return nil, issuerError{fmt.Errorf("token of issuer %s: %w", p.Name, err)}
	}
	switch {
	case !slices.ContainsFunc(proven.Audience, func(a string) bool { return slices.Contains(p.Audiences, a) }):
		return nil, fmt.Errorf("token of issuer %s: aud is %q, want one of %q", p.Name, proven.Audience, p.Audiences)
	case proven.IssuedAt.Unix() <= 0:
		return nil, fmt.Errorf("token of issuer %s: iat must be given", p.Name)
	case proven.IssuedAt.After(now.Add(oidcSkew)):
		return nil, fmt.Errorf("token of issuer %s: iat lies in the future", p.Name)
	case proven.Expiry.Sub(proven.IssuedAt) > maxOIDCLife:
		return nil, fmt.Errorf("token of issuer %s: lives %s, want at most %s", p.Name, proven.Expiry.Sub(proven.IssuedAt), maxOIDCLife)
	}
	claims := map[string]any{}
	if err := proven.Claims(&claims); err != nil {
		return nil, fmt.Errorf("token of issuer %s: %w", p.Name, err)
	}
	return claims, nil
}

// organization gives the one organisation that a token speaks for.
func (i *issuers) organization(ctx context.Context, p *policy, token string, now time.Time) (string, error) {
	provider, claims, err := i.verify(ctx, p.bundle.Directory.Platform.OIDC, token, now)
	if err != nil {
		return "", err
	}
	found := ""
	for _, o := range p.byIssuer[provider.Name] {
		if !matches(o.OIDCIdentity, claims) || o.organization == found {
			continue
		}
		if found != "" {
			return "", errors.New("the token speaks for two organisations")
		}
		found = o.organization
	}
	if found == "" {
		return "", errors.New("the token speaks for no organisation of this platform")
	}
	return found, nil
}

// matches says whether a token is of an identity. An identity that asks for nothing matches nothing.
func matches(id contract.OIDCIdentity, claims map[string]any) bool {
	if id.Subject == "" && id.Claim == "" {
		return false
	}
	return (id.Subject == "" || claims["sub"] == id.Subject) && (id.Claim == "" || slices.Contains(textsOf(claims[id.Claim]), id.Value))
}

// textsOf gives a claim that is a text or a list of texts.
func textsOf(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			if text, ok := item.(string); ok {
				out = append(out, text)
			}
		}
		return out
	}
	return nil
}

// person reads a token of an issuer about a person of an organisation. found is false if no issuer of the platform is claimed: then it
// may be a token of the organisation itself.
func (i *issuers) person(ctx context.Context, dir contract.Directory, organization, token string, now time.Time) (found bool, _ *contract.Person, _ error) {
	if len(providers(dir.Platform.OIDC, token)) == 0 {
		return false, nil, nil
	}
	p, claims, err := i.verify(ctx, dir.Platform.OIDC, token, now)
	if err != nil {
		return true, nil, err
	}
	subject, _ := claims[p.SubjectClaim].(string)
	switch {
	case subject == "" || len(subject) > maxOIDCName:
		return true, nil, fmt.Errorf("token of issuer %s: claim %s must be a text of 1 to %d bytes", p.Name, p.SubjectClaim, maxOIDCName)
	case claims[p.OrganizationClaim] != organization:
		return true, nil, fmt.Errorf("token of issuer %s: the person is of another organisation by claim %s", p.Name, p.OrganizationClaim)
	}
	return true, &contract.Person{Subject: subject, Roles: notNil(textsOf(claims[p.RolesClaim])), Issuer: p.Name}, nil
}
