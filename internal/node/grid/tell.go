package grid

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// CloudEvents types of messages about a case, sent to organisations that were called to it.
const (
	// EventOpened says that there is a case in the organisation's jurisdiction; see tellOpened.
	EventOpened = "io.dizuo.case.opened.v1"
	// EventAcknowledged says that somebody took the case.
	EventAcknowledged = "io.dizuo.case.acknowledged.v1"
	// EventDispatched calls the organisation to the case.
	EventDispatched = "io.dizuo.case.dispatched.v1"
	// EventReassigned says that others were called to the case by a person.
	EventReassigned = "io.dizuo.case.reassigned.v1"
	// EventEscalated says that the case is graver, or went up a level.
	EventEscalated = "io.dizuo.case.escalated.v1"
	// EventOverdue says that a time was missed.
	EventOverdue = "io.dizuo.case.overdue.v1"
	// EventReturned, EventReopened, EventClosed and EventRated say what somebody did to the case.
	EventReturned = "io.dizuo.case.returned.v1"
	EventReopened = "io.dizuo.case.reopened.v1"
	EventClosed   = "io.dizuo.case.closed.v1"
	EventRated    = "io.dizuo.case.rated.v1"
	// EventVoided says that it was no alarm.
	EventVoided = "io.dizuo.case.voided.v1"
)

// eventNames are the names in spec.webhook.events of an Organization, by type of the CloudEvent.
var eventNames = map[string]string{
	EventOpened: "CaseOpened", EventAcknowledged: "CaseAcknowledged", EventDispatched: "CaseDispatched", EventReassigned: "CaseReassigned", EventEscalated: "CaseEscalated", EventOverdue: "CaseOverdue", EventReturned: "CaseReturned",
	EventReopened: "CaseReopened", EventReworked: "CaseReopened", EventClosed: "CaseClosed", EventRated: "CaseRated", EventVoided: "CaseVoided",
}

// eventOf gives the type of the message about what a person did; none about most actions: who has to know reads the feed of changes.
var eventOf = map[Action]string{Acknowledge: EventAcknowledged, Return: EventReturned, Reopen: EventReopened, Close: EventClosed, Rate: EventRated, MarkVoid: EventVoided}

// deliveryOf gives how messages reach an organisation, "Webhook" or "MQTT", and "" where it asks for them itself.
func deliveryOf(o contract.Organization) string {
	switch {
	case o.Delivery == contract.DeliveryMQTT:
		return contract.DeliveryMQTT
	case o.Webhook != nil:
		return contract.DeliveryWebhook
	}
	return ""
}

// hears says whether an organisation is sent messages of a type.
func hears(o contract.Organization, typ string) bool {
	return deliveryOf(o) != "" && (len(o.Events) == 0 || slices.Contains(o.Events, eventNames[typ]))
}

// tellCalled sends a message to every organisation that is called to a case.
func tellCalled(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, typ string, now time.Time) error {
	there, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	return tellParties(ctx, tx, b.Directory, c, there, nil, typ, now)
}

// tellParties sends a message to the organisations among parties that are called still, and not to those left out.
func tellParties(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, parties []party, leftOut []string, typ string, now time.Time) error {
	told := map[string]bool{"": true}
	for _, p := range parties {
		if p.ReleasedAt != nil || told[p.Organization] || slices.Contains(leftOut, p.Organization) {
			continue
		}
		told[p.Organization] = true
		if err := enqueue(ctx, tx, d, c, p.Organization, typ, now); err != nil {
			return err
		}
	}
	return nil
}

// moveAndTell is move by a person, and tells who was called to the case, before, what was done.
func moveAndTell(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, before []party, a Action, by Actor, now time.Time, until *time.Time, more detail) error {
	if err := move(ctx, tx, d.Platform, c, a, by, now, until, more); err != nil {
		return err
	}
	if typ := eventOf[a]; typ != "" {
		return tellParties(ctx, tx, d, c, before, nil, typ, now)
	}
	return nil
}

// dispatchAndTell is dispatch by a person. Who was called before, and is not again, hears that others were.
func dispatchAndTell(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, before []party, responders []contract.Responder, by Actor, now time.Time, more detail) error {
	if err := dispatch(ctx, tx, d, c, responders, by, now, more); err != nil {
		return err
	}
	return tellParties(ctx, tx, d, c, before, respond(d, c, responders).Organizations, EventReassigned, now)
}
