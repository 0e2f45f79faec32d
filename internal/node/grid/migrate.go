package grid

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/dizuo/dizuo/internal/contract"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the database to the form that this version needs, as the owner of the database: the roles of the grid
// service and the gateway with their passwords, the schemas, the tables and the least rights on them. It may be run at any
// time, and by several processes at once: it waits for its turn.
//
// The owner needs CREATEROLE (or the roles must be there already). Passwords go to the server as SCRAM verifiers, never in
// the clear.
func Migrate(ctx context.Context, owner contract.DatabaseConfig, gridPassword, gatewayPassword string, log *slog.Logger) error {
	cfg, err := connConfig(owner)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg, stdlib.OptionBeforeConnect(refresh(owner)))
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("database %s: %w", owner.Host, err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrateLock); err != nil {
		return fmt.Errorf("wait for other migrations: %w", err)
	}
	defer func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrateLock)
	}()
	if err := prepare(ctx, conn, map[string]string{contract.DatabaseUserGrid: gridPassword, contract.DatabaseUserGateway: gatewayPassword}); err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(contract.DatabaseSchemaGrid+".migrations"))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	done, err := p.Up(ctx)
	for _, r := range done {
		log.Info("migrated", "version", r.Source.Version, "took", r.Duration)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// prepare makes roles and schemas.
func prepare(ctx context.Context, conn *sql.Conn, passwords map[string]string) error {
	for role, password := range passwords {
		if password == "" {
			return fmt.Errorf("password of database role %s is empty", role)
		}
		verifier, err := scram(password)
		if err != nil {
			return err
		}
		name := pgx.Identifier{role}.Sanitize()
		var there bool
		if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there); err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
		verb := "CREATE"
		if there {
			verb = "ALTER"
		}
		// A verifier holds no quote, so it needs no escaping, and DDL takes no parameters.
		if _, err := conn.ExecContext(ctx, verb+" ROLE "+name+" LOGIN PASSWORD '"+verifier+"'"); err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
	}
	for _, statement := range []string{
		"CREATE SCHEMA IF NOT EXISTS " + contract.DatabaseSchemaGrid,
		"CREATE SCHEMA IF NOT EXISTS " + contract.DatabaseSchemaDatasets,
		"REVOKE ALL ON SCHEMA public FROM PUBLIC",
	} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// scram gives the verifier that PostgreSQL stores for a password (RFC 5803).
func scram(password string) (string, error) {
	const iterations = 4096
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive: %w", err)
	}
	mac := func(text string) []byte {
		m := hmac.New(sha256.New, salted)
		_, _ = m.Write([]byte(text))
		return m.Sum(nil)
	}
	key := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(key[:]), b64(mac("Server Key"))), nil
}
