package grid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// feedSequencer is the row of grid.feed_position with the last number that was given.
	feedSequencer = "sequencer"
	// numberEvery is how often changes are looked for that have no number.
	numberEvery = 100 * time.Millisecond
	// numberAtOnce bounds the changes that get their numbers in one transaction.
	numberAtOnce = 5000
	// watchEvery is how often it is looked for those who wait whether there is more.
	watchEvery = 200 * time.Millisecond
	// waitersAtOnce bounds who waits on one replica.
	waitersAtOnce = 512
)

// changed tells the feed of a change of a case that its history has no entry of. What is in the history is told by recordOnce.
func changed(ctx context.Context, tx pgx.Tx, c *Case, kind string, now time.Time) error {
	if _, err := tx.Exec(ctx, "INSERT INTO grid.changes (case_id, version, kind, community, at, cause) VALUES ($1, $2, $3, $4, $5, $6)", c.ID, c.Version, kind, c.Community, now, c.cause); err != nil {
		return fmt.Errorf("change of case %s: %w", c.Number, err)
	}
	return nil
}

// sequencer numbers changes after they were committed. A transaction that began early and ends late gets a late number: whoever read up to a
// number missed nothing below it. Every replica may run one: the row of the last number is locked while numbers are given.
type sequencer struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	// soon asks for numbers before the next tick.
	soon chan struct{}
}

func newSequencer(pool *pgxpool.Pool, log *slog.Logger) *sequencer {
	return &sequencer{pool: pool, log: log, soon: make(chan struct{}, 1)}
}

// nudge says that something was committed.
func (s *sequencer) nudge() {
	select {
	case s.soon <- struct{}{}:
	default: // it is asked for already
	}
}

// run numbers until ctx ends.
func (s *sequencer) run(ctx context.Context) error {
	tick := time.NewTicker(numberEvery)
	defer tick.Stop()
	for {
		n, err := s.number(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("feed of changes", "err", err)
		}
		if n == numberAtOnce {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-s.soon:
		}
	}
}

// number gives the changes that have none the next numbers, oldest first, and says how many; 0 while another replica does.
func (s *sequencer) number(ctx context.Context) (n int64, err error) {
	var waiting bool
	if err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM grid.changes WHERE n IS NULL)").Scan(&waiting); err != nil || !waiting {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var last int64
		err := tx.QueryRow(ctx, "SELECT n FROM grid.feed_position WHERE reader = $1 FOR UPDATE SKIP LOCKED", feedSequencer).Scan(&last)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		// A statement of its own: it sees what was committed before the row was ours.
		done, err := tx.Exec(ctx, `UPDATE grid.changes c SET n = $1 + w.i FROM (SELECT id, row_number() OVER (ORDER BY id) AS i
			FROM (SELECT id FROM grid.changes WHERE n IS NULL ORDER BY id LIMIT $2) u) w WHERE c.id = w.id`, last, numberAtOnce)
		if err != nil {
			return err
		}
		n = done.RowsAffected()
		_, err = tx.Exec(ctx, "UPDATE grid.feed_position SET n = $2 WHERE reader = $1", feedSequencer, last+n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("number changes: %w", err)
	}
	return n, nil
}

// feedWatch tells those who wait for changes when there are more. It asks the database once for all of them, and only while somebody waits.
type feedWatch struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	mu      sync.Mutex
	last    int64
	waiting int
	over    bool
	more    chan struct{} // closed when last grew, or all is over
}

func newFeedWatch(pool *pgxpool.Pool, log *slog.Logger) *feedWatch {
	return &feedWatch{pool: pool, log: log, more: make(chan struct{})}
}

// run looks until ctx ends; then nobody waits any longer.
func (f *feedWatch) run(ctx context.Context) error {
	defer f.tell(func() { f.over = true })
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := f.look(ctx); err != nil && ctx.Err() == nil {
			f.log.Warn("feed of changes", "err", err)
		}
	}
}

func (f *feedWatch) look(ctx context.Context) error {
	f.mu.Lock()
	idle, before := f.waiting == 0, f.last
	f.mu.Unlock()
	if idle {
		return nil
	}
	last, err := lastChange(ctx, f.pool)
	if err != nil || last == before {
		return err
	}
	f.tell(func() { f.last = last })
	return nil
}

// tell changes what is known and wakes who waits.
func (f *feedWatch) tell(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.more)
	f.more = make(chan struct{})
}

// enter lets somebody wait; false when too many do. leave ends it.
func (f *feedWatch) enter() (leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting >= waitersAtOnce {
		return nil, false
	}
	f.waiting++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.waiting--
	}, true
}

// beyond waits until there are changes above n, and gives false when the timer, the request or the service ended before.
func (f *feedWatch) beyond(ctx context.Context, n int64, timer <-chan time.Time) bool {
	for {
		f.mu.Lock()
		there, over, more := f.last > n, f.over, f.more
		f.mu.Unlock()
		if there || over {
			return there
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer:
			return false
		case <-more:
		}
	}
}

// queryRower is a pool or a transaction.
type queryRower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// lastChange gives the last number that was given.
func lastChange(ctx context.Context, q queryRower) (n int64, err error) {
	if err := q.QueryRow(ctx, "SELECT n FROM grid.feed_position WHERE reader = $1", feedSequencer).Scan(&n); err != nil {
		return 0, fmt.Errorf("position of the feed: %w", err)
	}
	return n, nil
}
