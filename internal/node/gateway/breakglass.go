package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxBreakGlassReason bounds the reason of an emergency, in characters.
const maxBreakGlassReason = 500

// roleReviewer is the role in which a person of the reviewer reviews emergencies: looking back is an auditor's work, and whoever reads
// in an emergency has another role.
const roleReviewer = "Auditor"

// breakGlassOf reads header Dizuo-Break-Glass: the reason, percent-encoded, because a header holds ASCII and reasons are Chinese.
func breakGlassOf(header string) (*contract.BreakGlassRequest, error) {
	if header == "" {
		return nil, nil
	}
	reason, err := url.PathUnescape(header)
	if err != nil || !utf8.ValidString(reason) || strings.ContainsRune(reason, 0) {
		return nil, errors.New("header Dizuo-Break-Glass: want the reason in UTF-8, percent-encoded, without the character NUL")
	}
	reason = strings.TrimSpace(reason)
	if utf8.RuneCountInString(reason) > maxBreakGlassReason {
		return nil, fmt.Errorf("header Dizuo-Break-Glass: want a reason of at most %d characters", maxBreakGlassReason)
	}
	return &contract.BreakGlassRequest{Reason: reason}, nil
}

var (
	errNoEmergencies = errors.New("no database is set up that uses of break-glass are kept in for their review")
	errNotReviewable = errors.New("there is no such use of break-glass that waits for a review by this organisation")
)

// emergencies keeps uses of break-glass for their review. Its nil value refuses: what nobody can review may not be used.
type emergencies struct{ pool *pgxpool.Pool }

// overdue says whether a use under an agreement waits for its review beyond its time.
func (e *emergencies) overdue(ctx context.Context, uid string, now time.Time) (overdue bool, err error) {
	if e == nil {
		return false, errNoEmergencies
	}
	err = e.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit.break_glass WHERE uid = $1 AND reviewed_at IS NULL AND review_due <= $2)`, uid, now).Scan(&overdue)
	return overdue, withoutValues(err)
}

// add writes a use down, as one that nobody of the reviewer was shown yet.
func (e *emergencies) add(ctx context.Context, r *reading) error {
	if e == nil {
		return errNoEmergencies
	}
	g := r.grant.BreakGlass
	return e.write(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit.break_glass (request, uid, reviewer, at, review_due, agreement, dataset, consumer, person, role, reason)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			r.id, r.grant.UID, g.Reviewer, r.at, r.at.Add(time.Duration(g.ReviewSeconds)*time.Second), r.decision.Agreement, r.in.Dataset, r.in.Consumer,
			r.in.Person.Subject, r.decision.Role, r.in.BreakGlass.Reason)
		return err
	})
}

// review closes a use. The reviewer is the one that the agreement named when the glass was broken, and the person another than who broke it.
func (e *emergencies) review(ctx context.Context, request, reviewer, person, verdict, note string, now time.Time) error {
	if e == nil {
		return errNoEmergencies
	}
	return e.write(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE audit.break_glass SET reviewed_at = $1, reviewed_by = $2, verdict = $3, note_reference = $4
			WHERE request = $5 AND reviewer = $6 AND reviewed_at IS NULL AND (consumer, person) <> ($6, $7)`,
			now, reviewer+"/"+person, verdict, note, request, reviewer, person)
		if err == nil && tag.RowsAffected() == 0 {
			return errNotReviewable
		}
		return err
	})
}

