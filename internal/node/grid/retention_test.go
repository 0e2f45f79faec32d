package grid

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestEveryTableHasARule: a table that nobody said how long it is kept fails here, and a rule of none.
func TestEveryTableHasARule(t *testing.T) {
	_, owner := database(t)
	rows, err := poolOf(t, owner).Query(t.Context(), `SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname = ANY ($1) AND n.nspname <> 'datasets' ORDER BY 1`, contract.DatabaseSchemas())
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, k := range contract.Kepts() {
		if schema, _, ok := strings.Cut(k.What, "."); ok && slices.Contains(contract.DatabaseSchemas(), schema) {
			rules = append(rules, k.What)
		}
		if k.Long == "" || k.Why == "" || k.By == "" {
			t.Errorf("%s: says too little: %+v", k.What, k)
		}
	}
	slices.Sort(rules)
	if !slices.Equal(tables, rules) {
		t.Errorf("tables %q\nrules  %q", tables, rules)
	}
}

// TestWhatIsOverGoes: of rows a second too old, just old enough and not yet, of every class, exactly those go that should, with what hangs
// on them; what is open or on its way stays however old it is.
func TestWhatIsOverGoes(t *testing.T) {
	grid, owner := database(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	keep := contract.Retention{
		CommandSeconds: 10000, CommandClasses: map[string]int64{"C1": 50000}, NoteSeconds: 1000, NoteClasses: map[string]int64{"C3": 100},
		DeliverySeconds: 2000, SignalSeconds: 7200, SignalClasses: map[string]int64{"C2": 3600, "C3": 1800},
	}
	cases := map[string]int64{"": 10000, "C0": 10000, "C1": 50000, "C2": 10000, "C3": 10000}
	notes := map[string]int64{"": 1000, "C0": 1000, "C1": 1000, "C2": 1000, "C3": 100}
	stays := map[string]map[uuid.UUID]bool{"grid.cases": {}, "grid.case_notes": {}, "grid.dispatch_outbox": {}}
	ago := func(seconds int64) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	addCase := func(state, class string, seconds int64) uuid.UUID {
		id := uuid.New()
		exec1(t, owner, `INSERT INTO grid.cases (id, number, community, class, severity, title, data_class, state, source, started_at, last_signal_at, opened_at, updated_at)
			VALUES ($1, $1::uuid::text, 'c', 'x', 'Low', 't', $2, $3, 'System', $4, $4, $4, $4)`, id, class, state, ago(seconds))
		exec1(t, owner, "INSERT INTO grid.case_history (case_id, n, at, action, from_state, to_state, actor) VALUES ($1, 1, now(), 'File', '', 'Filed', 'System')", id)
		return id
	}
	for class, s := range cases {
		for _, off := range []int64{1, 0, -1} {
			stays["grid.cases"][addCase("Closed", class, s+off)] = off < 0
			stays["grid.cases"][addCase("Void", class, s+off)] = off < 0
		}
		stays["grid.cases"][addCase("Handling", class, 1e6)] = true
	}
	for _, off := range []int64{2, -1} { // a scenario's own time goes before that of the class, shorter or longer
		for seconds, class := range map[int64]string{500: "C1", 90000: "C0"} {
			id := addCase("Closed", class, seconds+off)
			exec1(t, owner, "UPDATE grid.cases SET retain_seconds = $2 WHERE id = $1", id, seconds)
			stays["grid.cases"][id] = off < 0
		}
	}
	held := addCase("Closed", "C0", 1e6)
	exec1(t, owner, `INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, case_id, state, created_at, expires_at, next_send_at)
		VALUES ($1, 'f', 'd', 'c', 'x', '{}', 'Operator', $2, 'Done', now(), now(), now())`, uuid.New(), held)
	stays["grid.cases"][held] = true
	for class, s := range notes {
		for _, state := range []string{"Closed", "Handling"} {
			of := addCase(state, class, s+1)
			stays["grid.cases"][of] = true
			for _, off := range []int64{1, 0, -1} {
				id := uuid.New()
				exec1(t, owner, "INSERT INTO grid.case_notes (id, case_id, at, text) VALUES ($1, $2, $3, 'x')", id, of, ago(s+off))
				stays["grid.case_notes"][id] = off < 0 || state == "Handling"
			}
		}
	}
	young := addCase("Closed", "C0", 0)
	stays["grid.cases"][young] = true
	for _, off := range []int64{1, 0, -1} {
		for i, column := range []string{"delivered_at", "dead_at", "created_at"} {
			id := uuid.New()
			exec1(t, owner, "INSERT INTO grid.dispatch_outbox (id, case_id, organization, payload, created_at, next_attempt_at) VALUES ($1, $2, 'o', '', $3, $3)", id, young, ago(1e6))
			exec1(t, owner, "UPDATE grid.dispatch_outbox SET "+column+" = $2 WHERE id = $1", id, ago(2000+off))
			stays["grid.dispatch_outbox"][id] = off < 0 || i == 2
		}
	}

	pool := poolOf(t, grid)
	k := &retainer{pool: pool, log: quiet(), now: func() time.Time { return now }, profiles: noProfiles}
	if n, err := k.forget(t.Context(), contract.Retention{}); n != 0 || err != nil {
		t.Errorf("a bundle that does not say made %d rows go: %v", n, err)
	}
	for {
		n, err := k.forget(t.Context(), keep)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	for table, want := range stays {
		for id, there := range want {
			if got := number(t, pool, "SELECT count(*) FROM "+table+" WHERE id = $1", id) == 1; got != there {
				t.Errorf("%s %s: there %v, want %v", table, id, got, there)
			}
		}
	}
	if n := number(t, pool, "SELECT count(*) FROM grid.case_history h WHERE NOT EXISTS (SELECT FROM grid.cases c WHERE c.id = h.case_id)"); n != 0 {
		t.Errorf("%d lines of history without their case", n)
	}
	for _, c := range []struct{ who, statement string }{
		{"open case", "DELETE FROM grid.cases WHERE open"}, {"history", "DELETE FROM grid.case_history"}, {"history changed", "UPDATE grid.case_history SET action = 'x'"},
	} {
		if try(t, owner, c.statement) == nil {
			t.Errorf("%s: the database lets it go", c.who)
		}
	}
}

// TestRetentionGoesByIndexInBatchesAndOnce: no deletion walks over what stays, none is without a bound, and of two replicas one works.
func TestRetentionGoesByIndexInBatchesAndOnce(t *testing.T) {
	grid, owner := database(t)
	exec1(t, owner, `INSERT INTO grid.cases (id, number, community, class, severity, title, data_class, state, source, started_at, last_signal_at, opened_at, updated_at)
		SELECT gen_random_uuid(), n::text, 'c', 'x', 'Low', 't', CASE WHEN n <= 20 THEN 'C3' ELSE 'C1' END, 'Closed', 'System', t, t, t, t FROM (SELECT n, now() - interval '1 year' AS t FROM generate_series(1, 20000) n) x`)
	exec1(t, owner, "INSERT INTO grid.case_notes (id, case_id, at, text) SELECT gen_random_uuid(), id, updated_at, 'x' FROM grid.cases")
	exec1(t, owner, `INSERT INTO grid.dispatch_outbox (id, organization, payload, created_at, next_attempt_at, delivered_at)
		SELECT gen_random_uuid(), 'o', '', now(), now(), CASE WHEN n <= 20 THEN now() - interval '1 year' ELSE now() END FROM generate_series(1, 20000) n`)
	exec1(t, owner, "ANALYZE grid.cases, grid.case_notes, grid.dispatch_outbox, grid.commands")
	pool := poolOf(t, grid)
	before := time.Now().Add(-24 * time.Hour)
	for _, d := range deletions {
		args := []any{before, forgetAtOnce}
		if d.classes != nil {
			args = append(args, "C3")
		}
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows, err := tx.Query(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) "+d.statement, args...)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan on cases") || strings.Contains(text, "Seq Scan on case_notes") || strings.Contains(text, "Seq Scan on dispatch_outbox") || strings.Contains(text, "Rows Removed by Filter") {
			t.Errorf("%s:\n%s", d.name, text)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	k := &retainer{pool: pool, log: quiet(), now: time.Now, profiles: noProfiles}
	other, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_xact_lock($1)", retainLock); err != nil {
		t.Fatal(err)
	}
	keep := contract.Retention{NoteSeconds: 86400}
	if n, err := k.forget(t.Context(), keep); n != 0 || err != nil {
		t.Errorf("%d rows went while another replica worked: %v", n, err)
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := k.forget(t.Context(), keep); n != forgetAtOnce || err != nil {
		t.Errorf("a batch of %d, want %d: %v", n, forgetAtOnce, err)
	}
}
