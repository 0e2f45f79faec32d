package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// reconcileEvery is how often the two sides are compared, over the cases that changed in the last reconcileBack.
	reconcileEvery, reconcileBack = time.Hour, 30 * 24 * time.Hour
	// settleTime is for how long a case is left out after it changed: it may be on its way.
	settleTime = 2 * time.Minute
	// differNamed bounds the ids that are named, and that are brought level, each time. reconcilePages bounds what is read of the other side.
	differNamed, reconcilePages = 100, 1000
	// largestList bounds the cases that are read of the other side's list, and longestID the characters of their ids, as in ExchangedCase.
	largestList, longestID = 200_000, 128
)

// ExchangedState is a case of the exchange in short.
type ExchangedState struct {
	ID      string `json:"id" db:"external_id"`
	Version int64  `json:"version" db:"version"`
	State   State  `json:"state" db:"state"`
}

// heldCase is a case of the exchange as the platform has it; known is the state that the other side is known to have.
type heldCase struct {
	CaseID uuid.UUID `db:"case_id"`
	State  State     `db:"state"`
	// Settled says that nothing was on its way lately; Told that the other side answered for it once; Recent that it changed in the time that is compared.
	Settled bool `db:"settled"`
	Told    bool `db:"told"`
	Recent  bool `db:"recent"`
}

// difference is what differs: by which of the three ways the case is brought level.
type difference struct{ State, MissingHere, MissingThere []string }

// ids are all of them; none is an empty list, which the column wants.
func (d difference) ids() []string {
	return append([]string{}, slices.Concat(d.State, d.MissingHere, d.MissingThere)...)
}

// compare says which cases differ. What is not open there and was never heard of here was over before it came. It is pure.
func compare(ours map[string]heldCase, theirs map[string]ExchangedState) (d difference) {
	for id, t := range theirs {
		o, known := ours[id]
		switch {
		case !known && t.State.Open():
			d.MissingHere = append(d.MissingHere, id)
		case known && o.Settled && o.State != t.State:
			d.State = append(d.State, id)
		}
	}
	for id, o := range ours {
		if _, there := theirs[id]; !there && o.Settled && o.Told && o.Recent {
			d.MissingThere = append(d.MissingThere, id)
		}
	}
	slices.Sort(d.State)
	slices.Sort(d.MissingHere)
	slices.Sort(d.MissingThere)
	return d
}

// reconcileInTime compares the two sides once an hour. That they could not be compared is told until they are.
func (w *exchanger) reconcileInTime(ctx context.Context, x exchange, o *otherSystem, p *exchangePace) error {
	var last *time.Time
	err := w.pool.QueryRow(ctx, "SELECT greatest(reconciled_at, compare_tried_at) FROM grid.exchange WHERE system = $1", x.name).Scan(&last)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && last != nil && w.now().Sub(*last) < reconcileEvery {
		return nil
	}
	if err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	if err := w.reconcile(ctx, x, o); err != nil {
		p.uncompared = err.Error()
		return err
	}
	p.uncompared = ""
	return nil
}

// reconcile compares the cases of both sides, writes down how many differ and which, and brings those level as far as that can be done.
func (w *exchanger) reconcile(ctx context.Context, x exchange, o *otherSystem) error {
	now := w.now().UTC()
	since := now.Add(-reconcileBack)
	// A list that cannot be read, or ends the process, is not asked for again at once.
	if _, err := w.pool.Exec(ctx, "UPDATE grid.exchange SET compare_tried_at = $2 WHERE system = $1", x.name, now); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	theirs, err := theirList(func(cursor string) (ExchangedList, error) { return o.list(ctx, since, cursor) })
	if err != nil {
		return errPause{fmt.Errorf("compare: %w", err)}
	}
	ours, err := w.ourList(ctx, x, since, now)
	if err != nil {
		return err
	}
	d := compare(ours, theirs)
	ids := d.ids()
	if _, err := w.pool.Exec(ctx, "UPDATE grid.exchange SET reconciled_at = $2, ours = $3, theirs = $4, unreconciled = $5, differ = $6 WHERE system = $1",
		x.name, now, len(ours), len(theirs), len(ids), ids[:min(len(ids), differNamed)]); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	w.metrics.unreconciled.WithLabelValues(x.name).Set(float64(len(ids)))
	return w.level(ctx, x, o, d, ours)
}

