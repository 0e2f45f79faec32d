package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// longestMQTTPause bounds the time between two sendings over MQTT: who was away and comes back waits no longer.
	longestMQTTPause = time.Minute
	// acksQueue lets replicas share the acks.
	acksQueue = "grid-acks"
	// maxAckBytes bounds an ack.
	maxAckBytes = 1 << 10
	// acksOfOrganizations precedes the acks that were published at QoS 1 in the ingest log.
	acksOfOrganizations = contract.IngestPrefix + "dizuo.v1.o."
)

// errUnacknowledged says that a message was sent over MQTT; the ack that names it is yet to come.
var errUnacknowledged = errors.New("sent over MQTT and not acknowledged yet")

// sendMQTT publishes a message on the organisation's topic at QoS 0. That it arrived only its ack says.
func (d *deliverer) sendMQTT(m message) error {
	if d.publish == nil {
		return errors.New("no broker to send over")
	}
	out := nats.NewMsg(contract.OrganizationSubject(m.Organization, contract.OrganizationCases))
	out.Data = m.Payload
	if err := d.publish(out); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return errUnacknowledged
}

// deliveryAck is what an organisation publishes when it has taken a message: its id.
type deliveryAck struct {
	ID uuid.UUID `json:"id"`
}

// deliveryAcks takes the acks of organisations.
type deliveryAcks struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time
}

// run takes acks until ctx ends.
func (a *deliveryAcks) run(ctx context.Context) error {
	sub, err := a.nc.QueueSubscribe(contract.OrganizationSubject("*", contract.OrganizationAcks), acksQueue, func(m *nats.Msg) {
		if err := a.take(ctx, m.Subject, m.Data); err != nil && ctx.Err() == nil {
			a.log.Warn("ack of a delivery", "subject", m.Subject, "err", err)
		}
	})
	if err != nil {
		return fmt.Errorf("acks of deliveries: %w", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe()
	return ctx.Err()
}

// take notes that an organisation has a message. The broker lets an organisation publish under its own name only; an ack of what is another's,
// or was acknowledged before, changes nothing.
func (a *deliveryAcks) take(ctx context.Context, subject string, raw []byte) error {
	organization, _, err := contract.ParseOrganizationSubject(subject)
	if err != nil {
		return err
	}
	var ack deliveryAck
	if len(raw) > maxAckBytes || json.Unmarshal(raw, &ack) != nil || ack.ID == uuid.Nil {
		return errors.New(`no ack; write {"id":"<id of the CloudEvent>"}`)
	}
	done, err := a.pool.Exec(ctx, "UPDATE grid.dispatch_outbox SET delivered_at = $3, last_error = '' WHERE id = $1 AND organization = $2 AND delivered_at IS NULL",
		ack.ID, organization, a.now().UTC())
	if err != nil {
		return fmt.Errorf("message %s: %w", ack.ID, err)
	}
	if done.RowsAffected() > 0 {
		a.metrics.deliveries.WithLabelValues(organization, "delivered").Inc()
	}
	return nil
}
