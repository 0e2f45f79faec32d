package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// NewCase is what a person or another system reports.
type NewCase struct {
	Community string            `json:"community" minLength:"1" maxLength:"253"`
	Grid      string            `json:"grid,omitempty" maxLength:"63"`
	MicroGrid string            `json:"microGrid,omitempty" maxLength:"63" doc:"Micro-grid of the grid."`
	Compound  string            `json:"compound,omitempty" maxLength:"63" doc:"Compound (小区) of the community, where the case is in one: its property company is called by it."`
	Class     string            `json:"class" minLength:"1" maxLength:"64" doc:"Class of the case."`
	Severity  contract.Severity `json:"severity" enum:"Critical,High,Medium,Low"`
	Title     string            `json:"title" minLength:"1" maxLength:"120" doc:"What it is about, without names, phones or addresses."`
	Note      string            `json:"note,omitempty" maxLength:"2000" doc:"Free text. It is kept apart from the case and may be erased."`
	Source    string            `json:"source" enum:"Resident,GridWorker,System"`
	// SourceSystem and ExternalID name the case in the system that it comes from.
	SourceSystem string     `json:"sourceSystem,omitempty" maxLength:"63" doc:"System that the case comes from: no colon, not this platform's name, and no system that cases are exchanged with."`
	ExternalID   string     `json:"externalId,omitempty" maxLength:"128" doc:"Number of the case in sourceSystem, which has to be named then. A number is reported once."`
	StartedAt    *time.Time `json:"startedAt,omitempty" doc:"When it began; now if not given."`
	Channel      string     `json:"channel,omitempty" enum:"Phone,Snap,Counter,App,Hotline" doc:"By which way it came: 电话, 随手拍, 窗口, 应用, 12345."`
	Contact      *Contact   `json:"contact,omitempty" doc:"How to reach whoever reports. It is kept apart from the case and may be erased."`
}

type reportInput struct {
	Key  string `header:"Idempotency-Key" required:"true" minLength:"8" maxLength:"128" doc:"A random key; the same key gives the same case."`
	Body NewCase
}

// send files a case that was reported and calls whoever is responsible: whom the scenarios of its class call, or else who stands on the lowest
// level of the place where somebody does. A resident's report calls no organisation by its duty: people of the place look first, and dispatch
// further. With nobody to call the case stays filed, and goes up when its time is missed.
func send(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, reporter Role, now time.Time) error {
	if err := move(ctx, tx, b.Directory.Platform, c, File, system, now, nil, nil); err != nil {
		return err
	}
	responders := slices.Clone(respondersOf(b, c))
	if reporter == RoleResident {
		responders = slices.DeleteFunc(responders, func(r contract.Responder) bool { return r.Post == "" })
		for i := range responders {
			responders[i].Order = 0 // all at once: a further step would call organisations, too
		}
	}
	if who := respond(b.Directory, c, responders); len(who.Posts)+len(who.Organizations) > 0 {
		return dispatch(ctx, tx, b.Directory, c, responders, system, now, nil)
	}
	for level := levelMicroGrid; level <= levelTownship; level++ {
		posts, organizations := chain(b.Directory, c, level, nil)
		if len(posts)+len(organizations) > 0 {
			c.Level = level
			return call(ctx, tx, b.Directory, c, called{Posts: posts, Organizations: organizations}, system, now, detail{"level": levelNames[level]})
		}
	}
	return record(ctx, tx, c, "NobodyToDispatchTo", c.State, system, now, nil)
}

// CaseRef names a case that was made. The reporter may not be allowed to read it.
type CaseRef struct {
	ID     uuid.UUID `json:"id" format:"uuid"`
	Number string    `json:"number"`
	State  State     `json:"state"`
	// Receipt is of a report.
	Receipt string `json:"receipt,omitempty" doc:"With it whoever reported asks for the state, and rates. It is told here only; the same request again gives another, and ends this one."`
}

func (a *api) registerReport() {
	huma.Register(a.huma, huma.Operation{OperationID: "report-case", Method: http.MethodPost, Path: "/v1/cases",
		Summary: "Report a case (随手拍 and others)", DefaultStatus: http.StatusCreated}, a.report)
}

func (a *api) report(ctx context.Context, in *reportInput) (*output[CaseRef], error) {
	who := callerOf(ctx)
	if err := checkReport(who, in.Body); err != nil {
		return nil, err
	}
	var ref CaseRef
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return a.reportOnce(ctx, tx, who, in, &ref) })
	if foreignTaken(err) {
		return nil, huma.Error409Conflict(fmt.Sprintf("body.externalId: case %q of %s was reported before; send it again under the Idempotency-Key of then to be told its receipt, or report another number",
			in.Body.ExternalID, in.Body.SourceSystem))
	}
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[CaseRef]{ref}, nil
}

func hasMicroGrid(c contract.Community, grid, name string) bool {
	return slices.ContainsFunc(c.Grids, func(g contract.Grid) bool {
		return g.Name == grid && slices.ContainsFunc(g.MicroGrids, func(m contract.MicroGrid) bool { return m.Name == name })
	})
}

// reportOnce makes the case unless the key was used before.
func (a *api) reportOnce(ctx context.Context, tx pgx.Tx, who caller, in *reportInput, ref *CaseRef) error {
	body := in.Body
	body.Contact = nil // a digest of a phone can be guessed from, and outlives it
	o, err := idempotencyOf(who, in.Key, body)
	if err != nil {
		return err
	}
	now := a.now().UTC()
	// Two requests with one key: the second waits here for the first.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", who.scope.Organization+"\x1f"+in.Key); err != nil {
		return fmt.Errorf("idempotency: %w", err)
	}
	before, used, err := o.used(ctx, tx, "report")
	if err != nil {
		return err
	}
	if used {
		*ref = before
		ref.Receipt, err = giveReceipt(ctx, tx, ref.ID, now)
		return err
	}
	c := &Case{
		Community: in.Body.Community, Grid: in.Body.Grid, MicroGrid: in.Body.MicroGrid, Compound: in.Body.Compound, Class: in.Body.Class, Severity: in.Body.Severity, Title: in.Body.Title,
		Source: in.Body.Source, SourceSystem: in.Body.SourceSystem, ExternalID: in.Body.ExternalID, StartedAt: now, LastSignalAt: now,
	}
	if in.Body.StartedAt != nil && in.Body.StartedAt.Before(now) {
		c.StartedAt, c.LastSignalAt = *in.Body.StartedAt, *in.Body.StartedAt
	}
	if err := insert(ctx, tx, who.bundle.Directory, c, who.scope.actor(), now, nil); err != nil {
		return err
	}
	if err := keepReport(ctx, tx, c, in.Body, now); err != nil {
		return err
	}
	if in.Body.Note != "" {
		id, err := writeNote(ctx, tx, c.ID, in.Body.Note, now)
		if err != nil {
			return err
		}
		if err := record(ctx, tx, c, "Note", c.State, who.scope.actor(), now, detail{"note": id}); err != nil {
			return err
		}
	}
	if err := send(ctx, tx, who.bundle, c, Role(who.scope.Role), now); err != nil {
		return err
	}
	*ref = CaseRef{ID: c.ID, Number: c.Number, State: c.State}
	if ref.Receipt, err = giveReceipt(ctx, tx, c.ID, now); err != nil {
		return err
	}
	return o.keep(ctx, tx, c.ID, now)
}
