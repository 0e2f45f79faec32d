package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// ModeView is a mode (平战) as people see it.
type ModeView struct {
	// N numbers the switches; 0 is Routine that nobody switched to.
	N           int64      `json:"n"`
	Mode        string     `json:"mode" enum:"Routine,Emergency"`
	DisplayName string     `json:"displayName,omitempty"`
	Since       *time.Time `json:"since,omitempty" doc:"Not there while nobody ever switched the mode."`
	ExpiresAt   *time.Time `json:"expiresAt,omitempty" doc:"When it ends by itself; not there: never."`
	EndedAt     *time.Time `json:"endedAt,omitempty" doc:"When it ended."`
	// Reason, Organization, Person (a pseudonym) and Role say why it was switched, and by whom: to commanders and auditors only.
	Reason       string `json:"reason,omitempty" doc:"What the person wrote, unless it was erased."`
	Organization string `json:"organization,omitempty"`
	Person       string `json:"person,omitempty"`
	Role         Role   `json:"role,omitempty"`
}

// ModeHistory is a page of switches of the mode, the last first.
type ModeHistory struct {
	Modes []ModeView `json:"modes"`
	// Next is the field before of the next page; 0 on the last.
	Next int64 `json:"next,omitempty"`
}

type putModeInput struct {
	Body struct {
		Mode   string     `json:"mode" enum:"Routine,Emergency" doc:"The mode to switch to; Routine ends what is."`
		Reason string     `json:"reason" minLength:"1" maxLength:"2000" doc:"Why. It is kept apart from reports and logs, and erased after the time that notes are kept."`
		Until  *time.Time `json:"until,omitempty" doc:"When the mode ends by itself, within the mode's maxDuration from now; not for Routine, which lasts until another."`
	}
}

