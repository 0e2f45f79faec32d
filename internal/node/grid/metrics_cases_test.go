package grid

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestCaseGauges: series are of the platform's communities, classes and organisations only, whatever people write, and of the working replica only.
func TestCaseGauges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.filed(fmt.Sprint("f", i), Case{Grid: "g1", Class: "fire"}, []string{"GridWorker"}, nil)
		w.filed(fmt.Sprint("x", i), Case{Class: fmt.Sprint("=written", i)}, []string{"GridWorker"}, nil)
	}
	w.exec("UPDATE grid.cases SET resolve_overdue = true WHERE title IN ('f1', 'x0', 'x2')")
	w.exec("UPDATE grid.cases SET state = 'Closed' WHERE title IN ('f2', 'x2')")
	w.exec("UPDATE grid.cases SET community = 'gone' WHERE title = 'x1'")
	for i, one := range []struct{ to, dead, delivered string }{{"fire-xinxiang", "now()", "NULL"}, {"fire-xinxiang", "now()", "NULL"}, {"fire-xinxiang", "now()", "now()"}, {"fire-luoyang", "NULL", "NULL"}, {"gone", "now()", "NULL"}} {
		w.exec(fmt.Sprintf("INSERT INTO grid.dispatch_outbox (id, organization, payload, created_at, next_attempt_at, dead_at, delivered_at) VALUES ('00000000-0000-0000-0000-00000000000%d', '%s', '{}', now(), now() + interval '1 day', %s, %s)",
			i, one.to, one.dead, one.delivered))
	}
	working := true
	g := &caseGauges{pool: w.pool, in: w.in, log: quiet(), working: func() bool { return working }}
	if n := testutil.CollectAndCount(g); n != 0 {
		t.Errorf("%d series before anything was counted", n)
	}
	if err := g.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP dizuo_grid_dead_letters Messages that were tried for a day in vain and not replayed, by organization; other is what the directory has no more. From the working replica.
# TYPE dizuo_grid_dead_letters gauge
dizuo_grid_dead_letters{organization="fire-xinxiang"} 2
dizuo_grid_dead_letters{organization="other"} 1
# HELP dizuo_grid_cases_open Cases that are not finished, by community and class; other is what no community and no scenario of the platform has. From the working replica.
# TYPE dizuo_grid_cases_open gauge
dizuo_grid_cases_open{class="fire",community="jinghu"} 2
dizuo_grid_cases_open{class="other",community="jinghu"} 1
dizuo_grid_cases_open{class="other",community="other"} 1
# HELP dizuo_grid_cases_overdue Cases that are not finished and missed a time, by community and class. From the working replica.
# TYPE dizuo_grid_cases_overdue gauge
dizuo_grid_cases_overdue{class="fire",community="jinghu"} 1
dizuo_grid_cases_overdue{class="other",community="jinghu"} 1
dizuo_grid_cases_overdue{class="other",community="other"} 0
`
	if err := testutil.CollectAndCompare(g, strings.NewReader(want), "dizuo_grid_dead_letters", "dizuo_grid_cases_open", "dizuo_grid_cases_overdue"); err != nil {
		t.Error(err)
	}
	var told contract.Report
	if err := w.svc.fillCases(t.Context(), &told); err != nil || told.OpenCases["jinghu"] != 3 || told.OverdueCases != 2 {
		t.Errorf("the report has %v open, %d of them overdue, %v", told.OpenCases, told.OverdueCases, err)
	}
	if told.ScenarioCases == nil || len(told.ScenarioCases) > 0 {
		t.Errorf("cases that no scenario opened are of scenarios: %v", told.ScenarioCases)
	}
	if working = false; testutil.CollectAndCount(g) != 0 {
		t.Error("a replica that stopped working goes on telling")
	}
	if err := g.refresh(t.Context()); err != nil || g.counts.Load() != nil || g.dead.Load() != nil {
		t.Errorf("a replica that does not work counts: %v", err)
	}
	eventually(t, "the service tells it", func() bool {
		_ = w.svc.gauges.refresh(t.Context())
		n, err := testutil.GatherAndCount(w.reg, "dizuo_grid_cases_open")
		return err == nil && n == 3
	})
}

// TestCasesOfScenariosAreReported: those that it opened and that are open, in whatever community, and when it runs no more.
func TestCasesOfScenariosAreReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, scenario := range []string{"kitchen-fire", "kitchen-fire", "kitchen-fire", "switched-off", "over", ""} {
		w.filed(fmt.Sprint("c", i), Case{Class: "fire", Scenario: scenario}, []string{"GridWorker"}, nil)
	}
	w.exec("UPDATE grid.cases SET community = 'chengdong' WHERE title = 'c1'")
	w.exec("UPDATE grid.cases SET state = 'Closed' WHERE title IN ('c2', 'c4')")
	var told contract.Report
	if err := w.svc.fillCases(t.Context(), &told); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{"kitchen-fire": 2, "switched-off": 1}, told.ScenarioCases); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int64{"jinghu": 3, "chengdong": 1}, told.OpenCases); diff != "" {
		t.Error(diff)
	}
}
