package grid

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/node/intake"
)

var (
	descOpenCases = prometheus.NewDesc("dizuo_grid_cases_open",
		"Cases that are not finished, by community and class; other is what no community and no scenario of the platform has. From the working replica.", []string{"community", "class"}, nil)
	descOverdueCases = prometheus.NewDesc("dizuo_grid_cases_overdue",
		"Cases that are not finished and missed a time, by community and class. From the working replica.", []string{"community", "class"}, nil)
)

// caseEvery is how often open cases are counted.
const caseEvery = 30 * time.Second

// caseKind is a community and a class.
type caseKind struct{ community, class string }

// caseCount is how many cases are open, and how many of them missed a time.
type caseCount struct{ open, overdue int64 }

// caseGauges counts open cases and dead letters on the working replica. Series grow with communities and classes of the platform, whatever people write in a report.
type caseGauges struct {
	pool *pgxpool.Pool
	in   *intake.Intake
	log  *slog.Logger
	// working says whether this replica works off the ingest log.
	working func() bool
	counts  atomic.Pointer[map[caseKind]caseCount]
	// dead are dead letters by organisation.
	dead atomic.Pointer[map[string]int64]
	// figures are the series of figureGroups.
	figures atomic.Pointer[[][]*figureSeries]
}

// run counts until ctx ends.
func (g *caseGauges) run(ctx context.Context) error {
	tick := time.NewTicker(caseEvery)
	defer tick.Stop()
	for {
		if err := g.refresh(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("open cases", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// refresh counts once. A replica that does not work, or cannot count, says nothing rather than what was.
func (g *caseGauges) refresh(ctx context.Context) error {
	b := g.in.Current()
	g.counts.Store(nil)
	g.dead.Store(nil)
	g.figures.Store(nil)
	if b == nil || !g.working() {
		return nil
	}
	counts, err := countCases(ctx, g.pool, b)
	if err != nil {
		return err
	}
	g.counts.Store(&counts)
	dead, err := countDead(ctx, g.pool, b)
	if err != nil {
		return err
	}
	g.dead.Store(&dead)
	figures, err := caseFigures(ctx, g.pool, b)
	if err != nil {
		return err
	}
	g.figures.Store(&figures)
	return nil
}

func countCases(ctx context.Context, pool *pgxpool.Pool, b *intake.Bundle) (map[caseKind]caseCount, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rows, err := pool.Query(ctx, "SELECT c.community, c.class, count(*), count(*) FILTER (WHERE "+missedTime+") FROM grid.cases c WHERE c.open GROUP BY 1, 2")
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	classes := map[string]bool{}
	for _, s := range b.Rules.Scenarios {
		classes[s.CaseClass] = true
	}
	out := map[caseKind]caseCount{}
	var kind caseKind
	var n caseCount
	_, err = pgx.ForEachRow(rows, []any{&kind.community, &kind.class, &n.open, &n.overdue}, func() error {
		k := kind
		if _, known := b.Directory.Communities[k.community]; !known {
			k.community = "other"
		}
		if !classes[k.class] {
			k.class = "other"
		}
		out[k] = caseCount{out[k].open + n.open, out[k].overdue + n.overdue}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	return out, nil
}

// Describe implements prometheus.Collector.
func (g *caseGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- descOpenCases
	ch <- descOverdueCases
	ch <- descDeadLetters
	describeFigures(ch)
}

// Collect implements prometheus.Collector. A replica that does not work gives nothing.
func (g *caseGauges) Collect(ch chan<- prometheus.Metric) {
	if !g.working() {
		return
	}
	if counts := g.counts.Load(); counts != nil {
		for k, n := range *counts {
			ch <- prometheus.MustNewConstMetric(descOpenCases, prometheus.GaugeValue, float64(n.open), k.community, k.class)
			ch <- prometheus.MustNewConstMetric(descOverdueCases, prometheus.GaugeValue, float64(n.overdue), k.community, k.class)
		}
	}
	if figures := g.figures.Load(); figures != nil {
		collectFigures(ch, *figures)
	}
	if dead := g.dead.Load(); dead != nil {
		for name, n := range *dead {
			ch <- prometheus.MustNewConstMetric(descDeadLetters, prometheus.GaugeValue, float64(n), name)
		}
	}
}

// running says whether a session runs here: then this replica is the one that works.
func (p *presence) running() bool { return p.rolls.Load() != nil }
