package vault

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/pgpool"
)

// openDatabase prepares a pool; connections are made when they are needed, always with verify-full. Password and CA are read again for
// each, so that a rotation needs no restart. Values go to no log of the server. more are settings of its sessions.
func openDatabase(ctx context.Context, c contract.DatabaseConfig, more map[string]string) (*pgxpool.Pool, error) {
	settings := map[string]string{
		"application_name": "dizuo-vault", "search_path": "pg_catalog", "timezone": "UTC",
		"statement_timeout": "10000", "idle_in_transaction_session_timeout": "20000", "lock_timeout": "5000",
	}
	maps.Copy(settings, more)
	cfg, err := pgpool.Config(c, settings)
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

// readOnly are the settings of a session that writes nothing.
var readOnly = map[string]string{"application_name": "dizuo-vault-map", "default_transaction_read_only": "on", "statement_timeout": "5000"}
