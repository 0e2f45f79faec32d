package grid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/node/process"
)

// api is the REST API.
type api struct {
	pool *pgxpool.Pool
	in   *intake.Intake
	// caFile holds the platform's CA, under which organisations' certificates stand.
	caFile    string
	commander *commander
	feed      *feedWatch
	log       *slog.Logger
	now       func() time.Time
	huma      huma.API

	exchanged exchangeMetrics
	// writing are the requests that write over an exchange now.
	writing     exchangeWriters
	receiptPace receiptPace
	uploads     uploads
}

type ctxKey struct{}

// session of a request: the bundle that it is judged by, and who asks.
type caller struct {
	bundle *intake.Bundle
	scope  scope
}

// maxBody bounds the body of a request in bytes.
const maxBody = 256 << 10

// newAPI gives the handler of the whole API.
func newAPI(a *api) http.Handler {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Dizuo grid service (网格服务)", "v1")
	cfg.RejectUnknownQueryParameters = true                      // a filter that is misspelt would show everything
	cfg.CreateHooks, cfg.DocsPath, cfg.SchemasPath = nil, "", "" // no $schema in answers, no page that loads scripts from elsewhere
	cfg.Info.Description = "Cases (事件/工单), rosters (值班表) and devices. Every call carries a token that an organisation signed for one of its people; an organisation's system may show its client certificate instead where a person is not needed."
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"person": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "A person's token, signed by their organisation (ES256 or EdDSA), at most 15 minutes old."},
	}
	cfg.Security = []map[string][]string{{"person": {}}}
	a.huma = humago.New(mux, cfg)
	a.huma.UseMiddleware(a.authenticate)
	a.registerCases()
	a.registerActions()
	a.registerReassign()
	a.registerStatistics()
	a.registerOneTable()
	a.registerLedger()
	a.registerChanges()
	a.registerDeliveries()
	a.registerReport()
	a.registerWhistle()
	a.registerIncidents()
	a.registerRoster()
	a.registerDuty()
	a.registerPeople()
	a.registerIntake()
	a.registerRatings()
	a.registerAttachments()
	a.registerDevices()
	a.registerCommands()
	a.registerDesired()
	a.registerFacts()
	a.registerMode()
	a.registerExchange()
	return limitBodies(mux)
}

// authenticate reads the person's token. Without a bundle in force it fails closed.
func (a *api) authenticate(ctx huma.Context, next func(huma.Context)) {
	now := a.now()
	b, err := a.in.Live(now)
	if err != nil {
		a.refuse(ctx, http.StatusServiceUnavailable, "no policy in force: "+err.Error())
		return
	}
	kind, token, _ := strings.Cut(ctx.Header("Authorization"), " ")
	if state := ctx.TLS(); kind == "" && state != nil && len(state.PeerCertificates) > 0 {
		a.authenticateSystem(ctx, next, b, now)
		return
	}
	if !strings.EqualFold(kind, "Bearer") || token == "" {
		a.refuse(ctx, http.StatusUnauthorized, "write Authorization: Bearer and a person's token")
		return
	}
	pool, err := process.ReadPool(a.caFile)
	if err != nil {
		a.log.Error("API", "err", err)
		pool = nil // pinned keys still work; certificates do not
	}
	p := b.Directory.Platform
	who, err := person.Verify(token, b.Directory, pool, contract.PersonAudience(p.Namespace, p.Name, contract.RoleGrid), now)
	if err != nil {
		a.refuse(ctx, http.StatusUnauthorized, err.Error())
		return
	}
	if Role(who.Role) == RoleOrganizationSystem {
		a.refuse(ctx, http.StatusUnauthorized, "role System is of an organization's certificate, never of a token; write the person's role")
		return
	}
	next(huma.WithValue(ctx, ctxKey{}, caller{b, scopeOf(b, who)}))
}

func (a *api) refuse(ctx huma.Context, status int, message string) {
	if err := huma.WriteErr(a.huma, ctx, status, message); err != nil {
		a.log.Debug("API", "err", err)
	}
}

// callerOf gives who asks.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(ctxKey{}).(caller) // authenticate runs before every operation; the zero caller sees nothing
	return c
}

// fail logs a fault of ours and tells the caller no more than that there was one.
func (a *api) fail(err error) error {
	var status huma.StatusError
	if errors.As(err, &status) {
		return err
	}
	a.log.Error("API", "err", err)
	return huma.Error500InternalServerError("the grid service could not do this now; try again")
}

// Answers that several operations give.
var (
	errNoCase   = func() error { return huma.Error404NotFound("no such case") }
	errNoDevice = func() error { return huma.Error404NotFound("no such device") }
)

// OpenAPI gives the document of the whole API in YAML, as OpenAPI 3.0.3: the generators of clients read no later form.
func OpenAPI() ([]byte, error) {
	a := &api{}
	newAPI(a)
	raw, err := a.huma.OpenAPI().DowngradeYAML()
	if err != nil {
		return nil, fmt.Errorf("OpenAPI: %w", err)
	}
	return raw, nil
}
