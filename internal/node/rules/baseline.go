package rules

import (
	"math"
	"slices"
	"time"
)

// micro is the resolution of a baseline: integers add up the same in every order.
const micro = 1e6

// maxDays bounds the window of a baseline.
const maxDays = 400

// baseline is a figure from the history of a key.
type baseline struct {
	name             string
	value, above     *expression
	daily, statistic string
	days             int64 // of the window
	minDays          int
	from, to         int // minutes of the day; both 0 is all day
	zone             *time.Location
}

// history are the days of one baseline, oldest first.
type history []dayOf

// dayOf is what one local day came to. Sums are in millionths.
type dayOf struct {
	Day int32 `json:"d"` // days since 1970-01-01, local
	N   int64 `json:"n"`
	Sum int64 `json:"s"`
	Min int64 `json:"l"`
	Max int64 `json:"h"`
}

// localDay counts the days of the local calendar.
func localDay(t int64, zone *time.Location) (day int32, minute int) {
	l := time.UnixMilli(t).In(zone)
	y, m, d := l.Date()
	return int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400), l.Hour()*60 + l.Minute()
}

// add takes a value that a message of the time t says.
func (b *baseline) add(h history, t int64, v float64) history {
	day, minute := localDay(t, b.zone)
	if b.from != b.to {
		in := b.from <= minute && minute < b.to
		if b.to < b.from {
			in = minute >= b.from || minute < b.to
		}
		if !in {
			return h
		}
	}
	x := int64(math.Round(v * micro))
	if math.IsNaN(v) || math.Abs(v) > math.MaxInt64/micro/1e6 {
		return h
	}
	at, found := slices.BinarySearchFunc(h, day, func(a dayOf, d int32) int { return int(a.Day) - int(d) })
	if !found {
		h = slices.Insert(h, at, dayOf{Day: day, Min: x, Max: x})
	}
	d := &h[at]
	d.N, d.Sum, d.Min, d.Max = d.N+1, d.Sum+x, min(d.Min, x), max(d.Max, x)
	for len(h) > 0 && int64(h[len(h)-1].Day)-int64(h[0].Day) > b.days+1 {
		h = h[1:]
	}
	return h
}

// figure gives the baseline at the time t. The last day that counts is over for longer than a message may be late, so the figure does not
// depend on what is still on its way; false where there are too few days.
func (b *baseline) figure(h history, t, late int64, above float64) (float64, bool) {
	today, _ := localDay(t-late, b.zone)
	var days []float64
	for _, d := range h {
		if d.Day >= today || int64(d.Day) < int64(today)-b.days {
			continue
		}
		days = append(days, b.day(d))
	}
	if len(days) < max(1, b.minDays) {
		return 0, false
	}
	slices.Sort(days)
	switch n := len(days); b.statistic {
	case "Min":
		return days[0], true
	case "Max":
		return days[n-1], true
	case "Median":
		return (days[(n-1)/2] + days[n/2]) / 2, true
	case "DaysAbove":
		count := 0
		for _, x := range days {
			if x > above {
				count++
			}
		}
		return float64(count), true
	}
	sum := 0.0
	for _, x := range days { // sorted, so the sum is always the same
		sum += x
	}
	return sum / float64(len(days)), true
}

// day makes one figure of a day.
func (b *baseline) day(d dayOf) float64 {
	switch b.daily {
	case "Min":
		return float64(d.Min) / micro
	case "Max":
		return float64(d.Max) / micro
	case "Sum":
		return float64(d.Sum) / micro
	case "Count":
		return float64(d.N)
	}
	return float64(d.Sum) / float64(d.N) / micro
}
