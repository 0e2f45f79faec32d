package grid

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// Advisory locks: numbers of ours, "dz" and a digit.
const (
	migrateLock int64 = 0x647a_0001
	workerLock  int64 = 0x647a_0002
	keeperLock  int64 = 0x647a_0003
	// registryLock is held by who writes the registry down.
	registryLock int64 = 0x647a_0010
	// 0x647a_0005 is the vault's chain (migration 31).
	retainLock int64 = 0x647a_0006
	// modeLock: one switch of the mode at a time.
	modeLock int64 = 0x647a_0051
	// paceLock stands before the hash of an organisation.
	paceLock int32 = 0x647a_0004
)

// connConfig gives a connection with verify-full. Password and CA are read by refresh at every connect.
func connConfig(c contract.DatabaseConfig) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig("sslmode=disable connect_timeout=5 application_name=dizuo-grid") // TLS is set by refresh
	if err != nil {
		return nil, fmt.Errorf("database configuration: %w", err)
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User = c.Host, uint16(c.Port), c.Name, c.User
	cfg.Fallbacks = nil
	// Never wait for a peer that is gone without a word: the lock of the working replica hangs on this connection.
	cfg.RuntimeParams["tcp_keepalives_idle"] = "10"
	cfg.RuntimeParams["tcp_keepalives_interval"] = "5"
	cfg.RuntimeParams["tcp_keepalives_count"] = "3"
	return cfg, nil
}

// refresh reads the password and the CA again, so that a rotation needs no restart.
func refresh(c contract.DatabaseConfig) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, cfg *pgx.ConnConfig) error {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return fmt.Errorf("database password: %w", err)
		}
		pool, err := process.Roots(c.CAFile)
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(password))
		cfg.TLSConfig = &tls.Config{RootCAs: pool, ServerName: c.Host, MinVersion: tls.VersionTLS12}
		return nil
	}
}

// openPool opens a pool; it connects when first used.
func openPool(ctx context.Context, c contract.DatabaseConfig) (*pgxpool.Pool, error) {
	conn, err := connConfig(c)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("database configuration: %w", err)
	}
	cfg.ConnConfig, cfg.BeforeConnect, cfg.MaxConns = conn, refresh(c), 8
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", c.Host, err)
	}
	return pool, nil
}
