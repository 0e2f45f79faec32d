package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// enter makes an entry in a ledger, once for each message, as far as what the subject has got on that local day leaves room. Only the working
// replica writes entries, one after the other, so no other comes between the sum and the entry.
func enter(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event) error {
	s, x := b.Rules.Scenarios[e.Scenario], e.Effect
	row, registered := b.Fleets[e.Fleet].Devices[e.Device]
	if s.Ledger == nil || !registered {
		return nil // gone with this bundle
	}
	day := e.At.In(location(b.Directory.Platform)).Format(time.DateOnly)
	var sum float64
	if err := tx.QueryRow(ctx, "SELECT coalesce(sum(amount), 0)::float8 FROM grid.ledger WHERE name = $1 AND subject = $2 AND day = $3", s.Ledger.Name, x.Subject, day).Scan(&sum); err != nil {
		return fmt.Errorf("ledger %s: %w", s.Ledger.Name, err)
	}
	amount := rules.Capped(s.Ledger.DailyCap, sum, x.Amount)
	if amount <= 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.ledger (name, alarm, scenario, subject, amount, at, day, community, data_class) VALUES ($1, $2, $3, $4, $5::float8, $6, $7, $8, $9)
		ON CONFLICT (name, alarm) DO NOTHING`,
		s.Ledger.Name, e.Scenario+"/"+e.ID+"/"+x.Once, e.Scenario, x.Subject, amount, e.At, day, row.Community, s.DataClass); err != nil {
		return fmt.Errorf("ledger %s: %w", s.Ledger.Name, err)
	}
	return nil
}
