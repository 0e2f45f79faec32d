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
)

// replayAtOnce bounds the dead letters that one request replays.
const replayAtOnce = 1000

type deliveriesInput struct {
	State        string `query:"state" enum:"pending,delivered,dead" doc:"Dead ones were tried for a day in vain."`
	Organization string `query:"organization" maxLength:"63" doc:"Your own if not given; another's only for a data office (数据局)."`
	Limit        int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor       string `query:"cursor" doc:"The field next of the page before." maxLength:"36"`
}

// Delivery is a message to an organisation, without its content.
type Delivery struct {
	ID           uuid.UUID  `json:"id" format:"uuid" db:"id" doc:"The webhook-id, and the id of the CloudEvent: the same for every attempt."`
	Organization string     `json:"organization" db:"organization"`
	Case         *uuid.UUID `json:"case,omitempty" format:"uuid" db:"case_id"`
	Type         string     `json:"type,omitempty" db:"type" doc:"Type of the CloudEvent."`
	Method       string     `json:"method" db:"method" enum:"Webhook,MQTT"`
	CreatedAt    time.Time  `json:"createdAt" db:"created_at"`
	Attempts     int        `json:"attempts" db:"attempts" doc:"Attempts since it was made or replayed."`
	Replays      int        `json:"replays,omitempty" db:"replays"`
	NextAttempt  *time.Time `json:"nextAttemptAt,omitempty" db:"next_attempt_at"`
	DeliveredAt  *time.Time `json:"deliveredAt,omitempty" db:"delivered_at"`
	DeadAt       *time.Time `json:"deadAt,omitempty" db:"dead_at"`
	LastError    string     `json:"lastError,omitempty" db:"last_error"`
}

// DeliveryList is a page of deliveries, newest first.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

const deliveryColumns = `id, organization, case_id, type, method, created_at, attempts, replays,
	CASE WHEN delivered_at IS NULL AND dead_at IS NULL THEN next_attempt_at END AS next_attempt_at, delivered_at, dead_at, last_error`

// deliveryStates are conditions on grid.dispatch_outbox by the parameter state.
var deliveryStates = map[string]string{
	"": "true", "pending": "delivered_at IS NULL AND dead_at IS NULL", "delivered": "delivered_at IS NOT NULL", "dead": "delivered_at IS NULL AND dead_at IS NOT NULL",
}

func (a *api) registerDeliveries() {
	huma.Register(a.huma, huma.Operation{OperationID: "list-deliveries", Method: http.MethodGet, Path: "/v1/deliveries",
		Summary: "Messages to an organisation, newest first"}, a.deliveries)
	huma.Register(a.huma, huma.Operation{OperationID: "replay-delivery", Method: http.MethodPost, Path: "/v1/deliveries/{id}/replay",
		Summary: "Try a dead letter for another day, under its id", DefaultStatus: http.StatusOK}, a.replay)
	huma.Register(a.huma, huma.Operation{OperationID: "replay-deliveries", Method: http.MethodPost, Path: "/v1/deliveries/replay",
		Summary: "Try the dead letters of an organisation for another day, oldest first", DefaultStatus: http.StatusOK}, a.replayAll)
}

// recipients says whose deliveries a caller may see, and replay if write is set: those of its own organisation, and of all for a data office.
// wanted is what it asks for; everybody is true where it may be anybody's.
func recipients(who caller, wanted string, write bool) (organization string, everybody bool, err error) {
	roles := []Role{RoleDispatcher, RoleOrganizationSystem}
	if !write {
		roles = append(roles, RoleAuditor)
	}
	own := who.scope.Organization
	org, known := who.bundle.Directory.Organizations[own]
	switch {
	case !known || !slices.Contains(roles, Role(who.scope.Role)):
		return "", false, huma.Error403Forbidden(fmt.Sprintf("role %q has nothing to do with deliveries; show a token of role Dispatcher, or the organization's certificate", who.scope.Role))
	case org.Type == "DataOffice":
		return wanted, wanted == "", nil
	case wanted != "" && wanted != own:
		return "", false, huma.Error403Forbidden(fmt.Sprintf("query.organization: deliveries of %q are not yours; write %q, or leave it out", wanted, own))
	}
	return own, false, nil
}

