package vault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/node/process"
)

// caller is who asks, and the bundle that the request is judged by.
type caller struct {
	who          person.Identity
	organization contract.Organization
	bundle       *intake.Bundle
	at           time.Time
}

type callerKey struct{}

func callerOf(ctx context.Context) caller { return ctx.Value(callerKey{}).(caller) } // authenticate runs before every operation

// handler gives the API.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Dizuo vault (主体保险库)", "v1")
	cfg.RejectUnknownQueryParameters = true
	cfg.CreateHooks, cfg.DocsPath, cfg.SchemasPath = nil, "", ""
	cfg.Info.Description = "Consents, and what residents ask for. Every call carries a token that an organisation signed for one of its people, and is a line of the log."
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"person": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "A person's token for the vault, signed by their organisation (ES256 or EdDSA), at most 15 minutes old."},
	}
	cfg.Security = []map[string][]string{{"person": {}}}
	api := humago.New(mux, cfg)
	api.UseMiddleware(s.authenticate(api))
	post := func(path, id, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, MaxBodyBytes: contract.MaxVaultBodyBytes} // 413 where it is longer
	}
	get := func(path, id, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary}
	}
	huma.Register(api, post("/v1/consents", "give-consent", "Write a consent down"), s.giveConsent)
	huma.Register(api, post("/v1/consents/{id}/withdraw", "withdraw-consent", "Write down that a consent is withdrawn"), s.withdrawConsent)
	huma.Register(api, get("/v1/consents", "list-consents", "Consents of a subject"), s.listConsents)
	huma.Register(api, post("/v1/subjects", "register-subject", "Give a person a subject, or add to one"), s.register)
	huma.Register(api, post("/v1/subjects/lookup", "lookup-subject", "Find a subject by an identity"), s.lookup)
	huma.Register(api, post("/v1/datasets/{dataset}/keys", "link-keys", "Say for a dataset of the own organisation whose record a key is"), s.link)
	huma.Register(api, get("/v1/subjects/{subject}/access", "subject-access", "Who read what of a subject"), s.access)
	huma.Register(api, post("/v1/subjects/{subject}/correct", "subject-correct", "Ask the one writer of a dataset to put something right"), s.correct)
	huma.Register(api, post("/v1/subjects/{subject}/erase", "subject-erase", "Erase a subject, with a receipt"), s.erase)
	huma.Register(api, get("/v1/tasks", "list-tasks", "Tasks of the own organisation that are open"), s.listTasks)
	huma.Register(api, post("/v1/tasks/{id}/done", "finish-task", "Say that a task is done"), s.finishTask)
	huma.Register(api, get("/v1/lines", "list-lines", "Lines of the vault's chain, for an auditor of the data office"), s.lines)
	return http.MaxBytesHandler(mux, contract.MaxVaultBodyBytes)
}

// authenticate reads the person's token. Its audience is the vault: a token that was shown to the gateway opens nothing here.
func (s *service) authenticate(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		now := s.now()
		refuse := func(status int, message string) {
			if err := huma.WriteErr(api, ctx, status, message); err != nil {
				s.log.Debug("API", "err", err)
			}
		}
		b, err := s.live(now)
		if err != nil {
			refuse(http.StatusServiceUnavailable, "no policy in force: "+err.Error())
			return
		}
		kind, token, _ := strings.Cut(ctx.Header("Authorization"), " ")
		if !strings.EqualFold(kind, "Bearer") || token == "" {
			refuse(http.StatusUnauthorized, "write Authorization: Bearer and a person's token")
			return
		}
		pool, err := process.ReadPool(s.caFile)
		if err != nil {
			s.log.Error("platform CA", "err", err) // keys that are bound by their digest still work
			pool = nil
		}
		p := b.Directory.Platform
		who, err := person.Verify(token, b.Directory, pool, contract.PersonAudience(p.Namespace, p.Name, contract.RoleVault), now)
		if err != nil {
			refuse(http.StatusUnauthorized, err.Error())
			return
		}
		next(huma.WithValue(ctx, callerKey{}, caller{who, b.Directory.Organizations[who.Organization], b, now}))
	}
}

// do runs an act in one transaction with its line: what cannot be said is not done. note is filled by run and may be more than one line.
func (s *service) do(ctx context.Context, a act, run func(tx pgx.Tx, c caller, request string) (said, error)) error {
	c := callerOf(ctx)
	if !may(c.who, c.organization, a) {
		s.log.Info("refused", "act", a, "organization", c.who.Organization, "role", c.who.Role)
		return huma.Error403Forbidden("a person in this role of this organisation may not do this: residents turn to their committee, their street or town, or the data office")
	}
	request, err := uuid.NewV7()
	if err != nil {
		return s.fail(err)
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		w, err := run(tx, c, request.String())
		if err != nil {
			return err
		}
		w.act, w.request = a, request.String()
		if w.kind == "" {
			w.kind = contract.LogVault
		}
		return s.write(ctx, tx, c, w)
	})
	return s.fail(err)
}

// fail logs a fault of ours and tells the caller no more than that there was one.
func (s *service) fail(err error) error {
	var status huma.StatusError
	if err == nil || errors.As(err, &status) {
		return err
	}
	s.log.Error("API", "err", err)
	return huma.Error503ServiceUnavailable("the vault could not do this now, and did nothing; try again")
}

// errNoSubject is the same for one who is not there, was erased, or lives elsewhere: who may not ask about a person does not learn
// whether there is one.
func errNoSubject() error {
	return huma.Error404NotFound("there is no such subject that this organisation answers for")
}

// subjectOf looks whether the caller may ask about a subject that stands, and keeps it from being erased meanwhile.
func subjectOf(ctx context.Context, tx pgx.Tx, c caller, subject string) error {
	var division string
	err := tx.QueryRow(ctx, "SELECT division FROM vault.subjects WHERE subject = $1 AND erased_at IS NULL FOR SHARE", subject).Scan(&division)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !answersFor(c.organization, division) {
		return errNoSubject()
	}
	return err
}
