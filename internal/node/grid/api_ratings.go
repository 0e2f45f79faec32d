package grid

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/intake"
)

// badScore is the best score for which a case is reopened, where the platform does not say (ours).
const badScore = 2

// EventReworked tells who is called to a case, and their supervisor, that it was rated badly and is to be done again.
const EventReworked = "io.dizuo.case.reworked.v1"

// Rating is how whoever reported a case, or who asked them, finds what was done (好差评).
type Rating struct {
	Score int    `json:"score" minimum:"1" maximum:"5" doc:"5 is very good, 1 is very bad; one as bad as spec.ratings.badScore of the platform, 2 without it, reopens the case."`
	Note  string `json:"note,omitempty" maxLength:"2000" doc:"Free text. It is kept apart from the history and may be erased."`
	// Receipt is of the reporter; without it committees and townships rate, who asked the reporter.
	Receipt string `json:"receipt,omitempty" maxLength:"64" doc:"The receipt of the report. Committees and townships rate without."`
}

type ratingInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body Rating
}

func (a *api) registerRatings() {
	huma.Register(a.huma, huma.Operation{OperationID: "rate-case", Method: http.MethodPost, Path: "/v1/cases/{id}/ratings",
		Summary: "Rate a closed case (好差评), once per closing; a bad rating reopens it", DefaultStatus: http.StatusOK}, a.rate)
}

func (a *api) rate(ctx context.Context, in *ratingInput) (*output[ReportState], error) {
	who := callerOf(ctx)
	if in.Body.Receipt != "" {
		if err := a.receiptPace.take(who.scope.Organization, who.scope.Subject, a.now()); err != nil {
			return nil, err
		}
	}
	var state State
	rate := func() error {
		return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
			c, by, err := ratedCase(ctx, tx, who, in)
			if err != nil {
				return err
			}
			if err := rateCase(ctx, tx, who.bundle, c, by, in.Body, a.now().UTC()); err != nil {
				return err
			}
			state = c.State
			return nil
		})
	}
	err := rate()
	if placeTaken(err) { // by a case of the same that an alarm opened meanwhile: now it is seen
		err = rate()
	}
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[ReportState]{ReportState{state, state.ChineseName()}}, nil
}

// ratedCase locks the case that is rated, and gives who rates it: the reporter by the receipt, who sees no case, or an office of the committee or the
// township, who sees it. A receipt of another case is none.
func ratedCase(ctx context.Context, tx pgx.Tx, who caller, in *ratingInput) (*Case, Actor, error) {
	by := who.scope.actor()
	where, args := who.scope.cases(2)
	if in.Body.Receipt != "" {
		by.Role = RoleResident // as whom they rate, whatever else they are
		where, args = "EXISTS (SELECT FROM grid.receipts r WHERE r.case_id = c.id AND r.digest = $2)", []any{receiptDigest(in.Body.Receipt)}
	}
	c, err := oneCase(ctx, tx, "c.id = $1 AND "+where+forChange, append([]any{in.ID}, args...)...)
	switch {
	case err != nil:
		return nil, by, err
	case c == nil:
		return nil, by, errNoCase()
	case in.Body.Receipt != "":
		return c, by, nil
	case !who.scope.grassroots || !slices.Contains([]Role{RoleCommunityWorker, RoleDispatcher}, by.Role):
		return nil, by, huma.Error403Forbidden(fmt.Sprintf("role %q of organization %q may not rate case %s: whoever reported it may, by the receipt, or an office of the committee or the township",
			by.Role, who.scope.Organization, c.Number))
	}
	return c, by, nil
}

