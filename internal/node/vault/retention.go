package vault

import (
	"context"
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
				more = err == nil && n > 0
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// forget makes one bounded batch and gives how much went; 0 while another replica works, or when there is no more.
func (s *service) forget(ctx context.Context, r contract.Retention) (n int64, err error) {
	now := s.now().UTC()
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", retainLock).Scan(&mine); err != nil || !mine {
			return err
		}
		tag, err := tx.Exec(ctx, "DELETE FROM vault.tasks WHERE id = ANY (ARRAY(SELECT id FROM vault.tasks WHERE done_at <= $1 ORDER BY done_at LIMIT $2))", now.Add(-proof), atOnce)
		if err != nil {
			return err
		}
		n = tag.RowsAffected()
		calls := map[string]time.Duration{"SELECT grid.forget_consents($1)": proof + margin}
		if r.DecisionLogSeconds > 0 { // an older bundle does not say
			calls["SELECT audit.erase_bodies($1)"] = max(logLeast+margin, time.Duration(r.DecisionLogSeconds)*time.Second)
		}
		for statement, keep := range calls {
			var gone int64
			if err := tx.QueryRow(ctx, statement, now.Add(-keep)).Scan(&gone); err != nil {
				return err
			}
			n += gone
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("retention: %w", err)
	}
	return n, nil
}
