package gridplatform

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var calendarYearsMissing = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_platform_calendar_years_missing",
	Help: "Years of which spec.calendar lacks the holidays though times count working time, by platform: this year and, from December on, the next."}, []string{"platform"})

func init() { metrics.Registry.MustRegister(calendarYearsMissing) }

// measureCalendar shows of how many years a platform's calendar lacks the holidays.
func measureCalendar(platform types.NamespacedName, years int) {
	calendarYearsMissing.WithLabelValues(platform.String()).Set(float64(years))
}

// unmeasure forgets a platform that goes.
func unmeasure(platform types.NamespacedName) {
	calendarYearsMissing.DeleteLabelValues(platform.String())
}
