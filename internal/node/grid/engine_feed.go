package grid

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

const (
	// changesReader is the engine's position in the feed of changes.
	changesReader = "engine.changes"
	// changesAtOnce bounds what one transaction takes of the feed.
	changesAtOnce = 4096
	// causeScenario begins the cause of a change that a scenario's act made; its name follows.
	causeScenario = "scenario/"
)

// loadChanges reads the engine's position. Without one it begins where the feed stands: nothing is acted upon that was before.
func (s *session) loadChanges(ctx context.Context) error {
	err := s.conn.QueryRow(ctx, "SELECT n FROM grid.feed_position WHERE reader = $1", changesReader).Scan(&s.changes)
	if errors.Is(err, pgx.ErrNoRows) {
		s.changes, err = lastChange(ctx, s.conn)
	}
	if err != nil {
		return fmt.Errorf("position in the feed: %w", err)
	}
	return nil
}

// caseChange is a change of a case as a scenario sees it: the event and the state are those of the change, the rest is as the case is now.
type caseChange struct {
	changeRow
	Cause string `db:"cause"`
	After State  `db:"after"`
	// Derived says that a scenario opened the case upon changes or answers.
	Derived bool `db:"derived"`
}

// takeChanges takes what changed of cases since to the engine, in the order of the feed.
func (b *batch) takeChanges(ctx context.Context) error {
	last, err := lastChange(ctx, b.s.conn)
	if err != nil || last == b.changes {
		return err
	}
	if !b.s.engine.Listens(contract.CaseProfile) {
		b.changes = last
		return nil
	}
	rows, err := b.s.conn.Query(ctx, "SELECT f.n, f.at AS changed_at, f.kind, f.version AS changed_to, f.cause, coalesce(h.to_state, c.state) AS after, c.derived, "+caseColumns+`
		FROM grid.changes f JOIN grid.cases c ON c.id = f.case_id LEFT JOIN grid.case_history h ON h.case_id = f.case_id AND h.n = f.version
		WHERE f.n > $1 AND f.n <= $2 ORDER BY f.n LIMIT $3`, b.changes, last, changesAtOnce)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[caseChange])
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	for _, x := range list {
		if !strings.HasPrefix(x.Cause, causeScenario) { // what an act does calls for no other
			b.keep(b.s.engine.Step(x.message(b.s.bundle)), b.now)
		}
	}
	if b.changes = last; len(list) == changesAtOnce {
		b.changes = list[changesAtOnce-1].N
	}
	return nil
}

// message writes a change as the engine reads it. It is pure.
func (x caseChange) message(b *intake.Bundle) rules.Message {
	c := x.Case
	fields := map[string]any{
		"event": x.Kind, "state": string(x.After), "severity": string(c.Severity), "class": c.Class, "scenario": c.Scenario, "source": c.Source, "channel": c.Channel,
		"level": int64(c.Level), "overdue": c.AcknowledgeOverdue || c.OnSiteOverdue || c.ResolveOverdue, "number": c.Number,
	}
	if c.Score != nil {
		fields["score"] = int64(*c.Score)
	}
	return rules.Message{Time: x.ChangedAt, ID: fmt.Sprintf("change %d", x.N), Fleet: contract.CaseFleet, Device: c.ID.String(), Row: placeOf(b, &c), Profile: contract.CaseProfile,
		Payload: fields, Derived: x.Derived}
}

// placeOf gives where a case is, as a row of the registry: its grid, and the building and household of its device. It is pure.
func placeOf(b *intake.Bundle, c *Case) contract.Device {
	row := contract.Device{Community: c.Community, Grid: c.Grid, MicroGrid: c.MicroGrid, Compound: c.Compound}
	if d, ok := b.Fleets[c.Fleet].Devices[c.Device]; ok && d.Community == c.Community {
		row.Compound, row.Building, row.Unit, row.Household = d.Compound, d.Building, d.Unit, d.Household
	}
	return row
}

