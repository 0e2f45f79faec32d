package grid

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// grassrootsOf gives the committees and townships that cover a community, sorted. Their people stand on its posts: nobody else's act for one.
func grassrootsOf(d contract.Directory, community string) []string {
	names := []string{}
	for name, o := range d.Organizations {
		if grassroots(o) && o.Covers(d.Communities[community].Division) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// postLevels gives the posts of the micro-grid, the grid and the community of a case.
func postLevels(d contract.Directory, c *Case) [][]string {
	levels := make([][]string, levelCommunity+1)
	for level := range levels {
		levels[level], _ = chain(d, c, level, nil)
	}
	return levels
}

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// dutyPlanOf reads, in one statement, what grassroots organisations entered for a place: who stands there, all their shifts of the community, and
// who is away at a time. Who is entered without a post stands on the one that is called as their role.
func dutyPlanOf(ctx context.Context, q querier, d contract.Directory, community, grid, microGrid string, at time.Time) (plan dutyPlan, err error) {
	err = q.QueryRow(ctx, `SELECT
		coalesce((SELECT jsonb_agg(jsonb_build_object('organization', organization, 'person', person, 'post', coalesce(nullif(post, ''), role), 'grid', grid, 'micro_grid', micro_grid, 'rank', rank))
			FROM grid.roster WHERE community = $1 AND organization = ANY($2) AND grid IN ('', $3) AND micro_grid IN ('', $4)), '[]'),
		coalesce((SELECT jsonb_agg(jsonb_build_object('organization', organization, 'person', person, 'post', post, 'grid', grid, 'micro_grid', micro_grid, 'weekdays', weekdays,
				'from_min', from_min, 'to_min', to_min, 'valid_from', valid_from, 'valid_to', coalesce(valid_to::text, '')))
			FROM grid.shifts WHERE community = $1 AND organization = ANY($2)), '[]'),
		coalesce((SELECT jsonb_agg(jsonb_build_object('organization', organization, 'person', person, 'substitute', substitute, 'from_at', from_at, 'to_at', to_at) ORDER BY from_at)
			FROM grid.substitutes WHERE organization = ANY($2) AND from_at <= $5 AND to_at > $5), '[]')`,
		community, grassrootsOf(d, community), grid, microGrid, at).Scan(&plan.stands, &plan.shifts, &plan.absences)
	if err != nil {
		return plan, fmt.Errorf("who is on duty: %w", err)
	}
	return plan, nil
}

// dutyOf gives who is on duty for posts at the place of a case.
func dutyOf(ctx context.Context, q querier, d contract.Directory, c *Case, posts []string, at time.Time) (Duty, error) {
	plan, err := dutyPlanOf(ctx, q, d, c.Community, c.Grid, c.MicroGrid, at)
	if err != nil {
		return Duty{}, err
	}
	return whoIsOnDuty(plan, postLevels(d, c), posts, c.Grid, c.MicroGrid, at.In(location(d.Platform))), nil
}

// assign makes the case say who is to take it: who is on duty for the posts that are called; of a case that goes to organisations only, the first
// of these. It adds to more, the history's entry of the dispatch, who that is and why.
func assign(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, who called, now time.Time, more detail) error {
	c.AssigneeOrganization, c.AssigneePerson, c.AssigneePost = "", "", ""
	if len(who.Posts) > 0 {
		duty, err := dutyOf(ctx, tx, d, c, who.Posts, now)
		if err != nil {
			return err
		}
		c.AssigneeOrganization, c.AssigneePerson, c.AssigneePost = duty.Organization, duty.Person, duty.Post
		more["assigned"] = duty
	}
	if c.AssigneePerson == "" && len(who.Organizations) > 0 {
		c.AssigneeOrganization = who.Organizations[0]
	}
	if c.AssigneeOrganization == "" {
		c.AssigneePost = who.Posts[0] // somebody of the post is to take it, whoever that is
	}
	return nil
}
