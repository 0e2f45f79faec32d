package grid

import (
	"cmp"
	"slices"
	"time"
)

// stand says that a person stands on a post: in a micro-grid, in a grid where MicroGrid is empty, or in the whole community where Grid is, too.
type stand struct {
	Organization string `json:"organization"`
	Person       string `json:"person"`
	Post         string `json:"post"`
	Grid         string `json:"grid"`
	MicroGrid    string `json:"micro_grid"`
	// Rank orders the people of a post: 1 is asked first.
	Rank int `json:"rank"`
}

// shift is when a person works on a post, week by week. It belongs to the day on which it opens.
type shift struct {
	Organization string `json:"organization"`
	Person       string `json:"person"`
	Post         string `json:"post"`
	Grid         string `json:"grid"`
	MicroGrid    string `json:"micro_grid"`
	// Weekdays has bit 0 for Monday.
	Weekdays int `json:"weekdays"`
	// From and To are minutes of the local day; a To that is not behind From is on the next day.
	From int `json:"from_min"`
	To   int `json:"to_min"`
	// ValidFrom and ValidTo are the first and the last day, as YYYY-MM-DD; an empty ValidTo is no end.
	ValidFrom string `json:"valid_from"`
	ValidTo   string `json:"valid_to"`
}

// runs says whether the shift runs at a time, by the clock of that time's zone.
func (s shift) runs(at time.Time) bool {
	for _, day := range []int{0, -1} {
		opens := time.Date(at.Year(), at.Month(), at.Day()+day, 0, s.From, 0, 0, at.Location())
		end := 0
		if s.To <= s.From {
			end = 1
		}
		closes := time.Date(at.Year(), at.Month(), at.Day()+day+end, 0, s.To, 0, 0, at.Location())
		date := time.Date(at.Year(), at.Month(), at.Day()+day, 12, 0, 0, 0, at.Location())
		name := date.Format(time.DateOnly)
		if s.Weekdays&(1<<((int(date.Weekday())+6)%7)) == 0 || name < s.ValidFrom || s.ValidTo != "" && name > s.ValidTo {
			continue
		}
		if !at.Before(opens) && at.Before(closes) {
			return true
		}
	}
	return false
}

// absence says that a person is away, and who stands in.
type absence struct {
	Organization string    `json:"organization"`
	Person       string    `json:"person"`
	Substitute   string    `json:"substitute"`
	From         time.Time `json:"from_at"`
	To           time.Time `json:"to_at"`
}

// dutyPlan is what organisations have entered for a place.
type dutyPlan struct {
	stands   []stand
	shifts   []shift
	absences []absence
}

// Outcomes of asking one person, or of a post on which nobody stands.
const (
	dutyOn       = "OnDuty"
	dutyOffShift = "OffShift"
	dutyAbsent   = "Absent"             // and the next step is the substitute
	dutyCircle   = "SubstitutesCircle"  // the substitute was asked already
	dutyTooMany  = "TooManySubstitutes" // the substitute would be one more than maxSubstitutes
	dutyVacant   = "Vacant"             // nobody stands on the post
)

// maxSubstitutes bounds how many people stand in one for the other (ours).
const maxSubstitutes = 3

// maxDutySteps bounds the chain that is told (ours): of a post with more people than that the rest is asked, and not told.
const maxDutySteps = 50

// DutyStep says what came of asking somebody.
type DutyStep struct {
	Post         string `json:"post"`
	Organization string `json:"organization,omitempty"`
	Person       string `json:"person,omitempty" doc:"A pseudonym."`
	Rank         int    `json:"rank,omitempty" doc:"Of the person on the post; substitutes have that of whom they stand in for."`
	Outcome      string `json:"outcome" enum:"OnDuty,OffShift,Absent,SubstitutesCircle,TooManySubstitutes,Vacant"`
	Substitute   string `json:"substitute,omitempty" doc:"Who stands in for a person that is absent."`
}

// Duty is who is on duty for a post, and why: everybody who was asked, in order. Without a person nobody is.
type Duty struct {
	Asked        []string   `json:"asked" doc:"The posts that were asked for."`
	Post         string     `json:"post,omitempty" doc:"The post of who is on duty; another than was asked for if nobody is on duty there."`
	Organization string     `json:"organization,omitempty"`
	Person       string     `json:"person,omitempty" doc:"A pseudonym."`
	Chain        []DutyStep `json:"chain,omitempty" doc:"Everybody who was asked, in order; told to committees and townships."`
}

