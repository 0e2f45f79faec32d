package grid

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// kept is a command of the test's own account: what it is, and when the last came of it.
type kept struct {
	id, cause uuid.UUID
	state     command.State
	class     string
	over      time.Time
}

// TestCommandsAreKeptForTheirTime: a brute-force oracle says which commands may be gone; exactly those are, with their history.
func TestCommandsAreKeptForTheirTime(t *testing.T) {
	grid, owner := database(t)
	pool := poolOf(t, grid)
	now := time.Now().UTC().Truncate(time.Microsecond)
	keep := contract.Retention{CommandSeconds: 1000, CommandClasses: map[string]int64{"C3": 10, "C1": 5000}}
	seconds := map[string]time.Duration{"": 1000, "C0": 1000, "C1": 5000, "C2": 1000, "C3": 10}
	var all []kept
	put := func(k kept, expires, acknowledged, finished *time.Time) {
		k.id = uuid.New()
		var cause *uuid.UUID
		if k.cause != (uuid.UUID{}) {
			cause = &k.cause
		}
		exec1(t, owner, `INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, cause, data_class, state, created_at, expires_at, next_send_at, acknowledged_at, finished_at)
			VALUES ($1, 'f', $1::uuid::text, 'c', 'x', '{}', 'Operator', $2, $3, $4, $5, $5, $5, $6, $7)`, k.id, cause, k.class, k.state, expires, acknowledged, finished)
		exec1(t, owner, `INSERT INTO grid.command_history (command_id, n, at, action, from_state, to_state, actor) VALUES ($1, 1, $2, 'Give', '', 'Pending', 'Person'), ($1, 2, $2, 'Send', '', 'Pending', 'System')`, k.id, expires)
		all = append(all, k)
	}
	long := now.Add(-1e6 * time.Second)
	for class, s := range seconds {
		for _, off := range []time.Duration{-time.Second, 0, time.Second} { // one second too old, just so old, not yet
			at := now.Add(-s*time.Second + off)
			put(kept{state: command.StateDone, class: class, over: at}, &long, &long, &at)
			put(kept{state: command.Expired, class: class, over: at}, &at, nil, &long)
			put(kept{state: command.StateReceived, class: class, over: at}, &at, &long, nil)
			put(kept{state: command.Expired, class: class, over: at}, &long, &at, &long) // a late ack
		}
		put(kept{state: command.Pending, class: class, over: long}, &long, nil, nil)
	}
	young := now.Add(-999 * time.Second)
	put(kept{state: command.Withdrawn, over: long}, &long, nil, &long)
	put(kept{state: command.StateDone, over: young, cause: all[len(all)-1].id}, &young, nil, &young) // its safe state is younger: it waits
	waits := all[len(all)-2].id
	put(kept{state: command.Withdrawn, over: long}, &long, nil, &long)
	put(kept{state: command.StateDone, over: long, cause: all[len(all)-1].id}, &long, nil, &long)

	stays := map[uuid.UUID]bool{}
	for _, k := range all {
		stays[k.id] = k.state == command.Pending || k.id == waits || now.Sub(k.over) < seconds[k.class]*time.Second
	}
	k := &keeper{pool: pool, metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: func() time.Time { return now }}
	if n, err := k.forget(t.Context(), contract.Retention{}); n != 0 || err != nil {
		t.Errorf("a bundle that does not say: %d deleted, %v", n, err)
	}
	var deleted int64
	for n := int64(-1); n != 0; deleted += n {
		var err error
		if n, err = k.forget(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range all {
		there := number(t, pool, "SELECT count(*) FROM grid.commands WHERE id = $1", k.id) == 1
		if there != stays[k.id] {
			t.Errorf("%s of class %q, over for %s: there is %v", k.state, k.class, now.Sub(k.over), there)
		}
		deleted -= map[bool]int64{false: 1}[stays[k.id]]
		if n := number(t, pool, "SELECT count(*) FROM grid.command_history WHERE command_id = $1", k.id); n != map[bool]int64{true: 2}[stays[k.id]] {
			t.Errorf("%s of class %q has %d entries of history", k.state, k.class, n)
		}
	}
	if deleted != 0 {
		t.Errorf("the count of what was deleted is off by %d", deleted)
	}
}

// TestWhatIsKeptLongIsNotWalkedOver: the plan for a class reads no command of another one, old as they may be.
func TestWhatIsKeptLongIsNotWalkedOver(t *testing.T) {
	grid, owner := database(t)
	exec1(t, owner, `INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, data_class, state, created_at, expires_at, next_send_at)
		SELECT gen_random_uuid(), 'f', n::text, 'c', 'x', '{}', 'Operator', CASE WHEN n <= 20 THEN 'C3' ELSE 'C1' END, 'Done', now(), now() - interval '1 year', now() FROM generate_series(1, 20000) n`)
	exec1(t, owner, "ANALYZE grid.commands")
	rows, err := poolOf(t, grid).Query(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) "+forgetClass, "C3", time.Now(), forgetAtOnce)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range plan {
		if strings.Contains(line, "Seq Scan on commands c") || strings.Contains(line, "Rows Removed by Filter") {
			t.Errorf("%s\n%s", line, strings.Join(plan, "\n"))
			return
		}
	}
}

// TestCommandsGoInBatchesAndOnce: however many replicas look, a transaction is bounded and each command goes once.
func TestCommandsGoInBatchesAndOnce(t *testing.T) {
	grid, owner := database(t)
	pool := poolOf(t, grid)
	const old, fresh = 3*forgetAtOnce + 7, 40
	exec1(t, owner, `INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, state, created_at, expires_at, next_send_at, finished_at)
		SELECT gen_random_uuid(), 'f', n::text, 'c', 'x', '{}', 'Operator', 'Done', t, t, t, t FROM (SELECT n, now() - CASE WHEN n <= $1 THEN interval '2 hours' ELSE interval '0' END AS t
		FROM generate_series(1, $2::int) n) x`, old, old+fresh)
	var mu sync.Mutex
	var sizes []int64
	var group sync.WaitGroup
	for range 3 {
		k := &keeper{pool: pool, metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: time.Now}
		group.Go(func() {
			for range 20 {
				n, err := k.forget(t.Context(), contract.Retention{CommandSeconds: 3600})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				sizes = append(sizes, n)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	sum := int64(0)
	for _, n := range sizes {
		sum += n
	}
	if slices.Max(sizes) != forgetAtOnce || sum != old {
		t.Errorf("batches %v: largest %d, together %d; want %d and %d", sizes, slices.Max(sizes), sum, forgetAtOnce, old)
	}
	if n := number(t, pool, "SELECT count(*) FROM grid.commands"); n != fresh {
		t.Errorf("%d are left, want %d", n, fresh)
	}
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	if _, err := held.Exec(t.Context(), "SELECT pg_advisory_lock($1)", keeperLock); err != nil {
		t.Fatal(err)
	}
	k := &keeper{pool: pool, metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: func() time.Time { return time.Now().Add(24 * time.Hour) }}
	if n, err := k.forget(t.Context(), contract.Retention{CommandSeconds: 1}); n != 0 || err != nil {
		t.Errorf("while another replica deletes: %d, %v", n, err)
	}
}

// TestHistoryGoesWithItsCommandAlone: neither the service nor the owner of the tables takes a line out of a history, and a command in work
// is deleted by nobody.
func TestHistoryGoesWithItsCommandAlone(t *testing.T) {
	grid, owner := database(t)
	for n, state := range []string{"Pending", "Done"} {
		exec1(t, owner, `INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, state, created_at, expires_at, next_send_at)
			VALUES ($1, 'f', 'd', 'c', 'x', '{}', 'Operator', $2, now(), now(), now())`, uuid.UUID{15: byte(n)}, state)
		exec1(t, owner, `INSERT INTO grid.command_history (command_id, n, at, action, from_state, to_state, actor) VALUES ($1, 1, now(), 'Give', '', 'Pending', 'Person')`, uuid.UUID{15: byte(n)})
	}
	for _, statement := range []string{"DELETE FROM grid.command_history", "UPDATE grid.command_history SET action = ''", "TRUNCATE grid.command_history", "TRUNCATE grid.commands CASCADE",
		"DELETE FROM grid.commands WHERE state = 'Pending'"} {
		for _, as := range []contract.DatabaseConfig{grid, owner} {
			if try(t, as, statement) == nil {
				t.Errorf("%s may: %s", as.User, statement)
			}
		}
	}
	exec1(t, grid, "DELETE FROM grid.commands WHERE state = 'Done'")
	if n := number(t, poolOf(t, grid), "SELECT count(*) FROM grid.command_history"); n != 1 {
		t.Errorf("%d entries are left, want that of the command in work", n)
	}
}

func TestPaceOfCommands(t *testing.T) {
	o := newOrders(t, func(*intake.Bundle) {})
	boss, other := o.boss(), o.as("committee", "p-8", RoleDispatcher)
	first, key := CommandDetail{}, uuid.NewString()
	post := func(token, key string, out any) (status int, retry string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.world.api.URL+"/v1/devices/pumps.p1/commands", strings.NewReader(`{"command":"mark"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {"Bearer " + token}, "Idempotency-Key": {key}, "Content-Type": {"application/json"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if out != nil {
			if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	if got, _ := post(boss, key, &first); got != 201 {
		t.Fatal(got)
	}
	o.advance(20 * time.Second)
	desired := func(token string, on bool) int {
		return o.call("PUT", "/v1/devices/pumps.p2/desired/lamp", token, map[string]any{"arguments": map[string]any{"on": on}}, nil)
	}
	for n := range personsCommands - 1 {
		got := 0
		if n%2 == 0 {
			_, got = o.give(boss, "pumps.p1", "mark", nil)
		} else if got = desired(boss, n%4 == 1); got == 200 {
			got = 201
		}
		if got != 201 {
			t.Fatalf("command %d of a minute: %d", n+2, got)
		}
	}
	o.advance(10 * time.Second)
	problem := struct{ Type string }{}
	got, retry := post(boss, uuid.NewString(), &problem)
	if got != 429 || retry != "30" || problem.Type != "urn:dizuo:reason:TooManyCommands" {
		t.Errorf("too many: %d, Retry-After %q, %s", got, retry, problem.Type)
	}
	if got := desired(boss, true); got != 429 {
		t.Errorf("too many, as a desired state: %d", got)
	}
	again := CommandDetail{}
	if got, _ := post(boss, key, &again); got != 201 || again.ID != first.ID {
		t.Errorf("the first once more: %d", got)
	}
	if got, _ := post(other, uuid.NewString(), nil); got != 201 {
		t.Errorf("a colleague: %d", got)
	}
	if got := o.call("POST", "/v1/commands/"+o.given(other, "pumps.p3", "run", minutes(1)).ID.String()+"/withdraw", boss, nil, nil); got != 200 {
		t.Errorf("withdraw: %d", got)
	}
	o.advance(30*time.Second - time.Millisecond)
	if got, retry := post(boss, uuid.NewString(), nil); got != 429 || retry != "1" {
		t.Errorf("just before the minute is over: %d, Retry-After %q", got, retry)
	}
	o.advance(time.Millisecond)
	if got, _ := post(boss, uuid.NewString(), nil); got != 201 {
		t.Errorf("after the minute: %d", got)
	}

	// All of an organisation together; what alarms gave, and other organisations, do not count.
	o.advance(2 * time.Minute)
	boss = o.boss()
	fill := func(organization string, n int) {
		t.Helper()
		if _, err := o.pool.Exec(t.Context(), `INSERT INTO grid.commands (id, fleet, device, community, command, arguments, sender, organization, person, state, created_at, expires_at, next_send_at)
			SELECT gen_random_uuid(), 'f', 'd', 'c', 'x', '{}', 'Operator', $1, 'q-' || n, 'Done', $2, $2, $2 FROM generate_series(1, $3::int) n`, organization, o.now().UTC(), n); err != nil {
			t.Fatal(err)
		}
	}
	fill("", organizationsCommands)
	fill("vendor", organizationsCommands)
	fill("committee", organizationsCommands-1)
	if got, _ := post(boss, uuid.NewString(), nil); got != 201 {
		t.Errorf("the last of an organisation: %d", got)
	}
	if got, retry := post(boss, uuid.NewString(), nil); got != 429 || retry != "60" {
		t.Errorf("one more: %d, Retry-After %q", got, retry)
	}
}

// TestPaceHoldsAtOnce: who asks many times at once gets no more than who asks one after the other.
func TestPaceHoldsAtOnce(t *testing.T) {
	o := newOrders(t, func(*intake.Bundle) {})
	boss := o.boss()
	var group sync.WaitGroup
	var mu sync.Mutex
	counts := map[int]int{}
	for n := range personsCommands + 20 {
		group.Go(func() {
			_, got := o.give(boss, fmt.Sprintf("pumps.p%d", n%5), "mark", nil)
			mu.Lock()
			counts[got]++
			mu.Unlock()
		})
	}
	group.Wait()
	if counts[201] != personsCommands || counts[429] != 20 {
		t.Errorf("answers %v, want %d of 201 and 20 of 429", counts, personsCommands)
	}
}
