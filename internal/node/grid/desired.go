package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// DesiredEntry is what a device is to keep for one command.
type DesiredEntry struct {
	Arguments map[string]any `json:"arguments"`
	// Sender is Operator or Vendor.
	Sender string `json:"sender"`
	// Organization of who set it; the person is in the history.
	Organization string    `json:"organization"`
	At           time.Time `json:"at"`
	// Problem is why it is left out of what is sent, as the registry and the profile stand now: a stable code.
	Problem string `json:"problem,omitempty"`
}

// desiredState is the row of a device.
type desiredState struct {
	Fleet          string                  `db:"fleet"`
	Device         string                  `db:"device"`
	ID             uuid.UUID               `db:"id"`
	Community      string                  `db:"community"`
	Grid           string                  `db:"grid"`
	Entries        map[string]DesiredEntry `db:"entries"`
	State          string                  `db:"state"`
	Detail         string                  `db:"detail"`
	ChangedAt      time.Time               `db:"changed_at"`
	LastSentAt     *time.Time              `db:"last_sent_at"`
	Sent           int                     `db:"sent"`
	AcknowledgedAt *time.Time              `db:"acknowledged_at"`
	Version        int                     `db:"version"`
}

const desiredColumns = "fleet, device, id, community, grid, entries, state, detail, changed_at, last_sent_at, sent, acknowledged_at, version"

// readDesired reads the row of a device; nil if nobody wanted anything of it yet.
func readDesired(ctx context.Context, tx pgx.Tx, d device, lock string) (*desiredState, error) {
	rows, err := tx.Query(ctx, "SELECT "+desiredColumns+" FROM grid.desired WHERE fleet = $1 AND device = $2"+lock, d.fleet, d.name)
	if err != nil {
		return nil, fmt.Errorf("desired state: %w", err)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[desiredState])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("desired state: %w", err)
	}
	return out, nil
}

