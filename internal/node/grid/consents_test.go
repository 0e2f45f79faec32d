package grid

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// vault is the database as the vault has it.
func (w *world) vault() *pgxpool.Pool {
	w.t.Helper()
	c := w.pool.Config().Copy()
	c.ConnConfig.User = contract.DatabaseUserVault
	pool, err := pgxpool.NewWithConfig(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

// TestConsentsReachTheEngine: a scenario that asks for a consent is about nobody before it is recorded, about who gave it after, and no more with the
// first message after it was withdrawn, over a restart too.
func TestConsentsReachTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		f := b.Fleets["smokes"]
		f.Devices = cloned(f.Devices)
		for d, row := range map[string]contract.Device{"s1": {Household: "h-1"}, "s2": {Household: "h-1", Attributes: map[string]string{"subject": "p-2"}}} {
			was := f.Devices[d]
			was.Household, was.Attributes = row.Household, row.Attributes
			f.Devices[d] = was
		}
		b.Fleets["smokes"] = f
		b.Rules.Scenarios["watch"] = contract.Scenario{Profile: f.Profile, DataClass: "C0", CaseClass: "watch", Severity: contract.SeverityLow, Title: "关怀", ConsentScope: "watch",
			Terms: []contract.Term{{When: "msg.density > 10.0"}}, Clear: "msg.density < 5.0"}
		b.Rules.Scenarios["all"] = contract.Scenario{Profile: f.Profile, DataClass: "C0", CaseClass: "all", Severity: contract.SeverityLow, Title: "关怀",
			Terms: []contract.Term{{When: "msg.density > 10.0"}}, Clear: "msg.density < 5.0"}
	}, func(*service) {})
	alarms := func(scenario, device string) int64 {
		return number(t, w.pool, "SELECT count(*) FROM grid.case_alarms WHERE scenario = $1 AND scope_id = $2", scenario, "smokes/"+device)
	}
	rounds := map[string]int64{}
	high := func(device string) { // the alarm that asks nobody says that the message was judged
		t.Helper()
		rounds[device]++
		w.send(device, 1, `{"density":20}`)
		eventually(t, fmt.Sprintf("alarm %d of %s", rounds[device], device), func() bool { return alarms("all", device) == rounds[device] })
		w.send(device, 1, `{"density":1}`)
		eventually(t, "its end", func() bool {
			return number(t, w.pool, "SELECT count(*) FROM grid.case_alarms WHERE scenario = 'all' AND scope_id = $1 AND cleared_at IS NULL", "smokes/"+device) == 0
		})
	}
	want := func(s1, s2 int64) {
		t.Helper()
		high("s1")
		high("s2")
		if a, b := alarms("watch", "s1"), alarms("watch", "s2"); a != s1 || b != s2 {
			t.Errorf("%d and %d alarms, want %d and %d", a, b, s1, s2)
		}
	}
	records := w.vault()
	sql := func(text string) {
		t.Helper()
		if _, err := records.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	want(0, 0)
	sql("INSERT INTO grid.consents (subject, scope, given_at) VALUES ('h-1', 'watch', now()), ('p-2', 'other', now())")
	want(1, 0)
	sql("INSERT INTO grid.consents (subject, scope, given_at) VALUES ('p-2', 'watch', now() - interval '1 year')")
	want(2, 1)
	// Two forms: while one stands, the consent does.
	sql("INSERT INTO grid.consents (subject, scope, given_at) VALUES ('h-1', 'watch', now() - interval '1 day')")
	sql("UPDATE grid.consents SET withdrawn_at = now() WHERE subject = 'h-1' AND given_at < now() - interval '1 hour'")
	want(3, 2)
	sql("UPDATE grid.consents SET withdrawn_at = now() WHERE subject = 'h-1' AND withdrawn_at IS NULL")
	want(3, 3)
	w.stop()
	w.begin()
	want(3, 4)
	sql("UPDATE grid.consents SET expires_at = now() + interval '1 millisecond' WHERE subject = 'p-2' AND scope = 'watch'")
	want(3, 4)
}

// TestConsentsOfTwoWritersDoNotDeadlock: one who changes two waits for the other before any row of his is held.
func TestConsentsOfTwoWritersDoNotDeadlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	records := w.vault()
	if _, err := records.Exec(t.Context(), "INSERT INTO grid.consents (subject, scope, given_at) VALUES ('p-1', 'watch', now()), ('p-2', 'watch', now())"); err != nil {
		t.Fatal(err)
	}
	begin := func() pgx.Tx {
		t.Helper()
		tx, err := records.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	withdraw := func(tx pgx.Tx, subject string) error {
		_, err := tx.Exec(t.Context(), "UPDATE grid.consents SET withdrawn_at = now() WHERE subject = $1", subject)
		return err
	}
	one, other := begin(), begin()
	if err := withdraw(one, "p-1"); err != nil {
		t.Fatal(err)
	}
	pid, done := other.Conn().PgConn().PID(), make(chan error, 1)
	go func() { done <- errors.Join(withdraw(other, "p-2"), other.Commit(t.Context())) }()
	eventually(t, "the other waits", func() bool {
		return number(t, w.pool, "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted", pid) == 1
	})
	if err := errors.Join(withdraw(one, "p-2"), one.Commit(t.Context()), <-done); err != nil {
		t.Error(err)
	}
}