// rowOf gives the row of the device that an event is about, or the place of the case; false if it is there no more.
func rowOf(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event) (row contract.Device, ok bool, err error) {
	if e.Fleet != contract.CaseFleet {
		row, ok = b.Fleets[e.Fleet].Devices[e.Device]
		return row, ok, nil
	}
	c, err := caseOf(ctx, tx, e, "")
	if err != nil || c == nil {
		return row, false, err
	}
	return placeOf(b, c), true, nil
}

// caseOf reads the case that an event is about; nil if there is none.
func caseOf(ctx context.Context, tx pgx.Tx, e rules.Event, lock string) (*Case, error) {
	id, err := uuid.Parse(e.Device)
	if err != nil {
		return nil, fmt.Errorf("event of no case: %w", err)
	}
	return oneCase(ctx, tx, "c.id = $1"+lock, id)
}

// fromInput makes of a case what follows where its scenario looks at no device: no device is its cause. The service opened it.
func (c *Case) fromInput(profile string) (by Actor) {
	if profile != contract.CaseProfile {
		return deviceActor
	}
	c.Fleet, c.Device, c.Source = "", "", SourceSystem
	return system
}

// derive marks a case that a scenario opened upon changes or answers.
func derive(ctx context.Context, tx pgx.Tx, c *Case, profile string) error {
	if _, is := contract.InputProfile(profile); !is {
		return nil
	}
	if _, err := tx.Exec(ctx, "UPDATE grid.cases SET derived = true WHERE id = $1", c.ID); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	return nil
}

// writeChanges moves the engine's position, in the transaction that writes what it made of the changes.
func (b *batch) writeChanges(ctx context.Context, tx pgx.Tx) error {
	if b.changes == b.s.changes {
		return nil
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.feed_position (reader, n) VALUES ($1, $2) ON CONFLICT (reader) DO UPDATE SET n = excluded.n", changesReader, b.changes); err != nil {
		return fmt.Errorf("position in the feed: %w", err)
	}
	return nil
}

// effect carries out what a message does by itself.
func effect(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	if e.Kind == rules.Acted {
		return actOn(ctx, tx, b, e, now)
	}
	return enter(ctx, tx, b, e)
}

// actOn does what a scenario says to the case that changed, once for each change. A case that is not in a state for it stays as it is: somebody was
// faster.
func actOn(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	act := b.Rules.Scenarios[e.Scenario].Act
	c, err := caseOf(ctx, tx, e, forChange)
	if err != nil || c == nil {
		return err
	}
	if fits := act == contract.ActEscalate && c.State.Open() || act == contract.ActReopen && (c.State == Closed || c.State == Rated); !fits {
		return nil
	}
	c.cause = causeScenario + e.Scenario
	fresh, err := recordOnce(ctx, tx, c, "act/"+e.Scenario+"/"+e.Effect.Once, "ScenarioActed", c.State, system, now, detail{"scenario": e.Scenario, "act": act})
	if err != nil || !fresh {
		return err
	}
	if act == contract.ActReopen {
		return reopenFor(ctx, tx, b, c, e.Scenario, now)
	}
	c.UpdatedAt = now
	if _, err := escalate(ctx, tx, b, c, "Scenario", now); err != nil {
		return err
	}
	return saveCase(ctx, tx, c)
}

// reopenFor has a closed case worked on again (整改): one that was rated goes back to who handled it, as upon a bad rating; another is dispatched anew.
func reopenFor(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, scenario string, now time.Time) error {
	if c.State == Rated {
		score := 0
		if c.Score != nil {
			score = *c.Score
		}
		return rework(ctx, tx, b, c, score, now)
	}
	if err := checkSteps(c, Reopen, nil, system, now); err != nil {
		return err
	}
	if err := move(ctx, tx, b.Directory.Platform, c, Reopen, system, now, nil, detail{"scenario": scenario}); err != nil {
		return err
	}
	if err := tellCalled(ctx, tx, b, c, EventReopened, now); err != nil {
		return err
	}
	return dispatch(ctx, tx, b.Directory, c, respondersOf(b, c), system, now, nil)
}
