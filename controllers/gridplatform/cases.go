package gridplatform

import (
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// cases sums the cases up, as the newest report of the grid service has them: every replica of it counts the same rows. Nil while none reports.
func cases(reports []contract.Report) *v1alpha1.CaseSummary {
	var newest time.Time
	var out *v1alpha1.CaseSummary
	for _, report := range reports {
		if report.Role != contract.RoleGrid || report.At.Before(newest) {
			continue
		}
		newest, out = report.At, &v1alpha1.CaseSummary{Overdue: int32(report.OverdueCases)}
		for _, n := range report.OpenCases {
			out.Open += int32(n)
		}
	}
	return out
}
