package grid

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// markedAtOnce bounds the changes that are looked at in one transaction, and sentAtOnce the cases that are sent in one turn.
	markedAtOnce, sentAtOnce = 200, 50
	// longestExchangePause bounds the pause between two attempts at one case.
	longestExchangePause = 5 * time.Minute
	// conflictsInARow is how often a case is read anew and sent again before it is left for later.
	conflictsInARow = 3
)

// looked is how far the open cases were looked at: up to the case with this id, and from which change on the feed is to be read when all were. It is
// kept in memory: after a restart it is begun anew, which marks nothing that is not due.
type looked struct {
	id   uuid.UUID
	upTo int64
}

// mark reads the feed from where it was read up to, and writes down which cases are to be told; n is the number of changes, or of open cases, that it
// looked at. What the system caused is not told to it. Marks and position are one transaction: none is lost, whatever becomes of the sending.
func (w *exchanger) mark(ctx context.Context, x exchange, p *exchangePace) (n int, err error) {
	now := w.now().UTC()
	var next *looked
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if err := x.hold(ctx, tx); err != nil {
			return err
		}
		var at *int64
		if err := tx.QueryRow(ctx, "SELECT outbound_n FROM grid.exchange WHERE system = $1", x.name).Scan(&at); err != nil {
			return fmt.Errorf("position: %w", err)
		}
		last, err := lastChange(ctx, tx)
		if err != nil {
			return err
		}
		if at == nil || checkCursor(ctx, tx, *at, last) != nil { // the first time, or changes were missed: whatever is open is looked at
			if next = p.looked; next == nil {
				next = &looked{upTo: last}
			}
			n, next, err = w.markOpen(ctx, tx, x, p, *next, now)
			return err
		}
		rows, err := tx.Query(ctx, "SELECT n, case_id, cause FROM grid.changes WHERE n > $1 ORDER BY n LIMIT $2", *at, markedAtOnce)
		if err != nil {
			return fmt.Errorf("changes: %w", err)
		}
		type change struct {
			N      int64
			CaseID uuid.UUID
			Cause  string
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[change])
		if err != nil {
			return fmt.Errorf("changes: %w", err)
		}
		if n = len(found); n == 0 {
			return nil
		}
		marked := map[uuid.UUID]bool{}
		for _, f := range found {
			if f.Cause == x.name || marked[f.CaseID] {
				continue
			}
			marked[f.CaseID] = true
			if err := w.markOrSkip(ctx, tx, x, p, f.CaseID, now); err != nil {
				return err
			}
		}
		return x.readUpTo(ctx, tx, found[n-1].N)
	})
	if err != nil {
		return 0, fmt.Errorf("feed of changes: %w", err)
	}
	p.looked = next
	return n, nil
}

func (x exchange) readUpTo(ctx context.Context, tx pgx.Tx, n int64) error {
	if _, err := tx.Exec(ctx, "UPDATE grid.exchange SET outbound_n = $2 WHERE system = $1", x.name, n); err != nil {
		return fmt.Errorf("position: %w", err)
	}
	return nil
}

// markOpen marks the next of the open cases that the organisation sees, and of those of which the system has another state. next is where to go on, and
// nil when all were looked at: from then on the feed is read.
func (w *exchanger) markOpen(ctx context.Context, tx pgx.Tx, x exchange, p *exchangePace, from looked, now time.Time) (n int, next *looked, err error) {
	where, args := x.scope.cases(4)
	rows, err := tx.Query(ctx, `SELECT c.id FROM grid.cases c LEFT JOIN grid.mirrors m ON m.case_id = c.id AND m.system = $1
		WHERE c.id > $2 AND (c.open OR m.state <> c.state) AND `+where+" ORDER BY c.id LIMIT $3", append([]any{x.name, from.id, markedAtOnce}, args...)...)
	if err != nil {
		return 0, nil, fmt.Errorf("open cases: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return 0, nil, fmt.Errorf("open cases: %w", err)
	}
	for _, id := range ids {
		if err := w.markOrSkip(ctx, tx, x, p, id, now); err != nil {
			return 0, nil, err
		}
	}
	if n = len(ids); n < markedAtOnce {
		return n, nil, x.readUpTo(ctx, tx, from.upTo)
	}
	return n, &looked{ids[n-1], from.upTo}, nil
}

// markOrSkip is markCase, where a case that cannot be marked keeps no other waiting: it is counted as a conflict, and told until it can.
func (w *exchanger) markOrSkip(ctx context.Context, tx pgx.Tx, x exchange, p *exchangePace, id uuid.UUID, now time.Time) error {
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return w.markCase(ctx, tx, x, id, now) })
	var broken *pgconn.PgError
	if !errors.As(err, &broken) || !strings.HasPrefix(broken.Code, "22") && !strings.HasPrefix(broken.Code, "23") { // neither its data nor a constraint: of the database
		if err == nil {
			delete(p.skipped, id)
		}
		return err
	}
	if p.skipped == nil {
		p.skipped = map[uuid.UUID]bool{}
	}
	p.skipped[id] = true
	w.log.Warn("exchange: a case cannot be sent", "system", x.name, "case", id, "err", err)
	w.metrics.count(x.name, "out", "refused")
	return x.count(ctx, tx, "conflicts")
}

