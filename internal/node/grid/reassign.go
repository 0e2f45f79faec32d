package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

type reassignInput struct {
	ID      uuid.UUID `path:"id" format:"uuid"`
	Version string    `header:"If-Match" maxLength:"16" doc:"The case's version, as this is meant for; another gives 412. Not given: any."`
	Key     string    `header:"Idempotency-Key" minLength:"8" maxLength:"128" doc:"A random key; the same key acts once, and gives the case as it is now."`
	Body    Reassignment
}

// Reassignment says who has a case from now on: one of a post, a person and an organisation.
type Reassignment struct {
	Post         string `json:"post,omitempty" maxLength:"63" doc:"Post of the case's micro-grid, grid or community."`
	Person       string `json:"person,omitempty" maxLength:"128" doc:"Pseudonym of a person of your organization whom its roster names for the case's place."`
	Organization string `json:"organization,omitempty" maxLength:"253" doc:"Organization whose jurisdiction covers the case's community."`
	Reason       string `json:"reason" minLength:"1" maxLength:"2000" doc:"Why, for colleagues. It is kept apart from the history and may be erased."`
}

func (a *api) registerReassign() {
	huma.Register(a.huma, huma.Operation{OperationID: "reassign-case", Method: http.MethodPost, Path: "/v1/cases/{id}/reassign",
		Summary: "Give a case to another post, person or organization", DefaultStatus: http.StatusOK}, a.reassign)
}

func (a *api) reassign(ctx context.Context, in *reassignInput) (*output[CaseDetail], error) {
	return a.onCase(ctx, in.ID, func(tx pgx.Tx, c *Case) error { return a.reassignOnce(ctx, tx, callerOf(ctx), c, in) })
}

// reassignOnce reassigns a case that is locked in tx unless the key was used before, or the case is at another version than it is meant for.
func (a *api) reassignOnce(ctx context.Context, tx pgx.Tx, who caller, c *Case, in *reassignInput) error {
	keep, used, err := a.once(ctx, tx, who, "reassign", "reassignment", c.ID, in.Key, in.Body)
	if err != nil || used {
		return err
	}
	if err := checkVersion(c, in.Version); err != nil {
		return err
	}
	if err := refusal(a.applyReassign(ctx, tx, who, c, in.Body)); err != nil {
		return err
	}
	return keep()
}

// applyReassign gives a case that is locked in tx to another. Who answers for it so far is released, and sees it still; who was called because a
// time was missed stays. Whoever gets it has to take it anew.
func (a *api) applyReassign(ctx context.Context, tx pgx.Tx, who caller, c *Case, to Reassignment) error {
	now, by, d := a.now().UTC(), who.scope.actor(), who.bundle.Directory
	_, fits := Next(c.State, Reassign, by.Role)
	if errors.As(fits, new(ErrRole)) {
		return errAction{fits}
	}
	there, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	if !mayAct(d, who.scope.Organization, c, there) {
		return errAction{errNotCalled{who.scope.Organization, c.Number, Reassign}}
	}
	if fits != nil {
		return errAction{fits}
	}
	if err := checkReassignment(who, c, to); err != nil {
		return err
	}
	organization := to.Organization
	if to.Person != "" {
		organization = who.scope.Organization
		if err := checkPerson(ctx, tx, c, organization, to.Person); err != nil {
			return err
		}
	}
	note, err := writeNote(ctx, tx, c.ID, to.Reason, now)
	if err != nil {
		return err
	}
	from, err := releaseResponders(ctx, tx, c, now)
	if err != nil {
		return err
	}
	c.AssigneePost, c.AssigneePerson, c.AssigneeOrganization = to.Post, to.Person, organization
	if err := move(ctx, tx, d.Platform, c, Reassign, by, now, nil, detail{"released": from, "post": to.Post, "organization": organization, "person": to.Person, "note": note}); err != nil {
		return err
	}
	if err := callAssignee(ctx, tx, d, c, to.Post, organization, to.Person, now); err != nil {
		return err
	}
	return tellParties(ctx, tx, d, c, there, []string{organization}, EventReassigned, now)
}

