package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// retainEvery is how often it is looked for what is kept no more; atOnce bounds a batch.
	retainEvery = time.Hour
	atOnce      = 500
	// retainLock lets one replica work: a number of ours, "dz" and a digit.
	retainLock int64 = 0x647a_0007
	// proof is how long a consent is kept after it ended, and a task after it was done: within three years somebody may claim that data were
	// read without right (Civil Code article 188), and who read them must prove that they were not to blame (PIPL article 69).
	proof = 3 * 365 * 24 * time.Hour
	// logLeast is for how long network logs are kept by the Cybersecurity Law; the database keeps to it as well.
	logLeast = 180 * 24 * time.Hour
	// margin keeps our clock from asking for what the database's clock refuses.
	margin = time.Hour
)

// retain deletes what is kept no more, until ctx ends.
func (s *service) retain(ctx context.Context) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if b, err := s.live(s.now()); err == nil {
			for more := true; more && ctx.Err() == nil; {
				n, err := s.forget(ctx, b.Directory.Platform.Retention)
				if err != nil && ctx.Err() == nil {
					s.log.Warn("what is kept no more", "err", err)
				}
				more = n > 0
			}
			for more := true; more && ctx.Err() == nil; {
				if more, err = s.eraseLines(ctx, b.Directory.Platform); err != nil && ctx.Err() == nil {
					s.log.Warn("lines of erased subjects", "err", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// forget makes one bounded batch of each kind and gives how much went; 0 while another replica works, or when there is no more. Each kind has
// a transaction of its own, so that one that fails does not undo another.
func (s *service) forget(ctx context.Context, r contract.Retention) (int64, error) {
	now := s.now().UTC()
	type kind struct {
		statement string
		args      []any
	}
	kinds := []kind{
		{"WITH gone AS (DELETE FROM vault.tasks WHERE id = ANY (ARRAY(SELECT id FROM vault.tasks WHERE done_at <= $1 ORDER BY done_at LIMIT $2)) RETURNING 1) SELECT count(*) FROM gone",
			[]any{now.Add(-proof), atOnce}},
		{"SELECT grid.forget_consents($1)", []any{now.Add(-proof - margin)}},
	}
	if r.DecisionLogSeconds > 0 { // an older bundle does not say
		before := now.Add(-max(logLeast+margin, time.Duration(r.DecisionLogSeconds)*time.Second))
		kinds = append(kinds, kind{"SELECT audit.erase_bodies($1)", []any{before}}, kind{"SELECT audit.forget_emergencies($1)", []any{before}})
	}
	var sum int64
	var failed error
	for _, k := range kinds {
		n, err := s.forgetKind(ctx, k.statement, k.args)
		sum, failed = sum+n, errors.Join(failed, err)
	}
	return sum, failed
}

// forgetKind runs one statement that gives how much went.
func (s *service) forgetKind(ctx context.Context, statement string, args []any) (n int64, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", retainLock).Scan(&mine); err != nil || !mine {
			return err
		}
		return tx.QueryRow(ctx, statement, args...).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("retention: %s: %w", statement, err)
	}
	return n, nil
}
