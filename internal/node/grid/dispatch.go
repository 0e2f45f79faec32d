package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// DispatchedCase is the data of these messages. It holds no personal data: who needs more reads the case over the API.
type DispatchedCase struct {
	ID           uuid.UUID         `json:"id"`
	Number       string            `json:"number"`
	State        State             `json:"state"`
	Severity     contract.Severity `json:"severity"`
	Scenario     string            `json:"scenario,omitempty"`
	Class        string            `json:"class"`
	Title        string            `json:"title"`
	TitleEN      string            `json:"titleEN,omitempty"`
	GBClass      *contract.GBClass `json:"gbClass,omitempty"`
	Organization string            `json:"organization"`
	Community    string            `json:"community"`
	Division     string            `json:"division"`
	Grid         string            `json:"grid,omitempty"`
	Compound     string            `json:"compound,omitempty"`
	// Device is <fleet>.<device>.
	Device         string     `json:"device,omitempty"`
	StartedAt      time.Time  `json:"startedAt"`
	OpenedAt       time.Time  `json:"openedAt"`
	AcknowledgeDue *time.Time `json:"acknowledgeDue,omitempty"`
	OnSiteDue      *time.Time `json:"onSiteDue,omitempty"`
	ResolveDue     *time.Time `json:"resolveDue,omitempty"`
	// Overdue are the times that were missed: Acknowledge, OnSite, Resolve.
	Overdue []string `json:"overdue,omitempty"`
	Level   int      `json:"level"`
	Version int      `json:"version"`
}

// dispatch calls the responders of a case, in the transaction that holds the case: the messages go out after it commits. Those of its first step
// are called now, the others step by step when nobody acknowledges; without a time to acknowledge, all now.
// With nobody to call, the case stays as it is and its history says so.
func dispatch(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, responders []contract.Responder, by Actor, now time.Time, more detail) error {
	who, step, later := nextStep(d, c, responders, 0, nil)
	if later && allowed(slaOf(d.Platform, c), timerAcknowledge) == 0 {
		who, later = respond(d, c, responders), false
	}
	if len(who.Posts)+len(who.Organizations) == 0 {
		return record(ctx, tx, c, "NobodyToDispatchTo", c.State, system, now, detail{"unanswered": who.Unanswered})
	}
	if err := call(ctx, tx, d, c, who, by, now, more); err != nil || !later {
		return err
	}
	return setStep(ctx, tx, d.Platform, c, step, now)
}

// call dispatches a case to those of who.
func call(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, who called, by Actor, now time.Time, more detail) error {
	if more == nil {
		more = detail{}
	}
	more["posts"], more["organizations"] = who.Posts, who.Organizations
	if len(who.Unanswered) > 0 {
		more["unanswered"] = who.Unanswered
	}
	if err := assign(ctx, tx, d, c, who, now, more); err != nil {
		return err
	}
	if err := move(ctx, tx, d.Platform, c, Dispatch, by, now, nil, more); err != nil {
		return err
	}
	return summon(ctx, tx, d, c, partyResponder, who.Posts, who.Organizations, now)
}

// summon writes down who is called to a case, at its level, and sends the organisations the message. The history has it before: the message names
// the version.
func summon(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, kind string, posts, organizations []string, now time.Time) error {
	return summonStep(ctx, tx, d, c, kind, 1, posts, organizations, now)
}

// summonStep is summon of those of a step.
func summonStep(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, kind string, step int, posts, organizations []string, now time.Time) error {
	if err := callPartiesOfStep(ctx, tx, c, kind, step, c.Level, posts, organizations, now); err != nil {
		return err
	}
	for _, name := range organizations {
		if err := enqueue(ctx, tx, d, c, name, EventDispatched, now); err != nil {
			return err
		}
	}
	return nil
}

// callMore calls those of responders who were not called to a case before, and says why.
func callMore(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, responders []contract.Responder, because string, now time.Time) error {
	if len(responders) == 0 {
		return nil
	}
	there, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	who := respond(b.Directory, c, responders)
	posts, organizations := uncalled(there, who.Posts, who.Organizations)
	if len(posts)+len(organizations) == 0 {
		return nil
	}
	if err := record(ctx, tx, c, "CalledInAddition", c.State, system, now, detail{"posts": posts, "organizations": organizations, "because": because}); err != nil {
		return err
	}
	return summon(ctx, tx, b.Directory, c, partyResponder, posts, organizations, now)
}

// enqueue writes a message to one organisation into the outbox, if it is sent any of the type; one that is not sees the case over the API.
func enqueue(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, organization, typ string, now time.Time) error {
	o := d.Organizations[organization]
	if !hears(o, typ) {
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("message id: %w", err)
	}
	payload, err := cloudEvent(d, c, organization, typ, id, now)
	if err != nil {
		return fmt.Errorf("message about case %s: %w", c.Number, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.dispatch_outbox (id, case_id, organization, payload, created_at, next_attempt_at, type, method)
		VALUES ($1, $2, $3, $4, $5, $5, $6, $7)`, id, c.ID, organization, payload, now, typ, deliveryOf(o)); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

// cloudEvent gives the structured JSON of a message (CloudEvents 1.0).
func cloudEvent(d contract.Directory, c *Case, organization, typ string, id uuid.UUID, now time.Time) ([]byte, error) {
	e := event.New()
	e.SetID(id.String())
	e.SetType(typ)
	e.SetSource("/" + d.Platform.Namespace + "/" + d.Platform.Name + "/grid")
	e.SetSubject(c.ID.String())
	e.SetTime(now.UTC())
	body := DispatchedCase{
		ID: c.ID, Number: c.Number, State: c.State, Severity: c.Severity, Scenario: c.Scenario, Class: c.Class, Title: c.Title, TitleEN: c.TitleEN, GBClass: c.GBClass,
		Organization: organization, Community: c.Community, Division: d.Communities[c.Community].Division, Grid: c.Grid, Compound: c.Compound,
		StartedAt: c.StartedAt.UTC(), OpenedAt: c.OpenedAt.UTC(), AcknowledgeDue: c.AcknowledgeDue, OnSiteDue: c.OnSiteDue, ResolveDue: c.ResolveDue, Level: c.Level, Version: c.Version,
	}
	for _, kind := range timerKinds {
		if *c.times(kind).overdue {
			body.Overdue = append(body.Overdue, kind)
		}
	}
	if c.Device != "" {
		body.Device = contract.DeviceID(c.Fleet, c.Device)
	}
	if err := e.SetData(event.ApplicationJSON, body); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	return json.Marshal(e)
}
