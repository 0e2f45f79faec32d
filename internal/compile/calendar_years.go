package compile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// CalendarYears gives the years of which the calendar of a platform has neither holidays nor workdays, though a time of its SLA counts working
// time: the present year in the platform's zone and, from December on, the next. It is pure.
func CalendarYears(p contract.Platform, now time.Time) (missing []int) {
	working := false
	for _, s := range p.SLA {
		working = working || s.Working
	}
	if !working {
		return nil
	}
	if zone, err := time.LoadLocation(p.TimeZone); err == nil {
		now = now.In(zone)
	}
	years := []int{now.Year()}
	if now.Month() == time.December {
		years = append(years, now.Year()+1)
	}
	var dates []string
	if p.Calendar != nil {
		dates = slices.Concat(p.Calendar.Holidays, p.Calendar.Workdays)
	}
	for _, year := range years {
		if !slices.ContainsFunc(dates, func(date string) bool { return strings.HasPrefix(date, strconv.Itoa(year)+"-") }) {
			missing = append(missing, year)
		}
	}
	return missing
}
