package gridplatform

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// TestCasesAreCountedOnce: both replicas of the grid service count the same cases, and the newer report is right.
func TestCasesAreCountedOnce(t *testing.T) {
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	older := contract.Report{Role: contract.RoleGrid, Instance: "a", At: now.Add(-time.Minute), OpenCases: map[string]int64{"jinghu": 2, "chengdong": 1}, OverdueCases: 1}
	newer := contract.Report{Role: contract.RoleGrid, Instance: "b", At: now, OpenCases: map[string]int64{"jinghu": 3, "chengdong": 1}, OverdueCases: 2}
	gateway := contract.Report{Role: contract.RoleGateway, At: now.Add(time.Minute)}
	for name, c := range map[string]struct {
		reports []contract.Report
		want    *v1alpha1.CaseSummary
	}{
		"nobody tells":    {[]contract.Report{gateway}, nil},
		"none is open":    {[]contract.Report{{Role: contract.RoleGrid, At: now}, gateway}, &v1alpha1.CaseSummary{}},
		"two, newer last": {[]contract.Report{older, newer, gateway}, &v1alpha1.CaseSummary{Open: 4, Overdue: 2}},
		"two, older last": {[]contract.Report{newer, gateway, older}, &v1alpha1.CaseSummary{Open: 4, Overdue: 2}},
	} {
		if diff := cmp.Diff(c.want, cases(c.reports)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
