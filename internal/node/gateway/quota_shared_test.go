package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// twoGateways gives what two gateways of one platform share: a pool each, and one table.
func twoGateways(t *testing.T) [2]*sharedQuota {
	t.Helper()
	w := withEmergencies(t)
	var out [2]*sharedQuota
	for i := range out {
		pool, err := openAudit(t.Context(), *w.audit)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		out[i] = newSharedQuota(pool, silent())
	}
	return out
}

func quotaGrant(requests, records int64) contract.Grant {
	return contract.Grant{UID: fmt.Sprintf("uid-quota-%d", time.Now().UnixNano()), RequestsPerDay: requests, RecordsPerDay: records}
}

// reservedOf gives what the table has of an agreement's day.
func reservedOf(t *testing.T, q *sharedQuota, g contract.Grant, day time.Time) (u use) {
	t.Helper()
	if err := q.pool.QueryRow(t.Context(), `SELECT requests, records FROM audit.use WHERE uid = $1 AND step = $2`, g.UID, day).Scan(&u.requests, &u.records); err != nil {
		t.Fatal(err)
	}
	return u
}

// Two gateways that race for one quota never give more than it together, and most of it; what one of them took and did not use, and what it
// holds when it ends, others can have.
func TestQuotaHoldsOverGateways(t *testing.T) {
	gateways, g := twoGateways(t), quotaGrant(400, 3000)
	day := time.Now().UTC().Truncate(24 * time.Hour)
	var requests, records atomic.Int64
	var race sync.WaitGroup
	for i := range 8 {
		q := gateways[i%2]
		race.Go(func() {
			for n := range 100 {
				given, err := q.take(context.Background(), g, day, day.Add(time.Hour+time.Duration(n)*2*time.Second), use{1, 10})
				if errors.Is(err, errQuotaUsedUp) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				back := min(given, int64(n%3))
				q.giveBack(g, day, use{records: back})
				requests.Add(1)
				records.Add(given - back)
			}
		})
	}
	race.Wait()
	if n := requests.Load(); n > 400 || n < 300 {
		t.Errorf("%d requests were given of a quota of 400", n)
	}
	if n := records.Load(); n > 3000 || n < 2500 {
		t.Errorf("%d records were given of a quota of 3000", n)
	}
	for _, q := range gateways {
		q.close(day.Add(2 * time.Hour))
	}
	if got, want := reservedOf(t, gateways[0], g, day), (use{requests.Load(), records.Load()}); got != want {
		t.Errorf("the table has %+v at the end, want what was given: %+v", got, want)
	}
}

// A gateway that is killed and comes again knows nothing of its portion: it is lost, and the sum stays within the quota.
func TestQuotaOfAKilledGateway(t *testing.T) {
	gateways, g := twoGateways(t), quotaGrant(100, 0)
	day := time.Now().UTC().Truncate(24 * time.Hour)
	var given int
	for i := range 300 {
		q := gateways[i%2]
		if i%50 == 49 {
			gateways[i%2] = newSharedQuota(q.pool, silent()) // without close
		}
		if _, err := q.take(t.Context(), g, day, day.Add(time.Duration(i)*2*time.Second), use{1, 10}); err == nil {
			given++
		}
	}
	if given > 100 || given < 60 {
		t.Errorf("%d requests were given of a quota of 100", given)
	}
}

// While the table is away a gateway gives out what it reserved, and refuses the rest as what it is; a read costs no round trip until then.
func TestQuotaWithoutTable(t *testing.T) {
	gateways, g := twoGateways(t), quotaGrant(100, 0)
	q, day := gateways[0], time.Now().UTC().Truncate(24*time.Hour)
	take := func(at int) error {
		_, err := q.take(t.Context(), g, day, day.Add(time.Duration(at)*time.Minute), use{1, 10})
		return err
	}
	if err := take(0); err != nil {
		t.Fatal(err)
	}
	q.pool.Close()
	for i := range 9 { // a tenth of 100 was reserved
		if err := take(1); err != nil {
			t.Fatalf("read %d of what is reserved: %v", i, err)
		}
	}
	for range 2 { // the second without asking again
		if err := take(1); !errors.Is(err, errQuotaUnavailable) {
			t.Errorf("%v, want %v", err, errQuotaUnavailable)
		}
	}
	if reason := quotaProblem(errQuotaUnavailable); reason.Status != 503 || reason.Reasons[0] != reasonQuotaUnavailable {
		t.Errorf("%+v", reason)
	}
}

// What a gateway holds unused goes back for others, and a quota that was lowered since is the one that counts.
func TestQuotaPortionsGoBack(t *testing.T) {
	gateways, g := twoGateways(t), quotaGrant(20, 0)
	day := time.Now().UTC().Truncate(24 * time.Hour)
	take := func(q *sharedQuota, g contract.Grant, at int) error {
		_, err := q.take(t.Context(), g, day, day.Add(time.Duration(at)*time.Second), use{1, 0})
		return err
	}
	if err := take(gateways[0], g, 0); err != nil {
		t.Fatal(err)
	}
	if got := reservedOf(t, gateways[0], g, day); got != (use{requests: 2}) {
		t.Fatalf("reserved %+v", got)
	}
	gateways[0].settle(t.Context(), day.Add(portionIdle-time.Second))
	if got := reservedOf(t, gateways[0], g, day); got != (use{requests: 2}) {
		t.Errorf("reserved %+v, and it was not idle long", got)
	}
	gateways[0].settle(t.Context(), day.Add(portionIdle))
	if got := reservedOf(t, gateways[0], g, day); got != (use{requests: 1}) {
		t.Errorf("reserved %+v after it lay idle", got)
	}
	if err := take(gateways[0], g, 60); err != nil { // holds one again
		t.Fatal(err)
	}
	g.RequestsPerDay = 2
	if err := take(gateways[0], g, 61); !errors.Is(err, errQuotaUsedUp) {
		t.Errorf("%v under the lower quota, want %v", err, errQuotaUsedUp)
	}
	if err := take(gateways[1], quotaGrant(0, 0), 62); err != nil {
		t.Errorf("without a quota: %v", err)
	}
}

// Two whole gateways of one platform, each with a decision log of its own, charge one agreement no more than its quota, and a reader is told
// that it is used up.
func TestTwoGatewaysChargeOneQuota(t *testing.T) {
	w := withEmergencies(t)
	config := w.config
	config.LogDir = t.TempDir()
	second, err := newServer(t.Context(), config, "gateway-1", prometheus.NewRegistry(), silent())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.close)
	b := sealed(t, w.bundle)
	if err := second.apply(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	g := quotaGrant(60, 0)
	var allowed, refusals atomic.Int64
	var race sync.WaitGroup
	for i := range 6 {
		s := []*server{w.server, second}[i%2]
		race.Go(func() {
			for range 30 {
				r := &reading{limit: 7, grant: g, id: "r", caller: caller{policy: s.policy.Load().policy, at: time.Now()}, decision: contract.Decision{Allow: true}}
				switch s.charge(context.Background(), r); {
				case r.decision.Allow:
					allowed.Add(1)
				case r.decision.Reasons[0] == reasonQuotaExceeded:
					refusals.Add(1)
				default:
					t.Errorf("refused for %v", r.decision.Reasons)
				}
			}
		})
	}
	race.Wait()
	if n := allowed.Load(); n > 60 || n < 45 || n+refusals.Load() != 180 {
		t.Errorf("%d requests were charged of a quota of 60, %d refused", n, refusals.Load())
	}
}
