package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// table is all that an agreement tells of a dataset on one day. Every answer is made of its cells and of nothing else, so no
// combination of questions tells more than the table does. Cells that are too small are not in it.
type table struct {
	dimensions, measures []string
	cells                []cell
	// at is when it was read.
	at time.Time
}

// cell is a group of records that are alike in every dimension.
type cell struct {
	// values of the dimensions, as JSON.
	values []string
	// count of records, rounded down.
	count int64
	// sums of the measures; nil where a measure may not be told.
	sums []*cellSum
}

// cellSum is a sum with the number of records in it, both rounded down.
type cellSum struct {
	count int64
	sum   *big.Rat
}

// roundTo is the least multiple that a figure is rounded down to: from one day to the next, one person more or less shows in few
// figures. Ours.
const roundTo = 5

// roundDown rounds a count down to a multiple of roundTo, or of a power of ten that is not smaller than the most that one person has of
// it.
func roundDown(count, largest int64) int64 {
	unit := int64(roundTo)
	for power := int64(10); unit < largest; power *= 10 {
		unit = power
	}
	return count - count%unit
}

// roundSum rounds a sum down to a multiple of the power of ten that is next to the largest contribution, which is then not to be told
// from two days' sums.
func roundSum(sum, largest *big.Rat) *big.Rat {
	if largest.Sign() == 0 {
		return sum
	}
	ten, unit := big.NewRat(10, 1), big.NewRat(1, 1)
	for unit.Cmp(largest) < 0 {
		unit.Mul(unit, ten)
	}
	for next := new(big.Rat).Quo(unit, ten); next.Cmp(largest) >= 0; next.Quo(unit, ten) {
		unit.Set(next)
	}
	multiple := new(big.Rat).Quo(sum, unit)
	whole := new(big.Int).Div(multiple.Num(), multiple.Denom()) // Euclidean: down, as the denominator is positive
	return new(big.Rat).Mul(new(big.Rat).SetInt(whole), unit)
}

// tabulate reads a table in a read-only transaction.
func (d *database) tabulate(ctx context.Context, s tableSelection, now time.Time) (*table, error) {
	sql, args, err := buildTable(s)
	if err != nil {
		return nil, err
	}
	out := &table{dimensions: s.dimensions, measures: s.measures, at: now}
	err = pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		out.cells, err = cells(rows, s)
		return err
	})
	if err != nil {
		d.forget(s.dataset.Source)
		return nil, fmt.Errorf("aggregate %s.%s: %w", s.dataset.Source.Schema, s.dataset.Source.Table, withoutValues(err))
	}
	return out, nil
}

func cells(rows pgx.Rows, s tableSelection) ([]cell, error) {
	figures := 3 * len(s.measures)
	values := make([]*string, len(s.dimensions)+2+figures)
	targets := make([]any, len(values))
	for i := range values {
		targets[i] = &values[i]
	}
	var out []cell
	for size := 0; rows.Next(); {
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		c, err := readCell(values, s)
		if err != nil {
			return nil, err
		}
		for _, v := range c.values {
			size += len(v)
		}
		if size > maxPageBytes {
			return nil, fmt.Errorf("%w: they take more than %d bytes", errTooManyGroups, maxPageBytes)
		}
		if out = append(out, c); len(out) > s.limit {
			return nil, fmt.Errorf("%w: more than %d groups", errTooManyGroups, s.limit)
		}
	}
	rows.Close()
	slices.SortFunc(out, func(a, b cell) int { return slices.Compare(a.values, b.values) })
	return out, rows.Err()
}

func readCell(values []*string, s tableSelection) (cell, error) {
	dimensions := len(s.dimensions)
	c := cell{values: make([]string, dimensions)}
	for i, name := range s.dimensions {
		var err error
		if c.values[i], err = s.value(name, values[i]); err != nil {
			return cell{}, err
		}
	}
	count, largest, err := wholeOf(values[dimensions], values[dimensions+1])
	if err != nil {
		return cell{}, err
	}
	c.count = roundDown(count, largest)
	for rest := values[dimensions+2:]; len(rest) > 0; rest = rest[3:] {
		c.sums = append(c.sums, readSum(rest[0], rest[1], rest[2], largest))
	}
	return c, nil
}

// value gives the value of a dimension as JSON, as object does for records.
func (s tableSelection) value(name string, v *string) (string, error) {
	switch {
	case v == nil:
		return "null", nil
	case s.foreign && s.fields[name].Method == maskPseudonym:
		return `"` + pseudonym(s.maskKey, *v) + `"`, nil
	case s.foreign:
		var line bytes.Buffer
		if json.Compact(&line, []byte(*v)) != nil {
			return "", fmt.Errorf("the value of field %s is not one of JSON", name)
		}
		return line.String(), nil
	}
	return *v, nil
}

