package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// TimeLeft is a time of a case that is not missed and not kept yet.
type TimeLeft struct {
	Kind        string     `json:"kind" enum:"Acknowledge,OnSite,Resolve"`
	Due         *time.Time `json:"due,omitempty" doc:"Not there while the time stands still."`
	LeftSeconds int64      `json:"leftSeconds" doc:"What is left now, in seconds: of working time if working is true."`
	Working     bool       `json:"working,omitempty" doc:"Only the hours of the platform's calendar count."`
	Paused      bool       `json:"paused,omitempty"`
}

// timesLeft gives what is left of the times of a case, in the order in which they are looked at.
func timesLeft(ctx context.Context, tx pgx.Tx, p contract.Platform, id uuid.UUID, now time.Time) ([]TimeLeft, error) {
	rows, err := tx.Query(ctx, "SELECT "+timerColumns+" FROM grid.timers WHERE case_id = $1 AND party = '' AND kind = ANY($2) ORDER BY array_position($2::text[], kind)", id, timerKinds)
	if err != nil {
		return nil, fmt.Errorf("timers: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (TimeLeft, error) {
		t, err := pgx.RowToStructByName[timer](row)
		if err != nil {
			return TimeLeft{}, err
		}
		return TimeLeft{t.Kind, t.Due, t.pause(p, now).LeftMS / 1000, t.Working, t.Due == nil}, nil
	})
}
