package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// schedule is when a scenario looks, in local hours. Times are Unix milliseconds.
type schedule struct {
	windows  [][2]int // minutes of the day; one that ends at or before its beginning ends on the next day
	weekdays uint8    // bit per time.Weekday of the opening; 0 is every day
	zone     *time.Location
	// w0 and w1 are the last answer of at: most messages fall into the window of the one before.
	w0, w1 int64
}

// newSchedule gives nil for a scenario that always looks.
func newSchedule(s *contract.Schedule, zone *time.Location) *schedule {
	if s == nil || len(s.Windows) == 0 && s.Weekdays == 0 {
		return nil
	}
	out := &schedule{weekdays: s.Weekdays, zone: zone}
	for _, w := range s.Windows {
		out.windows = append(out.windows, [2]int{w.From, w.To})
	}
	if len(out.windows) == 0 {
		out.windows = [][2]int{{0, 0}}
	}
	slices.SortFunc(out.windows, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
	return out
}

// at gives the window [w0, w1) that holds t. Without schedule that is all of time.
func (s *schedule) at(t int64) (w0, w1 int64, ok bool) {
	if s == nil {
		return 0, forever, true
	}
	if s.w0 <= t && t < s.w1 {
		return s.w0, s.w1, true
	}
	for _, w := range s.around(t, -1, 0) {
		if w[0] <= t && t < w[1] {
			s.w0, s.w1 = w[0], w[1]
			return w[0], w[1], true
		}
	}
	return 0, 0, false
}

// next gives the first window that opens after t.
func (s *schedule) next(t int64) (w0, w1 int64, ok bool) {
	if s == nil {
		return 0, 0, false
	}
	for _, w := range s.around(t, 0, 8) {
		if w[0] > t {
			return w[0], w[1], true
		}
	}
	return 0, 0, false
}

// around gives the windows that open on the local days from before to after t, in order. time.Date knows the days on which the clock is
// set: an hour that is not there moves on, one that is there twice is taken once.
func (s *schedule) around(t int64, from, to int) (out [][2]int64) {
	day := time.UnixMilli(t).In(s.zone)
	y, m, d := day.Date()
	for i := from; i <= to; i++ {
		date := time.Date(y, m, d+i, 12, 0, 0, 0, s.zone) // noon is on the day in every zone
		if s.weekdays != 0 && s.weekdays&(1<<date.Weekday()) == 0 {
			continue
		}
		for _, w := range s.windows {
			end := w[1]
			if end <= w[0] {
				end += 24 * 60
			}
			a, b := time.Date(y, m, d+i, 0, w[0], 0, 0, s.zone), time.Date(y, m, d+i, end/1440*24, end%1440, 0, 0, s.zone)
			if end >= 1440 {
				b = time.Date(y, m, d+i+1, 0, end-1440, 0, 0, s.zone)
			}
			if a.Before(b) {
				out = append(out, [2]int64{a.UnixMilli(), b.UnixMilli()})
			}
		}
	}
	return out
}
