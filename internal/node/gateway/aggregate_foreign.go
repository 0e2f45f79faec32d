package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/huandu/go-sqlbuilder"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// This file makes tables over a provider's own database. Where consent is asked for, the persons in scope are listed, the vault says which of
// them consent, and their keys go down with the statement: a number for each person, so that one who has several keys counts as one. Of
// the platform nothing goes down but those numbers.

const (
	// foreignTableTimeout ends a table from outside: listing, asking and counting.
	foreignTableTimeout = 30 * time.Second
	// maxConsenting is how many keys go down with a statement, maxInScope how many persons are listed to find them, maxListBytes how much
	// that may take.
	maxConsenting = 100_000
	maxInScope    = 500_000
	maxListBytes  = 32 << 20
	// listsAtOnce bounds the lists in memory.
	listsAtOnce = 2
)

var errSubjectsTooMany = errors.New("more persons are in scope, or consent, than are counted by consent: share fewer rows")

// persons are those who consent: keys of the provider's, and for each the number of the person.
type persons struct {
	keys    []string
	numbers []int32
}

// tabulateForeign reads a table from the database of a provider.
func (s *server) tabulateForeign(ctx context.Context, r *reading, sel tableSelection) (*table, error) {
	ctx, from, leave, err := s.foreignTable(ctx, &sel.selection, foreignTableTimeout, r.at)
	if err != nil {
		return nil, err
	}
	defer leave()
	if len(sel.consents()) > 0 {
		if !s.lists.TryAcquire(1) {
			return nil, errBusy
		}
		defer s.lists.Release(1)
		if sel.persons, err = s.consenting(ctx, from, r.in.Dataset, sel.selection); err != nil {
			return nil, err
		}
	}
	return from.tabulate(ctx, sel, s.now())
}

// consenting finds who in scope consents.
func (s *server) consenting(ctx context.Context, from *source, dataset string, sel selection) (*persons, error) {
	listed, err := from.listPersons(ctx, sel)
	if err != nil {
		return nil, err
	}
	out, number := &persons{keys: []string{}, numbers: []int32{}}, map[string]int32{}
	for len(listed) > 0 {
		part := listed[:min(len(listed), contract.MaxMapKeys)]
		listed = listed[len(part):]
		known, err := s.subjectsOf(ctx, dataset, part, sel.consents(), sel.purpose)
		if err != nil {
			return nil, err
		}
		for _, key := range part {
			subject, ok := known[key]
			if !ok {
				continue
			}
			if _, ok := number[subject]; !ok {
				number[subject] = int32(len(number)) //nolint:gosec // at most maxConsenting
			}
			if out.keys, out.numbers = append(out.keys, key), append(out.numbers, number[subject]); len(out.keys) > maxConsenting {
				return nil, errSubjectsTooMany
			}
		}
	}
	return out, nil
}

// listPersons gives the keys of the persons in the rows of a selection.
func (d *database) listPersons(ctx context.Context, s selection) (out []string, err error) {
	b := selectBuilder{sqlbuilder.PostgreSQL.NewSelectBuilder(), s}
	key, err := b.personKey()
	if err != nil {
		return nil, err
	}
	b.Distinct().Select(key).From(quote(s.dataset.Source.Schema, s.dataset.Source.Table) + " AS t")
	if err := b.where(); err != nil {
		return nil, err
	}
	b.Where(key + " IS NOT NULL")
	b.Limit(maxInScope + 1)
	sql, args := b.Build()
	err = pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for size := 0; rows.Next(); {
			var name *string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			if name == nil {
				continue
			}
			if out, size = append(out, *name), size+len(*name); len(out) > maxInScope || size > maxListBytes {
				return errSubjectsTooMany
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("persons of %s.%s: %w", s.dataset.Source.Schema, s.dataset.Source.Table, withoutValues(err))
	}
	return out, nil
}

// personKey gives the provider's key of a person, compared byte by byte: a collation of the provider's must not make two persons one.
func (b selectBuilder) personKey() (string, error) {
	column, err := b.column(b.s.dataset.Source.SubjectColumn, "subjectColumn")
	return column + `::text COLLATE "C"`, err
}

// ofPersons keeps the rows of a table of those who consent.
func (b selectBuilder) ofPersons(p *persons) error {
	key, err := b.personKey()
	if err != nil {
		return err
	}
	b.SelectBuilder.Join("unnest("+b.texts(p.keys)+", "+b.Var(p.numbers)+"::int[]) AS m (key, person)", key+` = m.key COLLATE "C"`)
	return nil
}
