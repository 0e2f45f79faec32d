package grid

import (
	"time"

	"github.com/dizuo/dizuo/internal/contract"
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
			t = addWorking(p.Calendar, from.In(zone), d)
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
