package grid

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

func noProfiles() map[string]contract.Profile { return nil }

// TestTelemetryGoesByClass: of hours a second too old, just old enough and not yet, those of each fleet go by its profile, then by its data
// class, then by the platform; a fleet that the bundle has no more goes as before, and one of which nobody ever said anything by the gravest class.
func TestTelemetryGoesByClass(t *testing.T) {
	grid, owner := database(t)
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	keep := contract.Retention{SignalSeconds: 7200, SignalClasses: map[string]int64{"C2": 3600, "C3": 1800}}
	profiles := map[string]contract.Profile{
		"open": {DataClass: "C0"}, "ordinary": {DataClass: "C1"}, "sensitive": {DataClass: "C2"}, "faces": {DataClass: "C3"},
		"short": {DataClass: "C1", RetentionSeconds: 600}, "long": {DataClass: "C3", RetentionSeconds: 9000}, "gone": {DataClass: "C1"},
	}
	want := map[string]int64{"open": 7200, "ordinary": 7200, "sensitive": 3600, "faces": 1800, "short": 600, "long": 9000, "gone": 7200, "unknown": 1800}
	add := func() {
		for fleet, seconds := range want {
			for i, off := range []int64{1, 0, -1} {
				exec1(t, owner, "INSERT INTO grid.telemetry_hourly VALUES ($1, $2, 'c', '', 'x', $3, 1, 1, 1, 1) ON CONFLICT DO NOTHING",
					fleet, fmt.Sprint(i), now.Add(-time.Duration(seconds+off)*time.Second))
			}
		}
	}
	pool := poolOf(t, grid)
	k := &retainer{pool: pool, log: quiet(), now: func() time.Time { return now }, profiles: func() map[string]contract.Profile { return profiles }}
	check := func(what string) {
		t.Helper()
		n, err := k.forget(t.Context(), keep)
		if err != nil || n != int64(2*len(want)) {
			t.Errorf("%s: %d rows went, want %d: %v", what, n, 2*len(want), err)
		}
		for _, fleet := range slices.Sorted(maps.Keys(want)) {
			if n := number(t, pool, "SELECT count(*) FROM grid.telemetry_hourly WHERE fleet = $1 AND device = '2'", fleet); n != 1 {
				t.Errorf("%s: what fleet %s keeps went", what, fleet)
			}
			if n := number(t, pool, "SELECT count(*) FROM grid.telemetry_hourly WHERE fleet = $1", fleet); n != 1 {
				t.Errorf("%s: %d hours of fleet %s, want 1", what, n, fleet)
			}
		}
	}
	add()
	if n, err := k.forget(t.Context(), contract.Retention{}); n != 0 || err != nil {
		t.Errorf("a bundle that does not say made %d rows go: %v", n, err)
	}
	check("first")
	delete(profiles, "gone")
	profiles["short"] = contract.Profile{DataClass: "C2"}
	want["short"] = 3600
	exec1(t, owner, "TRUNCATE grid.telemetry_hourly")
	add()
	check("a fleet is gone, and a profile changed")
}

// TestTelemetryGoesByIndex: neither the fleets nor what goes are found by walking over what stays, and a batch has a bound.
func TestTelemetryGoesByIndex(t *testing.T) {
	grid, owner := database(t)
	exec1(t, owner, `INSERT INTO grid.telemetry_hourly SELECT 'f' || n % 4, n::text, 'c', '', 'x', now() - CASE WHEN n <= 1000 THEN interval '1 year' ELSE interval '0' END, 1, 1, 1, 1 FROM generate_series(1, 20000) n`)
	exec1(t, owner, "ANALYZE grid.telemetry_hourly")
	pool := poolOf(t, grid)
	before := time.Now().Add(-24 * time.Hour)
	for _, q := range []struct {
		statement string
		args      []any
		// wrong is what a plan that walks over what stays has in it.
		wrong string
	}{{fleetsOfSignals, nil, "Seq Scan on telemetry_hourly"}, {forgetSignals, []any{[]string{"f1", "f2"}, []time.Time{before, before}, forgetAtOnce}, "Filter"}} {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows, err := tx.Query(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) "+q.statement, q.args...)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan on telemetry_hourly") || strings.Contains(text, q.wrong) {
			t.Errorf("%s", text)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	k := &retainer{pool: pool, log: quiet(), now: time.Now, profiles: noProfiles}
	for _, want := range []int64{forgetAtOnce, forgetAtOnce, 0} {
		if n, err := k.forget(t.Context(), contract.Retention{SignalSeconds: 86400}); n != want || err != nil {
			t.Errorf("a batch of %d, want %d: %v", n, want, err)
		}
	}
}
