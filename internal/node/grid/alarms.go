package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// burnsAgain says whether an event opens a case where none is open: a new alarm always does, and a further signal of an
// alarm does if it is younger than the end of the case that people closed. What they closed too early, or what flares up
// again, must not go unseen because the engine still counts it to the first alarm.
func burnsAgain(ctx context.Context, tx pgx.Tx, e rules.Event) (bool, error) {
	if e.Kind != rules.Joined {
		return e.Kind == rules.Raised, nil
	}
	var younger bool
	err := tx.QueryRow(ctx, `SELECT COALESCE(max(COALESCE(closed_at, updated_at)) < $4, true) FROM grid.cases
		WHERE scenario = $1 AND fleet = $2 AND device = $3 AND source = 'Device'`, e.Scenario, e.Fleet, e.Device, e.At).Scan(&younger)
	if err != nil {
		return false, fmt.Errorf("former cases of %s/%s: %w", e.Fleet, e.Device, err)
	}
	return younger, nil
}

// openCaseOf finds, and locks, the open case of a scenario and a device.
const openCaseOf = "c.open AND c.source = 'Device' AND c.scenario = $1 AND c.fleet = $2 AND c.device = $3 FOR UPDATE"

// settle writes what an event of the engine does to cases.
func settle(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	c, err := oneCase(ctx, tx, openCaseOf, e.Scenario, e.Fleet, e.Device)
	if err != nil {
		return err
	}
	if c == nil {
		again, err := burnsAgain(ctx, tx, e)
		if err != nil || !again {
			return err
		}
		return open(ctx, tx, b, e, now)
	}
	switch e.Kind {
	case rules.Raised, rules.Joined:
		return join(ctx, tx, c, e, now)
	case rules.Cleared:
		if _, err := tx.Exec(ctx, "UPDATE grid.cases SET cleared_at = $2, updated_at = $3 WHERE id = $1", c.ID, e.At, now); err != nil {
			return fmt.Errorf("case %s: %w", c.Number, err)
		}
		return record(ctx, tx, c, "SignalCleared", c.State, deviceActor, now, detail{"at": e.At})
	case rules.Moved, rules.Worse:
		return nil
	case rules.Retracted:
		// A person decides what becomes of the case: somebody may be on the way.
		return record(ctx, tx, c, "SignalRetracted", c.State, system, now, detail{"start": e.Start, "because": "late evidence"})
	}
	return fmt.Errorf("event kind %q is unknown", e.Kind)
}

// join adds a signal to an open case.
func join(ctx context.Context, tx pgx.Tx, c *Case, e rules.Event, now time.Time) error {
	if _, err := tx.Exec(ctx, `UPDATE grid.cases SET signals = signals + 1, last_signal_at = greatest(last_signal_at, $2), cleared_at = NULL, updated_at = $3
		WHERE id = $1`, c.ID, e.At, now); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	if e.Kind == rules.Joined {
		return nil // counted; a detector that repeats itself must not fill the history
	}
	return record(ctx, tx, c, "AlarmMerged", c.State, deviceActor, now, detail{"start": e.Start})
}

// open makes a case of an alarm, files it and dispatches it.
func open(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	s, ok := b.Rules.Scenarios[e.Scenario]
	row, registered := b.Fleets[e.Fleet].Devices[e.Device]
	if !ok || !registered {
		return nil // gone with this bundle; the engine drops its state
	}
	if s.CaseClass == "" {
		return nil // it sends commands only
	}
	c := &Case{
		Community: row.Community, Grid: row.Grid, Fleet: e.Fleet, Device: e.Device, Scenario: e.Scenario,
		Class: s.CaseClass, Severity: s.Severity, Title: contract.FillTitle(s.Title, b.Directory, row, e.Device), DataClass: s.DataClass,
		Source: SourceDevice, StartedAt: e.Start, LastSignalAt: e.At,
	}
	if err := insert(ctx, tx, b.Directory, c, deviceActor, now, detail{"start": e.Start, "revision": b.Lease.Revision}); err != nil {
		return err
	}
	if err := move(ctx, tx, c, File, system, now, nil); err != nil {
		return err
	}
	return dispatch(ctx, tx, b.Directory, c, s.Responders, system, now, nil)
}

// called says whom a case goes to.
type called struct {
	// Posts on the grid, who see the case in the app.
	Posts []string
	// Organizations by name; those with a webhook get a message, the others see the case over the API.
	Organizations []string
	// Unanswered are responders that nobody stands for there.
	Unanswered []string
}

// respond finds who answers for a community. It is pure.
func respond(d contract.Directory, community, grid string, responders []contract.Responder) (out called) {
	com := d.Communities[community]
	seen := map[string]bool{}
	add := func(list *[]string, kind, name string) {
		if !seen[kind+name] {
			seen[kind+name] = true
			*list = append(*list, name)
		}
	}
	for _, r := range responders {
		if r.Post != "" {
			if hasPost(com, grid, r.Post) {
				add(&out.Posts, "post ", r.Post)
			} else {
				add(&out.Unanswered, "un ", "post "+r.Post)
			}
			continue
		}
		names := d.Responsible(r.Duty, com.Division)
		if len(names) == 0 {
			add(&out.Unanswered, "un ", "duty "+r.Duty)
		}
		for _, n := range names {
			add(&out.Organizations, "org ", n)
		}
	}
	return out
}

// hasPost says whether the grid has the post; a device that hangs in no grid is looked after by any of the community.
func hasPost(c contract.Community, grid, post string) bool {
	for _, g := range c.Grids {
		if grid != "" && g.Name != grid {
			continue
		}
		for _, p := range g.Posts {
			if p == post {
				return true
			}
		}
	}
	return false
}