// setDesired changes what a device is to keep: entry is set for the command name, or dropped if it is nil. What is there already is not
// set again. The device hears of it at once.
func (m *commander) setDesired(ctx context.Context, tx pgx.Tx, row contract.Device, d device, name string, entry *DesiredEntry, by Actor, now time.Time) error {
	// The row is there before it is locked, so that two first ones do not miss each other.
	first, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("desired state: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.desired (fleet, device, id, community, grid, entries, state, changed_at, next_send_at)
		VALUES ($1, $2, $3, $4, $5, '{}', 'Void', $6, $6) ON CONFLICT (fleet, device) DO NOTHING`, d.fleet, d.name, first, row.Community, row.Grid, now); err != nil {
		return fmt.Errorf("desired state: %w", err)
	}
	s, err := readDesired(ctx, tx, d, " FOR UPDATE")
	if err != nil {
		return err
	}
	moved := s.Community != row.Community || s.Grid != row.Grid
	if s.Entries == nil || moved { // who is responsible there now did not ask for it
		s.Entries = map[string]DesiredEntry{}
	}
	was, there := s.Entries[name]
	action := "Set"
	switch {
	case entry == nil && !there:
		return nil
	case entry == nil:
		action = "Drop"
		delete(s.Entries, name)
	case there && s.State != string(command.Void) && was.Sender == entry.Sender && was.Organization == entry.Organization && sameArguments(was.Arguments, entry.Arguments):
		return nil
	default:
		s.Entries[name] = *entry
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("desired state: %w", err)
	}
	s.Version++
	if _, err := tx.Exec(ctx, `UPDATE grid.desired SET id = $3, community = $4, grid = $5, entries = $6, state = 'Pending', detail = '', changed_at = $7,
		next_send_at = $7, last_sent_at = NULL, sent = 0, acknowledged_at = NULL, version = $8 WHERE fleet = $1 AND device = $2`,
		d.fleet, d.name, id, row.Community, row.Grid, s.Entries, now, s.Version); err != nil {
		return fmt.Errorf("desired state: %w", err)
	}
	var more detail
	if entry != nil {
		more = detail{"arguments": entry.Arguments}
	}
	return recordDesired(ctx, tx, d.fleet, d.name, s.Version, id, action, name, by, now, more)
}

// sameArguments compares by what they look like: numbers come back from the database as float64.
func sameArguments(a, b map[string]any) bool {
	x, err := json.Marshal(a)
	y, other := json.Marshal(b)
	return err == nil && other == nil && reflect.DeepEqual(x, y)
}

func recordDesired(ctx context.Context, tx pgx.Tx, fleet, name string, n int, id uuid.UUID, action, of string, by Actor, now time.Time, more detail) error {
	if more == nil {
		more = detail{}
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.desired_history (fleet, device, n, at, action, id, command, actor, organization, person, role, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		fleet, name, n, now, action, id, of, by.Kind, by.Organization, by.Person, by.Role, more); err != nil {
		return fmt.Errorf("history of the desired state of %s.%s: %w", fleet, name, err)
	}
	return nil
}

// inForce gives the arguments of the entries that may be sent as the bundle stands now, and marks the others. It is pure but for the marks.
func (s *desiredState) inForce(b *intake.Bundle) map[string]map[string]any {
	out := map[string]map[string]any{}
	p := b.Rules.Profiles[b.Fleets[s.Fleet].Profile]
	for _, name := range slices.Sorted(maps.Keys(s.Entries)) {
		e := s.Entries[name]
		e.Problem = unsendable(b, &Command{Fleet: s.Fleet, Device: s.Device, Community: s.Community, Grid: s.Grid, Sender: e.Sender, Organization: e.Organization})
		if e.Problem == "" {
			_, args, err := command.CheckDesired(p, name, e.Arguments, e.Sender)
			if err != nil {
				e.Problem = codeOf(err)
			} else {
				e.Arguments, out[name] = args, args
			}
		}
		s.Entries[name] = e
	}
	return out
}

func (m *commander) dueDesired(ctx context.Context, tx pgx.Tx, b *intake.Bundle, now time.Time) (out []outgoing, err error) {
	rows, err := tx.Query(ctx, "SELECT "+desiredColumns+" FROM grid.desired WHERE state = 'Pending' AND next_send_at <= $1 ORDER BY next_send_at LIMIT $2 FOR UPDATE SKIP LOCKED",
		now, sendAtOnce)
	if err != nil {
		return nil, fmt.Errorf("desired states: %w", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[desiredState])
	if err != nil {
		return nil, fmt.Errorf("desired states: %w", err)
	}
	for _, s := range due {
		raw, err := m.sendDesired(ctx, tx, b, s, now)
		if err != nil {
			return nil, fmt.Errorf("desired state of %s.%s: %w", s.Fleet, s.Device, err)
		}
		if raw != nil {
			out = append(out, outgoing{contract.DeviceSubject(s.Fleet, s.Device, contract.ChannelDesired), raw})
		}
	}
	return out, nil
}

// sendDesired gives the message of a desired state that is due, or nil where the device is gone or moved, or the lease is over.
func (m *commander) sendDesired(ctx context.Context, tx pgx.Tx, b *intake.Bundle, s *desiredState, now time.Time) ([]byte, error) {
	whole := unsendable(b, &Command{Fleet: s.Fleet, Device: s.Device, Community: s.Community, Grid: s.Grid})
	if whole != "" {
		_, err := tx.Exec(ctx, "UPDATE grid.desired SET state = 'Void', version = version + 1 WHERE fleet = $1 AND device = $2", s.Fleet, s.Device)
		if err != nil {
			return nil, err
		}
		m.metrics.commands.WithLabelValues(string(command.Void), whole).Inc()
		return nil, recordDesired(ctx, tx, s.Fleet, s.Device, s.Version+1, s.ID, "Void", "", system, now, detail{"reason": whole})
	}
	if withheld(b, command.SenderOperator, now) {
		_, err := tx.Exec(ctx, "UPDATE grid.desired SET next_send_at = $3 WHERE fleet = $1 AND device = $2", s.Fleet, s.Device, now.Add(withheldFor))
		return nil, err
	}
	raw, err := json.Marshal(command.Desired{ID: s.ID, Desired: s.inForce(b)})
	if err != nil {
		return nil, err
	}
	m.metrics.sent.WithLabelValues(string(contract.ChannelDesired)).Inc()
	_, err = tx.Exec(ctx, "UPDATE grid.desired SET sent = $3, last_sent_at = $4, next_send_at = $5 WHERE fleet = $1 AND device = $2",
		s.Fleet, s.Device, s.Sent+1, now, now.Add(command.Pause(s.Sent+1, desiredPause)))
	return raw, err
}
