package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/huandu/go-sqlbuilder"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// measureEvery is how often each dataset is measured; its name says when within that time, so that not all are at once.
const measureEvery = time.Hour

// measureLook is how often it is looked which are due. What is new is measured at the next look.
const measureLook = time.Minute

// qualities keeps what was measured last.
type qualities struct {
	mu       sync.Mutex
	reports  map[string]contract.DatasetReport
	due      map[string]time.Time
	percents *prometheus.GaugeVec
}

func newQualities(reg prometheus.Registerer) *qualities {
	q := &qualities{
		reports: map[string]contract.DatasetReport{}, due: map[string]time.Time{},
		percents: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_dataset_quality_percent", Help: "Quality of a dataset as measured last, by figure."}, []string{"dataset", "figure"}),
	}
	reg.MustRegister(q.percents)
	return q
}

// report fills the gateway's part of a report.
func (q *qualities) report(r *contract.Report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.Datasets = maps.Clone(q.reports)
}

// measureDatasets measures every dataset of the bundle once an hour, until ctx ends.
func (s *server) measureDatasets(ctx context.Context) error {
	tick := time.NewTicker(measureLook)
	defer tick.Stop()
	for {
		if p := s.policy.Load(); p != nil {
			s.measureDue(ctx, p.bundle.Access.Datasets, s.now())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// measureDue measures those whose time has come, one after the other.
func (s *server) measureDue(ctx context.Context, datasets map[string]contract.Dataset, now time.Time) {
	for _, name := range s.quality.dueAt(datasets, now) {
		if ctx.Err() != nil {
			return
		}
		s.quality.keep(name, s.measure(ctx, datasets[name], now))
	}
}

// dueAt gives the datasets that are to be measured, sorted, and forgets those that are gone.
func (q *qualities) dueAt(datasets map[string]contract.Dataset, now time.Time) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name := range q.reports {
		if _, ok := datasets[name]; !ok {
			delete(q.reports, name)
			delete(q.due, name)
			q.percents.DeletePartialMatch(prometheus.Labels{"dataset": name})
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(datasets)) {
		if due, known := q.due[name]; known && now.Before(due) {
			continue
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(name))
		next := now.Truncate(measureEvery).Add(time.Duration(h.Sum32()) * time.Second % measureEvery)
		for !next.After(now) {
			next = next.Add(measureEvery)
		}
		q.due[name] = next
		out = append(out, name)
	}
	return out
}

func (q *qualities) keep(name string, r contract.DatasetReport) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reports[name] = r
	for figure, percent := range map[string]*int32{"completeness": r.Quality.Completeness, "accuracy": r.Quality.Accuracy, "timeliness": r.Quality.Timeliness} {
		if percent == nil {
			q.percents.DeleteLabelValues(name, figure)
			continue
		}
		q.percents.WithLabelValues(name, figure).Set(float64(*percent))
	}
}

// measuredRows is how many rows of a provider's own database are looked at: it is somebody else's, and may be of any size.
const measuredRows = 1_000_000

// measure looks at the source of a dataset, wherever it is, and counts what is expected of it.
func (s *server) measure(ctx context.Context, set contract.Dataset, now time.Time) contract.DatasetReport {
	if set.Source.DSN == "" {
		return s.db.measure(ctx, set, now)
	}
	from, err := s.sources.get(ctx, set.Source.DSN)
	if err != nil {
		s.slog.Error("measure", "source", set.Source.DSN, "err", withoutValues(err))
		return contract.DatasetReport{Problem: "the gateway has no usable connection string of the provider's database", MeasuredAt: now}
	}
	// Four statements at most, each within its own timeout; readers come first.
	ctx, leave, err := from.enter(ctx, 4*foreignTimeout)
	if err != nil {
		return contract.DatasetReport{Problem: err.Error(), MeasuredAt: now}
	}
	defer leave()
	out := from.measure(ctx, set, now)
	if !out.Reachable {
		s.slog.Error("measure", "source", set.Source.DSN, "err", out.Problem)
		out.Problem = "the table in the provider's database cannot be described now: look at its connection, the rights of its user, and the names of schema and table"
	}
	return out
}

// qualityFigure is one of a dataset's: whether it is expected, the query of two counts, and why there is none.
type qualityFigure struct {
	name   string
	wanted bool
	query  *sqlbuilder.SelectBuilder
	lacks  string
	into   **int32
}

// measure looks at the source of a dataset and counts what is expected of it: one query a figure, none of which gives a value. Why a figure
// is not known is said with it.
func (d *database) measure(ctx context.Context, set contract.Dataset, now time.Time) contract.DatasetReport {
	var err error
	if set.Source, err = sourceOf(set.Source); err != nil {
		return contract.DatasetReport{Problem: err.Error(), MeasuredAt: now}
	}
	info, err := d.table(ctx, set.Source, now)
	if err != nil {
		return contract.DatasetReport{Problem: withoutValues(err).Error(), MeasuredAt: now}
	}
	out := contract.DatasetReport{Reachable: true, MissingColumns: missing(set, info), MeasuredAt: now}
	if len(out.MissingColumns) > 0 {
		return out
	}
	expected := contract.Quality{}
	if set.Quality != nil {
		expected = *set.Quality
	}
	for _, f := range []qualityFigure{
		{"completeness", expected.Completeness != nil, completeness(set), "no field is required", &out.Quality.Completeness},
		{"accuracy", expected.Accuracy != nil, accuracy(set, info), "the dataset has no fields", &out.Quality.Accuracy},
		{"timeliness", set.Freshness != nil || expected.Timeliness != nil, timeliness(set, now), "no freshness says which column has the time of a record, and what age is too old", &out.Quality.Timeliness},
	} {
		if !f.wanted {
			continue
		}
		why := f.lacks
		if f.query != nil {
			why = d.count(ctx, f, set, &out)
		}
		if why == "" {
			continue
		}
		if out.Unmeasured == nil {
			out.Unmeasured = map[string]string{}
		}
		out.Unmeasured[f.name] = why
	}
	return out
}

// count measures a figure, or says why it could not.
func (d *database) count(ctx context.Context, f qualityFigure, set contract.Dataset, out *contract.DatasetReport) (why string) {
	percent, err := d.percent(ctx, f.query)
	switch {
	case err != nil:
		out.Problem = withoutValues(err).Error()
		if set.Source.DSN != "" && out.Problem == err.Error() {
			out.Problem = "the provider's database did not answer" // what a driver says of it may name hosts
		}
		d.forget(set.Source)
		return "the query failed: " + out.Problem
	case percent == nil:
		return "there are no values to look at"
	}
	*f.into = percent
	return ""
}

// percent runs a query of two counts and gives the first in percent of the second, rounded down but not to 0; nil of nothing.
func (d *database) percent(ctx context.Context, query *sqlbuilder.SelectBuilder) (*int32, error) {
	sql, args := query.Build()
	var good, all int64
	err := pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, sql, args...).Scan(&good, &all)
	})
	switch {
	case err != nil || all == 0:
		return nil, err
	case good < 0 || good > all || all > math.MaxInt64/100: // a hostile database may say anything
		return nil, errors.New("the database gives counts that cannot be")
	}
	out := int32(good * 100 / all)
	if out == 0 && good > 0 {
		out = 1
	}
	return &out, nil
}

