package vault

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// Reasons that name who asks.
const (
	reasonSubject  = "SubjectRequest"
	reasonGuardian = "GuardianRequest"
)

// speaksFor says whether a guardian speaks for a subject now, and until when; nil is not ended yet.
func speaksFor(ctx context.Context, tx pgx.Tx, c caller, guardian, subject string) (is bool, until *time.Time, err error) {
	err = tx.QueryRow(ctx, "SELECT until FROM vault.relations WHERE subject = $1 AND guardian = $2 AND (until IS NULL OR until > $3)", subject, guardian, c.at).Scan(&until)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil, nil
	}
	return err == nil, until, err
}

// onBehalf refuses what is asked in the name of a guardian of one who has none: a child that came of age speaks for itself.
func onBehalf(ctx context.Context, tx pgx.Tx, c caller, subject, reason string) error {
	if reason != reasonGuardian {
		return nil
	}
	var is bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM vault.relations WHERE subject = $1 AND (until IS NULL OR until > $2))", subject, c.at).Scan(&is); err != nil {
		return err
	}
	if !is {
		return huma.Error422UnprocessableEntity("nobody speaks for this subject, or no more: register the guardian, or have the person ask")
	}
	return nil
}

// reasonOf says in which right a resident asks about a subject. About anybody else the answer is that of one who is not there, and whoever
// was erased asks about nobody.
func reasonOf(ctx context.Context, tx pgx.Tx, c caller, subject string) (string, error) {
	if err := subjectOf(ctx, tx, c, c.who.Subject); err != nil {
		return "", err
	}
	if c.who.Subject == subject {
		return reasonSubject, nil
	}
	is, _, err := speaksFor(ctx, tx, c, c.who.Subject, subject)
	if err == nil && !is {
		err = errNoSubject()
	}
	return reasonGuardian, err
}
