package grid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// Locks are taken in this order everywhere: the case's row, its timers, its parties. Nobody writes a timer without holding its case.

const timerColumns = "kind, round, working, left_ms, running_since, due, calendar"

// clocksOf reads the timers of a case that is locked in tx. A case of before gets them here.
func clocksOf(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case) (clocks, error) {
	if c.Round == 0 && c.State.Open() {
		return adoptCase(ctx, tx, p, c)
	}
	rows, err := tx.Query(ctx, "SELECT "+timerColumns+" FROM grid.timers WHERE case_id = $1 AND party = '' AND kind = ANY($2)", c.ID, timerKinds)
	if err != nil {
		return nil, fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[timer])
	if err != nil {
		return nil, fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	k := clocks{}
	for _, t := range all {
		k[t.Kind] = t
	}
	return k, nil
}

// adoptCase writes the timers of a case of before.
func adoptCase(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case) (clocks, error) {
	var paused *time.Time
	if c.State == Suspended || c.State == Extended { // it was not said until when it is extended
		if err := tx.QueryRow(ctx, "SELECT max(at) FROM grid.case_history WHERE case_id = $1 AND action = $2", c.ID,
			map[State]Action{Suspended: Suspend, Extended: Extend}[c.State]).Scan(&paused); err != nil {
			return nil, fmt.Errorf("history of case %s: %w", c.Number, err)
		}
		if paused == nil {
			paused = &c.UpdatedAt
		}
	}
	k := adopt(p, c, paused)
	if err := writeClocks(ctx, tx, c, k); err != nil {
		return nil, err
	}
	if err := saveCase(ctx, tx, c); err != nil {
		return nil, err
	}
	return k, changed(ctx, tx, c, "TimesSet", c.UpdatedAt)
}

// writeClocks makes the timers of a case those of k, and no others.
func writeClocks(ctx context.Context, tx pgx.Tx, c *Case, k clocks) error {
	var kinds, calendars []string
	var rounds []int
	var working []bool
	var left []int64
	var since, due []*time.Time
	for _, kind := range timerKinds {
		t, ok := k[kind]
		if !ok {
			continue
		}
		kinds, calendars, rounds, working = append(kinds, kind), append(calendars, t.Calendar), append(rounds, t.Round), append(working, t.Working)
		left, since, due = append(left, t.LeftMS), append(since, t.RunningSince), append(due, t.Due)
	}
	if _, err := tx.Exec(ctx, `WITH gone AS (DELETE FROM grid.timers t WHERE t.case_id = $1 AND t.party = '' AND t.kind = ANY($9)
			AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::int[]) n (kind, round) WHERE n.kind = t.kind AND n.round = t.round))
		INSERT INTO grid.timers (case_id, kind, round, working, left_ms, running_since, due, calendar)
		SELECT $1, * FROM unnest($2::text[], $3::int[], $4::boolean[], $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::text[])
		ON CONFLICT (case_id, kind, party, round) DO UPDATE SET working = excluded.working, left_ms = excluded.left_ms, running_since = excluded.running_since, due = excluded.due, calendar = excluded.calendar`,
		c.ID, kinds, rounds, working, left, since, due, calendars, timerKinds); err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	return nil
}

// sweeper fires the timers that are due. Every replica sweeps: whoever deletes a timer acts on it, in the same transaction.
type sweeper struct {
	pool    *pgxpool.Pool
	in      *intake.Intake
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time

	// reckoned is the calendar by which all timers were reckoned when it was last looked, at reckonedAt.
	reckoned   string
	reckonedAt time.Time
	// entered is the row of the mode that all open cases are in, as last looked at enteredAt.
	entered   int64
	enteredAt time.Time
}

// pageOfCases bounds how many cases are asked for at once.
const pageOfCases = 200

// reckonEvery is how often it is looked for timers that another replica reckoned with another calendar.
const reckonEvery = time.Minute

// run sweeps until ctx ends. Before there is a bundle it is not known who stands above whom: timers wait.
func (s *sweeper) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if b := s.in.Current(); b != nil {
			if err := s.sweep(ctx, b); err != nil && ctx.Err() == nil {
				s.log.Warn("timers", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// sweep adopts cases of before, reckons anew by a calendar that changed, and fires what is due now. A case that fails, or that another holds,
// is left to the next sweep.
func (s *sweeper) sweep(ctx context.Context, b *intake.Bundle) error {
	now, p := s.now().UTC(), b.Directory.Platform
	problems := s.every(ctx, "SELECT id FROM grid.cases WHERE open AND round = 0 AND id > $1 ORDER BY id", func(id uuid.UUID) error {
		return s.locked(ctx, id, func(tx pgx.Tx, c *Case) error {
			_, err := clocksOf(ctx, tx, p, c)
			return err
		})
	})
	problems = errors.Join(problems, s.modes(ctx, p, now))
	if digest := calendarDigest(p); digest != s.reckoned || now.Sub(s.reckonedAt) >= reckonEvery {
		err := s.every(ctx, "SELECT DISTINCT case_id FROM grid.timers WHERE working AND due IS NOT NULL AND calendar <> $2 AND case_id > $1 ORDER BY case_id", func(id uuid.UUID) error {
			return s.locked(ctx, id, func(tx pgx.Tx, c *Case) error {
				k, err := clocksOf(ctx, tx, p, c)
				if err != nil {
					return err
				}
				if err := reckonCase(ctx, tx, p, c, k, now); err != nil {
					return err
				}
				return reckonOthers(ctx, tx, p, c)
			})
		}, digest)
		if problems = errors.Join(problems, err); err == nil {
			s.reckoned, s.reckonedAt = digest, now
		}
	}
	problems = errors.Join(problems, s.every(ctx, dueAlarms, func(id uuid.UUID) error { return s.openWaited(ctx, b, id, now) }, now))
	return errors.Join(problems, s.every(ctx, "SELECT DISTINCT case_id FROM grid.timers WHERE due <= $2 AND case_id > $1 ORDER BY case_id", func(id uuid.UUID) error {
		return s.fire(ctx, b, id, now)
	}, now))
}

// every does f to each case that a query names, pageOfCases at a time: it gives ids above $1, in order. args are its arguments from $2 on.
func (s *sweeper) every(ctx context.Context, query string, f func(uuid.UUID) error, args ...any) (problems error) {
	for args = append([]any{uuid.Nil}, args...); ; {
		rows, err := s.pool.Query(ctx, fmt.Sprintf("%s LIMIT %d", query, pageOfCases), args...)
		if err != nil {
			return errors.Join(problems, fmt.Errorf("timers: %w", err))
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return errors.Join(problems, fmt.Errorf("timers: %w", err))
		}
		for _, id := range ids {
			problems = errors.Join(problems, f(id))
		}
		if len(ids) < pageOfCases || ctx.Err() != nil {
			return problems
		}
		args[0] = ids[len(ids)-1]
	}
}

// locked does f with a case locked, in a transaction of its own; nothing if another holds the case, whoever that is.
func (s *sweeper) locked(ctx context.Context, id uuid.UUID, f func(pgx.Tx, *Case) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		c, err := oneCase(ctx, tx, "c.id = $1"+forChange+" SKIP LOCKED", id)
		if err != nil || c == nil {
			return err
		}
		return f(tx, c)
	})
}

// fire fires what is due of a case, and counts it once that is committed.
func (s *sweeper) fire(ctx context.Context, b *intake.Bundle, id uuid.UUID, now time.Time) (err error) {
	var missed []string
	if err := s.locked(ctx, id, func(tx pgx.Tx, c *Case) (err error) {
		if missed, err = fire(ctx, tx, b, c, now); err != nil {
			return err
		}
		return fireOthers(ctx, tx, b, c, now)
	}); err != nil {
		return err
	}
	for _, kind := range missed {
		s.metrics.overdue.WithLabelValues(deadlineNames[kind]).Inc()
	}
	return nil
}

// reckonCase gives the running timers of a case, k, the dues of the platform's calendar, and says so if that moves one.
func reckonCase(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case, k clocks, now time.Time) error {
	digest := calendarDigest(p)
	if !slices.ContainsFunc(slices.Collect(maps.Values(k)), func(t timer) bool { return t.Working && t.Due != nil && t.Calendar != digest }) {
		return nil
	}
	moved := detail{}
	for kind, t := range k {
		if k[kind] = t.reckon(p); t.Due != nil && !t.Due.Equal(*k[kind].Due) {
			moved[kind] = detail{"from": t.Due, "to": k[kind].Due}
		}
	}
	if err := writeClocks(ctx, tx, c, k); err != nil || len(moved) == 0 {
		return err
	}
	k.mirror(c)
	c.UpdatedAt = now
	if err := saveCase(ctx, tx, c); err != nil {
		return err
	}
	return record(ctx, tx, c, "CalendarChanged", c.State, system, now, moved)
}

// deadlineNames are the labels of the metric, by the kind of timer.
var deadlineNames = map[string]string{timerAcknowledge: "acknowledge", timerOnSite: "on_site", timerResolve: "resolve"}

// fire takes the timers of a case that are due and does what a missed time does: the case says it, and goes a level up, where the same time
// runs again; at the top none does. It gives the kinds that were missed. The case is locked in tx.
func fire(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, now time.Time) (missed []string, err error) {
	p := b.Directory.Platform
	k, err := clocksOf(ctx, tx, p, c)
	if err != nil {
		return nil, err
	}
	if err := reckonCase(ctx, tx, p, c, k, now); err != nil { // the case may have been held while the others were reckoned anew
		return nil, err
	}
	rows, err := tx.Query(ctx, "DELETE FROM grid.timers WHERE case_id = $1 AND party = '' AND kind = ANY($3) AND due <= $2 RETURNING "+timerColumns, c.ID, now, timerKinds)
	if err != nil {
		return nil, fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByName[timer])
	if err != nil || len(due) == 0 {
		return nil, err // none: another fired them
	}
	for _, t := range due {
		delete(k, t.Kind)
	}
	slices.SortFunc(due, func(x, y timer) int {
		return cmp.Or(x.Due.Compare(*y.Due), cmp.Compare(slices.Index(timerKinds, x.Kind), slices.Index(timerKinds, y.Kind)))
	})
	for _, t := range due {
		switch says := c.times(t.Kind); {
		case !c.State.Open() || says.done():
			continue // a replica of before, which knows no timers, moved the case
		case c.State == Suspended:
			k[t.Kind] = t.pause(p, now)
			continue
		}
		fired, err := miss(ctx, tx, b, c, k, t, now)
		if err != nil {
			return nil, err
		}
		if fired {
			missed = append(missed, t.Kind)
		}
	}
	if err := writeClocks(ctx, tx, c, k); err != nil {
		return nil, err
	}
	return missed, saveCase(ctx, tx, c)
}

// miss does what one missed time does, and sets the next in k. fired is false if the history has that already.
func miss(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, k clocks, t timer, now time.Time) (fired bool, err error) {
	says := c.times(t.Kind)
	c.UpdatedAt = now
	if !*says.overdue || t.Round > 1 { // a replica of before may have said it of the first round
		fired, err = recordOnce(ctx, tx, c, fmt.Sprintf("%s/%s/%d", t.Kind, "", t.Round), t.Kind+"Overdue", c.State, system, now, detail{"due": t.Due, "level": c.Level, "round": t.Round})
		if err != nil || !fired {
			return false, err
		}
	}
	*says.overdue = true
	if fired {
		if err := tellCalled(ctx, tx, b, c, EventOverdue, now); err != nil {
			return false, err
		}
	}
	up, err := escalate(ctx, tx, b, c, t.Kind, now)
	if err != nil {
		return fired, err
	}
	if up {
		k.begin(b.Directory.Platform, c, now, t.Kind)
	}
	return fired, nil
}
