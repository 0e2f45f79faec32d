package compile

import (
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestCalendarYears(t *testing.T) {
	at := func(text string) time.Time {
		d, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	of := func(holidays, workdays []string) contract.Platform {
		return contract.Platform{TimeZone: "Asia/Shanghai", SLA: map[contract.Severity]contract.SLA{contract.SeverityHigh: {}, contract.SeverityLow: {Working: true}},
			Calendar: &contract.Calendar{Holidays: holidays, Workdays: workdays}}
	}
	elapsed := of(nil, nil)
	elapsed.SLA = map[contract.Severity]contract.SLA{contract.SeverityLow: {}}
	bare := of(nil, nil)
	bare.Calendar = nil
	for name, c := range map[string]struct {
		p    contract.Platform
		now  string
		want []int
	}{
		"every minute counts":               {elapsed, "2026-06-01T00:00:00Z", nil},
		"no calendar":                       {bare, "2026-06-01T00:00:00Z", []int{2026}},
		"no dates":                          {of(nil, nil), "2026-06-01T00:00:00Z", []int{2026}},
		"a holiday":                         {of([]string{"2026-10-01"}, nil), "2026-06-01T00:00:00Z", nil},
		"a workday":                         {of(nil, []string{"2026-02-14"}), "2026-06-01T00:00:00Z", nil},
		"of the year before":                {of([]string{"2025-10-01"}, nil), "2026-06-01T00:00:00Z", []int{2026}},
		"the last minute of November":       {of([]string{"2026-10-01"}, nil), "2026-11-30T15:59:59Z", nil},
		"December, there":                   {of([]string{"2026-10-01"}, nil), "2026-11-30T16:00:00Z", []int{2027}},
		"December, with the next":           {of([]string{"2026-10-01", "2027-01-01"}, nil), "2026-12-15T00:00:00Z", nil},
		"December, with the next alone":     {of([]string{"2027-01-01"}, nil), "2026-12-15T00:00:00Z", []int{2026}},
		"December, with neither":            {of(nil, nil), "2026-12-15T00:00:00Z", []int{2026, 2027}},
		"New Year there, still 2026 in UTC": {of([]string{"2026-10-01"}, nil), "2026-12-31T16:00:00Z", []int{2027}},
	} {
		if got := CalendarYears(c.p, at(c.now)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
