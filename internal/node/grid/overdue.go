package grid

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// sweeper marks cases that missed a time. Escalation along 微网格, 网格, 社区, 街道, 部门 will hang on the entries that it
// writes; it is not here yet.
type sweeper struct {
	pool    *pgxpool.Pool
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time
}

// deadline is a time that a case can miss.
type deadline struct {
	name, column, action, missed string
}

var missable = []deadline{
	{"acknowledge", "acknowledge_overdue", "AcknowledgeOverdue", "c.acknowledge_due <= $1 AND NOT c.acknowledge_overdue AND c.acknowledged_at IS NULL AND c.state IN ('Filed', 'Dispatched', 'Returned', 'Reopened', 'Reported')"},
	{"resolve", "resolve_overdue", "ResolveOverdue", "c.resolve_due <= $1 AND NOT c.resolve_overdue AND c.state NOT IN ('Extended', 'Suspended')"},
}

// run sweeps until ctx ends.
func (s *sweeper) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, d := range missable {
			if err := s.sweep(ctx, d); err != nil && ctx.Err() == nil {
				s.log.Warn("overdue", "deadline", d.name, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// sweep marks what missed a deadline, each case once, with an entry in its history.
func (s *sweeper) sweep(ctx context.Context, d deadline) error {
	now := s.now().UTC()
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT "+caseColumns+" FROM grid.cases c WHERE c.open AND "+d.missed+" ORDER BY c.id LIMIT 500 FOR UPDATE SKIP LOCKED", now)
		if err != nil {
			return fmt.Errorf("overdue cases: %w", err)
		}
		cases, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Case])
		if err != nil {
			return fmt.Errorf("overdue cases: %w", err)
		}
		for _, c := range cases {
			if _, err := tx.Exec(ctx, "UPDATE grid.cases SET "+d.column+" = true, updated_at = $2 WHERE id = $1", c.ID, now); err != nil {
				return fmt.Errorf("case %s: %w", c.Number, err)
			}
			if err := record(ctx, tx, c, d.action, c.State, system, now, nil); err != nil {
				return err
			}
			s.metrics.overdue.WithLabelValues(d.name).Inc()
		}
		return nil
	})
}
