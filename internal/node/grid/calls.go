package grid

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// Party is who was called to a case, and whether they answered.
type Party struct {
	ID uuid.UUID `json:"-" db:"id"`
	// Kind is why: Responder (by the scenario, or who dispatched), Escalation (a time was missed), Joint (a township called several together), Call (one-key).
	Kind string `json:"kind" db:"kind" enum:"Responder,Escalation,Joint,Call,Told"`
	Step int    `json:"step,omitempty" db:"step" doc:"The step of the scenario at which they were called."`
	// Level is whose level they stand on.
	Level        int    `json:"level" db:"level" doc:"0 micro-grid, 1 grid, 2 community, 3 township, 4 department."`
	Post         string `json:"post,omitempty" db:"post" doc:"A post of the grid; of a one-key response with its grid and micro-grid before it, as g1/m1/keeper."`
	Organization string `json:"organization,omitempty" db:"organization"`
	Person       string `json:"person,omitempty" db:"person" doc:"A pseudonym."`

	CalledAt       time.Time  `json:"calledAt" db:"called_at"`
	AcknowledgedAt *time.Time `json:"acknowledgedAt,omitempty" db:"acknowledged_at" doc:"When they answered (报到); not there: not yet."`
	ReleasedAt     *time.Time `json:"releasedAt,omitempty" db:"released_at" doc:"When they were sent home."`
	Release        string     `json:"release,omitempty" db:"release" doc:"Why they are called no more."`
	// AfterSeconds is reckoned from the two times.
	AfterSeconds *int64 `json:"afterSeconds,omitempty" db:"-" doc:"How long it took them to answer, in seconds."`
}

// name is how histories name a party.
func (p Party) name() string { return p.Post + p.Organization }

