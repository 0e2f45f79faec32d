package vault

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// openDatabase prepares a pool; connections are made when they are needed, always with verify-full. Password and CA are read again for
// each, so that a rotation needs no restart. Values go to no log of the server.
func openDatabase(ctx context.Context, c contract.DatabaseConfig) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig("sslmode=disable") // TLS is set below
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	cc := cfg.ConnConfig
	cc.Host, cc.Port, cc.Database, cc.User, cc.Fallbacks, cc.ConnectTimeout = c.Host, uint16(c.Port), c.Name, c.User, nil, 5*time.Second
	cc.RuntimeParams = map[string]string{
		"application_name": "dizuo-vault", "search_path": "pg_catalog", "timezone": "UTC",
		"statement_timeout": "10000", "idle_in_transaction_session_timeout": "20000", "lock_timeout": "5000",
	}
	cfg.MaxConns, cfg.MaxConnIdleTime, cfg.MaxConnLifetime = 4, 5*time.Minute, time.Hour
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return fmt.Errorf("database password: %w", err)
		}
		roots, err := process.Roots(c.CAFile)
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
		cc.Password = strings.TrimRight(string(password), "\r\n")
		cc.TLSConfig = &tls.Config{RootCAs: roots, ServerName: c.Host, MinVersion: tls.VersionTLS12}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return pool, nil
}
