package grid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

const (
	// exchangeEvery is how often it is looked whether there is something to do.
	exchangeEvery = time.Second
	// exchangeLock is held by the replica that exchanges. It saves calls; that nothing is done twice does not hang on it.
	exchangeLock int64 = 0x647a_0054
	// pagesAtOnce bounds the pages of changes that one turn reads of a system.
	pagesAtOnce = 20
	// systemsAtOnce bounds the systems that are called at once.
	systemsAtOnce = 4
	// longestSystemPause bounds for how long a system is left in peace that cannot be called.
	longestSystemPause = time.Minute
	// longestTurn bounds a turn of one system: the others wait for it. After phaseTime a turn goes on with what is next: reading the feed, sending,
	// asking. What is left is done in the next turn.
	longestTurn, phaseTime = time.Minute, 15 * time.Second
	// changesOnPage bounds the cases that are taken of one page of changes.
	changesOnPage = 500
)

// exchanger exchanges cases with the systems of the bundle. One replica does.
type exchanger struct {
	pool      *pgxpool.Pool
	in        *intake.Intake
	secretDir string
	plain     bool
	metrics   exchangeMetrics
	log       *slog.Logger
	now       func() time.Time
	// turnTime is longestTurn, or what a test wants.
	turnTime time.Duration

	mu    sync.Mutex
	paces map[string]*exchangePace
}

// exchangePace says when a system is called next.
type exchangePace struct {
	failures       int
	callAt, pollAt time.Time
	// looked is where to go on with looking at all open cases; nil: the feed is read.
	looked *looked
	// skipped are cases that could not be marked.
	skipped map[uuid.UUID]bool
	// uncompared is why the sides could not be compared at the last attempt; empty where they could.
	uncompared string
}

// exchangeMetrics counts what goes either way. Labels are names of integrations.
type exchangeMetrics struct {
	cases        *prometheus.CounterVec
	unreconciled *prometheus.GaugeVec
}

func newExchangeMetrics(reg *prometheus.Registry) exchangeMetrics {
	m := exchangeMetrics{
		cases: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_grid_exchange_total",
			Help: "Cases of the exchange with other systems, by direction and result. In: created, changed, repeated, over, refused. Out: sent, stale (read anew first), refused, failed."}, []string{"system", "direction", "result"}),
		unreconciled: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_grid_exchange_unreconciled",
			Help: "Cases on which this platform and a system did not agree when they were last compared. From the replica that compared."}, []string{"system"}),
	}
	reg.MustRegister(m.cases, m.unreconciled)
	return m
}

func (m exchangeMetrics) count(system, direction, result string) {
	m.cases.WithLabelValues(system, direction, result).Inc()
}

