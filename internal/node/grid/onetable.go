package grid

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/config"
	"github.com/dizuo/dizuo/internal/contract"
)

// Indicator is a column of the one table.
type Indicator struct {
	ID string `json:"id"`
	// Figure is one of oneTableFigures; Sources, Severities and Classes narrow the cases that it is of.
	Figure     string   `json:"figure"`
	Sources    []string `json:"sources,omitempty"`
	Severities []string `json:"severities,omitempty"`
	Classes    []string `json:"classes,omitempty"`
	Name       string   `json:"name"`
	NameEN     string   `json:"nameEN"`
	Unit       string   `json:"unit"`
	UnitEN     string   `json:"unitEN,omitempty"`
	// Definition says in words what is counted.
	Definition   string `json:"definition"`
	DefinitionEN string `json:"definitionEN"`
	// Origin is "Text" with the document in Cite, or "Ours".
	Origin string `json:"origin" enum:"Text,Ours"`
	Cite   string `json:"cite,omitempty"`
}

// oneTable is config/reports/one-table.yaml.
type oneTable struct {
	Title      string      `json:"title"`
	TitleEN    string      `json:"titleEN"`
	Source     string      `json:"source"`
	Indicators []Indicator `json:"indicators"`
}

// readOneTable reads the table of the release. An error means that the release is broken; a test sees it.
var readOneTable = sync.OnceValues(func() (out oneTable, err error) {
	if err := yaml.UnmarshalStrict(config.OneTable, &out); err != nil {
		return out, fmt.Errorf("config/reports/one-table.yaml: %w", err)
	}
	for _, x := range out.Indicators {
		if _, known := oneTableFigures[x.Figure]; !known {
			return out, fmt.Errorf("config/reports/one-table.yaml: %s: no figure %q", x.ID, x.Figure)
		}
	}
	return out, nil
})

// figure is which cases an indicator is of, and what it makes of them: both are SQL, with the period as $1 and $2.
type figure struct{ of, value string }

const (
	openedThen = "c.opened_at >= $1 AND c.opened_at < $2"
	closedThen = "c.state IN ('Closed', 'Rated') AND c.closed_at >= $1 AND c.closed_at < $2"
)

// oneTableFigures by name. Shares are in per cent.
var oneTableFigures = map[string]figure{
	"opened":       {openedThen, "count(*)"},
	"closed":       {closedThen, "count(*)"},
	"overdue":      {openedThen + " AND " + missedTime, "count(*)"},
	"escalated":    {openedThen + " AND c.escalated > 0", "count(*)"},
	"reopened":     {openedThen + " AND c.reopened > 0", "count(*)"},
	"closedOnTime": {closedThen, "100.0 * count(*) FILTER (WHERE NOT c.resolve_overdue) / nullif(count(*), 0)"},
	"takenOnTime":  {openedThen + " AND c.acknowledged_at IS NOT NULL", "100.0 * count(*) FILTER (WHERE NOT c.acknowledge_overdue) / nullif(count(*), 0)"},
	"voidShare":    {openedThen, "100.0 * count(*) FILTER (WHERE c.state = 'Void') / nullif(count(*), 0)"},
	"takenMedian":  {openedThen + " AND c.acknowledged_at IS NOT NULL", median("c.acknowledged_at", 60)},
	"closedMedian": {closedThen, median("c.closed_at", 3600)},
	"score":        {closedThen + " AND c.score IS NOT NULL", "avg(c.score)"},
	"devices":      {"", "count(*)"}, // of grid.devices
}

// median gives the median time from the opening of cases until another of their times, in units of so many seconds.
func median(until string, unit int) string {
	return fmt.Sprintf("percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM %s - c.opened_at)::float8) / %d", until, unit)
}

// value is one indicator of one community, or of all.
type value struct {
	Community string   `db:"community"`
	Total     bool     `db:"total"`
	N         int64    `db:"n"`
	Sensitive bool     `db:"sensitive"`
	Value     *float64 `db:"value"`
}

