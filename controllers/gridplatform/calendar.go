package gridplatform

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// calendar tells of which year the calendar lacks the holidays, and what to write; nothing where it lacks none.
func calendar(p contract.Platform, now time.Time) []status.Named {
	var years []string
	for _, year := range compile.CalendarYears(p, now) {
		years = append(years, strconv.Itoa(year))
	}
	if len(years) == 0 {
		return nil
	}
	which := strings.Join(years, " and ")
	return []status.Named{status.True(v1alpha1.ConditionCalendarStale, v1alpha1.ReasonYearMissing, fmt.Sprintf(
		"spec.calendar has no dates of %s, so times of clock Working count public holidays as worked, and days that are worked instead (调休) as free: write those of the State Council's notice for %s in spec.calendar.holidays and spec.calendar.workdays", which, which))}
}
