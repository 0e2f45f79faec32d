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

const (
	// keepLook is how often it is looked for commands that are kept no more, and forgetAtOnce bounds those of one transaction.
	keepLook     = time.Minute
	forgetAtOnce = 500
)

// forgetClass deletes the oldest commands of one data class that were over before a time. What other classes keep longer is not walked over.
const forgetClass = `DELETE FROM grid.commands WHERE id IN (SELECT c.id FROM grid.commands c
	WHERE c.state <> 'Pending' AND c.data_class = $1 AND greatest(c.expires_at, c.acknowledged_at, c.finished_at) <= $2
	AND NOT EXISTS (SELECT FROM grid.commands s WHERE s.cause = c.id)
	ORDER BY greatest(c.expires_at, c.acknowledged_at, c.finished_at) LIMIT $3 FOR UPDATE OF c SKIP LOCKED)`

// keeper deletes commands, with their history, that are over for longer than the platform keeps them.
type keeper struct {
	pool    *pgxpool.Pool
	in      *intake.Intake
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time
}

// run looks until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(keepLook)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			b := k.in.Current()
			if b == nil {
				break
			}
			n, err := k.forget(ctx, b.Directory.Platform.Retention)
			if err != nil && ctx.Err() == nil {
				k.log.Warn("commands that are kept no more", "err", err)
			}
			more = err == nil && n == forgetAtOnce
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// forget deletes one batch and gives its size; 0 while another replica does. A command is over once it is not Pending, and its time is that
// of the last that came of it: its expiry, its end, or a late ack. One that others name as their cause waits for them.
func (k *keeper) forget(ctx context.Context, r contract.Retention) (n int64, err error) {
	if r.CommandSeconds <= 0 {
		return 0, nil // an older bundle does not say
	}
	now := k.now().UTC()
	before := func(seconds int64) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	seconds := map[string]int64{"": r.CommandSeconds, "C0": r.CommandSeconds, "C1": r.CommandSeconds, "C2": r.CommandSeconds, "C3": r.CommandSeconds}
	maps.Copy(seconds, r.CommandClasses)
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", keeperLock).Scan(&mine); err != nil || !mine {
			return err
		}
		for _, class := range slices.Sorted(maps.Keys(seconds)) {
			tag, err := tx.Exec(ctx, forgetClass, class, before(seconds[class]), forgetAtOnce-n)
			if n += tag.RowsAffected(); err != nil || n == forgetAtOnce {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("delete commands: %w", err)
	}
	k.metrics.forgotten.Add(float64(n))
	return n, nil
}
