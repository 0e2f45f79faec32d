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
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/dizuo/dizuo/internal/contract"
)

//go:embed migrations/*.sql
var migrations embed.FS

// grants are the least rights of each user, in a file of its name, and of everyone. They are set again each time: a copy of the database
// comes without.
//
//go:embed grants/*.sql
var grants embed.FS

// unconnected are the users without which cases and reading go on: the vault is not ready without its own, and nobody can fetch the decision log.
var unconnected = []string{contract.DatabaseUserVault, contract.DatabaseUserAuditor}

// Migrate brings the database to the form that this version needs, as the owner of the database: the roles of the grid
// service and the gateway with their passwords, by user, the schemas, the tables and the least rights on them. It may be run at any
// time, and by several processes at once: it waits for its turn.
//
// With an owner without CREATEROLE it fails until somebody else has made the roles: CloudNativePG, or whoever runs an external database.
// Without one that no service uses yet it goes on.
// Passwords go to the server as SCRAM verifiers, never in the clear.
func Migrate(ctx context.Context, owner contract.DatabaseConfig, passwords map[string]string, log *slog.Logger) error {
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
	users, err := prepare(ctx, conn, passwords, log)
	if err != nil {
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
	for _, name := range append([]string{"everyone"}, users...) {
		statements, err := grants.ReadFile("grants/" + name + ".sql")
		if err != nil {
			return fmt.Errorf("grants of %s: %w", name, err)
		}
		if _, err := conn.ExecContext(ctx, string(statements)); err != nil {
			return fmt.Errorf("grants of %s: %w", name, err)
		}
	}
	return nil
}

// prepare makes roles and schemas, and gives the users that are there.
func prepare(ctx context.Context, conn *sql.Conn, passwords map[string]string, log *slog.Logger) (users []string, err error) {
	var mayCreate bool
	if err := conn.QueryRowContext(ctx, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user").Scan(&mayCreate); err != nil {
		return nil, fmt.Errorf("rights of the owner: %w", err)
	}
	if users, err = roles(ctx, conn, passwords, mayCreate, log); err != nil {
		return nil, err
	}
	statements := []string{"REVOKE ALL ON SCHEMA public FROM PUBLIC"}
	for _, schema := range contract.DatabaseSchemas() {
		statements = append(statements, "CREATE SCHEMA IF NOT EXISTS "+schema)
	}
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return users, nil
}

// roles makes the roles with their passwords, or refuses to go on without them, and gives those that are there.
func roles(ctx context.Context, conn *sql.Conn, passwords map[string]string, mayCreate bool, log *slog.Logger) (users []string, err error) {
	for _, role := range contract.DatabaseUsers() {
		password := passwords[role]
		if password == "" {
			return nil, fmt.Errorf("password of database role %s is empty", role)
		}
		verifier, err := scram(password)
		if err != nil {
			return nil, err
		}
		name := pgx.Identifier{role}.Sanitize()
		var there bool
		if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there); err != nil {
			return nil, fmt.Errorf("role %s: %w", role, err)
		}
		switch {
		case !mayCreate && there:
			users = append(users, role)
			continue
		case !mayCreate && slices.Contains(unconnected, role):
			log.Warn("a role is not there and the owner may not make it; what connects as it does not work: make it with the password in Secret dizuo-database",
				"role", role, "key", contract.DatabasePasswordKey(role))
			continue
		case !mayCreate:
			return nil, fmt.Errorf("role %s is not there and the owner may not make it: grant the owner CREATEROLE, or make the role with the password in Secret dizuo-database, key %s",
				role, contract.DatabasePasswordKey(role))
		}
		verb := "CREATE"
		if there {
			verb = "ALTER"
		}
		// A verifier holds no quote, so it needs no escaping, and DDL takes no parameters.
		if _, err := conn.ExecContext(ctx, verb+" ROLE "+name+" LOGIN PASSWORD '"+verifier+"'"); err != nil {
			return nil, fmt.Errorf("role %s: %w", role, err)
		}
		users = append(users, role)
	}
	return users, nil
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
