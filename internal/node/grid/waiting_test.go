package grid

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// newWaitingStage is an alarm stage on which cases of "heat" are opened when the alarm stood for three minutes.
func newWaitingStage(t *testing.T) *alarmStage {
	s := newAlarmStage(t)
	heat := s.b.Rules.Scenarios["heat"]
	heat.AfterSeconds = 180
	s.b.Rules.Scenarios["heat"] = heat
	return s
}

// sweep lets a number of replicas sweep at once, at a minute.
func (s *alarmStage) sweep(at, replicas int) {
	s.t.Helper()
	now := s.at.Add(time.Duration(at) * time.Minute)
	problems := make([]error, replicas)
	var all sync.WaitGroup
	for i := range replicas {
		w := &sweeper{pool: s.pool, in: intake.NewStatic(s.b), metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: func() time.Time { return now }}
		all.Go(func() { problems[i] = w.sweep(s.t.Context(), s.b) })
	}
	all.Wait()
	if err := errors.Join(problems...); err != nil {
		s.t.Fatal(err)
	}
}

func TestACaseIsOpenedOnlyIfTheAlarmStands(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	s.event(rules.Raised, "heat", "s1", 0, 1) // told twice: its time runs from the first
	s.sweep(2, 2)
	s.want("it does not stand for long enough")
	s.event(rules.Joined, "heat", "s1", 0, 2)
	s.sweep(3, 3)
	s.want("it stands", "Dispatched Medium 1 2 burns 0")
	if due := number(t, s.pool, "SELECT extract(epoch FROM opened_at - $1::timestamptz)::bigint FROM grid.cases", s.at); due != 180 {
		t.Errorf("opened after %d s, want 180: its times run from then", due)
	}
	s.sweep(9, 2)
	s.event(rules.Joined, "heat", "s1", 0, 9)
	s.event(rules.Cleared, "heat", "s1", 0, 10)
	s.want("once", "Dispatched Medium 1 3 cleared 0")
	s.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $1", s.at.Add(11*time.Minute))

	s.event(rules.Raised, "heat", "s2", 20, 20)
	s.event(rules.Cleared, "heat", "s2", 20, 22)
	s.sweep(30, 2)
	s.want("cleared before", "Closed Medium 1 3 cleared 0")
	s.event(rules.Joined, "heat", "s2", 20, 31) // it burns again, under its name
	s.sweep(33, 2)
	s.want("and not for long enough", "Closed Medium 1 3 cleared 0")
	s.event(rules.Retracted, "heat", "s2", 20, 33)
	s.sweep(40, 2)
	s.want("taken back", "Closed Medium 1 3 cleared 0")

	s.event(rules.Raised, "heat", "s1", 50, 50)
	s.event(rules.Moved, "heat", "s1", 50, 51, func(e *rules.Event) { e.Began = e.Began.Add(-2 * time.Minute) })
	s.event(rules.Worse, "heat", "s1", 50, 52, func(e *rules.Event) { e.Severity, e.With = contract.SeverityCritical, []string{"second"} })
	s.sweep(52, 2)
	s.sweep(53, 2)
	s.want("graver meanwhile", "Closed Medium 1 3 cleared 0", "Dispatched Critical 1 1 burns 50")
	if n := number(t, s.pool, "SELECT count(*) FROM grid.case_parties p JOIN grid.cases c ON c.id = p.case_id WHERE c.open AND p.organization = 'property'"); n != 1 {
		t.Errorf("who is called when it is graver was called %d times, want once", n)
	}
	s.event(rules.Raised, "heat", "s2", 54, 54) // the same building: what happens belongs to the case that is open
	s.want("joins at once", "Closed Medium 1 3 cleared 0", "Dispatched Critical 2 2 burns 50")
	if n := number(t, s.pool, "SELECT count(*) FROM grid.alarms_waiting"); n != 0 {
		t.Errorf("%d alarms wait still", n)
	}
}

// TestWhatBundlesDoToAlarmsThatWait: a scenario that is gone opens nothing, and one that waits no more keeps what was said.
func TestWhatBundlesDoToAlarmsThatWait(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	s.event(rules.Raised, "heat", "s3", 0, 0)
	heat := s.b.Rules.Scenarios["heat"]
	heat.AfterSeconds = 0
	s.b.Rules.Scenarios["heat"] = heat
	s.event(rules.Cleared, "heat", "s1", 0, 1)
	s.sweep(4, 1)
	s.want("one stands", "Dispatched Medium 1 1 burns 0")
	s.exec("UPDATE grid.cases SET state = 'Void'")
	heat.AfterSeconds = 180
	s.b.Rules.Scenarios["heat"] = heat
	s.event(rules.Raised, "heat", "s1", 10, 10)
	delete(s.b.Rules.Scenarios, "heat")
	s.sweep(14, 1)
	s.want("the scenario is gone", "Void Medium 1 1 burns 0")
}

