package vault

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dizuo/dizuo/internal/contract"
)

// Consent is what somebody agreed to. The gateway looks at it with every read.
type Consent struct {
	ID       uuid.UUID `json:"id"`
	Subject  string    `json:"subject"`
	Scope    string    `json:"scope" doc:"The scope of a dataset's consent, or agreement. and the uid of an agreement whose legal basis is a consent."`
	Purposes []string  `json:"purposes"`
	GivenAt  time.Time `json:"givenAt"`
	// WithdrawnAt is when it was withdrawn, ExpiresAt when it ends by itself; nil: not.
	WithdrawnAt *time.Time `json:"withdrawnAt,omitempty"`
	ExpiresAt   *time.Time `json:"expiresAt,omitempty"`
	// Guardian is the subject who gave it for a child or a ward.
	Guardian string `json:"guardian,omitempty"`
	// Evidence refers to what proves it, such as the number of a form; never the thing itself.
	Evidence   string `json:"evidence,omitempty"`
	GivenTo    string `json:"givenTo,omitempty"`
	RecordedBy string `json:"recordedBy,omitempty"`
	// WithdrawalEvidence likewise.
	WithdrawalEvidence string `json:"withdrawalEvidence,omitempty"`
}

const consentColumns = "id, subject, scope, purposes, given_at, withdrawn_at, expires_at, guardian, evidence, given_to, recorded_by, withdrawal_evidence"

func scanConsent(row pgx.CollectableRow) (c Consent, err error) {
	return c, row.Scan(&c.ID, &c.Subject, &c.Scope, &c.Purposes, &c.GivenAt, &c.WithdrawnAt, &c.ExpiresAt, &c.Guardian, &c.Evidence, &c.GivenTo, &c.RecordedBy, &c.WithdrawalEvidence)
}

type giveInput struct {
	Body struct {
		Subject   string     `json:"subject" pattern:"^[A-Za-z0-9_-]{1,64}$"`
		Scope     string     `json:"scope" pattern:"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"`
		Purposes  []string   `json:"purposes" minItems:"1" maxItems:"16" doc:"It covers these and no other."`
		GivenAt   *time.Time `json:"givenAt,omitempty" doc:"Now, where it is left out; a form may be older."`
		ExpiresAt *time.Time `json:"expiresAt,omitempty"`
		Guardian  string     `json:"guardian,omitempty" maxLength:"64"`
		Evidence  string     `json:"evidence" minLength:"1" maxLength:"256" doc:"Where what proves it lies, such as the number of a form."`
	}
}

type consentOutput struct{ Body Consent }

// giveConsent writes a consent down. It is in force with the next read.
func (s *service) giveConsent(ctx context.Context, in *giveInput) (*consentOutput, error) {
	b, out := in.Body, &consentOutput{}
	return out, s.do(ctx, actGive, func(tx pgx.Tx, c caller, _ string) (said, error) {
		w := said{kind: contract.LogConsent, dataset: b.Scope, subjects: []string{b.Subject}}
		if err := subjectOf(ctx, tx, c, b.Subject); err != nil {
			return w, err
		}
		given := c.at.UTC()
		if b.GivenAt != nil {
			given = b.GivenAt.UTC()
		}
		switch {
		case given.After(c.at.Add(time.Minute)):
			return w, huma.Error422UnprocessableEntity("givenAt lies in the future; leave it out for now")
		case b.ExpiresAt != nil && !b.ExpiresAt.After(given):
			return w, huma.Error422UnprocessableEntity("expiresAt is not after givenAt; write a later time, or leave it out")
		}
		if err := oneAtATime(ctx, tx, b.Subject, b.Scope); err != nil {
			return w, err
		}
		if over, err := withdrawnSince(ctx, tx, b.Subject, b.Scope, b.Purposes, given); err != nil {
			return w, err
		} else if over {
			return w, huma.Error409Conflict("a consent of this subject and scope to one of these purposes was withdrawn after givenAt; only one that was given since counts")
		}
		if b.Guardian != "" {
			is, until, err := speaksFor(ctx, tx, c, b.Guardian, b.Subject)
			if err != nil {
				return w, err
			}
			if !is {
				return w, huma.Error422UnprocessableEntity("guardian is none of this subject, or no more; register the relation first")
			}
			if until != nil && (b.ExpiresAt == nil || b.ExpiresAt.After(*until)) {
				b.ExpiresAt = until
			}
		}
		rows, err := tx.Query(ctx, `INSERT INTO grid.consents (subject, scope, purposes, given_at, expires_at, guardian, evidence, given_to, recorded_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING `+consentColumns, b.Subject, b.Scope, b.Purposes, given, b.ExpiresAt, b.Guardian, b.Evidence, c.who.Organization, c.who.Subject)
		if err != nil {
			return w, err
		}
		out.Body, err = pgx.CollectExactlyOneRow(rows, scanConsent)
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "23505" {
			return w, huma.Error409Conflict("a consent of this subject and scope with the same givenAt is there already")
		}
		return w, err
	})
}

