package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

type listInput struct {
	State    string            `query:"state" doc:"State of the cases; Open asks for all that are not finished." enum:"Open,Reported,NotFiled,Filed,Dispatched,Handling,Returned,Extended,Suspended,Verifying,Closed,Rated,Void,Reopened"`
	Severity contract.Severity `query:"severity" enum:"Critical,High,Medium,Low"`
	Limit    int               `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor   string            `query:"cursor" doc:"The field next of the page before." maxLength:"36"`
	CaseFilter
}

// CaseList is a page of cases, newest first.
type CaseList struct {
	Cases []Case `json:"cases"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// HistoryEntry is one line of a case's history. It never changes.
type HistoryEntry struct {
	N      int            `json:"n"`
	At     time.Time      `json:"at"`
	Action string         `json:"action"`
	From   State          `json:"from,omitempty"`
	To     State          `json:"to"`
	Actor  Actor          `json:"actor"`
	Detail map[string]any `json:"detail,omitempty"`
	// Note is what the person wrote, unless it was erased.
	Note string `json:"note,omitempty"`
}

// CaseDetail is a case with its history.
type CaseDetail struct {
	Case
	StateName string         `json:"stateName" doc:"The state in Chinese."`
	Parties   []Party        `json:"parties" doc:"Who was called, and who answered."`
	Times     []TimeLeft     `json:"times" doc:"The times that run, or stand still."`
	History   []HistoryEntry `json:"history"`
}

type output[T any] struct{ Body T }

type idInput struct {
	ID uuid.UUID `path:"id" format:"uuid"`
}

func (a *api) registerCases() {
	huma.Register(a.huma, huma.Operation{OperationID: "list-cases", Method: http.MethodGet, Path: "/v1/cases", Summary: "List cases, newest first"}, a.list)
	huma.Register(a.huma, huma.Operation{OperationID: "get-case", Method: http.MethodGet, Path: "/v1/cases/{id}", Summary: "One case with its history"}, a.get)
}

func (a *api) list(ctx context.Context, in *listInput) (*output[CaseList], error) {
	where, args := callerOf(ctx).scope.cases(1)
	where, args = inState(where, args, in.State, in.Severity)
	more, args := in.where(callerOf(ctx).scope, args)
	where += more
	if in.Cursor != "" {
		id, err := uuid.Parse(in.Cursor)
		if err != nil {
			return nil, huma.Error400BadRequest("cursor is not one that a page before gave")
		}
		args = append(args, id)
		where += fmt.Sprintf(" AND c.id < $%d", len(args))
	}
	args = append(args, in.Limit+1)
	rows, err := a.pool.Query(ctx, fmt.Sprintf("SELECT %s FROM grid.cases c WHERE %s ORDER BY c.id DESC LIMIT $%d", caseColumns, where, len(args)), args...)
	if err != nil {
		return nil, a.fail(err)
	}
	cases, err := pgx.CollectRows(rows, pgx.RowToStructByName[Case])
	if err != nil {
		return nil, a.fail(err)
	}
	page := CaseList{Cases: cases}
	if len(cases) > in.Limit {
		page.Cases = cases[:in.Limit]
		page.Next = cases[in.Limit-1].ID.String()
	}
	return &output[CaseList]{page}, nil
}

func (a *api) get(ctx context.Context, in *idInput) (*output[CaseDetail], error) {
	out, err := a.detail(ctx, in.ID)
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[CaseDetail]{*out}, nil
}

// detail reads a case that the caller may see.
func (a *api) detail(ctx context.Context, id uuid.UUID) (*CaseDetail, error) {
	var out CaseDetail
	err := pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		where, args := callerOf(ctx).scope.cases(2)
		c, err := oneCase(ctx, tx, "c.id = $1 AND "+where, append([]any{id}, args...)...)
		if err != nil {
			return err
		}
		if c == nil {
			return errNoCase()
		}
		out.Case, out.StateName = *c, c.State.ChineseName()
		if out.Parties, err = calledTo(ctx, tx, id); err != nil {
			return err
		}
		if out.Times, err = timesLeft(ctx, tx, callerOf(ctx).bundle.Directory.Platform, id, a.now()); err != nil {
			return err
		}
		out.History, err = history(ctx, tx, id)
		return err
	})
	return &out, err
}

