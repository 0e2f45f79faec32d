package grid

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

const (
	// longestWait is below the server's time to write an answer.
	longestWait = 25 * time.Second
	// changesLooked bounds the changes that one answer looks at, seen or not.
	changesLooked = 10_000
)

type changesInput struct {
	After int64  `query:"after" minimum:"-1" default:"-1" doc:"The field next of the answer before; 0 asks for all that are kept, and nothing for where the feed stands now."`
	Wait  string `query:"wait" default:"0s" maxLength:"8" doc:"How long to wait for a change if there is none, at most 25s."`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

// Change is one change of a case.
type Change struct {
	N    int64     `json:"n" doc:"Numbers rise and are given once; those of cases that the caller does not see are left out."`
	At   time.Time `json:"at"`
	Kind string    `json:"kind" doc:"The action of the history's entry, such as Dispatch, Acknowledge, Close or ResolveOverdue; SignalAgain, BeganEarlier and TimesSet stand in no history."`
	// Version of the case that the change led to.
	Version int `json:"version"`
	// Case as it is now, which may be further than this change.
	Case Case `json:"case"`
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
	page, more, err := a.changesAfter(ctx, in.After, in.Limit)
	if err != nil {
		return nil, a.fail(err)
	}
	if wait == 0 || more || in.After < 0 || len(page.Changes) > 0 {
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
		if page, more, err = a.changesAfter(ctx, page.Next, in.Limit); err != nil {
			return nil, a.fail(err)
		}
	}
	return &output[Changes]{page}, nil
}

// changesAfter reads the changes above a number that the caller sees. more says that it did not look at all that there are.
func (a *api) changesAfter(ctx context.Context, after int64, limit int) (page Changes, more bool, err error) {
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
		where, args := callerOf(ctx).scope.cases(4)
		rows, err := tx.Query(ctx, "SELECT f.n, f.at AS changed_at, f.kind, f.version AS changed_to, "+caseColumns+` FROM grid.changes f JOIN grid.cases c ON c.id = f.case_id
			WHERE f.n > $1 AND f.n <= $2 AND `+where+" ORDER BY f.n LIMIT $3", append([]any{after, page.Next, limit}, args...)...)
		if err != nil {
			return fmt.Errorf("changes: %w", err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[changeRow])
		if err != nil {
			return fmt.Errorf("changes: %w", err)
		}
		for _, r := range found {
			page.Changes = append(page.Changes, Change{r.N, r.ChangedAt, r.Kind, r.ChangedTo, r.Case})
		}
		if len(found) == limit {
			page.Next = found[limit-1].N
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