// rateCase writes a rating of a case that is locked in tx. A bad one sends the case back to who handled it.
func rateCase(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, by Actor, r Rating, now time.Time) error {
	if c.State != Closed && c.State != Rated {
		return huma.Error409Conflict(fmt.Sprintf("case %s is %s (%s): it is rated when it is closed", c.Number, c.State, c.State.ChineseName()))
	}
	bad, closing := r.Score <= cmp.Or(b.Directory.Platform.BadScore, badScore), c.Reopened
	done, err := tx.Exec(ctx, "INSERT INTO grid.ratings (case_id, closing, at, score, reworked, by_reporter) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
		c.ID, closing, now, r.Score, bad, by.Role == RoleResident)
	if err != nil {
		return fmt.Errorf("rating of case %s: %w", c.Number, err)
	}
	if done.RowsAffected() == 0 {
		return huma.Error409Conflict(fmt.Sprintf("case %s was rated since it was closed; it is rated once", c.Number))
	}
	more := detail{"score": r.Score, "closing": closing}
	if r.Note != "" {
		if more["note"], err = writeNote(ctx, tx, c.ID, r.Note, now); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "UPDATE grid.cases SET score = $2, rated_at = $3, updated_at = $3 WHERE id = $1", c.ID, r.Score, now); err != nil {
		return fmt.Errorf("rating of case %s: %w", c.Number, err)
	}
	if c.State == Closed {
		err = move(ctx, tx, b.Directory.Platform, c, Rate, by, now, nil, more)
	} else { // somebody marked it rated, with no score
		err = record(ctx, tx, c, string(Rate), c.State, by, now, more)
	}
	if err != nil {
		return err
	}
	if err := tellCalled(ctx, tx, b, c, EventRated, now); err != nil || !bad {
		return err
	}
	return rework(ctx, tx, b, c, r.Score, now)
}

// rework sends a case that was rated badly back to who handled it, whose times to come and to be done run anew, and tells the supervisor. From the
// second bad rating on the case goes a level up besides.
func rework(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, score int, now time.Time) error {
	if err := giveUpPlace(ctx, tx, c); err != nil {
		return err
	}
	c.Reopened++
	if err := move(ctx, tx, b.Directory.Platform, c, Rework, system, now, nil, detail{"score": score}); err != nil {
		return err
	}
	c.OnSiteAt, c.OnSiteDue, c.ResolveDue, c.OnSiteOverdue, c.ResolveOverdue = nil, nil, nil, false, false
	k := clocks{}
	k.begin(b.Directory.Platform, c, now, timerOnSite, timerResolve)
	if err := writeClocks(ctx, tx, c, k); err != nil {
		return err
	}
	var bad int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM grid.ratings WHERE case_id = $1 AND reworked", c.ID).Scan(&bad); err != nil {
		return fmt.Errorf("ratings of case %s: %w", c.Number, err)
	}
	if err := tellCalled(ctx, tx, b, c, EventReworked, now); err != nil {
		return err
	}
	if bad > 1 {
		if _, err := escalate(ctx, tx, b, c, "Rating", now); err != nil {
			return err
		}
	}
	if err := tellSupervisor(ctx, tx, b, c, now); err != nil {
		return err
	}
	return saveCase(ctx, tx, c)
}

// tellSupervisor tells the organisations of the nearest level above the case where there are any. They are told, not called.
func tellSupervisor(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, now time.Time) error {
	for level := c.Level + 1; level <= levelDepartment; level++ {
		_, organizations := chain(b.Directory, c, level, dutiesOf(b, c))
		if len(organizations) == 0 {
			continue
		}
		if err := record(ctx, tx, c, "SupervisorTold", c.State, system, now, detail{"level": levelNames[level], "organizations": organizations}); err != nil {
			return err
		}
		there, err := partiesOf(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if err := callParties(ctx, tx, c, partyTold, level, nil, organizations, now); err != nil {
			return err
		}
		for _, name := range organizations {
			if slices.ContainsFunc(there, func(p party) bool { return p.ReleasedAt == nil && p.Organization == name }) {
				continue // heard it as one who is called, or was told before
			}
			if err := enqueue(ctx, tx, b.Directory, c, name, EventReworked, now); err != nil {
				return err
			}
		}
		return nil
	}
	return record(ctx, tx, c, "NobodyToTell", c.State, system, now, nil)
}
