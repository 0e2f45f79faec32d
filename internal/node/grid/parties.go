package grid

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// Kinds of parties: why somebody was called to a case.
const (
	partyResponder  = "Responder"  // by the scenario, or by who dispatched it
	partyEscalation = "Escalation" // a level further up, because a time was missed
	partyTold       = "Told"       // was told of it, and is not called
	partyJoint      = "Joint"      // together with others, by a township
	partyCall       = "Call"       // by a one-key response
)

// party is somebody who was called to a case: a post of the grid or an organisation.
type party struct {
	Kind         string     `db:"kind"`
	Post         string     `db:"post"`
	Organization string     `db:"organization"`
	ReleasedAt   *time.Time `db:"released_at"`
}

// callParties writes down who was called to a case. Who was called before and released is called anew, and has to answer anew.
func callParties(ctx context.Context, tx pgx.Tx, c *Case, kind string, level int, posts, organizations []string, now time.Time) error {
	return callPartiesOfStep(ctx, tx, c, kind, 1, level, posts, organizations, now)
}

// callPartiesOfStep is callParties for those of a step.
func callPartiesOfStep(ctx context.Context, tx pgx.Tx, c *Case, kind string, step, level int, posts, organizations []string, now time.Time) error {
	if _, err := tx.Exec(ctx, `INSERT INTO grid.case_parties (id, case_id, kind, level, post, organization, called_at, step)
		SELECT gen_random_uuid(), $1::uuid, $2::text, $3::smallint, p, '', $6::timestamptz, $7::smallint FROM unnest($4::text[]) p
		UNION ALL SELECT gen_random_uuid(), $1, $2, $3, '', o, $6, $7 FROM unnest($5::text[]) o
		ON CONFLICT (case_id, kind, step, post, organization, person) DO UPDATE SET released_at = NULL, release = '',
			called_at = CASE WHEN case_parties.released_at IS NULL THEN case_parties.called_at ELSE excluded.called_at END,
			acknowledged_at = CASE WHEN case_parties.released_at IS NULL THEN case_parties.acknowledged_at END`,
		c.ID, kind, level, posts, organizations, now, step); err != nil {
		return fmt.Errorf("parties of case %s: %w", c.Number, err)
	}
	return nil
}

// releaseParties says that nobody is called to a case any more, and why. They see it still.
func releaseParties(ctx context.Context, tx pgx.Tx, c *Case, why string, now time.Time) error {
	if _, err := tx.Exec(ctx, "UPDATE grid.case_parties SET released_at = $2, release = $3 WHERE case_id = $1 AND released_at IS NULL", c.ID, now, why); err != nil {
		return fmt.Errorf("parties of case %s: %w", c.Number, err)
	}
	return nil
}

// partiesOf reads who was called to a case.
func partiesOf(ctx context.Context, tx pgx.Tx, id uuid.UUID) ([]party, error) {
	rows, err := tx.Query(ctx, "SELECT kind, post, organization, released_at FROM grid.case_parties WHERE case_id = $1 ORDER BY called_at, id", id)
	if err != nil {
		return nil, fmt.Errorf("parties: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[party])
}

// Levels that a case goes up when times are missed.
const (
	levelMicroGrid  = iota // 微网格
	levelGrid              // 网格
	levelCommunity         // 社区
	levelTownship          // 街道, 乡镇
	levelDepartment        // 部门
)

// mayAct says whether people of an organisation may move a case: it was called to it itself; or it is grassroots and a post of the grid
// was called; or the case is at its level. Committees hold the levels up to the community's, and townships where no committee covers it, and
// the township's. It is pure; that the case is in the organisation's jurisdiction was asked before.
func mayAct(d contract.Directory, organization string, c *Case, parties []party) bool {
	if isParty(d, organization, parties) {
		return true
	}
	kind := d.Organizations[organization].Type
	switch {
	case c.Level <= levelCommunity && kind == "Township":
		return len(nearest(d, c, "Committee", nil)) == 0
	case c.Level <= levelCommunity:
		return kind == "Committee"
	case c.Level == levelTownship:
		return kind == "Township"
	}
	return false
}

// isParty says whether an organisation is called to a case: itself, or a post of the grid, for which committees and townships answer. It is pure.
func isParty(d contract.Directory, organization string, parties []party) bool {
	posts := grassroots(d.Organizations[organization])
	return slices.ContainsFunc(parties, func(p party) bool {
		return p.ReleasedAt == nil && p.Kind != partyTold && (p.Organization == organization || posts && p.Post != "")
	})
}

// errNotCalled says that an organisation has no part in a case that it sees.
type errNotCalled struct {
	organization, number string
	action               Action
}

// Error says who may act instead.
func (e errNotCalled) Error() string {
	return fmt.Sprintf("organization %q sees case %s and may not do %s: it was not called to the case; who was called may, or the committee or township whose level the case is at. Ask them to call you (Dispatch with a duty of yours)",
		e.organization, e.number, e.action)
}
