package gateway

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

// openAudit prepares the pool by which the decision log is shipped and read back: another user than the one that reads datasets. Password
// and CA are read again for each connection.
func openAudit(ctx context.Context, c contract.DatabaseConfig) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig("sslmode=disable") // TLS is set below, always
	if err != nil {
		return nil, fmt.Errorf("audit database: %w", err)
	}
	cc := cfg.ConnConfig
	cc.Host, cc.Port, cc.Database, cc.User, cc.Fallbacks = c.Host, uint16(c.Port), c.Name, c.User, nil
	cc.ConnectTimeout = 5 * time.Second
	cc.RuntimeParams = map[string]string{"application_name": "dizuo-gateway-audit", "search_path": "pg_catalog", "timezone": "UTC", "statement_timeout": "30000"}
	cfg.MaxConns = 2
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		password, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return fmt.Errorf("audit database: password: %w", err)
		}
		roots, err := process.Roots(c.CAFile)
		if err != nil {
			return fmt.Errorf("audit database: %w", err)
		}
		cc.Password = strings.TrimRight(string(password), "\r\n")
		cc.TLSConfig = &tls.Config{RootCAs: roots, ServerName: c.Host, MinVersion: tls.VersionTLS12}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("audit database: %w", err)
	}
	return pool, nil
}