func missing(set contract.Dataset, info tableInfo) []string {
	s := set.Source
	columns := []string{s.DivisionColumn, s.CommunityColumn, s.GridColumn, s.CompoundColumn, s.SubjectColumn}
	if set.Freshness != nil {
		columns = append(columns, set.Freshness.Column)
	}
	for _, f := range set.Fields {
		columns = append(columns, f.Column)
	}
	slices.Sort(columns)
	return slices.DeleteFunc(slices.Compact(columns), func(name string) bool { return name == "" || info.types[name] != "" })
}

// counting begins a query of two counts over a dataset: all of its rows, or the first of a provider's own database.
func counting(set contract.Dataset) *sqlbuilder.SelectBuilder {
	table := quote(set.Source.Schema, set.Source.Table)
	if set.Source.DSN != "" {
		table = fmt.Sprintf("(SELECT * FROM %s LIMIT %d)", table, measuredRows)
	}
	return sqlbuilder.PostgreSQL.NewSelectBuilder().From(table + " AS t")
}

// completeness counts the filled values of required fields among all; nil where no field is required.
func completeness(set contract.Dataset) *sqlbuilder.SelectBuilder {
	var filled []string
	for _, name := range sortedKeys(set.Fields) {
		if f := set.Fields[name]; f.Required {
			filled = append(filled, "count(t."+quote(f.Column)+")")
		}
	}
	if len(filled) == 0 {
		return nil
	}
	return counting(set).Select(strings.Join(filled, " + "), fmt.Sprintf("count(*) * %d", len(filled)))
}

// forms are how a value of a type is written in a column of text. A column of another type holds what fits.
var forms = map[string]string{
	"Number": `^[+-]?[0-9]+(\.[0-9]+)?$`, "Integer": `^[+-]?[0-9]+$`, "Boolean": `^(true|false|t|f|0|1)$`,
	"Date": `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`, "Time": `^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}`,
}

// accuracy counts the values that fit their type and enum among those that are there.
func accuracy(set contract.Dataset, info tableInfo) *sqlbuilder.SelectBuilder {
	b := counting(set)
	var fit, there []string
	for _, name := range sortedKeys(set.Fields) {
		f := set.Fields[name]
		column := "t." + quote(f.Column)
		there = append(there, "count("+column+")")
		form, text := forms[f.Type], slices.Contains([]string{"text", "character varying", "character", "bpchar"}, info.types[f.Column])
		switch {
		case f.Type == "Enum":
			fit = append(fit, "count(*) FILTER (WHERE "+column+"::text = ANY("+b.Var(notNil(f.Enum))+"::text[]))")
		case form != "" && text:
			fit = append(fit, "count(*) FILTER (WHERE "+column+"::text ~ "+b.Var(form)+"::text)")
		default:
			fit = append(fit, "count("+column+")")
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return b.Select(strings.Join(fit, " + "), strings.Join(there, " + "))
}

// timeliness counts the records that are younger than what was promised; nil where nothing was.
func timeliness(set contract.Dataset, now time.Time) *sqlbuilder.SelectBuilder {
	if set.Freshness == nil {
		return nil
	}
	b := counting(set)
	oldest := now.Add(-time.Duration(set.Freshness.MaxAgeSeconds) * time.Second)
	return b.Select("count(*) FILTER (WHERE t."+quote(set.Freshness.Column)+"::timestamptz >= "+b.Var(oldest)+"::timestamptz)", "count(*)")
}
