package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// idempotency is a key under which an organisation asks for something once, and the digest of what it asks for.
type idempotency struct{ organization, key, digest string }

// idempotencyOf gives the key of a request with its body.
func idempotencyOf(who caller, key string, body any) (idempotency, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return idempotency{}, fmt.Errorf("digest: %w", err)
	}
	return idempotency{who.scope.Organization, key, contract.Digest(raw)}, nil
}

// used says whether that was asked for before under the key, and of which case. A key that was used for another request of its kind, such as
// "report", is refused.
func (o idempotency) used(ctx context.Context, tx pgx.Tx, kind string) (ref CaseRef, used bool, err error) {
	var was string
	err = tx.QueryRow(ctx, `SELECT i.digest, c.id, c.number, c.state FROM grid.idempotency i JOIN grid.cases c ON c.id = i.case_id
		WHERE i.organization = $1 AND i.key = $2`, o.organization, o.key).Scan(&was, &ref.ID, &ref.Number, &ref.State)
	switch {
	case err == nil && was != o.digest:
		return ref, false, huma.Error422UnprocessableEntity("header Idempotency-Key: the key was used for another " + kind + "; make a new one")
	case err == nil:
		return ref, true, nil
	case errors.Is(err, pgx.ErrNoRows):
		return ref, false, nil
	}
	return ref, false, fmt.Errorf("idempotency: %w", err)
}

// keep notes that what was asked for is done.
func (o idempotency) keep(ctx context.Context, tx pgx.Tx, id uuid.UUID, at time.Time) error {
	if _, err := tx.Exec(ctx, "INSERT INTO grid.idempotency (organization, key, digest, case_id, at) VALUES ($1, $2, $3, $4, $5)",
		o.organization, o.key, o.digest, id, at); err != nil {
		return fmt.Errorf("idempotency: %w", err)
	}
	return nil
}

// once says whether a person asked for something of a kind, which word names, about a case under a key before, without a key never; and gives what
// notes it as done. A person's key of one kind on one case cannot be another's. The caller holds the case: of two requests with one key the second waits.
func (a *api) once(ctx context.Context, tx pgx.Tx, who caller, kind, word string, about uuid.UUID, key string, body any) (keep func() error, used bool, err error) {
	if key == "" {
		return func() error { return nil }, false, nil
	}
	o, err := idempotencyOf(who, strings.Join([]string{kind, about.String(), who.scope.Subject, key}, "\x1f"), body)
	if err != nil {
		return nil, false, err
	}
	_, used, err = o.used(ctx, tx, word)
	return func() error { return o.keep(ctx, tx, about, a.now().UTC()) }, used, err
}