// checkReassignment refuses who cannot answer for a case: a post that is not there, an organisation that does not cover the place, and of a case
// with sensitive data one whose business it is not. It is pure.
func checkReassignment(who caller, c *Case, to Reassignment) error {
	given := 0
	for _, s := range []string{to.Post, to.Person, to.Organization} {
		if s != "" {
			given++
		}
	}
	d := who.bundle.Directory
	com := d.Communities[c.Community]
	switch {
	case given != 1:
		return huma.Error422UnprocessableEntity("body: write one of post, person and organization")
	case strings.TrimSpace(to.Reason) == "":
		return huma.Error422UnprocessableEntity("body.reason: write why the case goes to another")
	case to.Post != "" && !hasPost(com, c, to.Post):
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.post: neither community %s nor grid %q of the case has a post %q; write one of theirs", c.Community, c.Grid, to.Post))
	case to.Organization == "":
		return nil
	}
	o, known := d.Organizations[to.Organization]
	if acts := d.Reach(o, c.place()) > 0 || c.Compound == "" && d.ActsIn(o, c.Community); !known || !acts || len(o.Duties) == 0 && isVendor(who.bundle, to.Organization) {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.organization: no organization %q answers for community %s; write one that acts where the case is", to.Organization, c.Community))
	}
	if c.DataClass != "C2" && c.DataClass != "C3" || grassroots(o) {
		return nil
	}
	duties := dutiesOf(who.bundle, c)
	if !slices.ContainsFunc(o.Duties, func(x string) bool { return slices.Contains(duties, x) }) {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.organization: case %s has data of class %s, which %q has no duty to see; write a committee, a township or one with a duty that the scenario calls (%s)",
			c.Number, c.DataClass, to.Organization, strings.Join(duties, ", ")))
	}
	return nil
}

// checkPerson refuses a person whom the organisation's roster does not name for the case's place.
func checkPerson(ctx context.Context, tx pgx.Tx, c *Case, organization, person string) error {
	var there bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM grid.roster WHERE organization = $1 AND person = $2 AND community = $3 AND grid IN ('', $4))",
		organization, person, c.Community, c.Grid).Scan(&there); err != nil {
		return fmt.Errorf("roster: %w", err)
	}
	if !there {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.person: the roster of %s has no %q for community %s, grid %q; write one whom it names there", organization, person, c.Community, c.Grid))
	}
	return nil
}

// releaseResponders releases who answers for a case, and gives them as the history has them.
func releaseResponders(ctx context.Context, tx pgx.Tx, c *Case, now time.Time) ([]string, error) {
	rows, err := tx.Query(ctx, `UPDATE grid.case_parties SET released_at = $2, release = 'reassigned' WHERE case_id = $1 AND kind = $3 AND released_at IS NULL
		RETURNING concat_ws(' ', nullif(post, ''), nullif(organization, ''), nullif(person, ''))`, c.ID, now, partyResponder)
	if err != nil {
		return nil, fmt.Errorf("parties of case %s: %w", c.Number, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	slices.Sort(names)
	return names, err
}

// callAssignee writes down who has a case now, and sends an organisation the message.
func callAssignee(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, post, organization, person string, now time.Time) error {
	if _, err := tx.Exec(ctx, `INSERT INTO grid.case_parties (id, case_id, kind, level, post, organization, person, called_at) VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (case_id, kind, step, post, organization, person) DO UPDATE SET called_at = excluded.called_at, acknowledged_at = NULL, released_at = NULL, release = ''`,
		c.ID, partyResponder, c.Level, post, organization, person, now); err != nil {
		return fmt.Errorf("parties of case %s: %w", c.Number, err)
	}
	if organization == "" || person != "" {
		return nil
	}
	return enqueue(ctx, tx, d, c, organization, EventDispatched, now)
}
