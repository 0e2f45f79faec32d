package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ExchangedChanges is a part of the feed of changes for another system, oldest first: the cases as they are now.
type ExchangedChanges struct {
	Changes []ExchangedCase `json:"changes"`
	Next    string          `json:"next" doc:"Write it into the parameter after of the next request, also where changes is empty."`
}

// ExchangedList is a page of the cases of the exchange in short.
type ExchangedList struct {
	Cases []ExchangedState `json:"cases"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// ExchangeStatus says how the exchange with a system stands.
type ExchangeStatus struct {
	System       string     `json:"system"`
	DisplayName  string     `json:"displayName,omitempty"`
	Organization string     `json:"organization"`
	Received     int64      `json:"received" doc:"Documents taken from the system."`
	Sent         int64      `json:"sent" doc:"Documents that the system took."`
	Waiting      int64      `json:"waiting" doc:"Cases that are to be sent, now or at a later attempt."`
	Conflicts    int64      `json:"conflicts" doc:"What one side asked for and the other did not take, so far."`
	Problems     []string   `json:"problems" doc:"Cases that one side did not take as they are, with why; at most 100."`
	LastError    string     `json:"lastError,omitempty" doc:"Of the last call, if it failed."`
	ReconciledAt *time.Time `json:"reconciledAt,omitempty" doc:"When the two sides were last compared."`
	Ours         int        `json:"ours" doc:"Cases of the exchange here, by then."`
	Theirs       int        `json:"theirs" doc:"Cases that the system listed, by then."`
	Unreconciled int        `json:"unreconciled" doc:"Cases on which the two sides did not agree."`
	Differ       []string   `json:"differ" doc:"Their ids in the exchange; at most 100."`
}

// ExchangeInput names a system.
type ExchangeInput struct {
	System string `path:"system" minLength:"1" maxLength:"63" doc:"Name of the integration."`
}

// ExchangeCaseInput names a case of an exchange.
type ExchangeCaseInput struct {
	ExchangeInput
	ID string `path:"externalId" minLength:"1" maxLength:"128" doc:"The id of the case in the exchange."`
}

type exchangePutInput struct {
	ExchangeCaseInput
	Match     string `header:"If-Match" maxLength:"32" doc:"The version of the platform's case that this is meant for; another gives 412."`
	NoneMatch string `header:"If-None-Match" maxLength:"8" doc:"*: the case is new here; one that is known gives 412."`
	Key       string `header:"Idempotency-Key" maxLength:"128" doc:"Not needed: a version is taken once."`
	Body      ExchangedCase
}

type exchangeChangesInput struct {
	ExchangeInput
	After string `query:"after" maxLength:"20" doc:"The field next of the answer before; without it, from the oldest change on that is kept."`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

type exchangeListInput struct {
	ExchangeInput
	Since  time.Time `query:"since" doc:"Only cases that changed since."`
	Cursor string    `query:"cursor" maxLength:"128" doc:"The field next of the page before."`
	Limit  int       `query:"limit" minimum:"1" maximum:"1000" default:"500"`
}

type exchangeOutput struct {
	ETag string `header:"ETag"`
	Body ExchangedCase
}

func (a *api) registerExchange() {
	huma.Register(a.huma, huma.Operation{OperationID: "put-exchange-case", Method: http.MethodPut, Path: "/v1/exchange/{system}/cases/{externalId}",
		Summary: "A case as another system has it now; each version is taken once", DefaultStatus: http.StatusOK,
		Errors: []int{http.StatusForbidden, http.StatusConflict, http.StatusPreconditionFailed, http.StatusTooManyRequests}}, a.putExchange)
	huma.Register(a.huma, huma.Operation{OperationID: "get-exchange-case", Method: http.MethodGet, Path: "/v1/exchange/{system}/cases/{externalId}",
		Summary: "A case of the exchange as the platform has it now"}, a.getExchange)
	huma.Register(a.huma, huma.Operation{OperationID: "list-exchange-cases", Method: http.MethodGet, Path: "/v1/exchange/{system}/cases",
		Summary: "The cases of the exchange in short, to compare"}, a.listExchange)
	huma.Register(a.huma, huma.Operation{OperationID: "list-exchange-changes", Method: http.MethodGet, Path: "/v1/exchange/{system}/changes",
		Summary: "What changed of the cases that the system may see, and it did not cause itself", Errors: []int{http.StatusGone}}, a.exchangeChanges)
	huma.Register(a.huma, huma.Operation{OperationID: "get-exchange", Method: http.MethodGet, Path: "/v1/exchange/{system}",
		Summary: "How the exchange with a system stands"}, a.exchangeStatus)
}

// exchangeFor gives the exchange of a system for which the caller speaks: its organization's own system. Of any other it is told nothing, not even
// whether there is one.
func exchangeFor(who caller, system string) (exchange, error) {
	if Role(who.scope.Role) != RoleOrganizationSystem {
		return exchange{}, huma.Error403Forbidden("cases are exchanged by systems: show the certificate of the system's organization, and no token of a person")
	}
	x, ok := exchangeOf(who.bundle, system)
	if !ok || x.Organization != who.scope.Organization {
		return exchange{}, errNoExchange(system, who.scope.Organization)
	}
	return x, nil
}

func errNoExchange(system, organization string) error {
	return huma.Error403Forbidden(fmt.Sprintf("organization %q does not speak for a system %q; the platform's spec.integrations names who does", organization, system))
}

func (a *api) putExchange(ctx context.Context, in *exchangePutInput) (*exchangeOutput, error) {
	x, err := exchangeFor(callerOf(ctx), in.System)
	if err != nil {
		return nil, err
	}
	if in.Body.ID != in.ID {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.id: %q is not the id of the path, %q; write the same", in.Body.ID, in.ID))
	}
	if !a.writing.enter(x.name) {
		return nil, errExchangeBusy()
	}
	defer a.writing.leave(x.name)
	var out taken
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		if err := x.fits(ctx, tx, in); err != nil {
			return err
		}
		out, err = x.take(ctx, tx, in.Body, a.now().UTC())
		return err
	})
	var wrong documentRefused
	switch {
	case errors.As(err, &wrong):
		a.exchanged.count(x.name, "in", takenRefused)
		return nil, err
	case waitedTooLong(err):
		return nil, errExchangeBusy()
	case err != nil:
		return nil, a.fail(err)
	}
	a.exchanged.count(x.name, "in", out.what)
	switch out.what {
	case takenRefused:
		return nil, errRefused(out.c.Number, out.refused)
	case takenLate:
		return nil, huma.Error409Conflict("the case was over before it was sent for the first time: nobody is called to it, and it is not kept")
	}
	return x.answer(in.Body, out), nil
}

// answer is the case as it is after a document of it. To a system that cases do not go to, it is the document itself with the version of the
// case here: what the platform knows besides is not told, as by getExchange.
func (x exchange) answer(e ExchangedCase, out taken) *exchangeOutput {
	doc := render(x.bundle.Directory, out.c, out.mirror.ExternalID, out.mirror.Theirs)
	if !x.exchanges(out.c) {
		e.Version, e.Seen = doc.Version, doc.Seen
		doc = e
	}
	return &exchangeOutput{etag(doc.Version), doc}
}

// putsAtOnce bounds the cases that one system writes at once at one replica. They wait for each other in the database anyway, each with a connection
// of a pool that is for all.
const putsAtOnce = 2

// exchangeWriters counts the requests of each system that write.
type exchangeWriters struct {
	mu sync.Mutex
	n  map[string]int
}

// enter says whether one more may write; leave is then due.
func (w *exchangeWriters) enter(system string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n[system] >= putsAtOnce {
		return false
	}
	if w.n == nil {
		w.n = map[string]int{}
	}
	w.n[system]++
	return true
}

func (w *exchangeWriters) leave(system string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n[system]--
}

// waitedTooLong says that a row was not to be had within lockWait.
func waitedTooLong(err error) bool {
	var held *pgconn.PgError
	return errors.As(err, &held) && held.Code == "55P03"
}

func errExchangeBusy() error {
	return huma.ErrorWithHeaders(huma.Error429TooManyRequests(fmt.Sprintf("too many cases are written over this exchange at once; send at most %d at a time, and this one again later", putsAtOnce)), http.Header{"Retry-After": {"1"}})
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// fits refuses a document that is meant for another version of the case, unless it is one that was taken before or says nothing new.
func (x exchange) fits(ctx context.Context, tx pgx.Tx, in *exchangePutInput) error {
	if in.Match == "" && in.NoneMatch == "" {
		return nil
	}
	if err := x.hold(ctx, tx); err != nil {
		return err
	}
	m, err := x.mirrorBy(ctx, tx, "m.external_id = $2", in.ID)
	switch {
	case err != nil:
		return err
	case m == nil && in.Match != "" && in.Match != "*":
		return huma.Error412PreconditionFailed("header If-Match: the case is not known here; send it with If-None-Match: *")
	case m == nil || in.Body.Version <= m.Theirs || in.Body.digest() == m.Digest:
		return nil
	case in.NoneMatch != "":
		return huma.Error412PreconditionFailed("header If-None-Match: the case is known here; read it, and send it with If-Match")
	}
	c, err := x.caseOf(ctx, tx, m.CaseID)
	if err != nil {
		return err
	}
	return checkVersion(c, in.Match)
}

func (a *api) getExchange(ctx context.Context, in *ExchangeCaseInput) (*exchangeOutput, error) {
	x, err := exchangeFor(callerOf(ctx), in.System)
	if err != nil {
		return nil, err
	}
	var doc ExchangedCase
	err = pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		where, args := x.scope.cases(3)
		c, err := oneCase(ctx, tx, `c.id = (SELECT m.case_id FROM grid.mirrors m WHERE m.system = $1 AND m.external_id = $2) AND `+where, append([]any{x.name, in.ID}, args...)...)
		if err != nil {
			return err
		}
		if id, own := strings.CutPrefix(in.ID, x.us()+":"); c == nil && own {
			id, err := uuid.Parse(id)
			if err != nil {
				return errNoCase()
			}
			where, args = x.scope.cases(2)
			if c, err = oneCase(ctx, tx, "c.id = $1 AND "+where, append([]any{id}, args...)...); err != nil {
				return err
			}
		}
		if c == nil || !x.exchanges(c) {
			return errNoCase()
		}
		m, err := x.mirrorBy(ctx, tx, "m.case_id = $2", c.ID)
		if err != nil {
			return err
		}
		doc = x.document(c, m)
		return nil
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &exchangeOutput{etag(doc.Version), doc}, nil
}

// exchanges says whether cases of this class go to the system.
func (x exchange) exchanges(c *Case) bool {
	return x.Outbound && (len(x.CaseClasses) == 0 || slices.Contains(x.CaseClasses, c.Class))
}

// document gives a case under its id in the exchange; m is nil where the system was never told of it.
func (x exchange) document(c *Case, m *mirror) ExchangedCase {
	if m == nil {
		return render(x.bundle.Directory, c, originOf(x.us(), c).ref(x.name), 0)
	}
	return render(x.bundle.Directory, c, m.ExternalID, m.Theirs)
}

func (a *api) listExchange(ctx context.Context, in *exchangeListInput) (*output[ExchangedList], error) {
	x, err := exchangeFor(callerOf(ctx), in.System)
	if err != nil {
		return nil, err
	}
	where, args := x.scope.cases(5)
	rows, err := a.pool.Query(ctx, `SELECT m.external_id, c.version::bigint AS version, c.state FROM grid.mirrors m JOIN grid.cases c ON c.id = m.case_id
		WHERE m.system = $1 AND m.external_id > $2 AND c.updated_at >= $3 AND `+where+" ORDER BY m.external_id LIMIT $4", append([]any{x.name, in.Cursor, in.Since, in.Limit + 1}, args...)...)
	if err != nil {
		return nil, a.fail(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[ExchangedState])
	if err != nil {
		return nil, a.fail(err)
	}
	page := ExchangedList{Cases: found}
	if len(found) > in.Limit {
		page.Cases, page.Next = found[:in.Limit], found[in.Limit-1].ID
	}
	return &output[ExchangedList]{page}, nil
}

// exchangeChanges gives each case once, as it is now, at the place of its last change among those that were looked at.
func (a *api) exchangeChanges(ctx context.Context, in *exchangeChangesInput) (*output[ExchangedChanges], error) {
	x, err := exchangeFor(callerOf(ctx), in.System)
	if err != nil {
		return nil, err
	}
	if !x.Outbound {
		return nil, huma.Error403Forbidden(fmt.Sprintf("the exchange with %q has direction Inbound: cases do not go there", x.name))
	}
	after := int64(-1)
	if in.After != "" {
		if after, err = strconv.ParseInt(in.After, 10, 64); err != nil || after < 0 {
			return nil, huma.Error422UnprocessableEntity("query.after: not the field next of an answer; leave it out to begin")
		}
	}
	page := ExchangedChanges{Changes: []ExchangedCase{}}
	err = pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		page.Changes, page.Next, err = x.changesAfter(ctx, tx, after, in.Limit)
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[ExchangedChanges]{page}, nil
}

func (x exchange) changesAfter(ctx context.Context, tx pgx.Tx, after int64, limit int) ([]ExchangedCase, string, error) {
	last, err := lastChange(ctx, tx)
	if err != nil {
		return nil, "", err
	}
	if after >= 0 {
		if err := checkCursor(ctx, tx, after, last); err != nil {
			return nil, "", err
		}
	}
	upTo := last
	if after >= 0 {
		upTo = min(last, after+changesLooked)
	}
	where, args := x.scope.cases(6)
	rows, err := tx.Query(ctx, "SELECT f.n, f.at AS changed_at, f.kind, f.version AS changed_to, "+caseColumns+` FROM grid.changes f JOIN grid.cases c ON c.id = f.case_id
		WHERE f.n > $1 AND f.n <= $2 AND f.cause <> $3 AND (cardinality($4::text[]) = 0 OR c.class = ANY($4)) AND (c.open OR EXISTS (SELECT FROM grid.mirrors m WHERE m.system = $3 AND m.case_id = c.id))
		AND `+where+" ORDER BY f.n LIMIT $5", append([]any{after, upTo, x.name, append([]string{}, x.CaseClasses...), limit}, args...)...)
	if err != nil {
		return nil, "", fmt.Errorf("changes: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[changeRow])
	if err != nil {
		return nil, "", fmt.Errorf("changes: %w", err)
	}
	if len(found) == limit {
		upTo = found[limit-1].N
	}
	out := []ExchangedCase{}
	for i, r := range found {
		if slices.ContainsFunc(found[i+1:], func(later changeRow) bool { return later.ID == r.ID }) {
			continue
		}
		m, err := x.mirrorBy(ctx, tx, "m.case_id = $2", r.ID)
		if err != nil {
			return nil, "", err
		}
		out = append(out, x.document(&r.Case, m))
	}
	return out, strconv.FormatInt(upTo, 10), nil
}

// exchangeStatus is for the system, for the dispatchers and auditors of its organisation, and for those of a data office.
func (a *api) exchangeStatus(ctx context.Context, in *ExchangeInput) (*output[ExchangeStatus], error) {
	who := callerOf(ctx)
	x, ok := exchangeOf(who.bundle, in.System)
	own := who.scope.Organization
	reads := slices.Contains([]Role{RoleDispatcher, RoleAuditor, RoleOrganizationSystem}, Role(who.scope.Role))
	if !ok || !reads || x.Organization != own && who.bundle.Directory.Organizations[own].Type != "DataOffice" {
		return nil, errNoExchange(in.System, own)
	}
	out := ExchangeStatus{System: x.name, DisplayName: x.DisplayName, Organization: x.Organization, Problems: []string{}, Differ: []string{}}
	err := a.pool.QueryRow(ctx, "SELECT received, sent, conflicts, last_error, reconciled_at, ours, theirs, unreconciled, differ FROM grid.exchange WHERE system = $1", x.name).
		Scan(&out.Received, &out.Sent, &out.Conflicts, &out.LastError, &out.ReconciledAt, &out.Ours, &out.Theirs, &out.Unreconciled, &out.Differ)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, a.fail(err)
	}
	if err := a.pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE again_at IS NOT NULL),
		coalesce((array_agg(external_id || ': ' || problem ORDER BY at DESC) FILTER (WHERE problem <> ''))[1:100], '{}') FROM grid.mirrors WHERE system = $1`, x.name).Scan(&out.Waiting, &out.Problems); err != nil {
		return nil, a.fail(err)
	}
	return &output[ExchangeStatus]{out}, nil
}
