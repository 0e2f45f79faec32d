package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// statementTimeout ends a query that takes too long: a reader must not hold the database of the grid service.
const statementTimeout = 5 * time.Second

// tableInfoLife is how long what the database says of a table is believed.
const tableInfoLife = time.Minute

// database reads sources. It can read only: the user may not write, the session is read-only, and each transaction too.
type database struct {
	pool *pgxpool.Pool

	mu     sync.Mutex
	tables map[contract.Source]knownTable
}

type knownTable struct {
	tableInfo
	at time.Time
}

// page is a part of a dataset, masked.
type page struct {
	// records are JSON objects.
	records []json.RawMessage
	// subjects are pseudonyms for the decision log, one per record that is about somebody, without repeats.
	subjects []string
	// next is nil at the end.
	next *position
}

// openDatabase prepares a pool; connections are made when they are needed. Password and CA are read again for each.
func openDatabase(ctx context.Context, c contract.DatabaseConfig) (*database, error) {
	cfg, err := pgxpool.ParseConfig("sslmode=disable") // TLS is set below, always; the environment is overridden field by field
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	cc := cfg.ConnConfig
	cc.Host, cc.Port, cc.Database, cc.User, cc.Fallbacks = c.Host, uint16(c.Port), c.Name, c.User, nil
	cc.ConnectTimeout = 5 * time.Second
	cc.RuntimeParams = map[string]string{
		"application_name": "dizuo-gateway", "default_transaction_read_only": "on", "search_path": "pg_catalog", "timezone": "UTC",
		"statement_timeout":                   fmt.Sprint(statementTimeout.Milliseconds()),
		"idle_in_transaction_session_timeout": fmt.Sprint(2 * statementTimeout.Milliseconds()),
	}
	cfg.MaxConns, cfg.MaxConnIdleTime, cfg.MaxConnLifetime = 8, 5*time.Minute, time.Hour
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
	return &database{pool: pool, tables: map[contract.Source]knownTable{}}, nil
}

func (d *database) close() { d.pool.Close() }

// ping says whether the database answers.
func (d *database) ping(ctx context.Context) error {
	if err := d.pool.Ping(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

const describe = `
SELECT a.attname, format_type(a.atttypid, -1), coalesce(array_position(i.indkey::int2[], a.attnum), -1)
FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 3, a.attnum`

// table gives the columns and the primary key of a source.
func (d *database) table(ctx context.Context, s contract.Source, now time.Time) (tableInfo, error) {
	d.mu.Lock()
	known, ok := d.tables[s]
	d.mu.Unlock()
	if ok && now.Sub(known.at) < tableInfoLife {
		return known.tableInfo, nil
	}
	rows, err := d.pool.Query(ctx, describe, pgx.Identifier{s.Schema, s.Table}.Sanitize())
	if err != nil {
		return tableInfo{}, fmt.Errorf("describe %s.%s: %w", s.Schema, s.Table, err)
	}
	defer rows.Close()
	info := tableInfo{types: map[string]string{}}
	for rows.Next() {
		var name, columnType string
		var place int
		if err := rows.Scan(&name, &columnType, &place); err != nil {
			return tableInfo{}, fmt.Errorf("describe %s.%s: %w", s.Schema, s.Table, err)
		}
		info.types[name] = columnType
		if place >= 0 {
			info.key = append(info.key, name)
		}
	}
	if err := rows.Err(); err != nil {
		return tableInfo{}, fmt.Errorf("describe %s.%s: %w", s.Schema, s.Table, err)
	}
	if len(info.types) == 0 {
		return tableInfo{}, fmt.Errorf("table %s.%s does not exist", s.Schema, s.Table)
	}
	d.mu.Lock()
	d.tables[s] = knownTable{info, now}
	d.mu.Unlock()
	return info, nil
}

// forget drops what is known of a table, after a query failed that was built on it.
func (d *database) forget(s contract.Source) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tables, s)
}

// read runs a selection in a read-only transaction.
func (d *database) read(ctx context.Context, s selection, st statement) (page, error) {
	var out page
	err := pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, st.sql, st.args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		out, err = collect(rows, s, st)
		return err
	})
	if err != nil {
		d.forget(s.dataset.Source)
		return page{}, fmt.Errorf("read %s.%s: %w", s.dataset.Source.Schema, s.dataset.Source.Table, withoutValues(err))
	}
	return out, nil
}

// withoutValues strips what PostgreSQL adds to an error about the row at fault: it may be personal, and errors are logged.
func withoutValues(err error) error {
	var pg interface{ SQLState() string }
	if errors.As(err, &pg) {
		return fmt.Errorf("SQLSTATE %s", pg.SQLState())
	}
	return err
}

// collect reads up to limit rows, and one more to know that there are more.
func collect(rows pgx.Rows, s selection, st statement) (page, error) {
	out := page{records: []json.RawMessage{}}
	values := make([]*string, len(st.fields)+1+st.keys)
	targets := make([]any, len(values))
	for i := range values {
		targets[i] = &values[i]
	}
	var last []string
	seen, subjects := 0, map[string]bool{}
	for rows.Next() {
		if len(out.records) == s.limit {
			out.next = &position{Key: last}
			if len(s.table.key) == 0 {
				out.next.Seen = seen
			}
			break
		}
		if err := rows.Scan(targets...); err != nil {
			return page{}, err
		}
		out.records = append(out.records, object(st.fields, values))
		if subject := values[len(st.fields)]; subject != nil && !subjects[*subject] {
			subjects[*subject] = true
			out.subjects = append(out.subjects, *subject)
		}
		key := texts(values[len(st.fields)+1:])
		seen = follow(s.after, last, key, seen)
		last = key
	}
	rows.Close()
	return out, rows.Err()
}

// follow counts the rows with the same key up to this one, over page borders.
func follow(after *position, last, key []string, seen int) int {
	same := func(a, b []string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") }
	switch {
	case last != nil && same(last, key):
		return seen + 1
	case last == nil && after != nil && same(after.Key, key):
		return after.Seen + 1
	}
	return 1
}

func texts(values []*string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		if v != nil {
			out[i] = *v
		}
	}
	return out
}

// object joins field names and their values, which are JSON already.
func object(fields []string, values []*string) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(name) // a string always marshals
		b.Write(key)
		b.WriteByte(':')
		if values[i] == nil {
			b.WriteString("null")
		} else {
			b.WriteString(*values[i])
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}
