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
)

// EventDispatched is the CloudEvents type of the message that calls an organisation to a case.
const EventDispatched = "io.dizuo.case.dispatched.v1"

// DispatchedCase is the data of EventDispatched. It holds no personal data: who needs more reads the case over the API.
type DispatchedCase struct {
	ID           uuid.UUID         `json:"id"`
	Number       string            `json:"number"`
	State        State             `json:"state"`
	Severity     contract.Severity `json:"severity"`
	Scenario     string            `json:"scenario,omitempty"`
	Class        string            `json:"class"`
	Title        string            `json:"title"`
	Organization string            `json:"organization"`
	Community    string            `json:"community"`
	Division     string            `json:"division"`
	Grid         string            `json:"grid,omitempty"`
	// Device is <fleet>.<device>.
	Device         string     `json:"device,omitempty"`
	StartedAt      time.Time  `json:"startedAt"`
	OpenedAt       time.Time  `json:"openedAt"`
	AcknowledgeDue *time.Time `json:"acknowledgeDue,omitempty"`
	ResolveDue     *time.Time `json:"resolveDue,omitempty"`
	Version        int        `json:"version"`
}

// dispatch calls the responders of a case, in the transaction that holds the case: the messages go out after it commits.
// With nobody to call, the case stays as it is and its history says so.
func dispatch(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, responders []contract.Responder, by Actor, now time.Time, more detail) error {
	who := respond(d, c.Community, c.Grid, responders)
	if len(who.Posts)+len(who.Organizations) == 0 {
		return record(ctx, tx, c, "NobodyToDispatchTo", c.State, system, now, detail{"unanswered": who.Unanswered})
	}
	if more == nil {
		more = detail{}
	}
	more["posts"], more["organizations"] = who.Posts, who.Organizations
	if len(who.Unanswered) > 0 {
		more["unanswered"] = who.Unanswered
	}
	if err := move(ctx, tx, c, Dispatch, by, now, more); err != nil {
		return err
	}
	if err := callParties(ctx, tx, c, partyResponder, c.Level, who.Posts, who.Organizations, now); err != nil {
		return err
	}
	for _, name := range who.Organizations {
		if d.Organizations[name].Webhook == nil {
			continue // sees the case over the API
		}
		if err := enqueue(ctx, tx, d, c, name, now); err != nil {
			return err
		}
	}
	return nil
}

// enqueue writes the message to one organisation into the outbox.
func enqueue(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, organization string, now time.Time) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("message id: %w", err)
	}
	payload, err := cloudEvent(d, c, organization, id, now)
	if err != nil {
		return fmt.Errorf("message about case %s: %w", c.Number, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.dispatch_outbox (id, case_id, organization, payload, created_at, next_attempt_at)
		VALUES ($1, $2, $3, $4, $5, $5)`, id, c.ID, organization, payload, now); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

// cloudEvent gives the structured JSON of a message (CloudEvents 1.0).
func cloudEvent(d contract.Directory, c *Case, organization string, id uuid.UUID, now time.Time) ([]byte, error) {
	e := event.New()
	e.SetID(id.String())
	e.SetType(EventDispatched)
	e.SetSource("/" + d.Platform.Namespace + "/" + d.Platform.Name + "/grid")
	e.SetSubject(c.ID.String())
	e.SetTime(now.UTC())
	body := DispatchedCase{
		ID: c.ID, Number: c.Number, State: c.State, Severity: c.Severity, Scenario: c.Scenario, Class: c.Class, Title: c.Title,
		Organization: organization, Community: c.Community, Division: d.Communities[c.Community].Division, Grid: c.Grid,
		StartedAt: c.StartedAt.UTC(), OpenedAt: c.OpenedAt.UTC(), AcknowledgeDue: c.AcknowledgeDue, ResolveDue: c.ResolveDue, Version: c.Version,
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
