package gateway

import (
	"errors"
	"fmt"

	"github.com/huandu/go-sqlbuilder"
)

// This file turns an agreement's aggregates into the one SELECT of its table. It is pure. Rows and consent are applied as for records, by
// the same builder. What it promises beside what sql.go promises: a group that is too small, or that one person makes up, does not leave
// the database.

// dominance is the share, in tenths, of a figure that the largest contributor to it may have: who knows what one gave could else tell what
// the rest gave. Ours.
const dominance = 9

// tableSelection is a selection of records with what is counted of them.
type tableSelection struct {
	selection
	// dimensions and measures are fields of the selection.
	dimensions, measures []string
	// smallest is the least number of persons (of records, in a dataset without subjects) in a group that is told.
	smallest int
}

// buildTable writes the statement of a table. Its columns: the dimensions as JSON text, the number of records and the most that one
// person has of them, and for each measure the number of records that have it, its sum, and the largest that one person contributes;
// NULL for a measure that too few persons have, or that one makes up.
func buildTable(s tableSelection) (sql string, args []any, err error) {
	each, err := s.perPerson()
	if err != nil {
		return "", nil, err
	}
	b := sqlbuilder.PostgreSQL.NewSelectBuilder()
	smallest := b.Var(s.smallest) + "::bigint"
	persons := "sum(n)"
	if s.dataset.Source.SubjectColumn != "" {
		persons = "count(subject)"
	}
	var columns []string
	for i := range s.dimensions {
		columns = append(columns, fmt.Sprintf("d%d", i))
	}
	b.GroupBy(columns...)
	columns = append(columns, "sum(n)::text", "max(n)::text")
	for i := range s.measures {
		have := fmt.Sprintf("sum(n%d)", i)
		if s.dataset.Source.SubjectColumn != "" {
			have = fmt.Sprintf("count(subject) FILTER (WHERE n%d > 0)", i)
		}
		told := fmt.Sprintf("CASE WHEN %s >= %s AND 10 * max(abs(m%d)) <= %d * sum(abs(m%d)) THEN ", have, smallest, i, dominance, i)
		for _, figure := range []string{"sum(n%d)", "sum(m%d)", "max(abs(m%d))"} {
			columns = append(columns, "("+told+fmt.Sprintf(figure, i)+" END)::text")
		}
	}
	b.Select(columns...).From(b.BuilderAs(each, "each"))
	b.Having(persons+" >= "+smallest, fmt.Sprintf("10 * max(n) <= %d * sum(n)", dominance))
	b.Limit(s.limit + 1)
	sql, args = b.Build()
	return sql, args, nil
}

// perPerson gives one row for what one person (one record, in a dataset without subjects) contributes to one group.
func (s tableSelection) perPerson() (*sqlbuilder.SelectBuilder, error) {
	b := selectBuilder{sqlbuilder.PostgreSQL.NewSelectBuilder(), s.selection}
	var columns, group []string
	for i, name := range s.dimensions {
		value, err := b.field(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, fmt.Sprintf("%s AS d%d", value, i))
		group = append(group, fmt.Sprintf("d%d", i))
	}
	count, have, sum := "1", "(%s IS NOT NULL)::int", "%s"
	if name := s.dataset.Source.SubjectColumn; name != "" {
		subject, err := b.column(name, "subjectColumn")
		if err != nil {
			return nil, err
		}
		if s.persons != nil {
			subject = "m.person"
		}
		columns, group = append(columns, subject+"::text AS subject"), append(group, subject+"::text")
		count, have, sum = "count(*)", "count(%s)", "sum(%s)"
		b.GroupBy(group...)
	}
	columns = append(columns, count+" AS n")
	for i, name := range s.measures {
		value, err := b.number(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, fmt.Sprintf(have+" AS n%d", value, i), fmt.Sprintf(sum+" AS m%d", value, i))
	}
	b.Select(columns...).From(quote(s.dataset.Source.Schema, s.dataset.Source.Table) + " AS t")
	switch {
	case s.persons != nil:
		if err := b.ofPersons(s.persons); err != nil {
			return nil, err
		}
	case s.foreign && len(s.consents()) > 0:
		return nil, errors.New("who consents is not known")
	}
	return b.SelectBuilder, b.where()
}

// number gives a field, as masked, as a number without rounding error.
func (b selectBuilder) number(name string) (string, error) {
	f, ok := b.s.dataset.Fields[name]
	if !ok {
		return "", fmt.Errorf("the dataset has no field %q", name)
	}
	column, err := b.column(f.Column, name)
	if err != nil {
		return "", err
	}
	value, err := b.mask(column, b.s.table.types[f.Column], b.s.fields[name])
	if err != nil {
		return "", fmt.Errorf("field %q: %w", name, err)
	}
	return "(" + value + ")::numeric", nil
}