func history(ctx context.Context, tx pgx.Tx, id uuid.UUID) ([]HistoryEntry, error) {
	rows, err := tx.Query(ctx, `SELECT h.n, h.at, h.action, h.from_state, h.to_state, h.actor, h.organization, h.person, h.role, h.detail, coalesce(t.text, '')
		FROM grid.case_history h LEFT JOIN grid.case_notes t ON t.id::text = h.detail->>'note' WHERE h.case_id = $1 ORDER BY h.n`, id)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e HistoryEntry, err error) {
		err = row.Scan(&e.N, &e.At, &e.Action, &e.From, &e.To, &e.Actor.Kind, &e.Actor.Organization, &e.Actor.Person, &e.Actor.Role, &e.Detail, &e.Note)
		return e, err
	})
}

type actionInput struct {
	ID uuid.UUID `path:"id" format:"uuid"`
	// Version and Key make a request that is sent again harmless.
	Version string `header:"If-Match" maxLength:"16" doc:"The case's version, as this action is meant for; another gives 412. Not given: any."`
	Key     string `header:"Idempotency-Key" minLength:"8" maxLength:"128" doc:"A random key; the same key acts once, and gives the case as it is now."`
	Body    struct {
		Action Action `json:"action" enum:"File,Decline,Dispatch,Acknowledge,Arrive,Handle,Return,Extend,Suspend,Resume,RequestVerification,Verify,Rework,Close,Rate,Void,Reopen"`
		Note   string `json:"note,omitempty" maxLength:"2000" doc:"Free text for colleagues. It is kept apart from the history and may be erased."`
		// Until is of Extend.
		Until *time.Time `json:"until,omitempty" doc:"Until when the case is extended; only for Extend, which needs it, and a note that says why."`
		// Closing are steps that are done.
		Closing []int `json:"closing,omitempty" maxItems:"16" doc:"Numbers, from 1 on, of the closing steps that are done; for Handle, RequestVerification, Verify and Close, which needs them all."`
		// Duties are called by Dispatch.
		Duties []string `json:"duties,omitempty" maxItems:"20" doc:"Duties of the organisations to call; only for Dispatch. Without any, the scenario's responders are called."`
	}
}

func (a *api) registerActions() {
	huma.Register(a.huma, huma.Operation{OperationID: "act-on-case", Method: http.MethodPost, Path: "/v1/cases/{id}/actions",
		Summary: "Move a case: acknowledge, handle, verify, close and so on", DefaultStatus: http.StatusOK}, a.act)
}

func (a *api) act(ctx context.Context, in *actionInput) (*output[CaseDetail], error) {
	err := a.actInTx(ctx, in)
	if placeTaken(err) { // by a case of the same that an alarm opened meanwhile: now it is seen
		err = a.actInTx(ctx, in)
	}
	if err != nil {
		return nil, a.fail(err)
	}
	return a.get(ctx, &idInput{in.ID})
}

func (a *api) actInTx(ctx context.Context, in *actionInput) error {
	return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		who := callerOf(ctx)
		c, err := lockSeen(ctx, tx, who.scope, in.ID)
		if err != nil {
			return err
		}
		return a.actOnce(ctx, tx, who, c, in)
	})
}

// actOnce takes the action unless the key was used before, or the case is at another version than it is meant for. The case is locked in tx,
// so of two requests with one key the second sees what the first did.
func (a *api) actOnce(ctx context.Context, tx pgx.Tx, who caller, c *Case, in *actionInput) error {
	keep, used, err := a.once(ctx, tx, who, "act", "action", c.ID, in.Key, in.Body)
	if err != nil || used {
		return err
	}
	if err := checkVersion(c, in.Version); err != nil {
		return err
	}
	if err := refusal(a.apply(ctx, tx, who, c, in)); err != nil {
		return err
	}
	return keep()
}

// checkVersion refuses what is meant for another version of a case, by header If-Match.
func checkVersion(c *Case, header string) error {
	if want := strings.Trim(header, `"`); want != "" && want != "*" && want != strconv.Itoa(c.Version) {
		return huma.Error412PreconditionFailed(fmt.Sprintf("header If-Match: case %s is at version %d, not %s; read it again", c.Number, c.Version, want))
	}
	return nil
}

