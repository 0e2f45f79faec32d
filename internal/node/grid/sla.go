package grid

import (
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Working hours that count for an SLA in working time: Monday to Friday. Holidays and other hours come with the platform's
// calendar, which the directory does not carry yet.
const (
	workBegins = 9
	workEnds   = 18
)

// deadlines gives until when a case of a severity must be acknowledged and resolved; nil where the platform sets no time.
func deadlines(p contract.Platform, s contract.Severity, from time.Time) (acknowledge, resolve *time.Time) {
	sla, ok := p.SLA[s]
	if !ok {
		return nil, nil
	}
	zone := location(p)
	after := func(seconds int64) *time.Time {
		if seconds <= 0 {
			return nil
		}
		d := time.Duration(seconds) * time.Second
		t := from.Add(d)
		if sla.Working {
			t = addWorking(from.In(zone), d)
		}
		t = t.UTC()
		return &t
	}
	return after(sla.AcknowledgeSeconds), after(sla.ResolveSeconds)
}

// location gives the platform's time zone; China Standard Time if it is not known here.
func location(p contract.Platform) *time.Location {
	if zone, err := time.LoadLocation(p.TimeZone); err == nil && p.TimeZone != "" {
		return zone
	}
	return time.FixedZone("CST", 8*3600)
}

// addWorking adds working time to t.
func addWorking(t time.Time, d time.Duration) time.Time {
	for {
		begin := time.Date(t.Year(), t.Month(), t.Day(), workBegins, 0, 0, 0, t.Location())
		end := time.Date(t.Year(), t.Month(), t.Day(), workEnds, 0, 0, 0, t.Location())
		if t.Before(begin) {
			t = begin
		}
		weekend := t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
		if !weekend && t.Before(end) {
			if left := end.Sub(t); d <= left {
				return t.Add(d)
			}
			d -= end.Sub(t)
		}
		t = begin.AddDate(0, 0, 1)
	}
}
