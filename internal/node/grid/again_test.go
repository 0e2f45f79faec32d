package grid

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/rules"
)

// TestFireThatFlaresUpAgainOpensACase: people closed the case, and within the dedup time the same detector signals again.
func TestFireThatFlaresUpAgainOpensACase(t *testing.T) {
	t.Parallel()
	cfg, _ := database(t)
	pool := poolOf(t, cfg)
	b := testBundle("", "")
	var fleet, device string
	for f, doc := range b.Fleets {
		for d := range doc.Devices {
			fleet, device = f, d
		}
	}
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	event := func(kind rules.Kind, after time.Duration) {
		t.Helper()
		e := rules.Event{Kind: kind, Scenario: "s10", Scope: rules.ScopeDevice, ID: fleet + "/" + device, Fleet: fleet, Device: device, Start: start, At: start.Add(after)}
		if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return settle(t.Context(), tx, b, e, e.At) }); err != nil {
			t.Fatal(err)
		}
	}
	cases := func() (n int) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM grid.cases WHERE fleet = $1 AND device = $2 AND started_at >= $3", fleet, device, start).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	event(rules.Raised, 0)
	event(rules.Joined, time.Minute)
	if n := cases(); n != 1 {
		t.Fatalf("%d cases after a repeated signal, want 1", n)
	}
	if _, err := pool.Exec(t.Context(), "UPDATE grid.cases SET state = 'Closed', closed_at = $3 WHERE fleet = $1 AND device = $2", fleet, device, start.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	event(rules.Joined, 90*time.Second) // a late message of before the closing
	if n := cases(); n != 1 {
		t.Errorf("%d cases after a late signal, want 1", n)
	}
	event(rules.Joined, 3*time.Minute)
	if n := cases(); n != 2 {
		t.Errorf("%d cases after the fire flared up again, want 2", n)
	}
	event(rules.Joined, 4*time.Minute)
	if n := cases(); n != 2 {
		t.Errorf("%d cases after a repeated signal of the second, want 2", n)
	}
}
