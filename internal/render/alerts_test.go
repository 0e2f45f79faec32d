package render

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/compile"
)

var (
	// metricOfCode are names of metrics in Go, metricPrefix the first half of those that a file makes with helpers, and metricRest the others.
	metricOfCode = regexp.MustCompile(`(?:Name:\s*|NewDesc\()"((?:dizuo|leader_election)_[a-z_]+)"[,)}]`)
	metricPrefix = regexp.MustCompile(`Name:\s*"(dizuo_[a-z_]+_)" \+ name`)
	metricRest   = regexp.MustCompile(`\b(?:counter|gauge)\("([a-z_]+)",`)
	// metricOfAlert is a word of an expression behind which labels or a range stand, or that stands alone before an operator.
	metricOfAlert = regexp.MustCompile(`\b[a-z][a-z_]+_[a-z_]+\b|\bup\b`)
	// inBraces are labels, and inBy the labels of a group: no metrics.
	inBraces = regexp.MustCompile(`\{\{.*?\}\}|\{[^}]*\}`)
	inBy     = regexp.MustCompile(`\b(?:by|on|without|ignoring) \([^)]*\)`)
	// calls are functions of PromQL.
	calls = regexp.MustCompile(`\b[a-z_]+\(`)
)

// foreignMetrics are those in alerts that others make: Prometheus itself, client-go and controller-runtime.
var foreignMetrics = []string{"up", "leader_election_master_status", "controller_runtime_reconcile_errors_total", "controller_runtime_reconcile_total", "controller_runtime_reconcile_panics_total"}

// metricsOfCode gives the names of all metrics that the code registers.
func metricsOfCode(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, root := range []string{"../../internal", "../../controllers"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range metricOfCode.FindAllSubmatch(raw, -1) {
				out[string(m[1])] = true
			}
			if prefix := metricPrefix.FindSubmatch(raw); prefix != nil {
				for _, m := range metricRest.FindAllSubmatch(raw, -1) {
					out[string(prefix[1])+string(m[1])] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// metricsIn gives the names of metrics in an expression; those of a histogram's parts without their ending.
func metricsIn(expr string) (names []string) {
	expr = calls.ReplaceAllString(inBy.ReplaceAllString(inBraces.ReplaceAllString(expr, ""), ""), "(")
	for _, name := range metricOfAlert.FindAllString(expr, -1) {
		names = append(names, strings.TrimSuffix(name, "_bucket"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// alertsOf gives the expressions of the alerts in a rendered or a template's YAML, by name.
func alertsOf(text string) map[string]string {
	out := map[string]string{}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		name, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "- "), "alert: ")
		if !ok {
			continue
		}
		expr := ""
		for _, more := range lines[i+1:] {
			more = strings.TrimSpace(more)
			if expr != "" && (strings.HasPrefix(more, "for: ") || strings.HasPrefix(more, "labels:")) {
				break
			}
			expr += " " + strings.TrimPrefix(strings.TrimPrefix(more, "expr: "), ">-")
		}
		out[name] = expr
	}
	return out
}

// TestAlertsAreAboutMetricsThatExist: an alert about a metric that nobody makes is never seen to be wrong, since it never fires.
func TestAlertsAreAboutMetricsThatExist(t *testing.T) {
	alerts := map[string]string{}
	every := platform{}
	every.Namespace, every.Clouds = "henan", true
	every.EMQX = &compile.EMQXPlan{}
	for _, r := range every.alerts().Rules {
		alerts[*r.Alert] = r.Expr.StrVal
	}
	raw, err := os.ReadFile("../../charts/dizuo/templates/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(alerts, alertsOf(string(raw)))
	for _, name := range []string{"DizuoCasesOverdue", "DizuoDeadLetters", "DizuoCalendarStale", "DizuoEngineBehind", "DizuoDecisionLogBehind", "DizuoIngestAway", "DizuoCloudsShutOut", "DizuoSlowToReady"} {
		if alerts[name] == "" {
			t.Errorf("alert %s is not found among %v", name, slices.Sorted(maps.Keys(alerts)))
		}
	}
	known := metricsOfCode(t)
	for name, expr := range alerts {
		metrics := metricsIn(expr)
		if len(metrics) == 0 {
			t.Errorf("%s: no metric is found in %s", name, expr)
		}
		for _, m := range metrics {
			if !known[m] && !slices.Contains(foreignMetrics, m) {
				t.Errorf("%s is about %s, which no code makes: %s", name, m, expr)
			}
		}
	}
}
