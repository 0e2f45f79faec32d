package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// linesAtOnce is how many lines a receipt names at most; the database keeps to it as well.
	linesAtOnce = 200
	// lookAgain is how long an erasure rests when no line of it is old enough.
	lookAgain = 24 * time.Hour
)

// erasing is an erasure whose lines are not all gone.
type erasing struct {
	receipt uuid.UUID
	subject string
	names   []string
	at      time.Time
}

// remember keeps the names that the decision log has of a subject, for the worker: when the key is destroyed nobody can make them again.
func remember(ctx context.Context, tx pgx.Tx, e *Erasure, names []string) error {
	_, err := tx.Exec(ctx, "INSERT INTO vault.erasing (receipt, subject, names, at, next_at) VALUES ($1, $2, $3, $4, $4)", e.ID, e.Subject, names, e.At)
	return err
}

// eraseLines makes one step of one erasure: it erases lines of the decision log that are old enough and speak of the subject alone, by a receipt that
// names them. It says whether there was a step to make; false while another replica works.
func (s *service) eraseLines(ctx context.Context, platform contract.Platform) (more bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", retainLock).Scan(&mine); err != nil || !mine {
			return err
		}
		now := s.now().UTC()
		var e erasing
		err := tx.QueryRow(ctx, "SELECT receipt, subject, names, at FROM vault.erasing WHERE next_at <= $1 ORDER BY next_at, receipt LIMIT 1", now).Scan(&e.receipt, &e.subject, &e.names, &e.at)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		rows, err := tx.Query(ctx, "SELECT chain, seq FROM audit.due_of($1, $2)", e.names, linesAtOnce)
		if err != nil {
			return err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[contract.ErasedRecord])
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			return rest(ctx, tx, e, now)
		}
		return s.eraseDue(ctx, tx, e, lines, platform, now)
	})
	if err != nil {
		return false, fmt.Errorf("lines of erased subjects: %w", err)
	}
	return more, nil
}

// eraseDue signs a receipt of lines and erases these very lines.
func (s *service) eraseDue(ctx context.Context, tx pgx.Tx, e erasing, lines []contract.ErasedRecord, platform contract.Platform, now time.Time) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	jws, err := s.sign.sign(contract.ErasureType, contract.ErasureClaim{
		Format: contract.ErasureFormat, ID: id.String(), Erasure: e.receipt.String(), Platform: platform.Namespace + "/" + platform.Name, At: now, Records: lines,
	})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO vault.receipts (id, kind, subject, at, organization, person, jws)
		SELECT $1, 'Records', subject, $2, organization, person, $3 FROM vault.receipts WHERE id = $4`, id, now, jws, e.receipt); err != nil {
		return err
	}
	var n int
	if err := tx.QueryRow(ctx, "SELECT audit.erase_due($1, $2, $3)", id, e.names, linesAtOnce).Scan(&n); err != nil {
		return err
	}
	if n != len(lines) { // then the receipt is wrong, and is undone with the rest
		return fmt.Errorf("erased %d lines, and the receipt names %d", n, len(lines))
	}
	return nil
}

// rest takes the names out of the index of old lines that speak of others, too, and lays the erasure by until lines may have become old enough. It is over when
// no line is found by the names, and none can come that a gateway wrote before the erasure.
func rest(ctx context.Context, tx pgx.Tx, e erasing, now time.Time) error {
	var named bool
	if err := tx.QueryRow(ctx, "SELECT audit.unname($1)", e.names).Scan(&named); err != nil {
		return err
	}
	if !named && now.After(e.at.Add(logLeast)) {
		_, err := tx.Exec(ctx, "DELETE FROM vault.erasing WHERE receipt = $1", e.receipt)
		return err
	}
	_, err := tx.Exec(ctx, "UPDATE vault.erasing SET next_at = $2 WHERE receipt = $1", e.receipt, now.Add(lookAgain))
	return err
}
