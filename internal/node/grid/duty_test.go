package grid

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestShiftRuns: minutes around the edges, over midnight, by the weekday and the date of the day on which it opens.
func TestShiftRuns(t *testing.T) {
	zone := time.FixedZone("CST", 8*3600)
	night := shift{Weekdays: 1 << 4, From: 22 * 60, To: 6 * 60, ValidFrom: "2026-03-01", ValidTo: "2026-03-06"} // Fridays; 6 March is one
	day := shift{Weekdays: 0x1f, From: 8 * 60, To: 17*60 + 30, ValidFrom: "2026-03-01"}
	whole := shift{Weekdays: 1 << 6, From: 8 * 60, To: 8 * 60, ValidFrom: "2026-03-01"} // Sundays, 24 hours
	midnight := shift{Weekdays: 1 << 6, From: 0, To: 24 * 60, ValidFrom: "2026-03-01"}
	for _, c := range []struct {
		s    shift
		at   string
		want bool
	}{
		{night, "2026-03-06T21:59", false}, {night, "2026-03-06T22:00", true}, {night, "2026-03-07T05:59", true}, {night, "2026-03-07T06:00", false},
		{night, "2026-03-07T23:00", false}, {night, "2026-03-13T23:00", false}, {night, "2026-02-28T02:00", false}, {night, "2026-03-06T02:00", false},
		{day, "2026-03-06T08:00", true}, {day, "2026-03-06T17:30", false}, {day, "2026-03-07T09:00", false}, {day, "2030-03-07T09:00", true},
		{whole, "2026-03-08T08:00", true}, {whole, "2026-03-09T07:59", true}, {whole, "2026-03-09T08:00", false}, {whole, "2026-03-08T07:59", false},
		{midnight, "2026-03-08T00:00", true}, {midnight, "2026-03-08T23:59", true}, {midnight, "2026-03-09T00:00", false},
	} {
		at, err := time.ParseInLocation("2006-01-02T15:04", c.at, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.s.runs(at); got != c.want {
			t.Errorf("%+v at %s: %v", c.s, c.at, got)
		}
	}
}

func TestWhoIsOnDutyAndWhy(t *testing.T) {
	at := time.Date(2026, 3, 6, 10, 0, 0, 0, time.FixedZone("CST", 8*3600))
	hour := func(h int) time.Time { return at.Add(time.Duration(h) * time.Hour) }
	away := func(person, substitute string) absence { return absence{"o", person, substitute, hour(-1), hour(1)} }
	levels := [][]string{{"Head"}, {"GridWorker"}, {"Secretary"}}
	stands := []stand{
		{"o", "a", "GridWorker", "g1", "", 1}, {"o", "b", "GridWorker", "g1", "", 2}, {"o", "c", "GridWorker", "g2", "", 1}, {"o", "s", "Secretary", "", "", 1},
	}
	off := []shift{{"o", "a", "GridWorker", "", "", 0x7f, 0, 60, "2026-01-01", ""}}
	step := func(person string, rank int, outcome, substitute string) DutyStep {
		return DutyStep{"GridWorker", "o", person, rank, outcome, substitute}
	}
	for _, c := range []struct {
		name string
		plan dutyPlan
		grid string
		want Duty
	}{
		{"present", dutyPlan{stands: stands}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "a", Chain: []DutyStep{step("a", 1, dutyOn, "")}}},
		{"off shift: the next rank", dutyPlan{stands: stands, shifts: off}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "b", Chain: []DutyStep{step("a", 1, dutyOffShift, ""), step("b", 2, dutyOn, "")}}},
		{"absent: the substitute", dutyPlan{stands: stands, absences: []absence{away("a", "x")}}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "x", Chain: []DutyStep{step("a", 1, dutyAbsent, "x"), step("x", 1, dutyOn, "")}}},
		{"over: no absence", dutyPlan{stands: stands, absences: []absence{{"o", "a", "x", hour(-2), at}, {"other", "a", "x", hour(-2), hour(2)}}}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "a", Chain: []DutyStep{step("a", 1, dutyOn, "")}}},
		{"a circle", dutyPlan{stands: stands, absences: []absence{away("a", "x"), away("x", "a")}}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "b",
			Chain: []DutyStep{step("a", 1, dutyAbsent, "x"), step("x", 1, dutyCircle, "a"), step("b", 2, dutyOn, "")}}},
		{"three stand in", dutyPlan{stands: stands, absences: []absence{away("a", "x"), away("x", "y"), away("y", "z")}}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "z",
			Chain: []DutyStep{step("a", 1, dutyAbsent, "x"), step("x", 1, dutyAbsent, "y"), step("y", 1, dutyAbsent, "z"), step("z", 1, dutyOn, "")}}},
		{"a fourth does not", dutyPlan{stands: stands, absences: []absence{away("a", "x"), away("x", "y"), away("y", "z"), away("z", "w")}}, "g1", Duty{Post: "GridWorker", Organization: "o", Person: "b",
			Chain: []DutyStep{step("a", 1, dutyAbsent, "x"), step("x", 1, dutyAbsent, "y"), step("y", 1, dutyAbsent, "z"), step("z", 1, dutyTooMany, "w"), step("b", 2, dutyOn, "")}}},
		{"nobody: the post above", dutyPlan{stands: stands}, "g3", Duty{Post: "Secretary", Organization: "o", Person: "s",
			Chain: []DutyStep{{Post: "GridWorker", Outcome: dutyVacant}, {"Secretary", "o", "s", 1, dutyOn, ""}}}},
		{"nobody at all", dutyPlan{}, "g1", Duty{Chain: []DutyStep{{Post: "GridWorker", Outcome: dutyVacant}, {Post: "Secretary", Outcome: dutyVacant}}}},
	} {
		c.want.Asked = []string{"GridWorker"}
		if diff := cmp.Diff(c.want, whoIsOnDuty(c.plan, levels, c.want.Asked, c.grid, "", at)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
}

// TestDutyAgainstAnOracle compares with a plain reading of the rules, which asks minute by minute of a week and writes every person down, over
// random rosters, shifts and absences.
func TestDutyAgainstAnOracle(t *testing.T) {
	zone, begin := time.FixedZone("CST", 8*3600), time.Date(2026, 3, 2, 0, 0, 0, 0, time.FixedZone("CST", 8*3600)) // a Monday
	found, above, stoodIn := 0, 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		pick := func(of ...string) string { return of[r.IntN(len(of))] }
		levels := [][]string{{"p0"}, {"p1", "p2"}, {"p3"}}
		var plan dutyPlan
		for range r.IntN(8) {
			s := stand{pick("o1", "o2"), pick("a", "b", "c", "d"), pick("p0", "p1", "p2", "p3"), pick("", "g1", "g2"), "", 1 + r.IntN(3)}
			if s.Grid != "" {
				s.MicroGrid = pick("", "m1", "m2")
			}
			plan.stands = append(plan.stands, s)
		}
		for range r.IntN(8) {
			from := time.Date(2026, 3, 1+r.IntN(8), 0, 0, 0, 0, zone)
			h := shift{pick("o1", "o2"), pick("a", "b", "c", "d"), pick("p0", "p1", "p2", "p3"), pick("", "g1"), "", 1 + r.IntN(127), 60 * r.IntN(24), 60 * r.IntN(25), from.Format(time.DateOnly), ""}
			if r.IntN(2) == 0 {
				h.ValidTo = from.AddDate(0, 0, r.IntN(6)).Format(time.DateOnly)
			}
			plan.shifts = append(plan.shifts, h)
		}
		for range r.IntN(7) {
			from := begin.Add(time.Duration(r.IntN(6*24)) * time.Hour)
			person := pick("a", "b", "c", "d", "e", "f")
			substitute := pick("a", "b", "c", "d", "e", "f")
			if person == substitute {
				continue
			}
			plan.absences = append(plan.absences, absence{pick("o1", "o2"), person, substitute, from, from.Add(time.Duration(1+r.IntN(72)) * time.Hour)})
		}
		grid, micro := pick("", "g1", "g2"), ""
		if grid != "" {
			micro = pick("", "m1", "m2")
		}
		posts := []string{pick("p0", "p1", "p2", "p3"), pick("p1", "p3", "elsewhere")}
		for range 40 {
			at := begin.Add(time.Duration(r.IntN(7*24*60)) * time.Minute)
			got := whoIsOnDuty(plan, levels, posts, grid, micro, at)
			want := oracleDuty(plan, levels, posts, grid, micro, at)
			if s := fmt.Sprint(got.Post, " ", got.Organization, " ", got.Person); s != want {
				t.Fatalf("seed %d at %s, posts %v, %s/%s: %q, want %q\n%+v\n%+v", seed, at, posts, grid, micro, s, want, plan, got.Chain)
			}
			if got.Person == "" {
				continue
			}
			found++
			if !slices.Contains(posts, got.Post) {
				above++
			}
			if len(got.Chain) > 1 && got.Chain[len(got.Chain)-2].Outcome == dutyAbsent {
				stoodIn++
			}
			if last := got.Chain[len(got.Chain)-1]; last.Outcome != dutyOn || last.Person != got.Person {
				t.Fatalf("seed %d: the chain does not end with who is on duty: %+v", seed, got.Chain)
			}
		}
	}
	if found < 1000 || above < 100 || stoodIn < 100 {
		t.Errorf("%d on duty, %d of a post above, %d substitutes: the test proves little", found, above, stoodIn)
	}
}