// plainNumber is a number as PostgreSQL writes one of type numeric, of no more digits than anything countable has: a server that is not what it
// says to be could write one that takes all memory to be read.
var plainNumber = regexp.MustCompile(`^-?[0-9]{1,100}(\.[0-9]{1,100})?$`)

// readSum gives nil for a sum that may not be told, and for one that is no number.
func readSum(count, sum, most *string, largestCount int64) *cellSum {
	if count == nil || sum == nil || most == nil {
		return nil
	}
	n, _, err := wholeOf(count, count)
	if !plainNumber.MatchString(*sum) || !plainNumber.MatchString(*most) {
		return nil // NaN or an infinity
	}
	total, isNumber := new(big.Rat).SetString(*sum)
	largest, isToo := new(big.Rat).SetString(*most)
	if err != nil || !isNumber || !isToo {
		return nil
	}
	return &cellSum{roundDown(n, largestCount), roundSum(total, largest)}
}

func wholeOf(count, largest *string) (a, b int64, err error) {
	if count == nil || largest == nil {
		return 0, 0, fmt.Errorf("a count is missing")
	}
	if _, err = fmt.Sscan(*count, &a); err == nil {
		_, err = fmt.Sscan(*largest, &b)
	}
	return a, b, err
}

// AggregateGroup is one group of an answer.
type AggregateGroup struct {
	// By gives the values of the fields that are grouped by.
	By map[string]json.RawMessage `json:"by"`
	// Count of records, rounded down.
	Count int64 `json:"count"`
	// Sums by field.
	Sums map[string]AggregateSum `json:"sums,omitempty"`
}

// AggregateSum is a sum, and the number of records that it is of: fewer than the group has where groups within it may not be summed.
type AggregateSum struct {
	Sum   json.Number `json:"sum"`
	Count int64       `json:"count"`
}

// answer groups the cells that meet every condition. A group of which no cell is told is not there, as one of which there is no record.
func (t *table) answer(by, sum []string, where []contract.Requirement) []AggregateGroup {
	type total struct {
		count int64
		sums  []cellSum
	}
	totals := map[string]*total{}
	for _, c := range t.cells {
		if !t.meets(c, where) {
			continue
		}
		key := strings.Join(t.values(c, by), "\x00") // no JSON text has a zero byte
		g := totals[key]
		if g == nil {
			g = &total{sums: make([]cellSum, len(sum))}
			totals[key] = g
		}
		g.count += c.count
		for i, name := range sum {
			if s := c.sums[slices.Index(t.measures, name)]; s != nil {
				if g.sums[i].sum == nil {
					g.sums[i].sum = new(big.Rat)
				}
				g.sums[i].sum.Add(g.sums[i].sum, s.sum)
				g.sums[i].count += s.count
			}
		}
	}
	out := []AggregateGroup{}
	for _, key := range slices.Sorted(maps.Keys(totals)) {
		g := AggregateGroup{By: map[string]json.RawMessage{}, Count: totals[key].count}
		for i, value := range strings.Split(key, "\x00") {
			if i < len(by) {
				g.By[by[i]] = json.RawMessage(value)
			}
		}
		for i, s := range totals[key].sums {
			if s.sum == nil {
				continue
			}
			if g.Sums == nil {
				g.Sums = map[string]AggregateSum{}
			}
			g.Sums[sum[i]] = AggregateSum{decimalOf(s.sum), s.count} //nolint:gosec // totals have as many sums as are asked for
		}
		out = append(out, g)
	}
	return out
}

func (t *table) values(c cell, by []string) []string {
	out := make([]string, len(by))
	for i, name := range by {
		out[i] = c.values[slices.Index(t.dimensions, name)]
	}
	return out
}

// meets compares the text of a value: of a JSON string what stands in it, else the JSON. NULL is in nothing.
func (t *table) meets(c cell, where []contract.Requirement) bool {
	for _, w := range where {
		value := c.values[slices.Index(t.dimensions, w.Field)]
		var text string
		if json.Unmarshal([]byte(value), &text) != nil {
			text = value
		}
		if value == "null" || !slices.Contains(w.Values, text) {
			return false
		}
	}
	return true
}

// decimalOf writes a number whose denominator divides a power of ten.
func decimalOf(r *big.Rat) json.Number {
	digits, exact := r.FloatPrec()
	if !exact {
		digits = 20
	}
	return json.Number(r.FloatString(digits))
}
