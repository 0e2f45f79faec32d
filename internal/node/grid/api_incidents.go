package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// NewIncident is a one-key response (一键响应).
type NewIncident struct {
	Community string   `json:"community" minLength:"1" maxLength:"253"`
	Grid      string   `json:"grid,omitempty" maxLength:"63" doc:"The grid; without one it is the whole community."`
	Posts     []string `json:"posts,omitempty" maxItems:"100" doc:"Names of posts that are called, wherever they stand there; or write all."`
	All       bool     `json:"all,omitempty" doc:"Calls every post of the grid or grids, of their micro-grids, and of the community."`
	Reason    string   `json:"reason" minLength:"1" maxLength:"2000" doc:"What happened. It is kept apart from the case and may be erased."`
}

type incidentInput struct {
	Key  string `header:"Idempotency-Key" required:"true" minLength:"8" maxLength:"128" doc:"A random key; the same key gives the same incident."`
	Body NewIncident
}

// Incident is a one-key response: its case, and who was called.
type Incident struct {
	ID        uuid.UUID `json:"id" format:"uuid" doc:"Also the id of its case."`
	Number    string    `json:"number"`
	State     State     `json:"state"`
	Community string    `json:"community"`
	Grid      string    `json:"grid,omitempty"`
	OpenedAt  time.Time `json:"openedAt"`
	// Called, Answered and Missing count the calls.
	Called   int     `json:"called"`
	Answered int     `json:"answered"`
	Missing  int     `json:"missing" doc:"Called, and not answered yet."`
	Calls    []Party `json:"calls" doc:"Who was called, who answered, and after how long; who was called because another did not answer stands on a level further up."`
}

func (a *api) registerIncidents() {
	huma.Register(a.huma, huma.Operation{OperationID: "open-incident", Method: http.MethodPost, Path: "/v1/incidents",
		Summary: "One key: call every post of a place to an emergency (一键响应)", DefaultStatus: http.StatusCreated}, a.openIncident)
	huma.Register(a.huma, huma.Operation{OperationID: "get-incident", Method: http.MethodGet, Path: "/v1/incidents/{id}",
		Summary: "Who was called, who answered, and after how long"}, a.getIncident)
	huma.Register(a.huma, huma.Operation{OperationID: "answer-incident", Method: http.MethodPost, Path: "/v1/incidents/{id}/ack",
		Summary: "Answer the call of a one-key response", DefaultStatus: http.StatusOK}, a.answerIncident)
}

// openIncident opens a Critical case and calls posts to it, each of which has its own time to answer.
func (a *api) openIncident(ctx context.Context, in *incidentInput) (*output[Incident], error) {
	who := callerOf(ctx)
	role, d := Role(who.scope.Role), who.bundle.Directory
	own := d.Organizations[who.scope.Organization]
	// An organisation signs the roles of its people: so it is its type that counts, too.
	if government := grassroots(own) || own.Type == "Department" && role == RoleCommander; !government || !slices.Contains(whistlers, role) {
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q of organization %q may not open a one-key response; Commander, Dispatcher and CommunityWorker of a Committee or Township may, and Commander of a Department", role, who.scope.Organization))
	}
	if !who.scope.covers(in.Body.Community) {
		return nil, huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	calls, err := posted(d.Communities[in.Body.Community], in.Body)
	if err != nil {
		return nil, err
	}
	var id uuid.UUID
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) (err error) {
		id, err = a.openOnce(ctx, tx, who, in, calls)
		return err
	}); err != nil {
		return nil, a.fail(err)
	}
	return a.getIncident(ctx, &idInput{id})
}

// posted gives the posts that are called, by level, with their grid. It is pure.
func posted(com contract.Community, in NewIncident) (map[int][]string, error) {
	if in.Grid != "" && !slices.ContainsFunc(com.Grids, func(g contract.Grid) bool { return g.Name == in.Grid }) {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.grid: community %s has no grid %q", in.Community, in.Grid))
	}
	if in.All == (len(in.Posts) > 0) {
		return nil, huma.Error422UnprocessableEntity("body.posts: write posts, or all: true, and not both")
	}
	all, out, found := placed(com, in.Grid), map[int][]string{}, map[string]bool{}
	for level, names := range all {
		for _, name := range names {
			if post := name[strings.LastIndex(name, "/")+1:]; in.All || slices.Contains(in.Posts, post) {
				out[level], found[post] = append(out[level], name), true
			}
		}
	}
	for i, post := range in.Posts {
		if !found[post] {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.posts[%d]: no grid there has a post %q; write a name of spec.grids[].posts, of a micro-grid's, or of spec.posts of Community %s", i, post, in.Community))
		}
	}
	if len(found) == 0 {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.all: no post stands there; write posts in spec.grids of Community %s", in.Community))
	}
	return out, nil
}

