package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// PartyView is somebody who was called to a case.
type PartyView struct {
	Kind         string     `json:"kind" db:"kind" doc:"Why: Responder, Escalation, Joint, Call or Told."`
	Level        int        `json:"level" db:"level" doc:"Level of the case when they were called: 0 micro-grid, 1 grid, 2 community, 3 township, 4 department."`
	Post         string     `json:"post,omitempty" db:"post"`
	Organization string     `json:"organization,omitempty" db:"organization"`
	Person       string     `json:"person,omitempty" db:"person" doc:"A pseudonym."`
	CalledAt     time.Time  `json:"calledAt" db:"called_at"`
	ReleasedAt   *time.Time `json:"releasedAt,omitempty" db:"released_at"`
	Release      string     `json:"release,omitempty" db:"release" doc:"Why they are called no more."`
}

// TimeLeft is a time of a case that is not missed and not kept yet.
type TimeLeft struct {
	Kind        string     `json:"kind" enum:"Acknowledge,OnSite,Resolve"`
	Due         *time.Time `json:"due,omitempty" doc:"Not there while the time stands still."`
	LeftSeconds int64      `json:"leftSeconds" doc:"What is left now, in seconds: of working time if working is true."`
	Working     bool       `json:"working,omitempty" doc:"Only the hours of the platform's calendar count."`
	Paused      bool       `json:"paused,omitempty"`
}

// partyViews reads who was called to a case, in the order in which they were.
func partyViews(ctx context.Context, tx pgx.Tx, id uuid.UUID) ([]PartyView, error) {
	rows, err := tx.Query(ctx, `SELECT kind, level, post, organization, person, called_at, released_at, release FROM grid.case_parties
		WHERE case_id = $1 ORDER BY called_at, level, post, organization, person`, id)
	if err != nil {
		return nil, fmt.Errorf("parties: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[PartyView])
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
