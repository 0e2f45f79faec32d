package grid

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// modeRow is a switch of the mode (平战) as it was written down.
type modeRow struct {
	N     int64     `db:"n"`
	Mode  string    `db:"mode"`
	Since time.Time `db:"since"`
	// ExpiresAt is when it ends by itself; nil is never.
	ExpiresAt *time.Time `db:"expires_at"`
	// EndedAt is when it ended; nil is not yet, or not written down yet.
	EndedAt      *time.Time `db:"ended_at"`
	Reason       string     `db:"reason"`
	Organization string     `db:"organization"`
	Person       string     `db:"person"`
	Role         string     `db:"role"`
}

const modeColumns = "n, mode, since, expires_at, ended_at, reason, organization, person, role"

// asker is a connection, a pool or a transaction.
type asker interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// modeRows reads switches of the mode, the last first.
func modeRows(ctx context.Context, db asker, where string, limit int, args ...any) ([]modeRow, error) {
	rows, err := db.Query(ctx, fmt.Sprintf("SELECT %s FROM grid.modes WHERE %s ORDER BY n DESC LIMIT %d", modeColumns, where, limit), args...)
	if err != nil {
		return nil, fmt.Errorf("mode: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[modeRow])
	if err != nil {
		return nil, fmt.Errorf("mode: %w", err)
	}
	return list, nil
}

// currentMode gives the mode at now. A row without number is Routine, which nobody switched to: since when says the last that ended. A mode
// is over at its end, whether or not somebody wrote that down.
func currentMode(ctx context.Context, db asker, now time.Time) (modeRow, error) {
	last, err := modeRows(ctx, db, "true", 1)
	if err != nil || len(last) == 0 {
		return modeRow{Mode: contract.ModeRoutine}, err
	}
	m := last[0]
	switch {
	case m.EndedAt != nil:
		return modeRow{Mode: contract.ModeRoutine, Since: *m.EndedAt}, nil
	case m.ExpiresAt != nil && !m.ExpiresAt.After(now):
		return modeRow{Mode: contract.ModeRoutine, Since: *m.ExpiresAt}, nil
	}
	return m, nil
}

// modeNow gives the name of the mode at now, and nothing on a platform that has none.
func modeNow(ctx context.Context, tx pgx.Tx, p contract.Platform, now time.Time) (string, error) {
	if len(p.Modes) == 0 {
		return "", nil
	}
	m, err := currentMode(ctx, tx, now)
	return m.Mode, err
}

// slaOf gives the times of a case: those of its mode where that has its own.
func slaOf(p contract.Platform, c *Case) contract.SLA {
	if s, ok := p.Modes[c.Mode].SLA[c.Severity]; ok {
		return s
	}
	return p.SLA[c.Severity]
}

// endMode writes down that the mode is over whose end has come, and gives its name; nothing if there is none, or another replica did it.
func endMode(ctx context.Context, db asker, now time.Time) (ended string, err error) {
	rows, err := db.Query(ctx, `WITH e AS (UPDATE grid.modes SET ended_at = expires_at WHERE ended_at IS NULL AND expires_at <= $1 RETURNING n, mode, ended_at),
		f AS (INSERT INTO grid.changes (version, kind, mode, community, at) SELECT n, $2, $3, '', ended_at FROM e)
		SELECT mode FROM e`, now, kindModeSwitched, contract.ModeRoutine)
	if err != nil {
		return "", fmt.Errorf("mode: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("mode: %w", err)
	}
	if len(names) == 0 {
		return "", nil
	}
	return names[0], nil
}

// switchMode ends the mode and begins another, m.Mode, in tx. It gives the row as it was written: the switches of two replicas whose clocks
// differ still follow each other.
func switchMode(ctx context.Context, tx pgx.Tx, m modeRow) (modeRow, error) {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", modeLock); err != nil {
		return m, fmt.Errorf("mode: %w", err)
	}
	last, err := modeRows(ctx, tx, "true", 1)
	if err != nil {
		return m, err
	}
	if len(last) > 0 {
		was := last[0]
		if m.repeats(was) {
			return was, nil
		}
		if was.EndedAt == nil {
			end := later(m.Since, was.Since)
			if was.ExpiresAt != nil && was.ExpiresAt.Before(end) {
				end = *was.ExpiresAt
			}
			// The sweep may have ended it meanwhile: then it keeps that end.
			if err := tx.QueryRow(ctx, "UPDATE grid.modes SET ended_at = coalesce(ended_at, $2) WHERE n = $1 RETURNING ended_at", was.N, end).Scan(&was.EndedAt); err != nil {
				return m, fmt.Errorf("mode: %w", err)
			}
		}
		m.Since = later(m.Since, *was.EndedAt)
	}
	if err := tx.QueryRow(ctx, `INSERT INTO grid.modes (mode, since, expires_at, reason, organization, person, role) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING n`,
		m.Mode, m.Since, m.ExpiresAt, m.Reason, m.Organization, m.Person, m.Role).Scan(&m.N); err != nil {
		return m, fmt.Errorf("mode: %w", err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.changes (version, kind, mode, community, at) VALUES ($1, $2, $3, '', $4)", m.N, kindModeSwitched, m.Mode, m.Since); err != nil {
		return m, fmt.Errorf("mode: %w", err)
	}
	return m, nil
}

// repeats says of a switch that it asks for what was, the last one, brought already: a request that is sent again is harmless.
func (m modeRow) repeats(was modeRow) bool {
	same := m.ExpiresAt == nil && was.ExpiresAt == nil || m.ExpiresAt != nil && was.ExpiresAt != nil && m.ExpiresAt.Equal(*was.ExpiresAt)
	return was.EndedAt == nil && same && m.Mode == was.Mode && m.Reason == was.Reason && m.Organization == was.Organization && m.Person == was.Person && m.Role == was.Role
}

// modeSwitch says that a mode holds from a time on.
type modeSwitch struct {
	mode string
	at   time.Time
}

// switches gives the switches of rows, the last row first, oldest first: what ended and was not followed at once gave way to Routine. What is
// not over yet says nothing of its end, which people may put off. It is pure.
func switches(rows []modeRow) (out []modeSwitch) {
	for i := len(rows) - 1; i >= 0; i-- {
		m := rows[i]
		out = append(out, modeSwitch{m.Mode, m.Since.UTC()})
		if m.EndedAt != nil && (i == 0 || rows[i-1].Since.After(*m.EndedAt)) {
			out = append(out, modeSwitch{contract.ModeRoutine, m.EndedAt.UTC()})
		}
	}
	return out
}

// modesKept is how many rows a session looks at: as many switches as the engine remembers.
const modesKept = rules.MaxModes

// learnModes tells the engine the switches of the mode that it has not heard of. A mode that is over is ended first, so that messages from
// after it are judged without it, however long ago a sweep was.
func (s *session) learnModes(ctx context.Context) error {
	if len(s.bundle.Directory.Platform.Modes) == 0 {
		s.switched = nil
		return nil // no scenario differs
	}
	now := s.w.now().UTC()
	rows, err := modeRows(ctx, s.conn, "true", modesKept)
	if err != nil || len(rows) == 0 {
		return err
	}
	if m := rows[0]; m.EndedAt == nil && m.ExpiresAt != nil && !m.ExpiresAt.After(now) {
		if _, err := endMode(ctx, s.conn, now); err != nil {
			return err
		}
		if rows, err = modeRows(ctx, s.conn, "true", modesKept); err != nil {
			return err
		}
	}
	known := switches(rows)
	for _, m := range known {
		if !slices.Contains(s.modes, m) {
			s.engine.SetMode(m.mode, m.at)
			s.w.log.Info("mode", "mode", m.mode, "since", m.at)
		}
	}
	s.modes, s.switched = known, switchesOf(rows)
	return nil
}

// modes ends the mode that is over and takes open cases into the one that began. Every replica does both; what another did is left out.
func (s *sweeper) modes(ctx context.Context, p contract.Platform, now time.Time) error {
	ended, err := endMode(ctx, s.pool, now)
	if err != nil {
		return err
	}
	if ended != "" {
		s.log.Info("the mode ended by itself", "mode", ended)
	}
	if len(p.Modes) == 0 {
		return nil
	}
	m, err := currentMode(ctx, s.pool, now)
	if err != nil {
		return err
	}
	if m.N == 0 || m.Mode == contract.ModeRoutine || s.entered == m.N && now.Sub(s.enteredAt) < reckonEvery {
		return nil // nothing changes for a case when a mode is left
	}
	err = s.every(ctx, "SELECT id FROM grid.cases WHERE open AND round > 0 AND mode <> $2 AND id > $1 ORDER BY id", func(id uuid.UUID) error {
		return s.locked(ctx, id, func(tx pgx.Tx, c *Case) error { return enterMode(ctx, tx, p, c, m, now) })
	}, m.Mode)
	if err == nil {
		s.entered, s.enteredAt = m.N, now
	}
	return err
}

// enterMode takes an open case, locked in tx, into a mode: it has the times of the mode from when that began, where they are sooner.
func enterMode(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case, m modeRow, now time.Time) error {
	if !c.State.Open() || c.Mode == m.Mode {
		return nil
	}
	k, err := clocksOf(ctx, tx, p, c)
	if err != nil {
		return err
	}
	was := map[string]int{}
	for kind, t := range k {
		was[kind] = t.Round
	}
	c.Mode, c.UpdatedAt = m.Mode, now
	if _, differs := p.Modes[m.Mode].SLA[c.Severity]; differs {
		from := later(m.Since, c.OpenedAt)
		k.enter(p, c, from)
		if err := hurryStep(ctx, tx, p, c, from); err != nil {
			return err
		}
	}
	if err := writeClocks(ctx, tx, c, k); err != nil {
		return err
	}
	if err := saveCase(ctx, tx, c); err != nil {
		return err
	}
	sooner := detail{}
	for kind, t := range k {
		if round, there := was[kind]; !there || round != t.Round {
			sooner[kind] = detail{"due": t.Due}
		}
	}
	if len(sooner) == 0 {
		return nil
	}
	sooner["mode"] = m.Mode
	return record(ctx, tx, c, "ModeEntered", c.State, system, now, sooner)
}

// enter gives the case, which is in another mode now, the times of that from a time on, where they are sooner than what it has. What was
// missed, and runs no more, stays so.
func (k clocks) enter(p contract.Platform, c *Case, from time.Time) {
	var over []string
	for _, kind := range timerKinds {
		if _, runs := k[kind]; !runs && *c.times(kind).overdue {
			over = append(over, kind)
		}
	}
	k.worsen(p, c, from)
	for _, kind := range over {
		delete(k, kind)
	}
}

// fillMode adds the mode to a report.
func (s *service) fillMode(ctx context.Context, now time.Time, r *contract.Report) error {
	m, err := currentMode(ctx, s.pool, now)
	if err != nil {
		return err
	}
	r.Mode = &contract.ModeReport{Name: m.Mode, Since: m.Since}
	if !m.Since.IsZero() {
		r.Mode.Since = m.Since.UTC()
	}
	if m.ExpiresAt != nil {
		r.Mode.ExpiresAt = m.ExpiresAt.UTC()
	}
	return nil
}
