// Package pgpool has the one way in which services of the data plane connect to the platform's PostgreSQL.
package pgpool

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

// Config gives the configuration of a pool whose connections are made when they are needed, always with TLS that verifies the server's
// name. Password and CA are read again for each, so that a rotation needs no restart. settings are those of every session. The
// environment says nothing. The caller bounds the pool.
func Config(c contract.DatabaseConfig, settings map[string]string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig("sslmode=disable") // TLS is set below, always; the environment is overridden field by field
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	cc := cfg.ConnConfig
	cc.Host, cc.Port, cc.Database, cc.User, cc.Fallbacks = c.Host, uint16(c.Port), c.Name, c.User, nil
	cc.ConnectTimeout, cc.RuntimeParams = 5*time.Second, settings
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
	return cfg, nil
}
