package grid

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// horizon bounds a walk over a calendar in which hardly a day is worked.
const horizon = 3 * 366

// span is from a time up to another.
type span struct{ from, to time.Time }

// shifts gives when work is done that begins on the day of t, in t's zone, in order. A window over midnight ends on the next day.
func shifts(c *contract.Calendar, t time.Time) (out []span) {
	if !c.Works(t) {
		return nil
	}
	hours := contract.WorkingHours()
	if c != nil && len(c.Hours) > 0 {
		hours = slices.SortedFunc(slices.Values(c.Hours), func(a, b contract.Window) int { return cmp.Compare(a.From, b.From) })
	}
	at := func(day, minute int) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day()+day, 0, minute, 0, 0, t.Location())
	}
	for _, w := range hours {
		day := 0
		if w.To <= w.From {
			day = 1
		}
		out = append(out, span{at(0, w.From), at(day, w.To)})
	}
	return out
}

// dayAfter gives the midnight that begins the n-th day after that of t.
func dayAfter(t time.Time, n int) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day()+n, 0, 0, 0, 0, t.Location())
}

// addWorking gives when so much working time after t is over; t itself if none is left. A calendar in which that takes more than three years
// gives the end of these.
func addWorking(c *contract.Calendar, t time.Time, left time.Duration) time.Time {
	if left <= 0 {
		return t
	}
	first := dayAfter(t, -1) // whose night may still be worked
	for n := range horizon {
		for _, s := range shifts(c, dayAfter(first, n)) {
			from := later(t, s.from) // t is where the shifts before ended: hours in two windows count once
			if !from.Before(s.to) {
				continue
			}
			if left <= s.to.Sub(from) {
				return from.Add(left)
			}
			left -= s.to.Sub(from)
			t = s.to
		}
	}
	return dayAfter(first, horizon)
}

// workingBetween gives the working time from a to b; 0 if b is not after a.
func workingBetween(c *contract.Calendar, a, b time.Time) (sum time.Duration) {
	for day := dayAfter(a, -1); day.Before(b); day = dayAfter(day, 1) {
		for _, s := range shifts(c, day) {
			from, to := later(a, s.from), s.to
			if b.Before(to) {
				to = b
			}
			if from.Before(to) {
				sum += to.Sub(from)
				a = to
			}
		}
	}
	return sum
}

// calendarDigest names what working time of a platform is reckoned by.
func calendarDigest(p contract.Platform) string {
	raw, err := json.Marshal([]any{p.Calendar, location(p).String()})
	if err != nil {
		return "" // of plain strings and numbers
	}
	return contract.Digest(raw)
}

// location gives the platform's time zone; China Standard Time if it is not known here.
func location(p contract.Platform) *time.Location {
	if zone, err := time.LoadLocation(p.TimeZone); err == nil && p.TimeZone != "" {
		return zone
	}
	return time.FixedZone("CST", 8*3600)
}