// indicate gives an indicator by community and in total, of what a scope sees. Values are rounded to hundredths; none stands for a mean of nothing.
func indicate(ctx context.Context, tx pgx.Tx, s scope, x Indicator, from, to time.Time) ([]value, error) {
	f := oneTableFigures[x.Figure]
	query := `SELECT coalesce(c.community, '') AS community, grouping(c.community) = 1 AS total, count(*) AS n, %s AS sensitive, round((%s)::numeric, 2)::float8 AS value
		FROM %s c WHERE %s GROUP BY GROUPING SETS ((c.community), ())`
	var args []any
	if x.Figure == "devices" {
		where, scoped := s.place(1)
		query, args = fmt.Sprintf(query, "false", f.value, "grid.devices", where), scoped
	} else {
		args = []any{from, to}
		where, scoped := s.cases(3)
		args = append(args, scoped...)
		conditions := []string{f.of, where}
		for _, in := range []struct {
			column string
			list   []string
		}{{"source", x.Sources}, {"severity", x.Severities}, {"class", x.Classes}} {
			if len(in.list) > 0 {
				args = append(args, in.list)
				conditions = append(conditions, fmt.Sprintf("c.%s = ANY($%d)", in.column, len(args)))
			}
		}
		query = fmt.Sprintf(query, "coalesce(bool_or(c.data_class IN ('C2', 'C3')), false)", f.value, "grid.cases", strings.Join(conditions, " AND "))
	}
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("indicator %s: %w", x.ID, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowToStructByName[value])
	if err != nil {
		return nil, fmt.Errorf("indicator %s: %w", x.ID, err)
	}
	return values, nil
}

// OneTableRow has the values of a community, or of all, by the id of the indicator.
type OneTableRow struct {
	Community string              `json:"community,omitempty" doc:"Name of the object; empty in the total."`
	Name      string              `json:"name,omitempty" doc:"Name for people."`
	Division  string              `json:"division,omitempty" doc:"12-digit division code."`
	Values    map[string]*float64 `json:"values" doc:"Null: nothing to measure, or withheld."`
	Withheld  []string            `json:"withheld,omitempty" doc:"Indicators that are not shown, because they are of fewer than 3 cases of which one has data of class C2 or C3."`
}

// fillIn puts the values of an indicator into the rows and the total. What is small and sensitive is withheld, and the total with it where one could
// take the others from it. It is pure.
func fillIn(id string, counts bool, values []value, rows map[string]*OneTableRow, total *OneTableRow) {
	var hidden int64
	for _, row := range rows {
		row.Values[id] = none(counts)
	}
	total.Values[id] = none(counts)
	for _, v := range values {
		row, there := rows[v.Community]
		switch {
		case v.Total:
		case !there: // the scope leaves out communities that are gone; were there one, only the total would have it
			hidden += v.N
		case v.Sensitive && v.N < leastCell:
			hidden += v.N
			row.Values[id], row.Withheld = nil, append(row.Withheld, id)
		default:
			row.Values[id] = v.Value
		}
	}
	for _, v := range values {
		if !v.Total {
			continue
		}
		if total.Values[id] = v.Value; hidden > 0 && hidden < leastCell || v.Sensitive && v.N > 0 && v.N < leastCell {
			total.Values[id], total.Withheld = nil, append(total.Withheld, id)
		}
	}
}

// none is the value of no cases: 0 where they are counted, else nothing.
func none(counts bool) *float64 {
	if counts {
		return new(float64)
	}
	return nil
}

// rowsOfTable gives an empty row for each community that a scope covers.
func rowsOfTable(d contract.Directory, s scope) (order []*OneTableRow, rows map[string]*OneTableRow) {
	rows = map[string]*OneTableRow{}
	for _, name := range s.communities {
		c := d.Communities[name]
		row := &OneTableRow{Community: name, Name: c.DisplayName, Division: c.Division, Values: map[string]*float64{}}
		order, rows[name] = append(order, row), row
	}
	return order, rows
}
