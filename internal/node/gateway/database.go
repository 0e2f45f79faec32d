package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/pgpool"
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

// row is a record with what is known of it.
type row struct {
	record json.RawMessage
	// subject is the pseudonym of the person that it is about, or in a foreign source the provider's key; nil where it is about nobody.
	subject *string
	at      position
}

// size is what a row takes, in bytes.
func (r row) size() int {
	n := len(r.record)
	if r.subject != nil {
		n += len(*r.subject)
	}
	for _, k := range r.at.Key {
		n += len(k)
	}
	return n
}

// openDatabase prepares a pool; connections are made when they are needed. Password and CA are read again for each.
func openDatabase(ctx context.Context, c contract.DatabaseConfig) (*database, error) {
	cfg, err := pgpool.Config(c, readOnlySession("dizuo-gateway"))
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.MaxConnIdleTime, cfg.MaxConnLifetime = 8, 5*time.Minute, time.Hour
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return &database{pool: pool, tables: map[contract.Source]knownTable{}}, nil
}

func (d *database) close() { d.pool.Close() }

// readOnlySession gives the settings of a session that reads.
func readOnlySession(name string) map[string]string {
	return map[string]string{
		"application_name": name, "default_transaction_read_only": "on", "search_path": "pg_catalog", "timezone": "UTC", "client_encoding": "UTF8",
		"statement_timeout":                   fmt.Sprint(statementTimeout.Milliseconds()),
		"lock_timeout":                        fmt.Sprint(statementTimeout.Milliseconds()),
		"idle_in_transaction_session_timeout": fmt.Sprint(2 * statementTimeout.Milliseconds()),
		// A statement that fails is not written to the server's log with its parameters: they hold keys and values.
		"log_parameter_max_length_on_error": "0",
	}
}

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

// platformTables are the views of what the platform itself may share, with what tells their rows apart.
var platformTables = map[string]struct {
	view string
	key  []string
}{
	"Cases":     {"cases", []string{"number"}},
	"Devices":   {"devices", []string{"fleet", "device"}},
	"Telemetry": {"telemetry", []string{"fleet", "device", "field", "hour"}},
}

// sourceOf gives where a dataset is read. The schemas of the platform's own services are no sources, whatever the dataset says: the
// gateway sees parts of them for its own ends.
func sourceOf(s contract.Source) (contract.Source, error) {
	if s.DSN != "" {
		return s, nil
	}
	if s.Type == "" || s.Type == "Table" {
		inner := s.Schema != contract.DatabaseSchemaDatasets && slices.Contains(contract.DatabaseSchemas(), s.Schema)
		if inner || s.Schema == "information_schema" || strings.HasPrefix(s.Schema, "pg_") {
			return s, fmt.Errorf("schema %q holds no datasets", s.Schema)
		}
		return s, nil
	}
	own, ok := platformTables[s.Type]
	if !ok {
		return s, fmt.Errorf("source type %q is not known", s.Type)
	}
	s.Schema, s.Table = contract.DatabaseSchemaPlatform, own.view
	return s, nil
}

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
	info, err := tableOf(rows)
	if err != nil {
		return tableInfo{}, fmt.Errorf("describe %s.%s: %w", s.Schema, s.Table, err)
	}
	if len(info.types) == 0 {
		return tableInfo{}, fmt.Errorf("table %s.%s does not exist", s.Schema, s.Table)
	}
	if s.Schema == contract.DatabaseSchemaPlatform && s.DSN == "" {
		info.key = platformTables[s.Type].key
	}
	d.mu.Lock()
	d.tables[s] = knownTable{info, now}
	d.mu.Unlock()
	return info, nil
}

// maxColumns is how many columns a table of PostgreSQL has at most, maxColumnName how long the name of one, or of a type with its schema,
// is taken. A server that is not what it says to be could go on.
const (
	maxColumns    = 1600
	maxColumnName = 512
)

// tableOf reads the answer of describe.
func tableOf(rows pgx.Rows) (tableInfo, error) {
	defer rows.Close()
	info := tableInfo{types: map[string]string{}}
	for n := 1; rows.Next(); n++ {
		var name, columnType string
		var place int
		if err := rows.Scan(&name, &columnType, &place); err != nil {
			return tableInfo{}, err
		}
		if n > maxColumns || len(name) > maxColumnName || len(columnType) > maxColumnName {
			return tableInfo{}, errors.New("the answer describes no table that PostgreSQL can have")
		}
		info.types[name] = columnType
		if place >= 0 {
			info.key = append(info.key, name)
		}
	}
	return info, rows.Err()
}