// problem says that cases are not sent, or that the sides could not be compared; without their ids, which are in the log. It is empty where there are none.
func (p *exchangePace) problem() string {
	if len(p.skipped) == 0 {
		return p.uncompared
	}
	return fmt.Sprintf("%d cases cannot be sent, as the system uses their ids for other cases; the log of the grid service names them", len(p.skipped))
}

// markCase marks a case as due, if there is something that the system does not have.
func (w *exchanger) markCase(ctx context.Context, tx pgx.Tx, x exchange, id uuid.UUID, now time.Time) error {
	_, m, news, err := x.news(ctx, tx, id)
	if err != nil || !news {
		return err
	}
	m.AgainAt, m.Attempts = &now, 0
	return x.save(ctx, tx, m, now)
}

// news reads a case with its mirror, which is new where there is none, and says whether it has anything that the system does not have and may. What
// the organisation does not see is not told, nor is a case that was over before it was ever told.
func (x exchange) news(ctx context.Context, tx pgx.Tx, id uuid.UUID) (*Case, *mirror, bool, error) {
	where, args := x.scope.cases(2)
	c, err := oneCase(ctx, tx, "c.id = $1 AND "+where, append([]any{id}, args...)...)
	if err != nil || c == nil || len(x.CaseClasses) > 0 && !slices.Contains(x.CaseClasses, c.Class) {
		return nil, nil, false, err
	}
	m, err := x.mirrorBy(ctx, tx, "m.case_id = $2", id)
	if err != nil {
		return nil, nil, false, err
	}
	if m == nil {
		if !c.State.Open() {
			return nil, nil, false, nil
		}
		if m, err = x.newMirror(ctx, tx, c); err != nil {
			return nil, nil, false, err
		}
	}
	return c, m, m.State != c.State || m.Sent != render(x.bundle.Directory, c, "", 0).rest(), nil
}

// newMirror is that of a case of which the system was never told. Where another case has its id there, the one that it has here is taken.
func (x exchange) newMirror(ctx context.Context, tx pgx.Tx, c *Case) (*mirror, error) {
	m := &mirror{ExternalID: originOf(x.us(), c).ref(x.name), CaseID: c.ID}
	other, err := x.mirrorBy(ctx, tx, "m.external_id = $2", m.ExternalID)
	if err != nil {
		return nil, err
	}
	if other != nil {
		m.ExternalID = CaseOrigin{x.us(), c.ID.String()}.ref(x.name)
	}
	return m, nil
}

// errPause says that the system cannot be called now.
type errPause struct{ error }

// Unwrap gives the cause.
func (e errPause) Unwrap() error { return e.error }

