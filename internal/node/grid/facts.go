package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/rules"
)

const (
	// factsReader is the engine's position in grid.facts.
	factsReader = "engine.facts"
	// factsLock has facts commit in the order of their numbers: whoever writes one holds it until the end of the transaction.
	factsLock int64 = 0x647a_0047
	// factsAtOnce bounds what one transaction takes of them.
	factsAtOnce = 512
	// factsMatter is how long what is no longer said can still matter to a message: the longest lateness, and a day on top.
	factsMatter = 48 * time.Hour
	// factsKept is how long what is no longer said is kept, and who said it.
	factsKept = 30 * 24 * time.Hour
)

// said is a row of grid.facts.
type said struct {
	N            int64 `db:"n"`
	Scope        string
	ID           string `db:"id"`
	Name         string
	Member       string
	Value        []byte
	Since        time.Time
	Until        *time.Time
	Organization string
	Person       string
}

// fact reads a row for the engine; without a value it is taken back.
func (s said) fact() (rules.Fact, error) {
	f := rules.Fact{Scope: rules.Scope(s.Scope), ID: s.ID, Name: s.Name, Member: s.Member, Since: s.Since}
	if s.Until != nil {
		f.Until = *s.Until
	}
	if s.Value == nil {
		return f, nil
	}
	if err := json.Unmarshal(s.Value, &f.Value); err != nil {
		return f, fmt.Errorf("fact %d: %w", s.N, err)
	}
	return f, nil
}

const factColumns = "n, scope, id, name, member, value, since, until, organization, person"

// over says of a fact f that a later one of the same place, name and member was said by $1, or that it ended, or took back what was said, by then.
const over = `(f.until IS NOT NULL AND f.until <= $1 OR f.value IS NULL AND f.since <= $1 OR EXISTS (SELECT FROM grid.facts l WHERE l.scope = f.scope AND l.id = f.id AND l.name = f.name AND l.member = f.member
	AND l.n > f.n AND l.since <= $1))`

// loadFacts tells a new engine what it already knew when its states were written. What was said since is taken by the next batch.
func (s *session) loadFacts(ctx context.Context) error {
	err := s.conn.QueryRow(ctx, "SELECT n FROM grid.feed_position WHERE reader = $1", factsReader).Scan(&s.facts)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("position in what is said: %w", err)
	}
	now := s.w.now()
	if _, err := s.conn.Exec(ctx, "DELETE FROM grid.facts f WHERE f.n <= $2 AND "+over, now.Add(-factsKept), s.facts); err != nil {
		return fmt.Errorf("what is said no more: %w", err)
	}
	rows, err := s.conn.Query(ctx, "SELECT "+factColumns+" FROM grid.facts f WHERE f.n <= $2 AND NOT "+over+" ORDER BY f.n", now.Add(-factsMatter), s.facts)
	if err != nil {
		return fmt.Errorf("what is said: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[said])
	if err != nil {
		return fmt.Errorf("what is said: %w", err)
	}
	for _, x := range list {
		f, err := x.fact()
		if err != nil {
			return err
		}
		s.engine.Know(f)
	}
	return nil
}

// takeFacts takes what was said since to the engine, as it takes messages.
func (b *batch) takeFacts(ctx context.Context) error {
	rows, err := b.s.conn.Query(ctx, "SELECT "+factColumns+" FROM grid.facts WHERE n > $1 ORDER BY n LIMIT $2", b.facts, factsAtOnce)
	if err != nil {
		return fmt.Errorf("what is said: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[said])
	if err != nil {
		return fmt.Errorf("what is said: %w", err)
	}
	for _, x := range list {
		f, err := x.fact()
		if err != nil {
			return err
		}
		b.keep(b.s.engine.SetFact(f, lookup(b.s.bundle)), b.now)
		b.facts = x.N
	}
	return nil
}

// writeFacts moves the engine's position, in the transaction that writes what it made of the facts.
func (b *batch) writeFacts(ctx context.Context, tx pgx.Tx) error {
	if b.facts == b.s.facts {
		return nil
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.feed_position (reader, n) VALUES ($1, $2) ON CONFLICT (reader) DO UPDATE SET n = excluded.n", factsReader, b.facts); err != nil {
		return fmt.Errorf("position in what is said: %w", err)
	}
	return nil
}

// takeBackFact takes back what is said of a place under a name, each member of a set.
func takeBackFact(ctx context.Context, tx pgx.Tx, f rules.Fact, by Actor, now time.Time) error {
	f.Value = nil
	rows, err := tx.Query(ctx, "SELECT DISTINCT member FROM grid.facts WHERE scope = $1 AND id = $2 AND name = $3 UNION SELECT ''", f.Scope, f.ID, f.Name)
	if err != nil {
		return fmt.Errorf("fact: %w", err)
	}
	members, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("fact: %w", err)
	}
	for _, f.Member = range members {
		if err := sayFact(ctx, tx, f, by, now); err != nil {
			return err
		}
	}
	return nil
}

// sayFact writes down what a person says of a place. A nil value takes it back.
func sayFact(ctx context.Context, tx pgx.Tx, f rules.Fact, by Actor, now time.Time) error {
	var value []byte
	if f.Value != nil {
		raw, err := json.Marshal(f.Value)
		if err != nil {
			return err
		}
		value = raw
	}
	var until *time.Time
	if !f.Until.IsZero() {
		until = &f.Until
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", factsLock); err != nil {
		return fmt.Errorf("fact: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.facts (scope, id, name, member, value, since, until, organization, person, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		f.Scope, f.ID, f.Name, f.Member, value, f.Since, until, by.Organization, by.Person, now); err != nil {
		return fmt.Errorf("fact: %w", err)
	}
	return nil
}
