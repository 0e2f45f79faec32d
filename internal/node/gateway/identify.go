package gateway

import (
	"context"
	"errors"
	"net/http"
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
			s.refuse(w, refusal)
			return
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
	roots, err := s.roots.get(now)
	if err != nil {
		s.slog.Error("platform CA", "err", err) // certificates that are bound by key still work
	}
	organization, err := p.organization(r.TLS, roots, now)
	if err != nil {
		return caller{}, problem(http.StatusUnauthorized, reasonUnknownOrganization, err.Error())
	}
	return caller{organization, p, now}, nil
}

func callerOf(ctx context.Context) caller { return ctx.Value(callerKey{}).(caller) }

// person reads the token of a person, who must belong to the organisation of the certificate.
func (s *server) person(r *reading, token string) (person.Identity, error) {
	roots, err := s.roots.get(r.at)
	if err != nil {
		return person.Identity{}, err
	}
	dir := r.policy.bundle.Directory
	audience := contract.PersonAudience(dir.Platform.Namespace, dir.Platform.Name, contract.RoleGateway)
	who, err := person.Verify(token, dir, roots, audience, r.at)
	if err != nil {
		return person.Identity{}, err
	}
	if who.Organization != r.organization {
		return person.Identity{}, errors.New("the token is of another organisation than the certificate")
	}
	return who, nil
}