// theirList reads what the other side has, by id, page by page. It refuses a list that does not end or is too large to be kept.
func theirList(list func(cursor string) (ExchangedList, error)) (map[string]ExchangedState, error) {
	out, cursor, before := map[string]ExchangedState{}, "", map[string]bool{}
	for range reconcilePages {
		page, err := list(cursor)
		if err != nil {
			return nil, err
		}
		for _, c := range page.Cases {
			if c.ID == "" || len(c.ID) > longestID && utf8.RuneCountInString(c.ID) > longestID || !utf8.ValidString(c.ID) || strings.ContainsRune(c.ID, 0) {
				return nil, fmt.Errorf("the list of the system has an id that is none; it is to have 1 to %d characters", longestID)
			}
			if out[c.ID] = c; len(out) > largestList {
				return nil, fmt.Errorf("the list of the system has more than %d cases", largestList)
			}
		}
		if page.Next == "" {
			return out, nil
		}
		if before[page.Next] {
			return nil, errors.New("the list of the system repeats itself: the field next has a cursor that it had before")
		}
		before[page.Next], cursor = true, page.Next
	}
	return nil, errors.New("the list of the system does not end")
}

// ourList reads the cases of the exchange, by id.
func (w *exchanger) ourList(ctx context.Context, x exchange, since, now time.Time) (map[string]heldCase, error) {
	rows, err := w.pool.Query(ctx, `SELECT m.external_id, m.case_id, c.state, m.again_at IS NULL AND greatest(c.updated_at, m.at) < $3 AS settled, m.theirs > 0 AS told, m.at >= $2 AS recent
		FROM grid.mirrors m JOIN grid.cases c ON c.id = m.case_id WHERE m.system = $1`, x.name, since, now.Add(-settleTime))
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	out := map[string]heldCase{}
	for rows.Next() {
		var id string
		var h heldCase
		if err := rows.Scan(&id, &h.CaseID, &h.State, &h.Settled, &h.Told, &h.Recent); err != nil {
			return nil, fmt.Errorf("compare: %w", err)
		}
		out[id] = h
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	return out, nil
}

// level brings what differs level, so many cases at a time: what they have is read and taken, and what they lost is sent again.
func (w *exchanger) level(ctx context.Context, x exchange, o *otherSystem, d difference, ours map[string]heldCase) error {
	unread := w.readDiffering(ctx, x, o, slices.Concat(d.State, d.MissingHere))
	if !x.Outbound {
		return unread
	}
	// -1 makes another key of the request: under the old one the system may answer what it did before it lost the case.
	for _, id := range d.MissingThere[:min(len(d.MissingThere), differNamed)] {
		if _, err := w.pool.Exec(ctx, "UPDATE grid.mirrors SET theirs = 0, ours = -1, digest = '', state = '', again_at = $3 WHERE system = $1 AND case_id = $2", x.name, ours[id].CaseID, w.now().UTC()); err != nil {
			return fmt.Errorf("case that was lost there: %w", err)
		}
	}
	return errors.Join(unread, w.sendAgain(ctx, x, d.State))
}

// readDiffering takes cases as the system has them. One that it cannot show keeps no other waiting, and is told.
func (w *exchanger) readDiffering(ctx context.Context, x exchange, o *otherSystem, ids []string) error {
	if !x.Inbound {
		return nil
	}
	var unread error
	for _, id := range ids[:min(len(ids), differNamed)] {
		e, err := o.get(ctx, id)
		switch status := statusOf(err); {
		case status == http.StatusNotFound || status == http.StatusGone: // it went meanwhile
			continue
		case answeredAtAll(err) || status == http.StatusInternalServerError:
			unread = fmt.Errorf("compare: a case that differs cannot be read: %w", err)
			continue
		case err != nil:
			return errPause{err}
		}
		if _, err := w.takeOne(ctx, x, e); err != nil && !errors.As(err, new(documentRefused)) {
			return err
		}
	}
	return unread
}

// sendAgain marks cases that are known to be another there and wait for nothing: those that differ by the lists, and those that never went. What one
// side answered by a conflict is left for people: both would insist for ever. at is written so that those come first that waited longest.
func (w *exchanger) sendAgain(ctx context.Context, x exchange, differ []string) error {
	if _, err := w.pool.Exec(ctx, `UPDATE grid.mirrors SET again_at = $2, attempts = 0, at = $2 WHERE system = $1 AND case_id IN (
			SELECT m.case_id FROM grid.mirrors m JOIN grid.cases c ON c.id = m.case_id WHERE m.system = $1 AND m.again_at IS NULL AND m.state <> c.state AND m.at < $3
			AND (m.external_id = ANY($4) OR m.theirs = 0) AND (m.problem = '' OR m.problem LIKE $5 AND m.problem <> $6) ORDER BY m.at LIMIT $7)`,
		x.name, w.now().UTC(), w.now().Add(-settleTime).UTC(), append([]string{}, differ...), answeredWith+"%", errAnswer{http.StatusConflict}.Error(), differNamed); err != nil {
		return fmt.Errorf("cases that differ: %w", err)
	}
	return nil
}
