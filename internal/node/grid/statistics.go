package grid

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Figures of a group of cases. Times are in seconds from when the case was opened, of those cases that have them; a time is null where none has it.
type Figures struct {
	Cases    int64 `json:"cases" db:"cases" doc:"Cases that were opened in the time asked for."`
	Open     int64 `json:"open" db:"open" doc:"Of them those that are not finished now."`
	Closed   int64 `json:"closed" db:"closed" doc:"Closed or rated."`
	Void     int64 `json:"void" db:"void" doc:"No alarm after all."`
	NotFiled int64 `json:"notFiled" db:"not_filed" doc:"Not taken up."`
	// Overdue, Escalated and Reopened count cases, each once.
	Overdue   int64    `json:"overdue" db:"overdue" doc:"Missed a time: to be taken, on site, or closed."`
	Escalated int64    `json:"escalated" db:"escalated" doc:"Went up a level because a time was missed."`
	Reopened  int64    `json:"reopened" db:"reopened" doc:"Were reopened."`
	Rated     int64    `json:"rated" db:"rated" doc:"Have a score."`
	Score     *float64 `json:"score" db:"score" doc:"Mean of the scores, 1 to 5."`

	AcknowledgeP50 *float64 `json:"acknowledgeP50" db:"acknowledge_p50" doc:"Median time until somebody took the case, in seconds."`
	AcknowledgeP90 *float64 `json:"acknowledgeP90" db:"acknowledge_p90"`
	OnSiteP50      *float64 `json:"onSiteP50" db:"onsite_p50" doc:"Median time until somebody was there, in seconds."`
	OnSiteP90      *float64 `json:"onSiteP90" db:"onsite_p90"`
	CloseP50       *float64 `json:"closeP50" db:"close_p50" doc:"Median time until the case was closed, in seconds."`
	CloseP90       *float64 `json:"closeP90" db:"close_p90"`
}

// figuresSQL makes Figures of rows with the columns of grid.cases under the alias c. Seconds are rounded to tenths, scores to hundredths.
var figuresSQL = `count(*) AS cases, count(*) FILTER (WHERE c.open) AS open, count(*) FILTER (WHERE c.state IN ('Closed', 'Rated')) AS closed,
	count(*) FILTER (WHERE c.state = 'Void') AS void, count(*) FILTER (WHERE c.state = 'NotFiled') AS not_filed,
	count(*) FILTER (WHERE ` + missedTime + `) AS overdue, count(*) FILTER (WHERE c.escalated > 0) AS escalated, count(*) FILTER (WHERE c.reopened > 0) AS reopened,
	count(c.score) AS rated, round(avg(c.score), 2)::float8 AS score, ` + strings.Join([]string{
	quantiles("acknowledge", "c.acknowledged_at"), quantiles("onsite", "c.onsite_at"), quantiles("close", "CASE WHEN c.state IN ('Closed', 'Rated') THEN c.closed_at END")}, ", ")

// quantiles gives the two quantiles of the time from the opening of a case until another of its times; NULL counts nowhere.
func quantiles(name, until string) string {
	var out []string
	for _, p := range []int{50, 90} {
		out = append(out, fmt.Sprintf("round(percentile_cont(%.1f) WITHIN GROUP (ORDER BY extract(epoch FROM %s - c.opened_at)::float8)::numeric, 1)::float8 AS %s_p%d", float64(p)/100, until, name, p))
	}
	return strings.Join(out, ", ")
}

// dimensions are what cases can be grouped by, with the SQL that gives each.
var dimensions = map[string]string{
	"community": "c.community", "grid": "c.grid", "class": "c.class", "severity": "c.severity", "source": "c.source",
	"organization": "coalesce(o.organization, '')",
}

// question is what is asked of the cases.
type question struct {
	// by are dimensions; interval is "day", "week", "month", or empty for none.
	by       []string
	interval string
	from, to time.Time
	// zone is an IANA name.
	zone string
	// where is a condition on grid.cases under the alias c, with its arguments.
	where string
	args  []any
}

// cell is a group of cases before it is decided what is shown of it.
type cell struct {
	Key       string `db:"key"`
	N         int64  `db:"n"`
	Sensitive bool   `db:"sensitive"`
	// Cases are those of a group of fewer than leastCell: by organisation, two groups may be of the same.
	Cases []uuid.UUID `db:"cases"`
}

// leastCell is the fewest cases of which figures are shown where one of them has sensitive personal data (ours).
const leastCell = 3

// maxCells bounds the groups of an answer.
const maxCells = 10000