type modeHistoryInput struct {
	Limit  int   `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Before int64 `query:"before" minimum:"0" doc:"The field next of the page before."`
}

func (a *api) registerMode() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-mode", Method: http.MethodGet, Path: "/v1/mode", Summary: "The mode (平战) that the platform is in"}, a.getMode)
	huma.Register(a.huma, huma.Operation{OperationID: "put-mode", Method: http.MethodPut, Path: "/v1/mode", Summary: "Switch the mode (平战)"}, a.putMode)
	huma.Register(a.huma, huma.Operation{OperationID: "list-modes", Method: http.MethodGet, Path: "/v1/mode/history", Summary: "Who switched the mode, when and why; the last first"}, a.modeHistory)
}

// mayCommand says of an organisation that its commanders may switch the mode: it holds the duty, and every community of the platform is in its
// jurisdiction, for the mode is one for all of them. It is pure.
func mayCommand(d contract.Directory, organization string) bool {
	org, ok := d.Organizations[organization]
	if !ok || len(org.Compounds) > 0 || !slices.Contains(org.Duties, contract.DutyCommand) {
		return false
	}
	for _, c := range d.Communities {
		if org.Covers(c.Division) == 0 {
			return false
		}
	}
	return true
}

// seesWhy says of a caller that they may know who switched the mode and why.
func seesWhy(who caller) bool {
	return slices.Contains([]Role{RoleCommander, RoleAuditor}, Role(who.scope.Role)) && mayCommand(who.bundle.Directory, who.scope.Organization)
}

// seesMode says of a caller that they may know in which mode the platform is.
func seesMode(who caller) bool { return len(who.scope.communities) > 0 || seesWhy(who) }

// modeView shows a switch; why and by whom only to who may know.
func modeView(who caller, m modeRow) ModeView {
	v := ModeView{N: m.N, Mode: m.Mode, DisplayName: who.bundle.Directory.Platform.Modes[m.Mode].DisplayName, ExpiresAt: utc(m.ExpiresAt), EndedAt: utc(m.EndedAt)}
	if !m.Since.IsZero() {
		v.Since = utc(&m.Since)
	}
	if seesWhy(who) {
		v.Reason, v.Organization, v.Person, v.Role = m.Reason, m.Organization, m.Person, Role(m.Role)
	}
	return v
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}

func (a *api) getMode(ctx context.Context, _ *struct{}) (*output[ModeView], error) {
	who := callerOf(ctx)
	if !seesMode(who) {
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q of organization %s may not see the mode", who.scope.Role, who.scope.Organization))
	}
	m, err := currentMode(ctx, a.pool, a.now().UTC())
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[ModeView]{modeView(who, m)}, nil
}

func (a *api) modeHistory(ctx context.Context, in *modeHistoryInput) (*output[ModeHistory], error) {
	who := callerOf(ctx)
	if !seesWhy(who) {
		return nil, errNoCommander(who)
	}
	list, err := modeRows(ctx, a.pool, "($1 = 0 OR n < $1)", in.Limit+1, in.Before)
	if err != nil {
		return nil, a.fail(err)
	}
	page := ModeHistory{Modes: []ModeView{}}
	if len(list) > in.Limit {
		list = list[:in.Limit]
		page.Next = list[in.Limit-1].N
	}
	for _, m := range list {
		if m.EndedAt == nil && m.ExpiresAt != nil && !m.ExpiresAt.After(a.now()) {
			m.EndedAt = m.ExpiresAt // nobody wrote it down yet
		}
		page.Modes = append(page.Modes, modeView(who, m))
	}
	return &output[ModeHistory]{page}, nil
}

// errNoCommander refuses who may not switch the mode, and says what it takes.
func errNoCommander(who caller) error {
	return huma.Error403Forbidden(fmt.Sprintf("role %q of organization %s may not do this; it takes role %s of an organization with duty %q whose jurisdiction has every community of the platform",
		who.scope.Role, who.scope.Organization, RoleCommander, contract.DutyCommand))
}

func (a *api) putMode(ctx context.Context, in *putModeInput) (*output[ModeView], error) {
	who, now := callerOf(ctx), a.now().UTC()
	if Role(who.scope.Role) != RoleCommander || !mayCommand(who.bundle.Directory, who.scope.Organization) {
		return nil, errNoCommander(who)
	}
	if err := checkMode(who.bundle.Directory.Platform, in, now); err != nil {
		return nil, err
	}
	m := modeRow{Mode: in.Body.Mode, Since: now, Reason: strings.TrimSpace(in.Body.Reason), Organization: who.scope.Organization, Person: who.scope.Subject, Role: who.scope.Role}
	if in.Body.Until != nil {
		at := in.Body.Until.UTC().Truncate(time.Microsecond) // as fine as PostgreSQL keeps it, to know it again
		m.ExpiresAt = &at
	}
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) (err error) {
		m, err = switchMode(ctx, tx, m)
		return err
	}); err != nil {
		return nil, a.fail(err)
	}
	a.log.Info("the mode was switched", "mode", m.Mode, "n", m.N, "organization", m.Organization)
	return &output[ModeView]{modeView(who, m)}, nil
}

// checkMode refuses a mode that is not in the plan, one without reason, and one without end or that lasts too long. It is pure.
func checkMode(p contract.Platform, in *putModeInput, now time.Time) error {
	plan, planned := p.Modes[in.Body.Mode]
	until := in.Body.Until
	switch {
	case strings.TrimSpace(in.Body.Reason) == "":
		return huma.Error422UnprocessableEntity("body.reason: is empty; write why the mode is switched")
	case in.Body.Mode == contract.ModeRoutine && until != nil:
		return huma.Error422UnprocessableEntity("body.until: Routine lasts until another mode is switched on; leave it out")
	case in.Body.Mode == contract.ModeRoutine:
		return nil
	case !planned:
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.mode: GridPlatform %s/%s has no plan for %s; add it to spec.modes", p.Namespace, p.Name, in.Body.Mode))
	case until == nil || !until.After(now):
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.until: %s needs an end; write a time that is to come, within %s", in.Body.Mode, plan.Longest()))
	case until.After(now.Add(plan.Longest())):
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.until: is later than maxDuration of %s allows; write %s or before", in.Body.Mode, now.Add(plan.Longest()).Format(time.RFC3339)))
	}
	return nil
}