// run exchanges until ctx ends.
func (w *exchanger) run(ctx context.Context) error {
	tick := time.NewTicker(exchangeEvery)
	defer tick.Stop()
	for {
		if err := w.turn(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("exchange", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// turn does what is due with every system, at once. Without a bundle in force nothing goes either way.
func (w *exchanger) turn(ctx context.Context) error {
	b, err := w.in.Live(w.now())
	if err != nil || len(b.Directory.Platform.Integrations) == 0 {
		return nil
	}
	return w.alone(ctx, func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(systemsAtOnce)
		for _, name := range slices.Sorted(maps.Keys(b.Directory.Platform.Integrations)) {
			x, _ := exchangeOf(b, name)
			group.Go(func() error {
				if err := w.turnOf(ctx, x); err != nil && ctx.Err() == nil {
					w.log.Warn("exchange", "system", x.name, "err", err)
				}
				return nil // the others go on
			})
		}
		return group.Wait()
	})
}

// alone does f unless another replica does.
func (w *exchanger) alone(ctx context.Context, f func() error) error {
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", exchangeLock).Scan(&mine); err != nil || !mine {
		return err
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", exchangeLock); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx)) // the lock ends with it
		}
	}()
	return f()
}

// turnOf does what is due with one system: reads the feed, sends, asks what changed there, compares. What does not get done is told, and done later.
func (w *exchanger) turnOf(ctx context.Context, x exchange) error {
	p := w.pace(x.name)
	work, cancel := context.WithTimeout(ctx, w.within()) // what is said of it has the time of ctx
	defer cancel()
	err := w.markAll(work, x, p)
	if calls := x.Outbound || x.PollSeconds > 0; !calls || w.now().Before(p.callAt) { // without, it calls itself, and hears nothing
		if err != nil {
			err = errors.Join(err, w.say(ctx, x, err.Error()))
		}
		return err
	}
	called := w.callSystem(ctx, work, x, p)
	if called == nil {
		p.failures = 0
	} else if p.failures++; errors.As(called, new(errPause)) {
		p.callAt = w.now().Add(min(longestSystemPause, pause(p.failures, rand.Float64()))) //nolint:gosec // jitter of a pause, not a secret
	}
	if err = errors.Join(err, called); err == nil {
		return w.say(ctx, x, p.problem())
	}
	return errors.Join(err, w.say(ctx, x, err.Error()))
}

// markAll reads all of the feed that is there.
func (w *exchanger) markAll(ctx context.Context, x exchange, p *exchangePace) error {
	if !x.Outbound {
		return nil
	}
	for began := time.Now(); time.Since(began) < phaseTime; {
		if n, err := w.mark(ctx, x, p); err != nil || n < markedAtOnce {
			return err
		}
	}
	return nil
}

// callSystem sends and asks within work. A case that the system answers, but not as one of the exchange, keeps what comes from there waiting no longer.
// To compare has its own time, as long as that of work, of ctx: it comes once an hour, and would else be cut short each time.
func (w *exchanger) callSystem(ctx, work context.Context, x exchange, p *exchangePace) error {
	o, err := w.open(x)
	if err != nil {
		return errPause{err}
	}
	defer o.close()
	var unsent error
	if x.Outbound {
		if _, unsent = w.sendDue(work, x, o); unsent != nil && !answeredAtAll(unsent) {
			return unsent
		}
	}
	if now := w.now(); x.PollSeconds > 0 && !now.Before(p.pollAt) {
		if err := w.poll(work, x, o); err != nil {
			return errors.Join(unsent, err)
		}
		p.pollAt = now.Add(time.Duration(x.PollSeconds) * time.Second)
	}
	compare, cancel := context.WithTimeout(ctx, w.within())
	defer cancel()
	return errors.Join(unsent, w.reconcileInTime(compare, x, o, p))
}

// within is how long a turn of one system may take.
func (w *exchanger) within() time.Duration {
	if w.turnTime > 0 {
		return w.turnTime
	}
	return longestTurn
}

func (w *exchanger) pace(system string) *exchangePace {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paces == nil {
		w.paces = map[string]*exchangePace{}
	}
	if w.paces[system] == nil {
		w.paces[system] = &exchangePace{}
	}
	return w.paces[system]
}

// say writes down how the last turn ended, where that is news.
func (w *exchanger) say(ctx context.Context, x exchange, problem string) error {
	problem = strings.ToValidUTF8(problem[:min(len(problem), 1024)], "")
	if _, err := w.pool.Exec(ctx, `INSERT INTO grid.exchange (system, last_error) VALUES ($1, $2)
		ON CONFLICT (system) DO UPDATE SET last_error = excluded.last_error WHERE grid.exchange.last_error <> excluded.last_error`, x.name, problem); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	return nil
}

// takeOne takes a document in a transaction of its own. An error of huma says what is wrong with it.
func (w *exchanger) takeOne(ctx context.Context, x exchange, e ExchangedCase) (out taken, err error) {
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		out, err = x.take(ctx, tx, e, w.now().UTC())
		return err
	})
	if err != nil {
		var status documentRefused
		if errors.As(err, &status) {
			w.metrics.count(x.name, "in", takenRefused)
		}
		return taken{}, err
	}
	w.metrics.count(x.name, "in", out.what)
	return out, nil
}

// poll asks the system what changed since the cursor and takes it. The cursor moves when all of a page is taken; a page that comes again says nothing new.
func (w *exchanger) poll(ctx context.Context, x exchange, o *otherSystem) error {
	var cursor string
	err := w.pool.QueryRow(ctx, "SELECT inbound_cursor FROM grid.exchange WHERE system = $1", x.name).Scan(&cursor)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("cursor: %w", err)
	}
	began := time.Now()
	for range pagesAtOnce {
		if time.Since(began) > phaseTime { // the cursor stays
			return nil
		}
		page, err := o.changes(ctx, cursor)
		if statusOf(err) == http.StatusGone && cursor != "" {
			cursor = "" // it keeps no changes from there on: all that it has is read again
			continue
		}
		if err != nil {
			return errPause{err}
		}
		if len(page.Changes) > changesOnPage {
			return errPause{fmt.Errorf("a page of changes of the system has %d cases; it is to have at most %d", len(page.Changes), changesOnPage)}
		}
		for _, e := range page.Changes {
			if _, err := w.takeOne(ctx, x, e); err != nil && !errors.As(err, new(documentRefused)) {
				return err
			}
		}
		if page.Next == "" || page.Next == cursor {
			return nil
		}
		cursor = page.Next
		if _, err := w.pool.Exec(ctx, `INSERT INTO grid.exchange (system, inbound_cursor) VALUES ($1, $2)
			ON CONFLICT (system) DO UPDATE SET inbound_cursor = excluded.inbound_cursor`, x.name, cursor); err != nil {
			return fmt.Errorf("cursor: %w", err)
		}
		if len(page.Changes) == 0 {
			return nil
		}
	}
	return nil
}

// documentRefused is what is wrong with a document, as huma says it.
type documentRefused interface{ GetStatus() int }

// fillExchange adds how the exchange stands to a report.
func (s *service) fillExchange(ctx context.Context, b *intake.Bundle, r *contract.Report) error {
	rows, err := s.pool.Query(ctx, "SELECT system, received, sent, conflicts, unreconciled, last_error FROM grid.exchange")
	if err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	out := map[string]contract.IntegrationReport{}
	for rows.Next() {
		var name string
		var i contract.IntegrationReport
		if err := rows.Scan(&name, &i.Received, &i.Sent, &i.Conflicts, &i.Unreconciled, &i.LastError); err != nil {
			return fmt.Errorf("exchange: %w", err)
		}
		if _, ok := b.Directory.Platform.Integrations[name]; ok {
			out[name] = i
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	r.Integrations = out
	return nil
}