// suppress says which groups are shown together as the rest, and which not at all: groups with sensitive data that are too small go into the rest,
// with the smallest others until the rest is large enough; where there are no others they are left out of everything. It is pure.
func suppress(cells []cell) (rest, out []string) {
	var n int64 // of different cases in the rest, or at least leastCell
	seen := map[uuid.UUID]bool{}
	add := func(c cell) {
		rest = append(rest, c.Key)
		for _, id := range c.Cases {
			seen[id] = true
		}
		if n = max(n, int64(len(seen))); c.N >= leastCell {
			n = max(n, c.N)
		}
	}
	var others []cell
	for _, c := range cells {
		if c.Sensitive && c.N < leastCell {
			add(c)
		} else {
			others = append(others, c)
		}
	}
	slices.SortFunc(others, func(a, b cell) int { return cmp.Or(cmp.Compare(a.N, b.N), strings.Compare(a.Key, b.Key)) })
	for len(rest) > 0 && n < leastCell && len(others) > 0 {
		add(others[0])
		others = others[1:]
	}
	if n < leastCell {
		return nil, rest
	}
	return rest, nil
}

// restKey names the rest among the groups.
const restKey = "*"

// measured is a group with its figures.
type measured struct {
	Key string `db:"key"`
	Figures
}

// reckoning is what a question gives: groups by key, the rest last, and the whole. left says that cases were left out of everything.
type reckoning struct {
	groups []measured
	whole  Figures
	left   bool
}

// cells gives the statement that names the cases in question with the key of their group, a JSON array of the period and the dimensions, and its
// arguments. A case has as many keys as organisations if it is grouped by them.
func (q question) cells() (string, []any) {
	args := slices.Clone(q.args)
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	period := "''::text"
	if q.interval != "" {
		period = fmt.Sprintf("to_char(date_trunc(%s::text, c.opened_at AT TIME ZONE %s::text), 'YYYY-MM-DD')", arg(q.interval), arg(q.zone))
	}
	key, join := []string{period}, ""
	for _, d := range q.by {
		key = append(key, dimensions[d])
		if d == "organization" {
			join = "LEFT JOIN LATERAL (SELECT DISTINCT p.organization FROM grid.case_parties p WHERE p.case_id = c.id AND p.organization <> '') o ON true"
		}
	}
	return fmt.Sprintf(`SELECT jsonb_build_array(%s)::text AS key, c.* FROM grid.cases c %s WHERE c.opened_at >= %s AND c.opened_at < %s AND %s`,
		strings.Join(key, ", "), join, arg(q.from), arg(q.to), q.where), args
}

// errTooMany says that an answer would have too many groups.
var errTooMany = fmt.Errorf("more than %d groups; ask for a shorter time, a longer interval, or fewer dimensions", maxCells)

// measure answers a question from one state of the database.
func measure(ctx context.Context, tx pgx.Tx, q question) (out reckoning, err error) {
	from, args := q.cells()
	rows, err := tx.Query(ctx, fmt.Sprintf("SELECT key, count(*) AS n, bool_or(c.data_class IN ('C2', 'C3')) AS sensitive, CASE WHEN count(*) < %d THEN array_agg(c.id) END AS cases FROM (%s) c GROUP BY key ORDER BY key LIMIT %d",
		leastCell, from, maxCells+1), args...)
	if err != nil {
		return out, fmt.Errorf("statistics: %w", err)
	}
	cells, err := pgx.CollectRows(rows, pgx.RowToStructByName[cell])
	if err != nil {
		return out, fmt.Errorf("statistics: %w", err)
	}
	if len(cells) > maxCells {
		return out, errTooMany
	}
	rest, gone := suppress(cells)
	out.left = len(gone) > 0
	not := "true"
	if out.left {
		args = append(args, gone)
		not = fmt.Sprintf("c.id NOT IN (SELECT g.id FROM (%s) g WHERE g.key = ANY($%d::text[]))", from, len(args))
	}
	if rows, err = tx.Query(ctx, fmt.Sprintf("SELECT CASE WHEN c.key = ANY($%d::text[]) THEN '%s' ELSE c.key END AS key, %s FROM (%s) c WHERE %s GROUP BY 1 ORDER BY 1",
		len(args)+1, restKey, figuresSQL, from, not), append(slices.Clone(args), rest)...); err != nil {
		return out, fmt.Errorf("statistics: %w", err)
	}
	if out.groups, err = pgx.CollectRows(rows, pgx.RowToStructByName[measured]); err != nil {
		return out, fmt.Errorf("statistics: %w", err)
	}
	slices.SortStableFunc(out.groups, func(a, b measured) int { return keyOrder(a.Key, b.Key) })
	if rows, err = tx.Query(ctx, fmt.Sprintf("SELECT %s FROM (SELECT DISTINCT ON (c.id) c.* FROM (%s) c WHERE %s) c", figuresSQL, from, not), args...); err != nil {
		return out, fmt.Errorf("statistics: %w", err)
	}
	out.whole, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Figures])
	if err != nil {
		return out, fmt.Errorf("statistics: %w", err)
	}
	return out, nil
}

// keyOrder orders groups by period and dimensions, the rest last.
func keyOrder(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == restKey:
		return 1
	case b == restKey:
		return -1
	}
	return slices.Compare(keyParts(a), keyParts(b))
}

// keyParts reads a key; nil is that of the rest.
func keyParts(key string) (parts []string) {
	if json.Unmarshal([]byte(key), &parts) != nil {
		return nil
	}
	return parts
}