// oracleDuty is the rule as it is written in the guide, done the long way.
func oracleDuty(plan dutyPlan, levels [][]string, posts []string, grid, micro string, at time.Time) string {
	order := slices.Clone(posts)
	lowest := -1
	for i := len(levels) - 1; i >= 0; i-- {
		for _, p := range levels[i] {
			if slices.Contains(posts, p) {
				lowest = i
			}
		}
	}
	for i := lowest + 1; i < len(levels); i++ {
		order = append(order, levels[i]...)
	}
	// The minutes of the week, and of the day before it, in which a shift is worked.
	worked := func(h shift) bool {
		for d := -2; d <= 0; d++ {
			day := time.Date(at.Year(), at.Month(), at.Day()+d, 0, 0, 0, 0, at.Location())
			bit := map[time.Weekday]int{time.Monday: 1, time.Tuesday: 2, time.Wednesday: 4, time.Thursday: 8, time.Friday: 16, time.Saturday: 32, time.Sunday: 64}[day.Weekday()]
			text := fmt.Sprintf("%04d-%02d-%02d", day.Year(), day.Month(), day.Day())
			if h.Weekdays&bit == 0 || text < h.ValidFrom || h.ValidTo != "" && text > h.ValidTo {
				continue
			}
			length := h.To - h.From
			if length <= 0 {
				length += 24 * 60
			}
			for m := range length {
				if day.Add(time.Duration(h.From+m) * time.Minute).Equal(at) {
					return true
				}
			}
		}
		return false
	}
	for _, post := range order {
		for rank := 1; rank <= 3; rank++ {
			for _, near := range []func(stand) bool{
				func(s stand) bool { return s.MicroGrid != "" && s.MicroGrid == micro && s.Grid == grid },
				func(s stand) bool { return s.MicroGrid == "" && s.Grid != "" && s.Grid == grid },
				func(s stand) bool { return s.MicroGrid == "" && s.Grid == "" },
			} {
				for _, org := range []string{"o1", "o2"} {
				people:
					for _, person := range []string{"a", "b", "c", "d"} {
						if !slices.ContainsFunc(plan.stands, func(s stand) bool {
							return s.Post == post && s.Rank == rank && s.Organization == org && s.Person == person && near(s)
						}) {
							continue
						}
						has, now := false, false
						for _, h := range plan.shifts {
							if h.Organization == org && h.Person == person && h.Post == post {
								has = true
								now = now || (h.Grid == "" || h.Grid == grid) && worked(h)
							}
						}
						if has && !now {
							continue
						}
						who, seen := person, map[string]bool{}
						for hops := 0; ; hops++ {
							substitute := ""
							for _, a := range plan.absences {
								if substitute == "" && a.Organization == org && a.Person == who && !a.From.After(at) && a.To.After(at) {
									substitute = a.Substitute
								}
							}
							if substitute == "" {
								return post + " " + org + " " + who
							}
							if seen[who] = true; seen[substitute] || hops == 3 {
								continue people
							}
							who = substitute
						}
					}
				}
			}
		}
	}
	return "  "
}
