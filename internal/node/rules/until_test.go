package rules

import (
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestSilenceBehindACutLineIsNoAbsence: an elder goes out while the line of the edge node is cut. The hub must not say that nobody went
// out for a day before it has heard what waits there, and must say so after, if it is true. Devices of other communities are told at once.
func TestSilenceBehindACutLineIsNoAbsence(t *testing.T) {
	hour := func(h float64) time.Time { return t0.Add(time.Duration(h * float64(time.Hour))) }
	for _, c := range []struct {
		name   string
		behind bool // the community has an edge node
		exit   bool // somebody went out at 23:57, which the hub hears of after 30 h
		early  int  // alarms while the line is cut
		late   int  // alarms after it came back
	}{
		{"no edge node", false, false, 1, 0},
		{"went out", true, true, 0, 0},
		{"did not go out", true, false, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			drained := hour(23.8)
			e, problems := New(testRules(), Options{Until: func(_, community string) (time.Time, bool) { return drained, community == "edge" }})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			row := alone
			row.Community = "centre"
			if c.behind {
				row.Community = "edge"
			}
			lookup := func(string, string) (contract.Device, string, bool) { return row, "door", true }
			step := func(m Message) {
				m.Row = row
				e.Step(m)
			}
			raised := func(from, to float64) (n int) {
				for h := from; h <= to; h += 0.01 { // as the session ticks, if more slowly
					for _, x := range e.Tick(hour(h), lookup) {
						if x.Kind != Raised || x.Start != hour(24) {
							t.Errorf("%+v", x)
						}
						n++
					}
				}
				return n
			}
			step(door(0, "exit"))
			for _, m := range beats(0, 23) {
				step(m)
			}
			if n := raised(23.9, 30); n != c.early {
				t.Errorf("%d alarms while the line is cut, want %d", n, c.early)
			}
			if c.exit {
				step(door(23.95, "exit"))
			}
			drained = hour(30)
			if n := raised(30.01, 30.1); n != c.late {
				t.Errorf("%d alarms after the line came back, want %d", n, c.late)
			}
		})
	}
}