// oneAtATime holds, until the transaction ends, what others would say of consents of a subject and scope: an old form that is written down
// in the moment of a withdrawal would not see it.
func oneAtATime(ctx context.Context, tx pgx.Tx, subject, scope string) error {
	_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "consent "+subject+" "+scope)
	return err
}

// withdrawnSince says whether a consent to one of the purposes was withdrawn at a time or later: who writes an old form down again would
// else undo what the person said last.
func withdrawnSince(ctx context.Context, tx pgx.Tx, subject, scope string, purposes []string, given time.Time) (is bool, err error) {
	err = tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM grid.consents WHERE subject = $1 AND scope = $2 AND purposes && $3 AND withdrawn_at >= $4)",
		subject, scope, purposes, given).Scan(&is)
	return is, err
}

type withdrawInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		Evidence string `json:"evidence" minLength:"1" maxLength:"256"`
		Only     bool   `json:"only,omitempty" doc:"Leave others of the same scope in force, as where one was written down twice. Without it whatever stands of the same scope for one of its purposes ends with it."`
	}
}

type withdrawOutput struct {
	Body struct {
		Consent
		Along []Consent `json:"along,omitempty" doc:"Other consents of the same scope for one of its purposes, which ended with it. What they covered besides is no more covered either: a new consent says it anew."`
	}
}

// withdrawConsent ends a consent now, and with it every other of the same scope that shares a purpose: a person withdraws what they
// agreed to, not the form that they happen to remember. One that was withdrawn before stays as it is.
func (s *service) withdrawConsent(ctx context.Context, in *withdrawInput) (*withdrawOutput, error) {
	out := &withdrawOutput{}
	return out, s.do(ctx, actWithdraw, func(tx pgx.Tx, c caller, _ string) (said, error) {
		w := said{kind: contract.LogConsent}
		rows, err := tx.Query(ctx, "SELECT "+consentColumns+" FROM grid.consents WHERE id = $1", in.ID)
		if err != nil {
			return w, err
		}
		named, err := pgx.CollectExactlyOneRow(rows, scanConsent)
		if errors.Is(err, pgx.ErrNoRows) {
			return w, errNoSubject() // the same as of somebody else's
		}
		if err != nil {
			return w, err
		}
		if err := subjectOf(ctx, tx, c, named.Subject); err != nil {
			return w, err
		}
		w.dataset, w.subjects = named.Scope, []string{named.Subject}
		if err := oneAtATime(ctx, tx, named.Subject, named.Scope); err != nil {
			return w, err
		}
		ended, err := endConsents(ctx, tx, named, in.Body.Only, in.Body.Evidence)
		out.Body.Consent = named
		for _, e := range ended {
			if e.ID == in.ID {
				out.Body.Consent = e
			} else {
				out.Body.Along = append(out.Body.Along, e)
			}
		}
		return w, err
	})
}

// endConsents ends one consent, and unless only that is meant, all that stand of its subject and scope for one of its purposes.
func endConsents(ctx context.Context, tx pgx.Tx, named Consent, only bool, evidence string) ([]Consent, error) {
	// A clock that was ahead when it was given must not keep it from being withdrawn.
	rows, err := tx.Query(ctx, `UPDATE grid.consents SET withdrawn_at = greatest(now(), given_at), withdrawal_evidence = $2
		WHERE subject = $3 AND scope = $4 AND withdrawn_at IS NULL AND (id = $1 OR NOT $5 AND purposes && $6 AND (expires_at IS NULL OR expires_at > now()))
		RETURNING `+consentColumns, named.ID, evidence, named.Subject, named.Scope, only, named.Purposes)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanConsent)
}

type consentsInput struct {
	Subject string `query:"subject" required:"true" maxLength:"64"`
}

type consentsOutput struct {
	Body struct {
		Consents []Consent `json:"consents"`
	}
}

// listConsents gives those of one subject, the latest first.
func (s *service) listConsents(ctx context.Context, in *consentsInput) (*consentsOutput, error) {
	out := &consentsOutput{}
	return out, s.do(ctx, actConsents, func(tx pgx.Tx, c caller, _ string) (said, error) {
		w := said{kind: contract.LogConsent, subjects: []string{in.Subject}}
		if err := subjectOf(ctx, tx, c, in.Subject); err != nil {
			return w, err
		}
		rows, err := tx.Query(ctx, "SELECT "+consentColumns+" FROM grid.consents WHERE subject = $1 ORDER BY given_at DESC, id LIMIT 1000", in.Subject)
		if err != nil {
			return w, err
		}
		out.Body.Consents, err = pgx.CollectRows(rows, scanConsent)
		return w, err
	})
}
