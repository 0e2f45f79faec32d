package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

type whistleInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Key  string    `header:"Idempotency-Key" minLength:"8" maxLength:"128" doc:"A random key; the same key calls once."`
	Body struct {
		Duties []string `json:"duties" minItems:"1" maxItems:"20" doc:"Duties of the organisations that are to come together, of each those that hold it in the community."`
		Reason string   `json:"reason" minLength:"1" maxLength:"2000" doc:"Why they are needed. It is kept apart from the history and may be erased."`
	}
}

type answerInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		Post string `json:"post,omitempty" maxLength:"200" doc:"The post for which the person answers, as the party names it. Without one it is the organisation, or the only post that was called."`
	}
}

func (a *api) registerWhistle() {
	huma.Register(a.huma, huma.Operation{OperationID: "whistle", Method: http.MethodPost, Path: "/v1/cases/{id}/whistle",
		Summary: "Call several organisations together (吹哨); townships only", DefaultStatus: http.StatusOK}, a.whistle)
	huma.Register(a.huma, huma.Operation{OperationID: "report-to-case", Method: http.MethodPost, Path: "/v1/cases/{id}/whistle/ack",
		Summary: "Report to a case to which one's organisation was called together with others (报到)", DefaultStatus: http.StatusOK}, a.reportIn)
}

// whistlers may call organisations together, and open one-key responses.
var whistlers = []Role{RoleCommunityWorker, RoleDispatcher, RoleCommander}

// whistle calls the organisations that hold duties to a case, each of which answers by itself. Who is called sees the case and may act.
func (a *api) whistle(ctx context.Context, in *whistleInput) (*output[CaseDetail], error) {
	who := callerOf(ctx)
	d := who.bundle.Directory
	role := Role(who.scope.Role)
	return a.onCase(ctx, in.ID, func(tx pgx.Tx, c *Case) error {
		if d.Organizations[who.scope.Organization].Type != "Township" || !slices.Contains(whistlers, role) {
			return huma.Error403Forbidden(fmt.Sprintf("role %q of organization %q may not call organizations together; Dispatcher, CommunityWorker and Commander of a Township may", role, who.scope.Organization))
		}
		keep, used, err := a.once(ctx, tx, who, "whistle", "whistle", c.ID, in.Key, in.Body)
		if err != nil || used {
			return err
		}
		if !c.State.Open() {
			return huma.Error409Conflict(fmt.Sprintf("case %s is %s: nobody is called to it any more; reopen it first", c.Number, c.State))
		}
		var organizations, nobody []string
		for _, duty := range in.Body.Duties {
			names := d.Responsible(duty, c.place())
			if len(names) == 0 {
				nobody = append(nobody, duty)
			}
			organizations = append(organizations, names...)
		}
		if len(nobody) > 0 {
			return huma.Error422UnprocessableEntity("body.duties: no organization holds " + strings.Join(nobody, ", ") + " where the case is; write duties that one holds")
		}
		slices.Sort(organizations)
		if err := a.callTogether(ctx, tx, who, c, slices.Compact(organizations), in); err != nil {
			return err
		}
		return keep()
	})
}

// callTogether calls those of organisations that were not called together before; nothing if all were.
func (a *api) callTogether(ctx context.Context, tx pgx.Tx, who caller, c *Case, organizations []string, in *whistleInput) error {
	now := a.now().UTC()
	parties, err := calledTo(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	if _, organizations = uncalledBy(parties, partyJoint, nil, organizations); len(organizations) == 0 {
		return nil
	}
	note, err := writeNote(ctx, tx, c.ID, in.Body.Reason, now)
	if err != nil {
		return err
	}
	if err := record(ctx, tx, c, "Whistle", c.State, who.scope.actor(), now, detail{"duties": in.Body.Duties, "organizations": organizations, "note": note}); err != nil {
		return err
	}
	return summon(ctx, tx, who.bundle.Directory, c, partyJoint, nil, organizations, now)
}

// reportIn says that an organisation that was called together with others is there.
func (a *api) reportIn(ctx context.Context, in *answerInput) (*output[CaseDetail], error) {
	who := callerOf(ctx)
	return a.onCase(ctx, in.ID, func(tx pgx.Tx, c *Case) error {
		_, err := a.answerFor(ctx, tx, who, c, in.Body.Post, "Reported", partyJoint)
		return err
	})
}

// answerFor writes down the answer of the caller's organisation, or post, to a call of a kind.
func (a *api) answerFor(ctx context.Context, tx pgx.Tx, who caller, c *Case, post, action, kind string) ([]Party, error) {
	if role := Role(who.scope.Role); !slices.Contains(append([]Role{RoleCommander}, everyone...), role) {
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q may not answer calls", role))
	}
	parties, err := calledTo(ctx, tx, c.ID)
	if err != nil {
		return nil, err
	}
	mine := answering(who.bundle.Directory, who.scope.Organization, post, parties, kind)
	if who.scope.rostered {
		if mine, err = onRoster(ctx, tx, who.scope, c, mine); err != nil {
			return nil, err
		}
	}
	if len(mine) == 0 {
		var names []string
		for _, p := range parties {
			if p.Kind == kind && p.ReleasedAt == nil {
				names = append(names, p.name())
			}
		}
		return nil, huma.Error403Forbidden(fmt.Sprintf("organization %q was not called to case %s in this way, or it is not said for which post: called are %s; for a post of a committee or township write body.post",
			who.scope.Organization, c.Number, strings.Join(names, ", ")))
	}
	return writeAnswers(ctx, tx, c, mine, action, who.scope.actor(), a.now().UTC())
}

// onRoster leaves out the posts of grids for which the roster does not name a person.
func onRoster(ctx context.Context, tx pgx.Tx, s scope, c *Case, mine []Party) ([]Party, error) {
	rows, err := tx.Query(ctx, "SELECT DISTINCT grid FROM grid.roster WHERE organization = $1 AND person = $2 AND role = $3 AND community = $4", s.Organization, s.Subject, s.Role, c.Community)
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	grids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return slices.DeleteFunc(mine, func(p Party) bool {
		grid, _, placed := strings.Cut(p.Post, "/")
		return p.Post != "" && !slices.Contains(grids, "") && !(placed && slices.Contains(grids, grid))
	}), nil
}