// show lists what waits for a review by an organisation, the oldest first, and writes down with each use when that organisation was first
// shown it: alerted_at is that time and no other.
func (e *emergencies) show(ctx context.Context, reviewer string, now time.Time) (uses []BreakGlassUse, err error) {
	if e == nil {
		return nil, errNoEmergencies
	}
	err = e.write(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT request, agreement, dataset, consumer, person, role, reason, at, review_due FROM audit.break_glass
			WHERE reviewer = $1 AND reviewed_at IS NULL ORDER BY at LIMIT 1000`, reviewer)
		if err != nil {
			return err
		}
		if uses, err = pgx.CollectRows(rows, pgx.RowToStructByPos[BreakGlassUse]); err != nil {
			return err
		}
		requests := make([]string, len(uses))
		for i, u := range uses {
			requests[i] = u.Request
		}
		_, err = tx.Exec(ctx, `UPDATE audit.break_glass SET alerted_at = $1 WHERE request = ANY($2) AND alerted_at IS NULL`, now, requests)
		return err
	})
	return uses, err
}

// counts gives by agreement how many uses no review has closed, how many of them are overdue, and when the newest was.
func (e *emergencies) counts(ctx context.Context, now time.Time) (map[string]contract.BreakGlassReport, error) {
	if e == nil {
		return nil, nil
	}
	rows, err := e.pool.Query(ctx, `SELECT agreement, count(*), count(*) FILTER (WHERE review_due <= $1), max(at) FROM audit.break_glass WHERE reviewed_at IS NULL GROUP BY agreement`, now)
	if err != nil {
		return nil, withoutValues(err)
	}
	out := map[string]contract.BreakGlassReport{}
	var agreement string
	var n contract.BreakGlassReport
	_, err = pgx.ForEachRow(rows, []any{&agreement, &n.Pending, &n.Overdue, &n.LastAt}, func() error {
		n.LastAt = n.LastAt.UTC()
		out[agreement] = n
		return nil
	})
	return out, withoutValues(err)
}

// write runs in a transaction that may write; every other one of the pool may not.
func (e *emergencies) write(ctx context.Context, do func(pgx.Tx) error) error {
	err := pgx.BeginTxFunc(ctx, e.pool, pgx.TxOptions{AccessMode: pgx.ReadWrite}, do)
	if errors.Is(err, errNotReviewable) {
		return err
	}
	return withoutValues(err)
}

func (e *emergencies) close() {
	if e != nil {
		e.pool.Close()
	}
}

// BreakGlassUse is a use of break-glass that waits for its review.
type BreakGlassUse struct {
	// Request is the number under which the decision log holds it.
	Request   string `json:"request"`
	Agreement string `json:"agreement"`
	Dataset   string `json:"dataset"`
	Consumer  string `json:"consumer"`
	// Person is a pseudonym of the consumer.
	Person    string    `json:"person"`
	Role      string    `json:"role"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	ReviewDue time.Time `json:"reviewDue"`
}

type usesInput struct {
	Person string `header:"Dizuo-Person" maxLength:"16384" doc:"Token of the person who looks, in the role Auditor."`
}

type usesOutput struct {
	Body struct {
		Uses []BreakGlassUse `json:"uses"`
	}
}

type reviewInput struct {
	Request string `path:"request" maxLength:"64" doc:"Number of the request, as the answer, the log and the list of uses have it."`
	Person  string `header:"Dizuo-Person" maxLength:"16384" doc:"Token of the person who reviews, in the role Auditor. Nobody reviews what they did themselves."`
	Body    struct {
		Verdict       string `json:"verdict" enum:"Justified,Unjustified" doc:"Whether it was an emergency."`
		NoteReference string `json:"noteReference,omitempty" maxLength:"256" doc:"Where the note about it is kept, never the note itself."`
	}
}

// registerBreakGlass serves reviews of emergencies.
func registerBreakGlass(api huma.API, s *server) {
	huma.Register(api, huma.Operation{
		OperationID: "list-break-glass", Method: http.MethodGet, Path: "/v1/break-glass", Responses: problemResponses(api),
		Summary: "Uses of break-glass that wait for a review by this organisation",
	}, s.listBreakGlass)
	huma.Register(api, huma.Operation{
		OperationID: "review-break-glass", Method: http.MethodPost, Path: "/v1/break-glass/{request}/review", DefaultStatus: http.StatusNoContent,
		Summary: "Review a use of break-glass", Responses: problemResponses(api),
	}, s.reviewBreakGlass)
}

func (s *server) listBreakGlass(ctx context.Context, in *usesInput) (*usesOutput, error) {
	who, err := s.reviewer(ctx, in.Person)
	if err != nil {
		return nil, err
	}
	uses, err := s.emergencies.show(ctx, callerOf(ctx).organization, callerOf(ctx).at)
	if err != nil {
		return nil, s.reviewProblem(err)
	}
	if err := s.logReview(ctx, requestID(), breakGlassListed, "", *who); err != nil {
		return nil, err
	}
	out := &usesOutput{}
	if out.Body.Uses = uses; uses == nil {
		out.Body.Uses = []BreakGlassUse{}
	}
	return out, nil
}

// reviewer reads the token of a person in the role of a reviewer, or gives the problem to answer.
func (s *server) reviewer(ctx context.Context, token string) (*contract.Person, error) {
	c := callerOf(ctx)
	who, err := s.person(ctx, c, token)
	if err != nil {
		s.slog.Info("review of break-glass refused", "organization", c.organization, "err", err)
		return nil, denied([]string{reasonPersonInvalid}, "")
	}
	if !slices.Contains(who.Roles, roleReviewer) {
		s.slog.Info("review of break-glass refused", "organization", c.organization, "roles", who.Roles)
		p := denied([]string{reasonRoleNotAllowed}, "")
		p.Detail = "emergencies are reviewed in the role " + roleReviewer
		return nil, p
	}
	return who, nil
}

func (s *server) reviewBreakGlass(ctx context.Context, in *reviewInput) (*struct{}, error) {
	c := callerOf(ctx)
	who, err := s.reviewer(ctx, in.Person)
	if err != nil {
		return nil, err
	}
	if err := s.logged(s.log.Err()); err != nil {
		return nil, err
	}
	err = s.emergencies.review(ctx, in.Request, c.organization, who.Subject, in.Body.Verdict, in.Body.NoteReference, c.at)
	if err != nil {
		return nil, s.reviewProblem(err)
	}
	if err := s.logReview(ctx, in.Request, breakGlassReviewed, in.Body.Verdict, *who); err != nil {
		return nil, err
	}
	s.slog.Info("break-glass reviewed", "request", in.Request, "organization", c.organization, "verdict", in.Body.Verdict)
	return nil, nil
}

func (s *server) reviewProblem(err error) *Problem {
	if errors.Is(err, errNotReviewable) {
		return denied([]string{reasonBreakGlassUnknown}, "")
	}
	s.slog.Error("break-glass", "err", err)
	return denied([]string{reasonBreakGlassUnavailable}, "")
}