// calledTo reads who was called to a case, in order, with their answers.
func calledTo(ctx context.Context, tx pgx.Tx, id uuid.UUID) ([]Party, error) {
	rows, err := tx.Query(ctx, "SELECT id, kind, step, level, post, organization, person, called_at, acknowledged_at, released_at, release FROM grid.case_parties WHERE case_id = $1 ORDER BY called_at, kind, step, post, organization", id)
	if err != nil {
		return nil, fmt.Errorf("parties: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Party])
	if err != nil {
		return nil, fmt.Errorf("parties: %w", err)
	}
	for i, p := range all {
		if p.AcknowledgedAt != nil {
			s := int64(p.AcknowledgedAt.Sub(p.CalledAt).Seconds())
			all[i].AfterSeconds = &s
		}
	}
	return all, nil
}

// answering gives the parties for which people of an organisation answer: those that are the organisation, and of the posts the one that they say,
// if it is a committee or township. Without a post it is every post only where that is one. It is pure.
func answering(d contract.Directory, organization, post string, parties []Party, kinds ...string) (mine []Party) {
	answers := grassroots(d.Organizations[organization])
	var posts []Party
	for _, p := range parties {
		switch {
		case p.ReleasedAt != nil || !slices.Contains(kinds, p.Kind):
		case p.Organization != "" && p.Organization == organization && post == "":
			mine = append(mine, p)
		case p.Post != "" && answers && (post == "" || post == p.Post):
			posts = append(posts, p)
		}
	}
	if post != "" || len(mine) == 0 && len(posts) == 1 {
		mine = append(mine, posts...)
	}
	return mine
}

// writeAnswers writes down that parties of a case answered: once, the first answer counts. It gives those that had not answered before.
func writeAnswers(ctx context.Context, tx pgx.Tx, c *Case, mine []Party, action string, by Actor, now time.Time) (fresh []Party, err error) {
	for _, p := range mine {
		done, err := tx.Exec(ctx, "UPDATE grid.case_parties SET acknowledged_at = $2 WHERE id = $1 AND acknowledged_at IS NULL", p.ID, now)
		if err != nil {
			return nil, fmt.Errorf("parties of case %s: %w", c.Number, err)
		}
		if done.RowsAffected() == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, "DELETE FROM grid.timers WHERE case_id = $1 AND kind = $2 AND party = $3", c.ID, timerCall, p.ID.String()); err != nil {
			return nil, fmt.Errorf("timers of case %s: %w", c.Number, err)
		}
		fresh = append(fresh, p)
		if action == "" {
			continue
		}
		if err := record(ctx, tx, c, action, c.State, by, now, detail{"party": p.name(), "kind": p.Kind, "afterSeconds": int64(now.Sub(p.CalledAt).Seconds())}); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// acknowledgeFor writes down which of the responders it is that take a case: the organisation of who does, or the posts of its people.
func acknowledgeFor(ctx context.Context, tx pgx.Tx, who caller, c *Case, now time.Time) error {
	parties, err := calledTo(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	_, err = writeAnswers(ctx, tx, c, answering(who.bundle.Directory, who.scope.Organization, "", parties, partyResponder, partyEscalation), "", who.scope.actor(), now)
	return err
}

// callWithin is how long who is called by a one-key response has to answer. Ours.
const callWithin = 5 * time.Minute

// classEmergency is the class of cases of a one-key response. Ours, after scene S30.
const classEmergency = "emergency-response"

// callAll makes a case a one-key response: the posts of each level are called to it, and each answers by itself. One that nobody was called to before
// is dispatched to them; more says in its history who did it.
func callAll(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, calls map[int][]string, more detail, now time.Time) error {
	if _, err := tx.Exec(ctx, "UPDATE grid.cases SET incident = id WHERE id = $1", c.ID); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	levels := []int{levelMicroGrid, levelGrid, levelCommunity}
	if c.State == Filed {
		var posts []string
		for _, level := range levels {
			posts = append(posts, calls[level]...)
		}
		if len(posts) == 0 {
			return nil
		}
		more["posts"] = posts
		if err := move(ctx, tx, b.Directory.Platform, c, Dispatch, system, now, nil, more); err != nil {
			return err
		}
	}
	for _, level := range levels {
		if err := callEach(ctx, tx, b, c, level, calls[level], nil, now); err != nil {
			return err
		}
	}
	return nil
}

// callEach calls posts and organisations of a level to a case, each with its own time to answer.
func callEach(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, level int, posts, organizations []string, now time.Time) error {
	if len(posts)+len(organizations) == 0 {
		return nil
	}
	at := *c // its level is that of the case; who is called stands on another
	at.Level = level
	if err := summon(ctx, tx, b.Directory, &at, partyCall, posts, organizations, now); err != nil {
		return err
	}
	parties, err := calledTo(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	for _, p := range parties {
		if p.Kind != partyCall || p.AcknowledgedAt != nil || !slices.Contains(posts, p.Post) && !slices.Contains(organizations, p.Organization) {
			continue
		}
		if err := setOther(ctx, tx, b.Directory.Platform, c, timerCall, p.ID.String(), callWithin, false, now); err != nil {
			return err
		}
	}
	return nil
}

// callDue takes a call that nobody answered to the next level where somebody stands. Of several that were missed on one level the first does.
func callDue(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, o other, now time.Time) error {
	parties, err := calledTo(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(parties, func(p Party) bool { return p.ID.String() == o.Party })
	if i < 0 || parties[i].AcknowledgedAt != nil || parties[i].ReleasedAt != nil {
		return nil
	}
	missed := parties[i]
	more := detail{"party": missed.name(), "level": levelNames[missed.Level], "seconds": int64(callWithin.Seconds())}
	level, posts, organizations := above(b, c, missed)
	var fresh, freshOrganizations []string
	if level > levelDepartment {
		more["because"] = "nobody stands above"
	} else {
		more["to"] = levelNames[level]
		if fresh, freshOrganizations = uncalledBy(parties, partyCall, posts, organizations); len(fresh)+len(freshOrganizations) == 0 {
			more["because"] = "who stands there was called already"
		}
		more["posts"], more["organizations"] = fresh, freshOrganizations
	}
	if written, err := recordOnce(ctx, tx, c, fmt.Sprintf("%s/%s/%d", timerCall, o.Party, o.Round), "CallMissed", c.State, system, now, more); err != nil || !written {
		return err
	}
	return callEach(ctx, tx, b, c, level, fresh, freshOrganizations, now)
}

// above gives the next level above a party where somebody stands, and who does; the level is past the last if there is none. Posts are named with
// their grid, as a one-key response names them.
func above(b *intake.Bundle, c *Case, p Party) (next int, posts, organizations []string) {
	for next = p.Level + 1; next <= levelDepartment; next++ {
		if next == levelGrid {
			grid, _, _ := strings.Cut(p.Post, "/")
			posts = placed(b.Directory.Communities[c.Community], grid)[levelGrid]
		} else {
			posts, organizations = chain(b.Directory, c, next, dutiesOf(b, c))
		}
		if len(posts)+len(organizations) > 0 {
			return next, posts, organizations
		}
	}
	return next, nil, nil
}

// placed gives the posts of a grid of a community, or of all its grids, by level: GRID/POST, GRID/MICRO-GRID/POST, and POST of the community. It is
// pure.
func placed(com contract.Community, grid string) map[int][]string {
	out := map[int][]string{levelCommunity: com.Posts}
	for _, g := range com.Grids {
		if grid != "" && g.Name != grid {
			continue
		}
		for _, post := range g.Posts {
			out[levelGrid] = append(out[levelGrid], strings.Join([]string{g.Name, post}, "/"))
		}
		for _, m := range g.MicroGrids {
			for _, post := range m.Posts {
				out[levelMicroGrid] = append(out[levelMicroGrid], strings.Join([]string{g.Name, m.Name, post}, "/"))
			}
		}
	}
	return out
}

// uncalledBy leaves out who is called to a case in a way already.
func uncalledBy(parties []Party, kind string, posts, organizations []string) (newPosts, newOrganizations []string) {
	var there []party
	for _, p := range parties {
		if p.Kind == kind {
			there = append(there, party{Kind: p.Kind, Post: p.Post, Organization: p.Organization, ReleasedAt: p.ReleasedAt})
		}
	}
	return uncalled(there, posts, organizations)
}
