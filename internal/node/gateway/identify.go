package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// caller is who makes a request, and the policy under which it is decided from beginning to end.
type caller struct {
	organization string
	policy       *policy
	at           time.Time
}

type callerKey struct{}

// identified finds the organisation and the policy of a request, or refuses it.
func (s *server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, refusal := s.identify(r, s.now())
		if refusal != nil {
			s.refuse(w, r, refusal)
			return
		}
		if wait := s.limits.take(c.organization, c.at); wait > 0 {
			refusal := denied([]string{reasonRateLimited}, "")
			refusal.retryAfter = wait
			s.refuse(w, r, refusal)
			return
		}
		if wantsStream(r.Header.Get("Accept")) {
			leave, err := s.crowds.stream(c.organization)
			if err != nil {
				s.refuse(w, r, crowded())
				return
			}
			defer leave()
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// identify says for whom a request speaks at a time, or why for nobody.
func (s *server) identify(r *http.Request, now time.Time) (caller, *Problem) {
	p, refusal := s.live(now)
	if refusal != nil {
		return caller{}, refusal
	}
	organization, err := s.organization(r, p, now)
	if err != nil {
		refusal := denied([]string{reasonUnknownOrganization}, "")
		refusal.Detail = err.Error()
		if errors.As(err, new(issuerError)) {
			s.strangers.Do(func() { s.slog.Info("token not verified", "err", err) })
			refusal.Detail = "the token could not be verified; the gateway's log says why"
		}
		return caller{}, refusal
	}
	return caller{organization, p, now}, nil
}

func callerOf(ctx context.Context) caller { return ctx.Value(callerKey{}).(caller) }

// organization finds who asks: by the token of an issuer, by the client certificate, or by both where they agree. A token that is shown
// must be good: who shows a bad one is not who the certificate says it is.
func (s *server) organization(r *http.Request, p *policy, now time.Time) (string, error) {
	roots, err := s.roots.get(now)
	if err != nil {
		s.slog.Error("platform CA", "err", err) // certificates that are bound by key still work
	}
	certified, err := p.organization(r.TLS, roots, now)
	header := r.Header.Get("Authorization")
	if header == "" {
		return certified, err
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("header Authorization: want Bearer and a token of an issuer that the platform knows")
	}
	vouched, err := s.issuers.organization(r.Context(), p, strings.TrimSpace(token), now)
	if err != nil {
		return "", err
	}
	if certified != "" && certified != vouched {
		return "", errors.New("the client certificate and the token speak for two organisations")
	}
	return vouched, nil
}

// person reads the token of a person, who must belong to the organisation that asks: one of an issuer, or one that the organisation
// itself signed.
func (s *server) person(ctx context.Context, c caller, token string) (*contract.Person, error) {
	dir := c.policy.bundle.Directory
	if found, who, err := s.issuers.person(ctx, dir, c.organization, token, c.at); found || err != nil {
		return who, err
	}
	roots, err := s.roots.get(c.at)
	if err != nil {
		return nil, err
	}
	audience := contract.PersonAudience(dir.Platform.Namespace, dir.Platform.Name, contract.RoleGateway)
	key := shown{sha256.Sum256([]byte(token)), roots}
	known, ok := c.policy.persons.get(key)
	if !ok || !known.holds(c.at) {
		known.from = c.at
		if known.value, known.until, err = person.VerifyUntil(token, dir, roots, audience, c.at); err != nil {
			return nil, err
		}
		c.policy.persons.put(key, known)
	}
	who := known.value
	if who.Organization != c.organization {
		return nil, errors.New("the token is of a person of another organisation")
	}
	return &contract.Person{Subject: who.Subject, Roles: []string{who.Role}}, nil
}
