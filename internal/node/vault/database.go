package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/pgpool"
)

// openDatabase prepares a pool; connections are made when they are needed, always with verify-full. Password and CA are read again for
// each, so that a rotation needs no restart. Values go to no log of the server.
func openDatabase(ctx context.Context, c contract.DatabaseConfig) (*pgxpool.Pool, error) {
	cfg, err := pgpool.Config(c, map[string]string{
		"application_name": "dizuo-vault", "search_path": "pg_catalog", "timezone": "UTC",
		"statement_timeout": "10000", "idle_in_transaction_session_timeout": "20000", "lock_timeout": "5000",
	})
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.MaxConnIdleTime, cfg.MaxConnLifetime = 4, 5*time.Minute, time.Hour
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return pool, nil
}
