package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// alarmName is what an alarm is told by.
type alarmName struct {
	scenario  string
	scope     rules.Scope
	id, start string
}

func nameOf(e rules.Event) alarmName {
	return alarmName{e.Scenario, e.Scope, e.ID, e.Start.UTC().Format(time.RFC3339Nano)}
}

// settleAll is settle of all events, in their order. Detectors that repeat themselves are most of what comes where much comes: they are counted
// together.
func settleAll(ctx context.Context, tx pgx.Tx, b *intake.Bundle, events []happened, now time.Time) error {
	counted, err := countTogether(ctx, tx, events, now)
	if err != nil {
		return err
	}
	for i, e := range events {
		if counted[i] {
			continue
		}
		do := settle
		if e.Effect != nil {
			do = effect
		}
		if err := do(ctx, tx, b, e.Event, now); err != nil {
			return fmt.Errorf("scenario %s, device %s.%s: %w", e.Scenario, e.Fleet, e.Device, err)
		}
	}
	return nil
}

// countTogether adds signals to the open cases that their alarms are in, and says by index which events that were. It takes those that change nothing
// else: the alarm stands, it is not cleared, and nothing else happened to it before in the batch. Such a case is not closed by what is left to settle:
// an alarm of it stands.
func countTogether(ctx context.Context, tx pgx.Tx, events []happened, now time.Time) (counted map[int]bool, err error) {
	var k struct {
		scenarios, scopes, ids []string
		starts, last           []time.Time
		signals                []int64
	}
	groups, members, touched := map[alarmName]int{}, [][]int{}, map[alarmName]bool{}
	for i, e := range events {
		if e.Effect != nil {
			continue // it is of no alarm
		}
		name := nameOf(e.Event)
		if e.Kind != rules.Joined || touched[name] {
			touched[name] = true
			continue
		}
		g, known := groups[name]
		if !known {
			g = len(members)
			groups[name], members = g, append(members, nil)
			k.scenarios, k.scopes, k.ids, k.starts = append(k.scenarios, e.Scenario), append(k.scopes, string(e.Scope)), append(k.ids, e.ID), append(k.starts, e.Start)
			k.last, k.signals = append(k.last, e.At), append(k.signals, 0)
		}
		members[g] = append(members[g], i)
		k.signals[g]++
		k.last[g] = later(k.last[g], e.At)
	}
	if len(members) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `UPDATE grid.cases c SET signals = c.signals + g.signals, last_signal_at = greatest(c.last_signal_at, g.last), updated_at = $7
		FROM (SELECT a.case_id, sum(j.signals) AS signals, max(j.last) AS last, array_agg(j.n) AS members
			FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[]) WITH ORDINALITY j (scenario, scope, scope_id, start, last, signals, n)
			JOIN grid.case_alarms a USING (scenario, scope, scope_id, start) WHERE a.cleared_at IS NULL AND a.retracted_at IS NULL GROUP BY a.case_id) g
		WHERE c.id = g.case_id AND c.open AND c.cleared_at IS NULL RETURNING g.members`, k.scenarios, k.scopes, k.ids, k.starts, k.last, k.signals, now)
	if err != nil {
		return nil, fmt.Errorf("signals of cases: %w", err)
	}
	counted = map[int]bool{}
	var of []int64
	if _, err = pgx.ForEachRow(rows, []any{&of}, func() error {
		for _, n := range of {
			for _, i := range members[n-1] {
				counted[i] = true
			}
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("signals of cases: %w", err)
	}
	return counted, nil
}
