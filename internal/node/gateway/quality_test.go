package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestQualityIsMeasured(t *testing.T) {
	w := newWorld(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		for name, f := range map[string]contract.DatasetField{
			"phone": {Type: "Integer", Column: "phone", Required: true}, "level": {Type: "Integer", Column: "level", Required: true},
			"health": {Type: "Enum", Column: "health", Enum: []string{"h1", "h2", "h3"}},
		} {
			d.Fields[name] = f
		}
		hundred := int32(100)
		d.Quality = &contract.Quality{Completeness: &hundred, Accuracy: &hundred}
		d.Freshness = &contract.Freshness{Column: "seen", MaxAgeSeconds: 3600}
		empty, gone, foreign, lacking := d, d, d, d
		w.exec("CREATE TABLE datasets." + d.Source.Table + "_empty (LIKE datasets." + d.Source.Table + ")")
		empty.Source.Table += "_empty"
		gone.Source.Table += "_gone"
		foreign.Source.DSN = "secret"
		lacking.Source.GridColumn = "no_grid"
		w.bundle.Access.Datasets = map[string]contract.Dataset{"elders": d, "empty": empty, "gone": gone, "foreign": foreign, "lacking": lacking}
	})
	// seen of four rows: 17:00, 15:00, NULL, 17:00, 17:00; measured at 17:30, one hour is 3 of 5. Phones: 4 of 5; levels: 4 of 5.
	// Accuracy: of 5 community, 4 phones, 5 names, 5 born, 4 seen, 4 levels, 5 health, two of health do not fit.
	now := time.Date(2026, 3, 1, 17, 30, 0, 0, time.UTC)
	w.server.measureDue(t.Context(), w.bundle.Access.Datasets, now)
	var r contract.Report
	w.server.report(&r)
	percent := func(c, a, t int32) contract.Quality {
		return contract.Quality{Completeness: &c, Accuracy: &a, Timeliness: &t}
	}
	const none = "there are no values to look at"
	want := map[string]contract.DatasetReport{
		"elders":  {Reachable: true, Quality: percent(80, 93, 60), MeasuredAt: now},
		"empty":   {Reachable: true, MeasuredAt: now, Unmeasured: map[string]string{"completeness": none, "accuracy": none, "timeliness": none}},
		"gone":    {Problem: "does not exist", MeasuredAt: now},
		"foreign": {Problem: "no usable connection string", MeasuredAt: now},
		"lacking": {Reachable: true, MissingColumns: []string{"no_grid"}, MeasuredAt: now},
	}
	for name, got := range r.Datasets {
		if problem := want[name].Problem; problem != "" && strings.Contains(got.Problem, problem) {
			got.Problem = problem
		}
		if diff := cmp.Diff(want[name], got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if len(r.Datasets) != len(want) {
		t.Errorf("%d reports", len(r.Datasets))
	}
	if again := w.server.quality.dueAt(w.bundle.Access.Datasets, now.Add(time.Second)); len(again) > 1 {
		t.Errorf("due again after a second: %v", again)
	}
	if again := w.server.quality.dueAt(w.bundle.Access.Datasets, now.Add(measureEvery)); len(again) < 4 {
		t.Errorf("due after an hour: %v", again)
	}
	delete(w.bundle.Access.Datasets, "gone")
	w.server.quality.dueAt(w.bundle.Access.Datasets, now.Add(measureEvery))
	var later contract.Report
	if w.server.report(&later); len(later.Datasets) != 4 {
		t.Errorf("a dataset that is gone is reported: %v", later.Datasets)
	}
}
