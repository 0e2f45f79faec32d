package gateway

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/pgpool"
)

// openAudit prepares the pool by which the decision log is shipped and read back: another user than the one that reads datasets. Password
// and CA are read again for each connection.
func openAudit(ctx context.Context, c contract.DatabaseConfig) (*pgxpool.Pool, error) {
	cfg, err := pgpool.Config(c, map[string]string{"application_name": "dizuo-gateway-audit", "search_path": "pg_catalog", "timezone": "UTC", "statement_timeout": "30000"})
	if err != nil {
		return nil, fmt.Errorf("audit database: %w", err)
	}
	cfg.MaxConns = 2
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("audit database: %w", err)
	}
	return pool, nil
}