// forget drops what is known of a table, after a query failed that was built on it.
func (d *database) forget(s contract.Source) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tables, s)
}

// Statements of a transaction that cannot write. They go to the server together with the query, in one round trip.
const begin, commit = "BEGIN READ ONLY", "COMMIT"

// read runs a selection in a transaction of its own, and says whether there are more rows.
func (d *database) read(ctx context.Context, s selection, st statement) (out []row, more bool, err error) {
	var batch pgx.Batch
	batch.Queue(begin)
	batch.Queue(st.sql, st.args...).Query(func(rows pgx.Rows) (err error) {
		out, more, err = collect(rows, s, st)
		return err
	})
	batch.Queue(commit)
	if err := d.pool.SendBatch(ctx, &batch).Close(); err != nil {
		d.forget(s.dataset.Source)
		return nil, false, fmt.Errorf("read %s.%s: %w", s.dataset.Source.Schema, s.dataset.Source.Table, withoutValues(err))
	}
	return out, more, nil
}

// withoutValues strips what PostgreSQL adds to an error about the row at fault: it may be personal, and errors are logged.
func withoutValues(err error) error {
	var pg interface{ SQLState() string }
	if errors.As(err, &pg) {
		return fmt.Errorf("SQLSTATE %s", pg.SQLState())
	}
	return err
}

// maxPageBytes is where a page ends before its limit: a row may be as large as whoever filled the table liked.
const maxPageBytes = 8 << 20

// errNoKey says that rows cannot be told apart by the column that the dataset names for that.
var errNoKey = errors.New("the dataset's keyColumn is NULL in some rows: name another one, or give the table a primary key")

// collect reads up to limit rows.
func collect(rows pgx.Rows, s selection, st statement) (out []row, more bool, err error) {
	defer rows.Close()
	values := make([]*string, len(st.fields)+1+st.keys)
	targets := make([]any, len(values))
	for i := range values {
		targets[i] = &values[i]
	}
	last := position{}
	if s.after != nil {
		last = *s.after
	}
	for size := 0; rows.Next(); {
		if len(out) == s.limit || size > maxPageBytes {
			more = true
			break
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, false, err
		}
		r := row{subject: values[len(st.fields)], at: position{Key: make([]string, st.keys)}}
		for i, k := range values[len(st.fields)+1:] {
			if k == nil {
				return nil, false, errNoKey
			}
			r.at.Key[i] = *k
		}
		if len(s.table.key) == 0 {
			if r.at.Seen = 1; slices.Equal(r.at.Key, last.Key) {
				r.at.Seen += last.Seen
			}
		}
		last = r.at
		record, err := object(s, st, values)
		if err != nil {
			return nil, false, err
		}
		r.record = record
		size += r.size()
		out = append(out, r)
	}
	rows.Close()
	return out, more, rows.Err()
}

// pageOf makes a page of rows that were read.
func pageOf(rows []row, more bool) page {
	out := page{records: make([]json.RawMessage, 0, len(rows))}
	known := map[string]bool{}
	for _, r := range rows {
		out.records = append(out.records, r.record)
		if r.subject != nil && !known[*r.subject] {
			known[*r.subject] = true
			out.subjects = append(out.subjects, *r.subject)
		}
	}
	if more {
		out.next = &rows[len(rows)-1].at
	}
	return out
}

// object joins field names and their values, which are JSON already but for those that become pseudonyms here. It is one line: PostgreSQL
// keeps the blanks of type json. What a database of somebody else's calls JSON must be one value, or it could add fields and lines.
func object(s selection, st statement, values []*string) (json.RawMessage, error) {
	size := 2
	for i, name := range st.names {
		size += len(name) + 5
		if v := values[i]; v != nil { //nolint:gosec // a value for each name
			size += len(*v)
		}
	}
	out := append(make([]byte, 0, size), '{')
	for i, name := range st.names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, name...)
		switch v := values[i]; { //nolint:gosec // likewise
		case v == nil:
			out = append(out, "null"...)
		case st.hashed[i]:
			out = append(append(append(out, '"'), pseudonym(s.maskKey, *v)...), '"')
		case s.foreign || strings.ContainsAny(*v, "\n\r"):
			line := bytes.NewBuffer(out)
			if json.Compact(line, []byte(*v)) != nil {
				return nil, fmt.Errorf("the value of field %s is not one of JSON", strings.TrimSuffix(name, ":"))
			}
			out = line.Bytes()
		default:
			out = append(out, *v...)
		}
	}
	return append(out, '}'), nil
}
