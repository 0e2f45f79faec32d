package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/node/intake"
)

var descDeadLetters = prometheus.NewDesc("dizuo_grid_dead_letters",
	"Messages that were tried for a day in vain and not replayed, by organization; other is what the directory has no more. From the working replica.", []string{"organization"}, nil)

// countDead counts dead letters by organisation.
func countDead(ctx context.Context, pool *pgxpool.Pool, b *intake.Bundle) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rows, err := pool.Query(ctx, "SELECT organization, count(*) FROM grid.dispatch_outbox WHERE dead_at IS NOT NULL AND delivered_at IS NULL GROUP BY 1")
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	out := map[string]int64{}
	var name string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		if _, known := b.Directory.Organizations[name]; !known {
			name = "other"
		}
		out[name] += n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	return out, nil
}
