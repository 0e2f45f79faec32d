package gateway

import (
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// clock gives the local time and whether the day is worked: a holiday of the calendar is not, whatever its weekday, and a working day
// made of a weekend (调休) is.
func clock(p contract.Platform, zone *time.Location, at time.Time) *contract.Clock {
	local := at.In(zone)
	weekdays := []int{int(time.Monday), int(time.Tuesday), int(time.Wednesday), int(time.Thursday), int(time.Friday)}
	day, c := local.Format(time.DateOnly), p.Calendar
	if c != nil {
		weekdays = c.Weekdays
	}
	working := slices.Contains(weekdays, int(local.Weekday()))
	if c != nil {
		working = (working || slices.Contains(c.Workdays, day)) && !slices.Contains(c.Holidays, day)
	}
	return &contract.Clock{Minute: local.Hour()*60 + local.Minute(), WorkingDay: working}
}
