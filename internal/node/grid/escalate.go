package grid

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// levelNames are the names of levels in histories.
var levelNames = []string{levelMicroGrid: "MicroGrid", levelGrid: "Grid", levelCommunity: "Community", levelTownship: "Township", levelDepartment: "Department"}

// chain gives who stands on a level above a case: posts of its micro-grid; of its grid; of its community, with the committees; the townships;
// the departments that have one of the duties. A case without sensitive data that is nobody's duty goes to the departments that are nearest.
// It is pure.
func chain(d contract.Directory, c *Case, level int, duties []string) (posts, organizations []string) {
	com := d.Communities[c.Community]
	switch level {
	case levelMicroGrid, levelGrid:
		for _, g := range com.Grids {
			if c.Grid == "" && len(com.Grids) > 1 || c.Grid != "" && g.Name != c.Grid {
				continue
			}
			if level == levelGrid {
				return g.Posts, nil
			}
			for _, m := range g.MicroGrids {
				if m.Name == c.MicroGrid {
					return m.Posts, nil
				}
			}
		}
		return nil, nil
	case levelCommunity:
		return com.Posts, nearest(d, c, "Committee", nil)
	case levelTownship:
		return nil, nearest(d, c, "Township", nil)
	}
	if on := nearest(d, c, "Department", duties); len(on) > 0 {
		return nil, on
	}
	if c.DataClass == "C2" || c.DataClass == "C3" {
		return nil, nil // who is called sees the case: none whose business it is not
	}
	return nil, nearest(d, c, "Department", nil)
}

// nearest gives the organisations of a type that act nearest to a case, sorted; only those with one of the duties, if any are given.
func nearest(d contract.Directory, c *Case, kind string, duties []string) []string {
	return d.Nearest(c.place(), func(o contract.Organization) bool {
		return o.Type == kind && (duties == nil || slices.ContainsFunc(o.Duties, func(x string) bool { return slices.Contains(duties, x) }))
	})
}

// dutiesOf gives the duties that a case is about: those that its scenario calls, or scenarios of its class where people reported it. Never nil.
func dutiesOf(b *intake.Bundle, c *Case) []string {
	duties := []string{}
	for _, r := range respondersOf(b, c) {
		if r.Duty != "" {
			duties = append(duties, r.Duty)
		}
	}
	return duties
}

// respondersOf gives whom the case's scenario calls; of a case that people reported, whom the scenarios of its class call.
func respondersOf(b *intake.Bundle, c *Case) (out []contract.Responder) {
	if c.Scenario != "" {
		return b.Rules.Scenarios[c.Scenario].Responders
	}
	var names []string
	for name, s := range b.Rules.Scenarios {
		if s.CaseClass == c.Class {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, b.Rules.Scenarios[name].Responders...)
	}
	return out
}

// escalate takes a case that missed a time to the next level where somebody stands who was not called yet, and says which levels it passed
// over. up is false at the top: then it says that, and nobody further is called.
func escalate(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, missed string, now time.Time) (up bool, err error) {
	there, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return false, err
	}
	var skipped []detail
	for level := c.Level + 1; level <= levelDepartment; level++ {
		all, allOrganizations := chain(b.Directory, c, level, dutiesOf(b, c))
		posts, organizations := uncalled(there, all, allOrganizations)
		if len(posts)+len(organizations) > 0 {
			return true, raise(ctx, tx, b, c, level, posts, organizations, detail{"missed": missed, "from": levelNames[c.Level], "to": levelNames[level], "posts": posts, "organizations": organizations, "skipped": skipped}, now)
		}
		because := "nobody is there"
		if len(all)+len(allOrganizations) > 0 {
			because = "who is there was called before"
		}
		skipped = append(skipped, detail{"level": levelNames[level], "because": because})
	}
	return false, record(ctx, tx, c, "NobodyToEscalateTo", c.State, system, now, detail{"missed": missed, "from": levelNames[c.Level], "skipped": skipped})
}

// uncalled leaves out who is called to a case already.
func uncalled(there []party, posts, organizations []string) (newPosts, newOrganizations []string) {
	called := func(is func(party) bool) bool {
		return slices.ContainsFunc(there, func(p party) bool { return p.ReleasedAt == nil && p.Kind != partyTold && is(p) })
	}
	for _, n := range posts {
		if !called(func(p party) bool { return p.Post == n }) {
			newPosts = append(newPosts, n)
		}
	}
	for _, n := range organizations {
		if !called(func(p party) bool { return p.Organization == n }) {
			newOrganizations = append(newOrganizations, n)
		}
	}
	return newPosts, newOrganizations
}

// raise calls a level to a case. Organisations that were called before hear that it went up.
func raise(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, level int, posts, organizations []string, more detail, now time.Time) error {
	c.Level, c.Escalated = level, c.Escalated+1
	if err := record(ctx, tx, c, "Escalated", c.State, system, now, more); err != nil {
		return err
	}
	if err := tellCalled(ctx, tx, b, c, EventEscalated, now); err != nil {
		return err
	}
	return summon(ctx, tx, b.Directory, c, partyEscalation, posts, organizations, now)
}
