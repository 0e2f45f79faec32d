package grid

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/node/process"
)

// systemOperations are what an organisation's system may do with its certificate; all else is for people.
var systemOperations = []string{"list-cases", "get-case", "act-on-case", "list-changes", "list-deliveries", "replay-delivery", "replay-deliveries",
	"put-exchange-case", "get-exchange-case", "list-exchange-cases", "list-exchange-changes", "get-exchange"}

// systemScope says what the system may see that shows a certificate: what a dispatcher of its organisation sees. pool is the platform's CA.
func systemScope(b *intake.Bundle, state *tls.ConnectionState, pool *x509.CertPool, operation string, now time.Time) (s scope, err error) {
	if state == nil {
		return s, errors.New("the connection has no TLS")
	}
	name, err := person.OrganizationOf(state.PeerCertificates, b.Directory, pool, now)
	if err != nil {
		return s, err
	}
	if !slices.Contains(systemOperations, operation) {
		return s, errPeopleOnly{operation}
	}
	return scopeOf(b, person.Identity{Organization: name, Role: string(RoleOrganizationSystem)}), nil
}

// errPeopleOnly says that a certificate does not do for an operation.
type errPeopleOnly struct{ operation string }

// Error says what to show instead.
func (e errPeopleOnly) Error() string {
	return fmt.Sprintf("%s is for people: write Authorization: Bearer and a person's token; a certificate is for %v", e.operation, systemOperations)
}

// authenticateSystem lets in the system of an organisation that shows its certificate.
func (a *api) authenticateSystem(ctx huma.Context, next func(huma.Context), b *intake.Bundle, now time.Time) {
	pool, err := process.ReadPool(a.caFile)
	if err != nil {
		a.log.Error("API", "err", err)
		pool = nil // pinned keys still work; certificates do not
	}
	s, err := systemScope(b, ctx.TLS(), pool, ctx.Operation().OperationID, now)
	switch {
	case errors.As(err, new(errPeopleOnly)):
		a.refuse(ctx, http.StatusForbidden, err.Error())
	case err != nil:
		a.refuse(ctx, http.StatusUnauthorized, err.Error())
	default:
		next(huma.WithValue(ctx, ctxKey{}, caller{b, s}))
	}
}
