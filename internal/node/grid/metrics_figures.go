package grid

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// figuresDays is how far back the figures of cases reach: the index on opened_at bounds what is read (ours).
const figuresDays = 7

// figureMetric is a gauge of caseFigures, with the labels that its query gives first and the SQL of its value over grid.cases c.
type figureMetric struct {
	desc *prometheus.Desc
	sql  string
}

func gaugeOfCases(name, help, sql string, labels ...string) figureMetric {
	return figureMetric{prometheus.NewDesc("dizuo_grid_cases_"+name, help+" From the working replica.", labels, nil), sql}
}

func recentFigure(name, help, sql string) figureMetric {
	return gaugeOfCases("recent_"+name, fmt.Sprintf("%s, of the cases opened in the last %d days, by community.", help, figuresDays), sql, "community")
}

// figureGroup is a query that gives one line for each series: labels, then the values of its metrics.
type figureGroup struct {
	labels  []string
	by      string
	from    string
	metrics []figureMetric
}

// openAndOverdue are the two gauges of open cases by labels.
func openAndOverdue(by string, labels ...string) []figureMetric {
	return []figureMetric{
		gaugeOfCases("open_by_"+by, "Cases that are not finished, by "+by+"; other is what the directory does not have.", "count(*)", labels...),
		gaugeOfCases("overdue_by_"+by, "Cases that are not finished and missed a time, by "+by+"; other is what the directory does not have.", "count(*) FILTER (WHERE "+missedTime+")", labels...),
	}
}

// figureGroups are what caseFigures counts.
var figureGroups = []figureGroup{
	{[]string{"community", "grid"}, "c.community, c.grid", "grid.cases c WHERE c.open", openAndOverdue("grid", "community", "grid")},
	{[]string{"organization"}, "o.organization",
		"grid.cases c JOIN LATERAL (SELECT DISTINCT p.organization FROM grid.case_parties p WHERE p.case_id = c.id AND p.organization <> '' AND p.released_at IS NULL) o ON true WHERE c.open",
		openAndOverdue("organization", "organization")},
	{[]string{"community"}, "c.community", fmt.Sprintf("grid.cases c WHERE c.opened_at > now() - interval '%d days'", figuresDays), []figureMetric{
		recentFigure("opened", "How many", "count(*)"),
		recentFigure("escalated", "How many went up a level", "count(*) FILTER (WHERE c.escalated > 0)"),
		recentFigure("reopened", "How many were reopened", "count(*) FILTER (WHERE c.reopened > 0)"),
		recentFigure("rated", "How many have a score", "count(c.score)"),
		recentFigure("score_sum", "Sum of the scores, 1 to 5 each", "coalesce(sum(c.score), 0)"),
		recentFigure("acknowledged", "How many somebody took", "count(c.acknowledged_at)"),
		recentFigure("acknowledge_seconds_sum", "Sum of the seconds until somebody took them", "coalesce(sum(extract(epoch FROM c.acknowledged_at - c.opened_at)), 0)"),
		recentFigure("closed", "How many are closed or rated", "count(*) FILTER (WHERE c.state IN ('Closed', 'Rated'))"),
		recentFigure("close_seconds_sum", "Sum of the seconds until they were closed", "coalesce(sum(extract(epoch FROM c.closed_at - c.opened_at)) FILTER (WHERE c.state IN ('Closed', 'Rated')), 0)"),
	}},
}

// figureSeries are the labels of a group's series and the values of its metrics there.
type figureSeries struct {
	labels []string
	values []float64
}

// caseFigures gives, for each group, its series. Labels are those of the directory, or other: series do not grow with what is reported.
func caseFigures(ctx context.Context, pool *pgxpool.Pool, b *intake.Bundle) ([][]*figureSeries, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var out [][]*figureSeries
	for _, g := range figureGroups {
		series, err := g.count(ctx, pool, b.Directory)
		if err != nil {
			return nil, fmt.Errorf("figures of cases by %v: %w", g.labels, err)
		}
		out = append(out, series)
	}
	return out, nil
}

// count reads the series of a group.
func (g figureGroup) count(ctx context.Context, pool *pgxpool.Pool, d contract.Directory) ([]*figureSeries, error) {
	query := "SELECT " + g.by
	for _, m := range g.metrics {
		query += ", (" + m.sql + ")::float8"
	}
	rows, err := pool.Query(ctx, query+" FROM "+g.from+" GROUP BY "+g.by)
	if err != nil {
		return nil, err
	}
	labels, values := make([]string, len(g.labels)), make([]float64, len(g.metrics))
	var into []any
	for i := range labels {
		into = append(into, &labels[i])
	}
	for i := range values {
		into = append(into, &values[i])
	}
	var out []*figureSeries
	at := map[string]int{}
	_, err = pgx.ForEachRow(rows, into, func() error {
		known := g.known(d, labels)
		key := strings.Join(known, "\x1f")
		i, there := at[key]
		if !there {
			i, out = len(out), append(out, &figureSeries{known, make([]float64, len(values))})
			at[key] = i
		}
		for k, v := range values {
			out[i].values[k] += v
		}
		return nil
	})
	return out, err
}

// known gives labels with other for what the directory does not have. A case in no grid has an empty grid.
func (g figureGroup) known(d contract.Directory, labels []string) []string {
	out := slices.Clone(labels)
	for i, name := range g.labels {
		ok := true
		switch name {
		case "community":
			_, ok = d.Communities[labels[i]]
		case "grid":
			ok = labels[i] == "" || slices.ContainsFunc(d.Communities[labels[0]].Grids, func(x contract.Grid) bool { return x.Name == labels[i] })
		case "organization":
			_, ok = d.Organizations[labels[i]]
		}
		if !ok {
			out[i] = "other"
		}
	}
	return out
}

// describeFigures and collectFigures are the part of caseGauges that tells them.
func describeFigures(ch chan<- *prometheus.Desc) {
	for _, g := range figureGroups {
		for _, m := range g.metrics {
			ch <- m.desc
		}
	}
}

func collectFigures(ch chan<- prometheus.Metric, all [][]*figureSeries) {
	for i, series := range all {
		for _, s := range series {
			for k, m := range figureGroups[i].metrics {
				ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, s.values[k], s.labels...)
			}
		}
	}
}