// TestCommandsOfAnAlarmThatWaited are sent at once, and are the case's when it is opened.
func TestCommandsOfAnAlarmThatWaited(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	s.exec(`INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, scenario, alarm, data_class, state, created_at, next_send_at, expires_at, version)
		VALUES ($1, 'smokes', 's1', 'jinghu', 'sound', '{}', 'Scenario', 'heat', $2, 'C0', 'Pending', $3, $3, $3, 1)`,
		uuid.New(), "heat\x1fsmokes\x1fs1\x1f"+s.at.Format(time.RFC3339Nano), s.at)
	s.sweep(3, 2)
	if n := number(t, s.pool, "SELECT count(*) FROM grid.commands k JOIN grid.cases c ON c.id = k.case_id"); n != 1 {
		t.Errorf("%d commands are the case's, want 1", n)
	}
}

// TestASweeperGivesWayToTheWorker: the worker holds the case and wants the alarm, the sweeper holds the alarm and wants the case.
func TestASweeperGivesWayToTheWorker(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	s.event(rules.Raised, "heat", "s3", 0, 0)
	s.sweep(3, 1)
	s.exec("UPDATE grid.cases SET merge_key = 'other' WHERE device = 's1'")
	s.event(rules.Raised, "heat", "s1", 4, 4) // waits; then the case is one that it would join
	s.exec("UPDATE grid.cases SET merge_key = 'fire|Building|jinghu/garden/7' WHERE device = 's1'")
	key := ""
	if err := s.pool.QueryRow(t.Context(), "SELECT merge_key FROM grid.cases WHERE device = 's1'").Scan(&key); err != nil {
		t.Fatal(err)
	}
	e := rules.Event{Kind: rules.Joined, Scenario: "heat", Scope: rules.ScopeDevice, ID: "smokes/s1", Fleet: "smokes", Device: "s1", Start: s.at.Add(4 * time.Minute), At: s.at.Add(5 * time.Minute)}
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if c, err := oneCase(t.Context(), tx, "c.merge_key = $1 FOR UPDATE", key); err != nil || c == nil {
		t.Fatal(c, err)
	}
	// The worker must not wait until PostgreSQL looks for deadlocks, after a second: it might be the one that is stopped.
	if _, err := tx.Exec(t.Context(), "SET LOCAL lock_timeout = '800ms'"); err != nil {
		t.Fatal(err)
	}
	swept := make(chan error, 1)
	w := &sweeper{pool: s.pool, in: intake.NewStatic(s.b), metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: func() time.Time { return s.at.Add(8 * time.Minute) }}
	go func() { swept <- w.sweep(context.Background(), s.b) }()
	eventually(t, "the sweeper waits for the case", func() bool {
		return number(t, s.pool, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')") > 0
	})
	if err := settle(t.Context(), tx, s.b, e, s.at.Add(8*time.Minute)); err != nil {
		t.Fatalf("the worker: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-swept; err == nil {
		t.Error("the sweeper did not give way, and nothing was tried")
	}
	s.sweep(8, 1)
	if n := number(t, s.pool, "SELECT signals FROM grid.cases WHERE device = 's1'"); n != 3 {
		t.Errorf("%d signals, want 3: the first alarm, the second, and what joined it while it waited", n)
	}
}

// TestWaitingAsTheModel plays random alarms, clears, retractions and sweeps of several replicas against a model that keeps for each device since
// when its alarm stands.
func TestWaitingAsTheModel(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	heat := s.b.Rules.Scenarios["heat"]
	heat.MergeBy = ""
	s.b.Rules.Scenarios["heat"] = heat
	r := rand.New(rand.NewPCG(7, 7))
	type alarm struct{ start, due int }
	standing, waits, cases := map[string]int{}, map[string]alarm{}, 0
	for at := range 240 {
		device := []string{"s1", "s2", "s3"}[r.IntN(3)]
		start, stands := standing[device]
		switch {
		case !stands && r.IntN(3) > 0:
			standing[device], waits[device] = at, alarm{at, at + 3}
			s.event(rules.Raised, "heat", device, at, at)
		case stands && r.IntN(3) == 0:
			delete(standing, device)
			delete(waits, device)
			s.event([]rules.Kind{rules.Cleared, rules.Retracted}[r.IntN(2)], "heat", device, start, at)
			s.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $2 WHERE open AND device = $1", device, s.at.Add(time.Duration(at)*time.Minute))
		case stands:
			s.event([]rules.Kind{rules.Joined, rules.Raised, rules.Moved}[r.IntN(3)], "heat", device, start, at)
		}
		if r.IntN(2) == 0 {
			continue
		}
		s.sweep(at, 1+r.IntN(3))
		for _, d := range []string{"s1", "s2", "s3"} {
			if a, ok := waits[d]; ok && a.due <= at {
				delete(waits, d)
				cases++
			}
		}
		if n := number(t, s.pool, "SELECT count(*) FROM grid.cases"); n != int64(cases) {
			t.Fatalf("minute %d: %d cases, want %d", at, n, cases)
		}
	}
	if cases < 10 {
		t.Errorf("%d cases: the model plays nothing", cases)
	}
}

// TestASweeperDiesWithAnAlarmThatWaits: what a replica had in hand is another's.
func TestASweeperDiesWithAnAlarmThatWaits(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "DELETE FROM grid.alarms_waiting"); err != nil {
		t.Fatal(err)
	}
	s.sweep(4, 2)
	s.want("one has it in hand")
	if err := tx.Rollback(t.Context()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		t.Fatal(err)
	}
	s.sweep(4, 2)
	s.want("it died", "Dispatched Medium 1 1 burns 0")
	rows, _ := s.pool.Query(t.Context(), "SELECT action FROM grid.case_history ORDER BY n")
	actions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if want := []string{"Report", "File", "Dispatch"}; err != nil || !slices.Equal(actions, want) {
		t.Errorf("history %v, want %v: %v", actions, want, err)
	}
}

// TestAnAlarmThatIsHeardLate waits from when it was heard: after an outage its end may be behind it. The history says how long it stood.
func TestAnAlarmThatIsHeardLate(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 5)
	s.event(rules.Joined, "heat", "s1", 0, 7)
	s.event(rules.Joined, "heat", "s1", 0, 6) // overtaken
	s.sweep(7, 2)
	s.want("it was heard two minutes ago")
	s.sweep(8, 2)
	s.want("it stands", "Dispatched Medium 1 3 burns 0")
	var stood string
	if err := s.pool.QueryRow(t.Context(), "SELECT detail->>'stood' FROM grid.case_history WHERE action = 'Report'").Scan(&stood); err != nil || stood != "8m0s" {
		t.Errorf("it stood for %q, %v", stood, err)
	}
	if n := number(t, s.pool, "SELECT extract(epoch FROM last_signal_at - $1::timestamptz)::bigint / 60 FROM grid.cases", s.at); n != 7 {
		t.Errorf("last heard at minute %d, want 7", n)
	}
}