func (a *api) deliveries(ctx context.Context, in *deliveriesInput) (*output[DeliveryList], error) {
	organization, everybody, err := recipients(callerOf(ctx), in.Organization, false)
	if err != nil {
		return nil, err
	}
	below := uuid.Max
	if in.Cursor != "" {
		if below, err = uuid.Parse(in.Cursor); err != nil {
			return nil, huma.Error400BadRequest("cursor is not one that a page before gave")
		}
	}
	rows, err := a.pool.Query(ctx, "SELECT "+deliveryColumns+" FROM grid.dispatch_outbox WHERE (organization = $1 OR $2) AND id < $3 AND "+deliveryStates[in.State]+" ORDER BY id DESC LIMIT $4",
		organization, everybody, below, in.Limit+1)
	if err != nil {
		return nil, a.fail(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return nil, a.fail(err)
	}
	page := DeliveryList{Deliveries: found}
	if len(found) > in.Limit {
		page.Deliveries, page.Next = found[:in.Limit], found[in.Limit-1].ID.String()
	}
	return &output[DeliveryList]{page}, nil
}

// revive makes dead letters due again: the id stays, the day and the pauses begin anew.
const revive = "UPDATE grid.dispatch_outbox SET dead_at = NULL, given_up_at = NULL, attempts = 0, replays = replays + 1, tried_since = $1, next_attempt_at = $1 WHERE "

func (a *api) replay(ctx context.Context, in *idInput) (*output[Delivery], error) {
	who := callerOf(ctx)
	organization, everybody, err := recipients(who, "", true)
	if err != nil {
		return nil, err
	}
	mine := "id = $2 AND (organization = $3 OR $4)"
	rows, err := a.pool.Query(ctx, revive+mine+" AND dead_at IS NOT NULL AND delivered_at IS NULL RETURNING "+deliveryColumns, a.now().UTC(), in.ID, organization, everybody)
	if err != nil {
		return nil, a.fail(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return nil, a.fail(err)
	}
	if len(found) == 1 {
		a.log.Info("dead letter replayed", "message", in.ID, "organization", found[0].Organization, "by", who.scope.Organization)
		return &output[Delivery]{found[0]}, nil
	}
	var there bool
	if err := a.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM grid.dispatch_outbox WHERE id = $1 AND (organization = $2 OR $3))", in.ID, organization, everybody).Scan(&there); err != nil {
		return nil, a.fail(err)
	}
	if there {
		return nil, huma.Error409Conflict("the message is no dead letter: it was delivered, or is tried still")
	}
	return nil, huma.Error404NotFound("no such delivery")
}

type replayAllInput struct {
	Organization string `query:"organization" maxLength:"63" doc:"Your own if not given; another's only for a data office (数据局)."`
}

// Replayed counts dead letters.
type Replayed struct {
	Replayed int64 `json:"replayed" doc:"Those that are tried again."`
	Left     int64 `json:"left" doc:"Those that are dead still: ask again."`
}

func (a *api) replayAll(ctx context.Context, in *replayAllInput) (*output[Replayed], error) {
	who := callerOf(ctx)
	organization, everybody, err := recipients(who, in.Organization, true)
	if err != nil {
		return nil, err
	}
	if everybody {
		return nil, huma.Error422UnprocessableEntity("query.organization: a data office may replay everybody's dead letters; write whose")
	}
	var out Replayed
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		dead := "organization = $2 AND dead_at IS NOT NULL AND delivered_at IS NULL"
		done, err := tx.Exec(ctx, revive+"id = ANY (ARRAY(SELECT id FROM grid.dispatch_outbox WHERE "+dead+" ORDER BY id LIMIT $3))", a.now().UTC(), organization, replayAtOnce)
		if err != nil {
			return err
		}
		out.Replayed = done.RowsAffected()
		return tx.QueryRow(ctx, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization = $1 AND dead_at IS NOT NULL AND delivered_at IS NULL", organization).Scan(&out.Left)
	})
	if err != nil {
		return nil, a.fail(err)
	}
	a.log.Info("dead letters replayed", "count", out.Replayed, "organization", organization, "by", who.scope.Organization)
	return &output[Replayed]{out}, nil
}