func (d *Duty) step(s DutyStep) {
	if len(d.Chain) < maxDutySteps || s.Outcome == dutyOn {
		d.Chain = append(d.Chain, s)
	}
}

// whoIsOnDuty gives who is on duty for posts at a time: of each post, by rank, whoever works then, or who stands in; else of the posts on the
// levels above the lowest of them. levels are the posts of the micro-grid, the grid and the community. plan has the people of the place. Who
// works by no shift is on duty at every hour. It is pure; at is in the platform's zone.
func whoIsOnDuty(plan dutyPlan, levels [][]string, posts []string, grid, microGrid string, at time.Time) Duty {
	out := Duty{Asked: posts}
	asked := map[string]bool{}
	ask := func(post string) bool {
		if asked[post] {
			return false
		}
		asked[post] = true
		return plan.ask(&out, post, grid, microGrid, at)
	}
	if slices.ContainsFunc(posts, ask) {
		return out
	}
	above := slices.IndexFunc(levels, func(of []string) bool {
		return slices.ContainsFunc(of, func(p string) bool { return slices.Contains(posts, p) })
	})
	for _, level := range levels[above+1:] {
		if slices.ContainsFunc(level, ask) {
			return out
		}
	}
	return out
}

// ask asks the people of one post by rank, and of one rank who is nearest to the place first.
func (p dutyPlan) ask(out *Duty, post, grid, microGrid string, at time.Time) bool {
	var there []stand
	for _, s := range p.stands {
		if s.Post == post && covers(s.Grid, s.MicroGrid, grid, microGrid) {
			there = append(there, s)
		}
	}
	slices.SortFunc(there, func(a, b stand) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(nearness(b), nearness(a)), cmp.Compare(a.Organization, b.Organization), cmp.Compare(a.Person, b.Person))
	})
	if len(there) == 0 {
		out.step(DutyStep{Post: post, Outcome: dutyVacant})
	}
	type who struct{ organization, person string }
	done := map[who]bool{}
	for _, s := range there {
		w := who{s.Organization, s.Person}
		if done[w] {
			continue
		}
		done[w] = true
		if !p.works(s, grid, microGrid, at) {
			out.step(DutyStep{post, s.Organization, s.Person, s.Rank, dutyOffShift, ""})
			continue
		}
		if person := p.present(out, s, at); person != "" {
			out.Post, out.Organization, out.Person = post, s.Organization, person
			return true
		}
	}
	return false
}

// covers says whether what is entered for a grid and a micro-grid is of a place; empty is all of them.
func covers(grid, microGrid, ofGrid, ofMicroGrid string) bool {
	return (grid == "" || grid == ofGrid) && (microGrid == "" || microGrid == ofMicroGrid)
}

// nearness is more for a smaller place.
func nearness(s stand) int {
	switch {
	case s.MicroGrid != "":
		return 2
	case s.Grid != "":
		return 1
	}
	return 0
}

// works says whether a person works on the post then: in a shift, or at every hour without any for the post.
func (p dutyPlan) works(s stand, grid, microGrid string, at time.Time) bool {
	byShift := false
	for _, h := range p.shifts {
		if h.Organization != s.Organization || h.Person != s.Person || h.Post != s.Post {
			continue
		}
		byShift = true
		if covers(h.Grid, h.MicroGrid, grid, microGrid) && h.runs(at) {
			return true
		}
	}
	return !byShift
}

// present gives the person, or who stands in for them at last; empty if nobody does.
func (p dutyPlan) present(out *Duty, s stand, at time.Time) string {
	person, before := s.Person, []string{}
	for {
		step := DutyStep{Post: s.Post, Organization: s.Organization, Person: person, Rank: s.Rank, Outcome: dutyOn}
		i := slices.IndexFunc(p.absences, func(a absence) bool {
			return a.Organization == s.Organization && a.Person == person && !at.Before(a.From) && at.Before(a.To)
		})
		if i < 0 {
			out.step(step)
			return person
		}
		before = append(before, person)
		step.Substitute, step.Outcome = p.absences[i].Substitute, dutyAbsent
		switch {
		case slices.Contains(before, step.Substitute):
			step.Outcome = dutyCircle
		case len(before) > maxSubstitutes:
			step.Outcome = dutyTooMany
		}
		out.step(step)
		if step.Outcome != dutyAbsent {
			return ""
		}
		person = step.Substitute
	}
}
