package grid

import (
	"fmt"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestCaseFigures: open cases by grid and organisation, and the figures of a week by community; whatever the directory lacks is one series.
func TestCaseFigures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.filed(fmt.Sprint("f", i), Case{Grid: "g1", Class: "fire"}, []string{"GridWorker"}, []string{"fire-xinxiang"})
		w.filed(fmt.Sprint("x", i), Case{Grid: fmt.Sprint("gone", i)}, []string{"GridWorker"}, []string{fmt.Sprint("gone", i)})
	}
	w.filed("old", Case{}, []string{"GridWorker"}, nil)
	w.exec("UPDATE grid.cases SET resolve_overdue = true WHERE title IN ('f1', 'x0', 'x2')")
	w.exec("UPDATE grid.cases SET escalated = 3 WHERE title IN ('f1', 'x1', 'old')")
	w.exec("UPDATE grid.cases SET reopened = 2, acknowledged_at = opened_at + interval '30 s' WHERE title IN ('f2', 'x2')")
	w.exec("UPDATE grid.cases SET state = 'Rated', score = 4, closed_at = opened_at + interval '2 min' WHERE title = 'f2'")
	w.exec("UPDATE grid.cases SET state = 'Closed', closed_at = opened_at + interval '1 min' WHERE title = 'f0'")
	w.exec("UPDATE grid.cases SET state = 'Void', closed_at = opened_at + interval '1 min' WHERE title = 'x0'")
	w.exec("UPDATE grid.cases SET community = 'gone' WHERE title = 'x1'")
	w.exec("UPDATE grid.cases SET opened_at = opened_at - interval '8 days' WHERE title = 'old'")
	g := &caseGauges{pool: w.pool, in: w.in, log: quiet(), working: func() bool { return true }}
	if err := g.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		`open_by_grid{community="jinghu",grid="g1"}`: "1", `open_by_grid{community="jinghu",grid="other"}`: "1", `open_by_grid{community="jinghu",grid=""}`: "1", `open_by_grid{community="other",grid="other"}`: "1",
		`overdue_by_grid{community="jinghu",grid="g1"}`: "1", `overdue_by_grid{community="jinghu",grid="other"}`: "1", `overdue_by_grid{community="jinghu",grid=""}`: "0", `overdue_by_grid{community="other",grid="other"}`: "0",
		`open_by_organization{organization="fire-xinxiang"}`: "1", `open_by_organization{organization="other"}`: "2",
		`overdue_by_organization{organization="fire-xinxiang"}`: "1", `overdue_by_organization{organization="other"}`: "1",
	}
	for name, values := range map[string][2]string{"opened": {"5", "1"}, "escalated": {"1", "1"}, "reopened": {"2", "0"}, "rated": {"1", "0"}, "score_sum": {"4", "0"}, "acknowledged": {"2", "0"},
		"acknowledge_seconds_sum": {"60", "0"}, "closed": {"2", "0"}, "close_seconds_sum": {"180", "0"}} {
		want[fmt.Sprintf(`recent_%s{community="jinghu"}`, name)], want[fmt.Sprintf(`recent_%s{community="other"}`, name)] = values[0], values[1]
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(g)
	text := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(text, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range regexp.MustCompile(`(?m)^dizuo_grid_cases_((?:recent|open_by|overdue_by)_\S+) (\S+)$`).FindAllStringSubmatch(text.Body.String(), -1) {
		if want[line[1]] != line[2] {
			t.Errorf("%s is %s, want %q", line[1], line[2], want[line[1]])
		}
		delete(want, line[1])
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
}
