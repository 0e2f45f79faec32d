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
func (f *source) enter(ctx context.Context, within time.Duration) (_ context.Context, leave func(), err error) {
	if !f.slots.TryAcquire(1) {
		return nil, nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	return ctx, func() { cancel(); f.slots.Release(1) }, nil
}

// foreignTable takes a place at the source of a selection, and looks at its table; leave gives the place back.
func (s *server) foreignTable(ctx context.Context, sel *selection, within time.Duration, at time.Time) (_ context.Context, from *source, leave func(), err error) {
	if from, err = s.sources.get(ctx, sel.dataset.Source.DSN); err != nil {
		return nil, nil, nil, err
	}
	if ctx, leave, err = from.enter(ctx, within); err != nil {
		return nil, nil, nil, err
	}
	if sel.table, err = from.table(ctx, sel.dataset.Source, at); err != nil {
		leave()
		return nil, nil, nil, err
	}
	return ctx, from, leave, nil
}

// readForeign reads a page from the database of a provider.
func (s *server) readForeign(ctx context.Context, r *reading, sel selection) (page, error) {
	var err error
	if sel.rows.Roster {
		if sel.roster, err = s.db.posts(ctx, sel.reader); err != nil {
			return page{}, err
		}
	}
	ctx, from, leave, err := s.foreignTable(ctx, &sel, foreignTimeout, r.at)
	if err != nil {
		return page{}, err
	}
	defer leave()
	return s.fill(ctx, from, r.in.Dataset, sel)
}

// fill reads until there is one row more than the page holds, as the platform's own database is read: whether there is a next page then
// says nothing of rows that are left out for want of consent. After some rounds a short page is given with a cursor.
func (s *server) fill(ctx context.Context, from *source, dataset string, sel selection) (page, error) {
	var kept []row
	limit, more, size := sel.limit, true, 0
	for round := 0; more && len(kept) <= limit && size < maxPageBytes && round < refills; round++ {
		if sel.limit = limit + 1 - len(kept); round > 0 {
			sel.limit = maxPage // few consent: the rows that are looked through do not hang on how many are asked for
		}
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
		last := rows[len(rows)-1].at
		sel.after = &last
		if rows, err = s.mapped(ctx, dataset, sel, rows); err != nil {
			return page{}, err
		}
		for _, r := range rows {
			size += r.size()
		}
		kept = append(kept, rows...)
	}
	if len(kept) > limit {
		return pageOf(kept[:limit], true), nil
	}
	out := pageOf(kept, false)
	if more {
		out.next = sel.after
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