// openOnce opens the incident unless the key was used before.
func (a *api) openOnce(ctx context.Context, tx pgx.Tx, who caller, in *incidentInput, calls map[int][]string) (uuid.UUID, error) {
	now, b := a.now().UTC(), who.bundle
	o, err := idempotencyOf(who, strings.Join([]string{"incident", who.scope.Subject, in.Key}, "\x1f"), in.Body)
	if err != nil {
		return uuid.Nil, err
	}
	// Two requests with one key: the second waits here for the first.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", o.organization+"\x1f"+o.key); err != nil {
		return uuid.Nil, fmt.Errorf("idempotency: %w", err)
	}
	if before, used, err := o.used(ctx, tx, "incident"); err != nil || used {
		return before.ID, err
	}
	c := &Case{Community: in.Body.Community, Grid: in.Body.Grid, Class: classEmergency, Severity: contract.SeverityCritical, Title: "一键响应", Source: SourceSystem, StartedAt: now, LastSignalAt: now}
	if err := insert(ctx, tx, b.Directory, c, who.scope.actor(), now, nil); err != nil {
		return uuid.Nil, err
	}
	note, err := writeNote(ctx, tx, c.ID, in.Body.Reason, now)
	if err != nil {
		return uuid.Nil, err
	}
	if err := move(ctx, tx, b.Directory.Platform, c, File, system, now, nil, nil); err != nil {
		return uuid.Nil, err
	}
	if err := callAll(ctx, tx, b, c, calls, detail{"by": who.scope.actor(), "note": note}, now); err != nil {
		return uuid.Nil, err
	}
	return c.ID, o.keep(ctx, tx, c.ID, now)
}

func (a *api) getIncident(ctx context.Context, in *idInput) (*output[Incident], error) {
	out := Incident{Calls: []Party{}}
	err := pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		where, args := callerOf(ctx).scope.incidents(2)
		c, err := oneCase(ctx, tx, "c.id = $1 AND c.incident = c.id AND "+where, append([]any{in.ID}, args...)...)
		if err != nil {
			return err
		}
		if c == nil {
			return errNoIncident()
		}
		out.ID, out.Number, out.State, out.Community, out.Grid, out.OpenedAt = c.ID, c.Number, c.State, c.Community, c.Grid, c.OpenedAt
		parties, err := calledTo(ctx, tx, c.ID)
		for _, p := range parties {
			if p.Kind != partyCall {
				continue
			}
			out.Calls = append(out.Calls, p)
			switch out.Called++; {
			case p.AcknowledgedAt != nil:
				out.Answered++
			case p.ReleasedAt == nil:
				out.Missing++
			}
		}
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[Incident]{out}, nil
}

var errNoIncident = func() error { return huma.Error404NotFound("no such incident") }

// answerIncident writes down that somebody who was called is on the way. The first answer takes the case.
func (a *api) answerIncident(ctx context.Context, in *answerInput) (*output[Incident], error) {
	who := callerOf(ctx)
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		where, args := who.scope.incidents(2)
		c, err := oneCase(ctx, tx, "c.id = $1 AND c.incident = c.id AND "+where+forChange, append([]any{in.ID}, args...)...)
		if err != nil {
			return err
		}
		if c == nil {
			return errNoIncident()
		}
		fresh, err := a.answerFor(ctx, tx, who, c, in.Body.Post, "CallAnswered", partyCall)
		if err != nil || len(fresh) == 0 || c.State != Dispatched {
			return err
		}
		by := who.scope.actor()
		if !slices.Contains(everyone, by.Role) {
			return nil
		}
		return move(ctx, tx, who.bundle.Directory.Platform, c, Acknowledge, by, a.now().UTC(), nil, nil)
	}); err != nil {
		return nil, a.fail(err)
	}
	return a.getIncident(ctx, &idInput{in.ID})
}