// sendDue sends the cases that are due, those that failed least and wait longest first; it stops at the first that shows that the system cannot be called. n is the
// number of cases that it looked at.
func (w *exchanger) sendDue(ctx context.Context, x exchange, o *otherSystem) (n int, err error) {
	rows, err := w.pool.Query(ctx, "SELECT case_id FROM grid.mirrors WHERE system = $1 AND again_at <= $2 ORDER BY attempts, again_at, case_id LIMIT $3", x.name, w.now().UTC(), sentAtOnce)
	if err != nil {
		return 0, fmt.Errorf("cases to send: %w", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return 0, fmt.Errorf("cases to send: %w", err)
	}
	began := time.Now()
	for _, id := range due {
		if time.Since(began) > phaseTime { // the marks stay
			return n, nil
		}
		if err := w.sendCase(ctx, x, o, id); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// sendCase sends one case, and reads it anew where the system has a newer version than was known.
func (w *exchanger) sendCase(ctx context.Context, x exchange, o *otherSystem, id uuid.UUID) error {
	for range conflictsInARow {
		e, m, err := w.prepare(ctx, x, id)
		if err != nil || e == nil {
			return err
		}
		answer, err := o.put(ctx, *e, fmt.Sprintf("%s:%d:%d:%d", id, e.Version, m.Theirs, m.Ours), m.Theirs)
		if status := statusOf(err); status == http.StatusPreconditionFailed || status == http.StatusPreconditionRequired {
			w.metrics.count(x.name, "out", "stale")
			if err := w.readAnew(ctx, x, o, id, e.ID); err != nil {
				return w.failed(ctx, x, id, err)
			}
			continue
		}
		if err != nil {
			return w.failed(ctx, x, id, err)
		}
		return w.told(ctx, x, id, *e, answer)
	}
	return w.failed(ctx, x, id, errAnswer{http.StatusPreconditionFailed})
}

// prepare gives the case as it is to be sent, with its mirror; nil where there is nothing to send any more.
func (w *exchanger) prepare(ctx context.Context, x exchange, id uuid.UUID) (e *ExchangedCase, known *mirror, err error) {
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if err := x.hold(ctx, tx); err != nil {
			return err
		}
		c, m, news, err := x.news(ctx, tx, id)
		if err != nil {
			return err
		}
		if !news {
			_, err := tx.Exec(ctx, "UPDATE grid.mirrors SET again_at = NULL, attempts = 0 WHERE system = $1 AND case_id = $2", x.name, id)
			return err
		}
		doc := render(x.bundle.Directory, c, m.ExternalID, m.Theirs)
		e, known = &doc, m
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("case to send: %w", err)
	}
	return e, known, nil
}

// readAnew reads a case as the system has it and takes it, as if it had come by itself.
func (w *exchanger) readAnew(ctx context.Context, x exchange, o *otherSystem, id uuid.UUID, external string) error {
	theirs, err := o.get(ctx, external)
	if status := statusOf(err); status == http.StatusNotFound || status == http.StatusGone { // it knows another version of the case, and does not have it: it lost it. Nothing is tried until the sides are compared
		return errAnswer{http.StatusConflict}
	}
	if err != nil {
		return err
	}
	if x.Inbound {
		_, err = w.takeOne(ctx, x, theirs)
		return err
	}
	_, err = w.pool.Exec(ctx, "UPDATE grid.mirrors SET theirs = $3 WHERE system = $1 AND case_id = $2 AND theirs < $3", x.name, id, theirs.Version)
	return err
}

// told writes down that the system took a document. Where its answer says more than that, the answer is taken, too.
func (w *exchanger) told(ctx context.Context, x exchange, id uuid.UUID, e, answer ExchangedCase) error {
	now := w.now().UTC()
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if err := x.hold(ctx, tx); err != nil {
			return err
		}
		m, err := x.mirrorBy(ctx, tx, "m.case_id = $2", id)
		if err != nil || m == nil { // the case is kept no more
			return err
		}
		if m.Ours, m.Sent, m.Problem, m.AgainAt, m.Attempts = int(e.Version), e.rest(), "", nil, 0; answer.Version >= m.Theirs { // else it said something newer meanwhile
			m.Theirs, m.State, m.Digest = answer.Version, e.State, e.digest()
		}
		more := x.Inbound && m.Theirs == answer.Version && answer.State != e.State && chineseStates[answer.State] != ""
		if more {
			m.Theirs--
		}
		if err := x.save(ctx, tx, m, now); err != nil {
			return err
		}
		if err := x.count(ctx, tx, "sent"); err != nil {
			return err
		}
		if more { // the system took the case and moved it on at once, or knew this version and has another state all the same
			if _, err := x.takeOrNot(ctx, tx, answer, now); err != nil {
				return err
			}
		}
		var version int64
		if err := tx.QueryRow(ctx, "SELECT version FROM grid.cases WHERE id = $1", id).Scan(&version); err != nil {
			return err
		}
		if version != e.Version { // it moved on while it was sent
			return w.markCase(ctx, tx, x, id, now)
		}
		_, err = tx.Exec(ctx, "UPDATE grid.mirrors SET again_at = NULL WHERE system = $1 AND case_id = $2", x.name, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("case that was sent: %w", err)
	}
	w.metrics.count(x.name, "out", "sent")
	return nil
}

// failed writes down why a case was not sent, and when it is next tried. An answer about the case itself ends the attempts until the case changes
// again; anything else is of the system, which is left in peace for a while.
func (w *exchanger) failed(ctx context.Context, x exchange, id uuid.UUID, cause error) error {
	var refusedHere huma.StatusError
	now, about := w.now().UTC(), ofTheCase(cause) || errors.As(cause, &refusedHere)
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if err := x.hold(ctx, tx); err != nil {
			return err
		}
		m, err := x.mirrorBy(ctx, tx, "m.case_id = $2", id)
		if err != nil || m == nil {
			return err
		}
		m.Problem, m.Attempts = cause.Error(), m.Attempts+1
		again := now.Add(min(longestExchangePause, pause(m.Attempts, rand.Float64()))) //nolint:gosec // jitter of a pause, not a secret
		m.AgainAt = &again
		if about && statusOf(cause) != http.StatusPreconditionFailed {
			m.AgainAt = nil
		}
		if about {
			if err := x.count(ctx, tx, "conflicts"); err != nil {
				return err
			}
		}
		return x.save(ctx, tx, m, now)
	})
	if err != nil {
		return fmt.Errorf("case that was not sent: %w", err)
	}
	if about {
		w.metrics.count(x.name, "out", "refused")
		return nil
	}
	w.metrics.count(x.name, "out", "failed")
	return errPause{cause}
}
