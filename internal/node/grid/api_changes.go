package grid

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// longestWait is below the server's time to write an answer.
	longestWait = 25 * time.Second
	// changesLooked bounds the changes that one answer looks at, seen or not.
	changesLooked = 10_000
)

type changesInput struct {
	After    int64             `query:"after" minimum:"-1" default:"-1" doc:"The field next of the answer before; 0 asks for all from the first on, and nothing for where the feed stands now."`
	Since    time.Time         `query:"since" doc:"In place of after: begin with the first change from this time on."`
	Wait     string            `query:"wait" default:"0s" maxLength:"8" doc:"How long to wait for a change if there is none, at most 25s."`
	Limit    int               `query:"limit" minimum:"1" maximum:"500" default:"100"`
	State    string            `query:"state" doc:"Only changes of cases that are in this state now; Open asks for all that are not finished." enum:"Open,Reported,NotFiled,Filed,Dispatched,Handling,Returned,Extended,Suspended,Verifying,Closed,Rated,Void,Reopened"`
	Severity contract.Severity `query:"severity" enum:"Critical,High,Medium,Low"`
	CaseFilter
}

// kindModeSwitched is the kind of a change that is a switch of the mode (平战), and of no case.
const kindModeSwitched = "ModeSwitched"

// Change is one change of a case, or a switch of the mode.
type Change struct {
	N       int64     `json:"n" doc:"Numbers rise and are given once; those of cases that the caller does not see are left out."`
	At      time.Time `json:"at"`
	Kind    string    `json:"kind" doc:"The action of the history's entry, such as Dispatch, Acknowledge, Close or ResolveOverdue; SignalAgain, BeganEarlier and TimesSet stand in no history; ModeSwitched is of no case."`
	Version int       `json:"version" doc:"Version of the case that the change led to; 0 of kind ModeSwitched."`
	Case    *Case     `json:"case,omitempty" doc:"The case as it is now, which may be further than this change."`
	// Mode is of kind ModeSwitched.
	Mode *ModeView `json:"mode,omitempty" doc:"The mode (平战) that holds from then on, of kind ModeSwitched; left out where only some cases are asked for."`
}

// Changes is a part of the feed, oldest first.
type Changes struct {
	Changes []Change `json:"changes"`
	Next    int64    `json:"next" doc:"Write it into the parameter after of the next request."`
}

func (a *api) registerChanges() {
	huma.Register(a.huma, huma.Operation{OperationID: "list-changes", Method: http.MethodGet, Path: "/v1/changes",
		Summary: "What changed of the cases that list-cases shows: each change once and in order", Errors: []int{http.StatusGone, http.StatusTooManyRequests}}, a.changes)
}

// changes answers at once if there is something, else as soon as there is, or empty when the wait is over. What the caller may see is what it
// was when the request came: a right that is taken away ends with the wait.
func (a *api) changes(ctx context.Context, in *changesInput) (*output[Changes], error) {
	wait, err := time.ParseDuration(in.Wait)
	if err != nil || wait < 0 || wait > longestWait {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("query.wait: %q; write a duration of at most %s, such as 25s", in.Wait, longestWait))
	}
	if in.After >= 0 && !in.Since.IsZero() {
		return nil, huma.Error422UnprocessableEntity("query.since: it is for the first request; leave it out beside after")
	}
	after := in.After
	if !in.Since.IsZero() {
		if after, err = a.changeBefore(ctx, in.Since); err != nil {
			return nil, a.fail(err)
		}
	}
	asked := changesAsked{limit: in.Limit, state: in.State, severity: in.Severity, CaseFilter: in.CaseFilter}
	page, more, err := a.changesAfter(ctx, after, asked)
	if err != nil {
		return nil, a.fail(err)
	}
	if wait == 0 || more || after < 0 || len(page.Changes) > 0 {
		return &output[Changes]{page}, nil
	}
	leave, ok := a.feed.enter()
	if !ok {
		return nil, huma.ErrorWithHeaders(huma.Error429TooManyRequests("too many wait for changes here; ask again without wait, or later"), http.Header{"Retry-After": {"5"}})
	}
	defer leave()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for !more && len(page.Changes) == 0 && a.feed.beyond(ctx, page.Next, timer.C) {
		if page, more, err = a.changesAfter(ctx, page.Next, asked); err != nil {
			return nil, a.fail(err)
		}
	}
	return &output[Changes]{page}, nil
}

// changesAsked is which changes are asked for: at most limit, of cases that fit.
type changesAsked struct {
	limit    int
	state    string
	severity contract.Severity
	CaseFilter
}

// all says that changes are not only asked for of some cases.
func (q changesAsked) all() bool {
	return q.state == "" && q.severity == "" && q.CaseFilter == CaseFilter{}
}

