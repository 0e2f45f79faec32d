package grid

import (
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Hours of a working day that count for an SLA in working time. Other hours come when the directory carries those of the platform's calendar.
const (
	workBegins = 9
	workEnds   = 18
)

// horizon bounds a walk over a calendar in which hardly a day is worked.
const horizon = 3 * 366

// worked says whether the day of t is worked: a day that is made one (调休) is, a holiday is not, else its weekday says; nil is Monday to
// Friday.
func worked(c *contract.Calendar, t time.Time) bool {
	weekend := t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
	if c == nil {
		return !weekend
	}
	day := t.Format(time.DateOnly)
	switch {
	case slices.Contains(c.Workdays, day):
		return true
	case slices.Contains(c.Holidays, day):
		return false
	}
	return slices.Contains(c.Weekdays, int(t.Weekday()))
}

// hours gives when work begins and ends on the day of t, in t's zone.
func hours(t time.Time) (begin, end time.Time) {
	at := func(hour int) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), hour, 0, 0, 0, t.Location()) }
	return at(workBegins), at(workEnds)
}

// addWorking gives when so much working time after t is over. A calendar in which that takes more than three years gives the end of these.
func addWorking(c *contract.Calendar, t time.Time, left time.Duration) time.Time {
	for range horizon {
		begin, end := hours(t)
		if t.Before(begin) {
			t = begin
		}
		if worked(c, t) && t.Before(end) {
			if left <= end.Sub(t) {
				return t.Add(left)
			}
			left -= end.Sub(t)
		}
		t = begin.AddDate(0, 0, 1)
	}
	return t
}

// workingBetween gives the working time from a to b; 0 if b is not after a.
func workingBetween(c *contract.Calendar, a, b time.Time) (sum time.Duration) {
	for t := a; t.Before(b); {
		begin, end := hours(t)
		from, to := later(t, begin), end
		if b.Before(to) {
			to = b
		}
		if worked(c, t) && from.Before(to) {
			sum += to.Sub(from)
		}
		t = begin.AddDate(0, 0, 1)
		t = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	}
	return sum
}
