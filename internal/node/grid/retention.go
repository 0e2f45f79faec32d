package grid

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// retainer deletes cases, notes, messages, changes, entries of ledgers and telemetry by the hour whose time to be kept is over; commands have a worker of their own
// (commands_kept.go). Exactly one works, over all replicas.
type retainer struct {
	pool *pgxpool.Pool
	// retention gives how long what is kept, by the bundle in hand; ok is false without one.
	retention func() (contract.Retention, bool)
	// profiles of fleets by that bundle: what they say of signals.
	profiles func() map[string]contract.Profile
	log      *slog.Logger
	now      func() time.Time
}

func retentionOf(in *intake.Intake) func() (contract.Retention, bool) {
	return func() (contract.Retention, bool) {
		b := in.Current()
		if b == nil {
			return contract.Retention{}, false
		}
		return b.Directory.Platform.Retention, true
	}
}

// deletion is one statement: $1 is the time before which something was over, $2 the most rows, and $3, where by class, the data class.
type deletion struct {
	name, statement string
	seconds         func(contract.Retention) int64
	// classes gives the times of data classes that differ; nil where rows have no class.
	classes func(contract.Retention) map[string]int64
}

// deletions in the order in which they are made: what hangs on a case goes before it.
var deletions = []deletion{
	{"notes", `DELETE FROM grid.case_notes WHERE id = ANY (ARRAY(SELECT n.id FROM grid.case_notes n JOIN grid.cases c ON c.id = n.case_id
		WHERE n.data_class = $3 AND n.at <= $1 AND NOT c.open AND c.updated_at <= $1 ORDER BY n.at LIMIT $2))`,
		func(r contract.Retention) int64 { return r.NoteSeconds }, func(r contract.Retention) map[string]int64 { return r.NoteClasses }},
	{"contacts", `DELETE FROM grid.report_contacts WHERE case_id = ANY (ARRAY(SELECT k.case_id FROM grid.report_contacts k JOIN grid.cases c ON c.id = k.case_id
		WHERE k.data_class = $3 AND k.at <= $1 AND NOT c.open AND c.updated_at <= $1 ORDER BY k.at LIMIT $2))`,
		func(r contract.Retention) int64 { return r.NoteSeconds }, func(r contract.Retention) map[string]int64 { return r.NoteClasses }},
	{"deliveries", `DELETE FROM grid.dispatch_outbox WHERE id = ANY (ARRAY(SELECT id FROM grid.dispatch_outbox
		WHERE (delivered_at IS NOT NULL OR dead_at IS NOT NULL) AND coalesce(delivered_at, dead_at) <= $1
		ORDER BY coalesce(delivered_at, dead_at) LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		func(r contract.Retention) int64 { return r.DeliverySeconds }, nil},
	{"changes", `DELETE FROM grid.changes WHERE id = ANY (ARRAY(SELECT id FROM grid.changes
		WHERE n < coalesce((SELECT n FROM grid.changes WHERE at > $1 AND n IS NOT NULL ORDER BY n LIMIT 1), 9223372036854775807) ORDER BY n LIMIT $2))`,
		func(r contract.Retention) int64 { return r.DeliverySeconds }, nil},
	{"entries of ledgers", `DELETE FROM grid.ledger WHERE (name, alarm) IN (SELECT name, alarm FROM grid.ledger WHERE data_class = $3 AND at <= $1 ORDER BY at LIMIT $2)`,
		func(r contract.Retention) int64 { return r.CommandSeconds }, func(r contract.Retention) map[string]int64 { return r.CommandClasses }},
	{"reasons of modes", `UPDATE grid.modes SET reason = '' WHERE n = ANY (ARRAY(SELECT n FROM grid.modes WHERE reason <> '' AND ended_at <= $1 ORDER BY n LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		func(r contract.Retention) int64 { return r.NoteSeconds }, nil},
	{"cases", `DELETE FROM grid.cases WHERE id = ANY (ARRAY(SELECT c.id FROM grid.cases c
		WHERE NOT c.open AND c.retain_seconds = 0 AND c.data_class = $3 AND c.updated_at <= $1 AND NOT EXISTS (SELECT FROM grid.commands m WHERE m.case_id = c.id)
		ORDER BY c.updated_at LIMIT $2 FOR UPDATE OF c SKIP LOCKED))`,
		func(r contract.Retention) int64 { return r.CommandSeconds }, func(r contract.Retention) map[string]int64 { return r.CommandClasses }},
	{"cases of scenarios that say so", `DELETE FROM grid.cases WHERE id = ANY (ARRAY(SELECT c.id FROM grid.cases c
		WHERE NOT c.open AND c.retain_seconds > 0 AND c.updated_at + make_interval(secs => c.retain_seconds) <= $1 AND NOT EXISTS (SELECT FROM grid.commands m WHERE m.case_id = c.id)
		ORDER BY c.updated_at LIMIT $2 FOR UPDATE OF c SKIP LOCKED))`,
		func(r contract.Retention) int64 { return min(1, r.CommandSeconds) }, nil}, // with a bundle that says nothing of cases, nothing
}

// run looks until ctx ends.
func (k *retainer) run(ctx context.Context) error {
	tick := time.NewTicker(keepLook)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			r, ok := k.retention()
			if !ok {
				break
			}
			n, err := k.forget(ctx, r)
			if err != nil && ctx.Err() == nil {
				k.log.Warn("what is kept no more", "err", err)
			}
			more = err == nil && n > 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// forget makes one bounded batch of each deletion and gives how many rows went; 0 while another replica works, or when there is no more.
// A time of 0 is of an older bundle, which does not say: nothing goes.
func (k *retainer) forget(ctx context.Context, r contract.Retention) (n int64, err error) {
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", retainLock).Scan(&mine); err != nil || !mine {
			return err
		}
		for _, d := range deletions {
			if d.seconds(r) <= 0 {
				continue
			}
			deleted, err := d.batch(ctx, tx, r, k.now().UTC())
			if n += deleted; err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
		erased, err := eraseAttachments(ctx, tx, r, k.now().UTC())
		if n += erased; err != nil {
			return fmt.Errorf("attachments: %w", err)
		}
		deleted, err := forgetTelemetry(ctx, tx, r, k.profiles(), k.now().UTC())
		if n += deleted; err != nil {
			return fmt.Errorf("telemetry by the hour: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("delete %w", err)
	}
	return n, nil
}

func (d deletion) batch(ctx context.Context, tx pgx.Tx, r contract.Retention, now time.Time) (n int64, err error) {
	if d.classes == nil {
		tag, err := tx.Exec(ctx, d.statement, now.Add(-time.Duration(d.seconds(r))*time.Second), forgetAtOnce)
		return tag.RowsAffected(), err
	}
	seconds := map[string]int64{}
	for _, class := range []string{"", "C0", "C1", "C2", "C3"} {
		seconds[class] = d.seconds(r)
	}
	maps.Copy(seconds, d.classes(r))
	for _, class := range slices.Sorted(maps.Keys(seconds)) {
		tag, err := tx.Exec(ctx, d.statement, now.Add(-time.Duration(seconds[class])*time.Second), forgetAtOnce-n, class)
		if n += tag.RowsAffected(); err != nil || n == forgetAtOnce {
			return n, err
		}
	}
	return n, nil
}