// changesAfter reads the changes above a number that the caller sees. more says that it did not look at all that there are.
func (a *api) changesAfter(ctx context.Context, after int64, asked changesAsked) (page Changes, more bool, err error) {
	page.Changes = []Change{}
	err = pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		last, err := lastChange(ctx, tx)
		if err != nil {
			return err
		}
		if page.Next = last; after < 0 {
			return nil
		}
		if err := checkCursor(ctx, tx, after, last); err != nil {
			return err
		}
		page.Next = min(last, after+changesLooked)
		if page.Changes, err = changedCases(ctx, tx, after, page.Next, asked); err != nil {
			return err
		}
		modes, err := switchedModes(ctx, tx, after, page.Next, asked)
		if err != nil {
			return err
		}
		if len(modes) > 0 {
			page.Changes = append(page.Changes, modes...)
			slices.SortFunc(page.Changes, func(x, y Change) int { return cmp.Compare(x.N, y.N) })
		}
		if len(page.Changes) >= asked.limit {
			page.Changes = page.Changes[:asked.limit]
			page.Next = page.Changes[asked.limit-1].N
		}
		more = page.Next < last
		return nil
	})
	return page, more, err
}

// changeRow is a row of the feed with its case.
type changeRow struct {
	N         int64     `db:"n"`
	ChangedAt time.Time `db:"changed_at"`
	Kind      string    `db:"kind"`
	ChangedTo int       `db:"changed_to"`
	Case
}

// changedCases reads the changes of cases above after, up to a number, that the caller sees.
func changedCases(ctx context.Context, tx pgx.Tx, after, upTo int64, asked changesAsked) ([]Change, error) {
	scope := callerOf(ctx).scope
	where, args := scope.cases(4)
	where, args = inState(where, append([]any{after, upTo, asked.limit}, args...), asked.state, asked.severity)
	narrower, args := asked.where(scope, args)
	rows, err := tx.Query(ctx, "SELECT f.n, f.at AS changed_at, f.kind, f.version AS changed_to, "+caseColumns+` FROM grid.changes f JOIN grid.cases c ON c.id = f.case_id
		WHERE f.n > $1 AND f.n <= $2 AND `+where+narrower+" ORDER BY f.n LIMIT $3", args...)
	if err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[changeRow])
	if err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	out := make([]Change, len(found))
	for i, r := range found {
		out[i] = Change{N: r.N, At: r.ChangedAt, Kind: r.Kind, Version: r.ChangedTo, Case: &found[i].Case}
	}
	return out, nil
}

// switchedModes reads the switches of the mode among the changes above after, up to a number, for callers that may see the mode.
func switchedModes(ctx context.Context, tx pgx.Tx, after, upTo int64, asked changesAsked) (out []Change, err error) {
	who := callerOf(ctx)
	if !asked.all() || !seesMode(who) {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `SELECT f.n, f.at, f.mode, f.version, m.expires_at, m.mode = f.mode FROM grid.changes f JOIN grid.modes m ON m.n = f.version
		WHERE f.case_id IS NULL AND f.n > $1 AND f.n <= $2 ORDER BY f.n LIMIT $3`, after, upTo, asked.limit)
	if err != nil {
		return nil, fmt.Errorf("changes of the mode: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		c, m, began := Change{Kind: kindModeSwitched}, modeRow{}, false
		if err := rows.Scan(&c.N, &c.At, &m.Mode, &m.N, &m.ExpiresAt, &began); err != nil {
			return nil, fmt.Errorf("changes of the mode: %w", err)
		}
		if m.Since = c.At; !began {
			m.ExpiresAt = nil // of the mode that ended
		}
		v := modeView(who, m)
		c.Mode = &v
		out = append(out, c)
	}
	return out, rows.Err()
}

// changeBefore gives the number below which all changes are from before a time. It refuses a time from which changes are gone by the time that
// they are kept.
func (a *api) changeBefore(ctx context.Context, since time.Time) (n int64, err error) {
	kept := time.Duration(callerOf(ctx).bundle.Directory.Platform.Retention.DeliverySeconds) * time.Second
	if oldest := a.now().Add(-kept); kept > 0 && since.Before(oldest) {
		return 0, huma.NewError(http.StatusGone, fmt.Sprintf("query.since: changes from before %s are kept no more; write a later time", oldest.UTC().Format(time.RFC3339)))
	}
	err = a.pool.QueryRow(ctx, `SELECT coalesce((SELECT min(n) FROM grid.changes WHERE at >= $1 AND n IS NOT NULL) - 1, (SELECT n FROM grid.feed_position WHERE reader = $2), 0)`,
		since, feedSequencer).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("changes: %w", err)
	}
	return n, nil
}

// checkCursor refuses a cursor below which changes are gone, and one of a feed that this database never had.
func checkCursor(ctx context.Context, tx pgx.Tx, after, last int64) error {
	var oldest int64
	if err := tx.QueryRow(ctx, "SELECT coalesce(min(n), $1 + 1) FROM grid.changes", last).Scan(&oldest); err != nil {
		return fmt.Errorf("changes: %w", err)
	}
	again := "; read the cases (GET /v1/cases) anew, and go on from where GET /v1/changes without after says that the feed stands"
	switch {
	case after > last:
		return huma.NewError(http.StatusGone, fmt.Sprintf("query.after: the feed ends at %d, below %d: it was restored from a backup%s", last, after, again))
	case after < oldest-1:
		return huma.NewError(http.StatusGone, fmt.Sprintf("query.after: changes up to %d are kept no more%s", oldest-1, again))
	}
	return nil
}
