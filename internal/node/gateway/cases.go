package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// caseFact gives what is known of a case. A number of another form is a foreign one, which nobody here can check.
func (s *server) caseFact(ctx context.Context, dir contract.Directory, number string) (*contract.CaseFact, error) {
	fact := &contract.CaseFact{Number: number}
	if !contract.PlatformCaseNumber(number) {
		fact.Origin = contract.CaseForeign
		return fact, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	var closed *time.Time
	err := s.db.pool.QueryRow(ctx, `SELECT community, class, severity, open, closed_at FROM platform.case_facts WHERE number = $1`, number).
		Scan(&fact.Community, &fact.Class, &fact.Severity, &fact.Open, &closed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fact, nil
	case err != nil:
		return nil, fmt.Errorf("look up case: %w", withoutValues(err))
	}
	fact.Origin, fact.Division = contract.CasePlatform, dir.Communities[fact.Community].Division
	if closed != nil {
		fact.ClosedAt = closed.Unix()
	}
	return fact, nil
}