// onCase does f with a case that the caller sees, locked, and gives the case as it is then.
func (a *api) onCase(ctx context.Context, id uuid.UUID, f func(pgx.Tx, *Case) error) (*output[CaseDetail], error) {
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		c, err := lockSeen(ctx, tx, callerOf(ctx).scope, id)
		if err != nil {
			return err
		}
		return f(tx, c)
	}); err != nil {
		return nil, a.fail(err)
	}
	return a.get(ctx, &idInput{id})
}

// apply takes the action on a case that is locked in tx.
func (a *api) apply(ctx context.Context, tx pgx.Tx, who caller, c *Case, in *actionInput) error {
	now, by, more := a.now().UTC(), who.scope.actor(), detail{}
	_, fits := Next(c.State, in.Body.Action, by.Role)
	if errors.As(fits, new(ErrRole)) {
		return errAction{fits}
	}
	parties, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	if !mayAct(who.bundle.Directory, who.scope.Organization, c, parties) {
		return errAction{errNotCalled{who.scope.Organization, c.Number, in.Body.Action}}
	}
	if fits != nil {
		return errAction{fits}
	}
	if err := checkUntil(in, now); err != nil {
		return err
	}
	if err := checkSteps(c, in.Body.Action, in.Body.Closing, by, now); err != nil {
		return err
	}
	if len(in.Body.Closing) > 0 {
		more["closing"] = in.Body.Closing
	}
	if in.Body.Until != nil {
		more["until"] = in.Body.Until.UTC()
	}
	if in.Body.Note != "" {
		id, err := writeNote(ctx, tx, c.ID, in.Body.Note, now)
		if err != nil {
			return err
		}
		more["note"] = id
	}
	if in.Body.Action == Acknowledge {
		if err := acknowledgeFor(ctx, tx, who, c, now); err != nil {
			return err
		}
	}
	if in.Body.Action != Dispatch {
		return moveAndTell(ctx, tx, who.bundle.Directory, c, parties, in.Body.Action, by, now, in.Body.Until, more)
	}
	responders := respondersOf(who.bundle, c)
	if len(in.Body.Duties) > 0 {
		responders = nil
		for _, d := range in.Body.Duties {
			responders = append(responders, contract.Responder{Duty: d})
		}
	}
	called := respond(who.bundle.Directory, c, responders)
	if len(called.Posts)+len(called.Organizations) == 0 {
		return errAction{errors.New("nobody holds these duties there; write duties that an organization of the community's jurisdiction holds")}
	}
	return dispatchAndTell(ctx, tx, who.bundle.Directory, c, parties, responders, by, now, more)
}

// longestExtension bounds until when a case is extended at once.
const longestExtension = 366 * 24 * time.Hour

// checkUntil refuses an extension without end or reason, and an end of what is none.
func checkUntil(in *actionInput, now time.Time) error {
	until := in.Body.Until
	switch {
	case in.Body.Action != Extend && until == nil:
		return nil
	case in.Body.Action != Extend:
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.until: %s ends at no time; leave it out", in.Body.Action))
	case until == nil || !until.After(now) || until.After(now.Add(longestExtension)):
		return huma.Error422UnprocessableEntity("body.until: Extend needs the time until which the case is extended; write one that is to come, within a year")
	case strings.TrimSpace(in.Body.Note) == "":
		return huma.Error422UnprocessableEntity("body.note: Extend needs a reason; write why the time is not enough")
	}
	return nil
}

// errAction is a refusal that the caller may read.
type errAction struct{ error }

// refusal gives the status of a refused action: 403 for the role and for who was not called, 409 for the state.
func refusal(err error) error {
	var refused errAction
	var role ErrRole
	var stranger errNotCalled
	switch {
	case err == nil || !errors.As(err, &refused):
		return err
	case errors.As(refused.error, &role):
		return huma.Error403Forbidden(role.Error())
	case errors.As(refused.error, &stranger):
		return huma.Error403Forbidden(stranger.Error())
	}
	return huma.Error409Conflict(refused.Error())
}

// writeNote keeps free text where it can be erased.
func writeNote(ctx context.Context, tx pgx.Tx, caseID uuid.UUID, text string, now time.Time) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return id, fmt.Errorf("note: %w", err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.case_notes (id, case_id, at, text) VALUES ($1, $2, $3, $4)", id, caseID, now, text); err != nil {
		return id, fmt.Errorf("note: %w", err)
	}
	return id, nil
}
