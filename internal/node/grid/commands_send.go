package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

const (
	// sendAtOnce bounds the commands of one transaction, and the desired states.
	sendAtOnce = 256
	// desiredPause is the longest time between two sendings of a desired state. It does not expire, and a device that is away gets it when it
	// speaks.
	desiredPause = time.Hour
	// withheldFor is how long what nobody vouches for waits before it is looked at again.
	withheldFor = 5 * time.Second
)

// outgoing is a message for a device, published once the transaction that counts it has committed: a crash between the two costs a pause,
// and never sends what the database does not know of.
type outgoing struct {
	subject string
	payload []byte
}

// turn sends what is due and ends what expired. It runs in the session of the one working replica, on the connection that holds its lock.
func (m *commander) turn(ctx context.Context, conn *pgxpool.Conn, b *intake.Bundle) error {
	now := m.now().UTC()
	var due bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM grid.commands WHERE state = 'Pending' AND least(next_send_at, expires_at) <= $1)
		OR EXISTS (SELECT FROM grid.desired WHERE state = 'Pending' AND next_send_at <= $1)`, now).Scan(&due); err != nil {
		return fmt.Errorf("commands that are due: %w", err)
	}
	if !due {
		return nil // idle turns cost no transaction
	}
	var out []outgoing
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		commands, err := m.dueCommands(ctx, tx, b, now)
		if err != nil {
			return err
		}
		desired, err := m.dueDesired(ctx, tx, b, now)
		out = append(commands, desired...)
		return err
	})
	if err != nil {
		return fmt.Errorf("commands: %w", err)
	}
	for _, o := range out {
		for _, msg := range route(b, o) {
			if err := m.publish(msg); err != nil {
				m.log.Warn("command not sent; it is sent again", "err", err)
			}
		}
	}
	return nil
}

func (m *commander) dueCommands(ctx context.Context, tx pgx.Tx, b *intake.Bundle, now time.Time) (out []outgoing, err error) {
	due, err := manyCommands(ctx, tx, `c.state = 'Pending' AND least(c.next_send_at, c.expires_at) <= $1
		ORDER BY least(c.next_send_at, c.expires_at), c.id LIMIT $2 FOR UPDATE SKIP LOCKED`, now, sendAtOnce)
	if err != nil {
		return nil, err
	}
	for _, c := range due {
		raw, err := m.send(ctx, tx, b, c, now)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			out = append(out, outgoing{contract.DeviceSubject(c.Fleet, c.Device, contract.ChannelCommand), raw})
		}
	}
	return out, nil
}

// send gives the message of a command that is due, or nil where it expired, may not be sent any more, or must wait.
func (m *commander) send(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Command, now time.Time) ([]byte, error) {
	if !c.ExpiresAt.After(now) {
		return nil, m.endSafely(ctx, tx, b, c, command.Expired, "", system, now)
	}
	if reason := recheck(b, c); reason != "" {
		if c.Sent > 0 { // the device may have it
			return nil, m.endSafely(ctx, tx, b, c, command.Void, reason, system, now)
		}
		return nil, m.end(ctx, tx, c, command.Void, reason, system, now)
	}
	if withheld(b, c.Sender, now) {
		_, err := tx.Exec(ctx, "UPDATE grid.commands SET next_send_at = $2 WHERE id = $1", c.ID, now.Add(withheldFor))
		return nil, err
	}
	raw, err := json.Marshal(command.Message{ID: c.ID, Command: c.Name, Arguments: c.Arguments, ExpiresAt: c.ExpiresAt.UTC()})
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", c.ID, err)
	}
	c.Sent++
	if _, err := tx.Exec(ctx, "UPDATE grid.commands SET sent = $2, last_sent_at = $3, next_send_at = $4 WHERE id = $1",
		c.ID, c.Sent, now, now.Add(command.Pause(c.Sent, command.MaxPause))); err != nil {
		return nil, fmt.Errorf("command %s: %w", c.ID, err)
	}
	m.metrics.sent.WithLabelValues(string(contract.ChannelCommand)).Inc()
	if c.Sent > 1 {
		return raw, nil // counted; a device that is away must not fill the history
	}
	return raw, recordCommand(ctx, tx, c, "Send", c.State, system, now, detail{"revision": b.Lease.Revision})
}

// withheld says whether a message must wait for a lease. Whether a person or a vendor still may is what the lease vouches for; an alarm does
// not wait for it, and a safe state neither.
func withheld(b *intake.Bundle, sender string, now time.Time) bool {
	return sender != command.SenderScenario && sender != senderSafe && !b.Lease.ExpiresAt.After(now)
}
