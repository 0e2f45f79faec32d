package gridplatform

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
)

// TestCalendarIsMeasured: a platform is counted until it goes; else its alert would stay.
func TestCalendarIsMeasured(t *testing.T) {
	one, two := types.NamespacedName{Namespace: "henan", Name: "henan"}, types.NamespacedName{Namespace: "hebei", Name: "hebei"}
	measureCalendar(one, 1)
	measureCalendar(two, 2)
	measureCalendar(two, 0)
	head := "# HELP dizuo_platform_calendar_years_missing Years of which spec.calendar lacks the holidays though times count working time, by platform: this year and, from December on, the next.\n# TYPE dizuo_platform_calendar_years_missing gauge\n"
	left := "dizuo_platform_calendar_years_missing{platform=\"hebei/hebei\"} 0\n"
	if err := testutil.CollectAndCompare(calendarYearsMissing, strings.NewReader(head+left+"dizuo_platform_calendar_years_missing{platform=\"henan/henan\"} 1\n")); err != nil {
		t.Error(err)
	}
	unmeasure(one)
	if err := testutil.CollectAndCompare(calendarYearsMissing, strings.NewReader(head+left)); err != nil {
		t.Error(err)
	}
	unmeasure(two)
}
