package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/pgpool"
)

// This file reads datasets from databases of providers. Such a database is somebody else's: it may be slow, wrong, or hostile. So it
// has a pool of its own and no more waiting requests than that pool serves in time; it gets no key of ours, and of the platform's tables
// nothing; and its connection string can name a host and a user, and no file of the gateway.

// Limits of a foreign source.
const (
	foreignConnections = 4
	// foreignWaiting is how many requests may read it or wait for it at once: the next one is refused and not queued.
	foreignWaiting = 16
	// foreignTimeout ends a read from outside: a server that hangs does not keep its own statement_timeout.
	foreignTimeout = statementTimeout + 3*time.Second
	// foreignMessage is the longest message that is taken: a row is one.
	foreignMessage = 4 << 20
	// refills is how many times a page is filled up where rows were left out for want of consent.
	refills = 20
)

var errBusy = errors.New("the provider's database has as many readers as it may")

// subjectMap finds the subjects of a provider's keys of persons: the vault.
type subjectMap interface {
	// consenting gives the subject of each key that the vault knows and whose subject has given a consent to every scope, for the
	// purpose, that is neither withdrawn nor over. Without scopes it gives every one that it knows.
	consenting(ctx context.Context, dataset string, keys, scopes []string, purpose string) (map[string]string, error)
}

// source is a database of a provider.
type source struct {
	*database
	dsn   string
	slots *semaphore.Weighted
}

// sources are the databases of providers, by the name of the file with the connection string.
type sources struct {
	dir string

	mu   sync.Mutex
	open map[string]*source
}

func newSources(dir string) *sources { return &sources{dir: dir, open: map[string]*source{}} }

// get gives the database of a file, and opens it anew where the file has changed.
func (f *sources) get(ctx context.Context, name string) (*source, error) {
	if f.dir == "" || name != filepath.Base(name) {
		return nil, fmt.Errorf("source %q: the gateway has no connection string of it", name)
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.open[name]
	if known != nil && known.dsn == string(raw) {
		return known, nil
	}
	cfg, err := foreignConfig(string(raw))
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", name, err)
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", name, err)
	}
	if known != nil {
		go known.close() // it waits for its readers
	}
	f.open[name] = &source{database: &database{pool: pool, tables: map[contract.Source]knownTable{}}, dsn: string(raw), slots: semaphore.NewWeighted(foreignWaiting)}
	return f.open[name], nil
}

func (f *sources) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.open {
		s.close()
	}
}

// foreignConfig reads a connection string as pgpool.Parse takes it.
func foreignConfig(text string) (*pgxpool.Config, error) {
	cfg, err := pgpool.Parse(text)
	if err != nil {
		return nil, err
	}
	cc := cfg.ConnConfig
	cc.RuntimeParams = readOnlySession("dizuo-gateway-foreign")
	cc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		front := pgproto3.NewFrontend(r, w)
		front.SetMaxBodyLen(foreignMessage)
		return front
	}
	cc.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	cfg.MaxConns, cfg.MaxConnIdleTime, cfg.MaxConnLifetime = foreignConnections, time.Minute, 30*time.Minute
	return cfg, nil
}

// enter takes a place among those who read a source, and bounds the time; leave gives both back.
func (f *source) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	if !f.slots.TryAcquire(1) {
		return nil, nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, foreignTimeout)
	return ctx, func() { cancel(); f.slots.Release(1) }, nil
}

// readForeign reads a page from the database of a provider.
func (s *server) readForeign(ctx context.Context, r *reading, sel selection) (page, error) {
	from, err := s.sources.get(ctx, sel.dataset.Source.DSN)
	if err != nil {
		return page{}, err
	}
	ctx, leave, err := from.enter(ctx)
	if err != nil {
		return page{}, err
	}
	defer leave()
	if sel.rows.Roster {
		if sel.roster, err = s.db.posts(ctx, sel.reader); err != nil {
			return page{}, err
		}
	}
	if sel.table, err = from.table(ctx, sel.dataset.Source, r.at); err != nil {
		return page{}, err
	}
	return s.fill(ctx, from, r.in.Dataset, sel)
}

// fill reads until the page is full. Rows without consent are left out and more are read in their place; after some rounds a short page
// is given with a cursor.
func (s *server) fill(ctx context.Context, from *source, dataset string, sel selection) (page, error) {
	var kept []row
	var last position
	limit, more, size := sel.limit, true, 0
	for round := 0; more && len(kept) < limit && size < maxPageBytes && round < refills; round++ {
		sel.limit = limit - len(kept)
		st, err := build(sel)
		if err != nil {
			return page{}, err
		}
		var rows []row
		if rows, more, err = from.read(ctx, sel, st); err != nil {
			return page{}, err
		}
		if len(rows) == 0 {
			break
		}
		last = rows[len(rows)-1].at
		sel.after = &last
		if rows, err = s.mapped(ctx, dataset, sel, rows); err != nil {
			return page{}, err
		}
		for _, r := range rows {
			size += r.size()
		}
		kept = append(kept, rows...)
	}
	out := pageOf(kept, false)
	if more {
		out.next = &last
	}
	return out, nil
}

// mapped turns the provider's keys of rows into pseudonyms for the decision log, and leaves out rows whose subject has not consented where
// consent is asked for. A key that the vault does not know is nobody's who could have consented.
func (s *server) mapped(ctx context.Context, dataset string, sel selection, rows []row) ([]row, error) {
	var keys []string
	for _, r := range rows {
		if r.subject != nil {
			keys = append(keys, *r.subject)
		}
	}
	scopes := sel.consents()
	known := map[string]string{}
	switch {
	case len(keys) > 0 && s.subjects != nil:
		var err error
		if known, err = s.subjects.consenting(ctx, dataset, keys, scopes, sel.purpose); err != nil {
			return nil, fmt.Errorf("subjects of dataset %s: %w", dataset, err)
		}
	case len(scopes) > 0 && s.subjects == nil:
		return nil, fmt.Errorf("dataset %s: consent of subjects in a foreign source cannot be looked up: the gateway has no vault", dataset)
	}
	out := rows[:0]
	for _, r := range rows {
		if r.subject == nil && len(scopes) > 0 {
			continue
		}
		if r.subject != nil {
			subject, ok := known[*r.subject]
			if !ok && len(scopes) > 0 {
				continue
			}
			if !ok { // so that the log tells persons apart whom the vault does not know
				subject = "foreign\x00" + dataset + "\x00" + *r.subject
			}
			name := pseudonym(s.keys.subject, subject)
			r.subject = &name
		}
		out = append(out, r)
	}
	return out, nil
}

// posts gives where the roster has put a reader, for a source that cannot see the roster.
func (d *database) posts(ctx context.Context, who rosterEntry) ([]post, error) {
	rows, err := d.pool.Query(ctx, "SELECT community, grid FROM "+contract.DatabaseSchemaPlatform+".roster WHERE organization = $1 AND person = $2 AND role = ANY($3) LIMIT 10000",
		who.organization, who.person, notNil(who.roles))
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (p post, err error) {
		err = r.Scan(&p.community, &p.grid)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return out, nil
}
