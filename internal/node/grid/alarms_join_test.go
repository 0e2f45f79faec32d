package grid

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/rules"
)

// all gives what the database says of cases, their alarms and their histories, oldest case first.
func (s *alarmStage) all() []string {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `SELECT concat_ws(' ', c.state, c.severity, c.device, c.signals, c.last_signal_at, c.updated_at, c.started_at, c.cleared_at, c.version,
		(SELECT string_agg(concat_ws(' ', a.scenario, a.scope_id, a.start, a.began, a.cleared_at, a.retracted_at), ', ' ORDER BY a.scenario, a.scope_id, a.start) FROM grid.case_alarms a WHERE a.case_id = c.id),
		(SELECT string_agg(h.action, ', ' ORDER BY h.n) FROM grid.case_history h WHERE h.case_id = c.id)) FROM grid.cases c ORDER BY c.id`)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// TestCountingTogetherIsCountingOneByOne takes the same batches of events to two databases, in which people close cases between them.
func TestCountingTogetherIsCountingOneByOne(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	single, together := newAlarmStage(t), newAlarmStage(t)
	together.at = single.at
	kinds := []rules.Kind{rules.Raised, rules.Raised, rules.Cleared, rules.Cleared, rules.Retracted, rules.Moved, rules.Joined, rules.Joined, rules.Joined, rules.Joined, rules.Joined, rules.Joined, rules.Joined, rules.Joined}
	devices, scenarios := []string{"s1", "s2", "s3"}, []string{"s10", "heat"}
	counted := 0
	for round := range 60 {
		now := single.at.Add(time.Duration(round) * time.Minute)
		var events []happened
		for range 1 + r.IntN(12) {
			device, scenario := devices[r.IntN(len(devices))], scenarios[r.IntN(len(scenarios))]
			start := single.at.Add(time.Duration(round/20*20) * time.Minute)
			events = append(events, happened{Event: rules.Event{Kind: kinds[r.IntN(len(kinds))], Scenario: scenario, Scope: rules.ScopeDevice, ID: "smokes/" + device, Fleet: "smokes", Device: device,
				Start: start, Began: start, At: now.Add(-time.Duration(r.IntN(90)) * time.Second), Severity: single.b.Rules.Scenarios[scenario].Severity}})
		}
		if err := pgx.BeginFunc(t.Context(), single.pool, func(tx pgx.Tx) error {
			for _, e := range events {
				if err := settle(t.Context(), tx, single.b, e.Event, now); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := pgx.BeginFunc(t.Context(), together.pool, func(tx pgx.Tx) error {
			nested, err := tx.Begin(t.Context()) // what it counts is taken back, and counted again
			if err != nil {
				return err
			}
			got, err := countTogether(t.Context(), nested, events, now)
			if counted += len(got); err != nil {
				return err
			}
			if err := nested.Rollback(t.Context()); err != nil {
				return err
			}
			return settleAll(t.Context(), tx, together.b, events, now)
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(single.all(), together.all()); diff != "" {
			t.Fatalf("round %d, %+v: -one by one +together:\n%s", round, events, diff)
		}
		if r.IntN(6) == 0 {
			for _, s := range []*alarmStage{single, together} {
				s.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $1, updated_at = $1 WHERE open AND device = $2", now, devices[round%len(devices)])
			}
		}
	}
	if counted == 0 {
		t.Error("nothing was counted together")
	}
}
