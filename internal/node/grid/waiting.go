package grid

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// waited is an alarm that stood for long enough to open a case.
type waited struct {
	Scenario     string            `db:"scenario"`
	Scope        rules.Scope       `db:"scope"`
	ScopeID      string            `db:"scope_id"`
	Start        time.Time         `db:"start"`
	Began        time.Time         `db:"began"`
	Severity     contract.Severity `db:"severity"`
	Graver       []string          `db:"graver"`
	Fleet        string            `db:"fleet"`
	Device       string            `db:"device"`
	Signals      int64             `db:"signals"`
	LastSignalAt time.Time         `db:"last_signal_at"`
}

const waitedColumns = "scenario, scope, scope_id, start, began, severity, graver, fleet, device, signals, last_signal_at"

// event gives the alarm as the engine told it.
func (w waited) event() rules.Event {
	return rules.Event{Kind: rules.Raised, Scenario: w.Scenario, Scope: w.Scope, ID: w.ScopeID, Fleet: w.Fleet, Device: w.Device,
		Start: w.Start.UTC(), Began: w.Began.UTC(), At: w.LastSignalAt.UTC(), Severity: w.Severity, With: w.Graver}
}

// holdBack writes down an alarm that opens its case at due, if it stands then.
func holdBack(ctx context.Context, tx pgx.Tx, e rules.Event, due time.Time) error {
	if _, err := tx.Exec(ctx, `INSERT INTO grid.alarms_waiting (scenario, scope, scope_id, start, began, severity, fleet, device, last_signal_at, due)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (scenario, scope, scope_id, start) DO NOTHING`,
		e.Scenario, e.Scope, e.ID, e.Start, e.Began, e.Severity, e.Fleet, e.Device, e.At, due); err != nil {
		return fmt.Errorf("alarm that waits: %w", err)
	}
	return nil
}

// waiting takes an event down where its alarm waits for its case; false if it does not. One that is cleared or retracted waits no more. A
// sweeper that opens the case in this moment is waited for: then the alarm is in its case.
func waiting(ctx context.Context, tx pgx.Tx, e rules.Event) (bool, error) {
	const name = " WHERE scenario = $1 AND scope = $2 AND scope_id = $3 AND start = $4"
	args := []any{e.Scenario, e.Scope, e.ID, e.Start}
	statement := "SELECT FROM grid.alarms_waiting" + name + " FOR UPDATE" // Raised: told twice
	switch e.Kind {
	case rules.Cleared, rules.Retracted:
		statement = "DELETE FROM grid.alarms_waiting" + name
	case rules.Joined:
		statement, args = "UPDATE grid.alarms_waiting SET signals = signals + 1, last_signal_at = greatest(last_signal_at, $5)"+name, append(args, e.At)
	case rules.Moved, rules.Worse:
		began := e.Began
		if began.IsZero() {
			began = e.Start
		}
		statement = "UPDATE grid.alarms_waiting SET severity = $5, began = $6, graver = graver || $7::text[]" + name
		args = append(args, e.Severity, began, e.With)
	}
	found, err := tx.Exec(ctx, statement, args...)
	if err != nil {
		return false, fmt.Errorf("alarm that waits: %w", err)
	}
	return found.RowsAffected() > 0, nil
}

// dueAlarms names the alarms that waited long enough.
const dueAlarms = "SELECT id FROM grid.alarms_waiting WHERE due <= $2 AND id > $1 ORDER BY id"

// openWaited opens the case of an alarm that waited long enough; nothing if it is gone, or if another has it in hand.
func (s *sweeper) openWaited(ctx context.Context, b *intake.Bundle, id uuid.UUID, now time.Time) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// The worker may hold the case, and want this row: a second before PostgreSQL sees a deadlock, it is this one that gives way.
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '500ms'"); err != nil {
			return fmt.Errorf("lock timeout: %w", err)
		}
		rows, err := tx.Query(ctx, "DELETE FROM grid.alarms_waiting WHERE id = (SELECT id FROM grid.alarms_waiting WHERE id = $1 AND due <= $2 FOR UPDATE SKIP LOCKED) RETURNING "+waitedColumns, id, now)
		if err != nil {
			return fmt.Errorf("alarm that waits: %w", err)
		}
		w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[waited])
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("alarm that waits: %w", err)
		}
		e := w.event()
		a, err := toldOf(ctx, tx, e)
		if err != nil || a != nil && a.RetractedAt == nil {
			return err
		}
		return open(ctx, tx, b, e, &w, now)
	})
}

// enter brings what came while the alarm waited into its case: its signals, and the commands that it gave.
func (w waited) enter(ctx context.Context, tx pgx.Tx, c *Case, e rules.Event) error {
	if _, err := tx.Exec(ctx, "UPDATE grid.cases SET signals = signals + $2 WHERE id = $1", c.ID, w.Signals-1); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	key := command.Alarm{Scenario: e.Scenario, Scope: string(e.Scope), Place: e.ID, Fleet: e.Fleet, Device: e.Device, Start: e.Start}.Key()
	if _, err := tx.Exec(ctx, "UPDATE grid.commands SET case_id = $1 WHERE alarm = $2 AND case_id IS NULL", c.ID, key); err != nil {
		return fmt.Errorf("commands of case %s: %w", c.Number, err)
	}
	return nil
}