// TestAnAlarmThatHasItsCaseAlready opens none when its time is over: a replica that knew no waiting opened it.
func TestAnAlarmThatHasItsCaseAlready(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	heat := s.b.Rules.Scenarios["heat"]
	waits := heat
	heat.AfterSeconds = 0
	s.b.Rules.Scenarios["heat"] = heat
	s.event(rules.Raised, "heat", "s1", 0, 1)
	s.b.Rules.Scenarios["heat"] = waits
	s.sweep(4, 2)
	s.want("one case, once", "Dispatched Medium 1 1 burns 0")
	if n := number(t, s.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'AlarmMerged'"); n != 0 {
		t.Errorf("it joined itself %d times", n)
	}
}

// TestClearedWhileASweeperOpensTheCase: the worker waits for it, and the case is cleared.
func TestClearedWhileASweeperOpensTheCase(t *testing.T) {
	t.Parallel()
	s := newWaitingStage(t)
	s.event(rules.Raised, "heat", "s1", 0, 0)
	at := s.at.Add(4 * time.Minute)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	rows, err := tx.Query(t.Context(), "DELETE FROM grid.alarms_waiting RETURNING "+waitedColumns)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[waited])
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t.Context(), tx, s.b, w.event(), &w, at); err != nil {
		t.Fatal(err)
	}
	settled := make(chan error, 1)
	e := w.event()
	e.Kind, e.At = rules.Cleared, at
	go func() {
		settled <- pgx.BeginFunc(context.Background(), s.pool, func(tx pgx.Tx) error { return settle(context.Background(), tx, s.b, e, at) })
	}()
	eventually(t, "the worker waits for the sweeper", func() bool {
		return number(t, s.pool, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')") > 0
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	s.want("cleared", "Dispatched Medium 1 1 cleared 0")
}
