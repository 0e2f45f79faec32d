package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
)

// portionOf is the part of what is left of a quota that a gateway reserves at once: a tenth. So a read costs a round trip now and then, and
// what other gateways hold unused is the smaller the less is left.
const portionOf = 10

// portionIdle is how long a portion may lie unused before it goes back to the table, where other gateways find it.
const portionIdle = 30 * time.Second

// portionAgain is how long a gateway that got nothing from the table does not ask again.
const portionAgain = time.Second

// portionTimeout bounds one round trip to the table.
const portionTimeout = 2 * time.Second

var (
	errQuotaUsedUp      = errors.New("the agreement's quota for today is used up")
	errQuotaUnavailable = errors.New("what all gateways took of the agreement's quota is not known, and nothing that is reserved is left")
)

// sharedQuota keeps the quota of an agreement over all gateways of a platform. Table audit.use has by agreement and day what gateways
// reserved; each gives out of its own portion. What a gateway reserved and lost, by a crash, is given to nobody: there is less than the
// quota, never more. Its nil value bounds nothing, where one gateway without the table counts for itself.
type sharedQuota struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	mu       sync.Mutex
	portions map[portionKey]*portion
}

type portionKey struct {
	uid string
	// day is its beginning, in Unix seconds.
	day int64
}

// portion is what one gateway reserved of one agreement on one day and did not give out yet.
type portion struct {
	mu   sync.Mutex
	left use
	// of is the quota that it was reserved under: a lower one since gives it back.
	of use
	// usedAt is when it was last taken from; the table is not asked before notBefore, and refused says why.
	usedAt, notBefore time.Time
	refused           error
}

func newSharedQuota(pool *pgxpool.Pool, log *slog.Logger) *sharedQuota {
	return &sharedQuota{pool: pool, log: log, portions: map[portionKey]*portion{}}
}

// take takes want.requests and up to want.records of an agreement's day. It gives how many records may be read, or errQuotaUsedUp or
// errQuotaUnavailable. The table is asked only where the portion at hand does not do; where the table is away the portion still counts.
func (q *sharedQuota) take(ctx context.Context, g contract.Grant, day, now time.Time, want use) (int64, error) {
	if q == nil || g.RequestsPerDay == 0 && g.RecordsPerDay == 0 {
		return want.records, nil
	}
	key, of := portionKey{g.UID, day.Unix()}, use{g.RequestsPerDay, g.RecordsPerDay}
	p := q.portion(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usedAt = now
	if of != p.of {
		if !q.back(ctx, key, p) {
			return 0, errQuotaUnavailable
		}
		p.of, p.notBefore = of, time.Time{}
	}
	if !p.covers(want) && !now.Before(p.notBefore) {
		p.refused = q.reserve(ctx, key, p, want)
		if !p.covers(want) {
			p.notBefore = now.Add(portionAgain)
		}
	}
	if of.requests > 0 && p.left.requests < want.requests || of.records > 0 && p.left.records < 1 {
		if p.refused != nil {
			return 0, p.refused
		}
		return 0, errQuotaUsedUp
	}
	if of.requests > 0 {
		p.left.requests -= want.requests
	}
	if of.records > 0 {
		want.records = min(want.records, p.left.records)
		p.left.records -= want.records
	}
	return want.records, nil
}

// covers says whether nothing needs to be reserved.
func (p *portion) covers(want use) bool {
	return (p.of.requests == 0 || p.left.requests >= want.requests) && (p.of.records == 0 || p.left.records >= want.records)
}

// giveBack returns what was taken and not used to the portion of that day.
func (q *sharedQuota) giveBack(g contract.Grant, day time.Time, u use) {
	if q == nil || u == (use{}) || g.RequestsPerDay == 0 && g.RecordsPerDay == 0 {
		return
	}
	p := q.portion(portionKey{g.UID, day.Unix()})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of.requests > 0 {
		p.left.requests += u.requests
	}
	if p.of.records > 0 {
		p.left.records += u.records
	}
}

func (q *sharedQuota) portion(key portionKey) *portion {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.portions[key]
	if p == nil {
		p = &portion{}
		q.portions[key] = p
	}
	return p
}

// reserve adds to a portion what is wanted beyond it, or a tenth of what is left in the table if that is more. It needs the portion's lock.
func (q *sharedQuota) reserve(ctx context.Context, key portionKey, p *portion, want use) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), portionTimeout) // a client that goes loses no portion
	defer cancel()
	var got use
	err := q.write(ctx, func(tx pgx.Tx) error {
		day := time.Unix(key.day, 0).UTC()
		if _, err := tx.Exec(ctx, `INSERT INTO audit.use (uid, step, requests, records) VALUES ($1, $2, 0, 0) ON CONFLICT (uid, step) DO NOTHING`, key.uid, day); err != nil {
			return err
		}
		var reserved use
		if err := tx.QueryRow(ctx, `SELECT requests, records FROM audit.use WHERE uid = $1 AND step = $2 FOR UPDATE`, key.uid, day).Scan(&reserved.requests, &reserved.records); err != nil {
			return err
		}
		got = use{more(p.of.requests, reserved.requests, want.requests-p.left.requests), more(p.of.records, reserved.records, want.records-p.left.records)}
		_, err := tx.Exec(ctx, `UPDATE audit.use SET requests = requests + $3, records = records + $4 WHERE uid = $1 AND step = $2`, key.uid, day, got.requests, got.records)
		return err
	})
	if err != nil {
		q.log.Error("reserve of a quota: only what is reserved already is given out", "agreement", key.uid, "err", err)
		return errQuotaUnavailable
	}
	p.left.requests += got.requests
	p.left.records += got.records
	return nil
}

// more gives how much to reserve of a quota of which that much is reserved: what is needed, and a portion while much is left.
func more(quota, reserved, need int64) int64 {
	if quota == 0 || need <= 0 {
		return 0
	}
	left := max(0, quota-reserved)
	return min(left, max(need, left/portionOf))
}

// settle gives back what lay idle until now, and forgets days that are over.
func (q *sharedQuota) settle(ctx context.Context, now time.Time) {
	if q == nil {
		return
	}
	q.mu.Lock()
	portions := make(map[portionKey]*portion, len(q.portions))
	for key, p := range q.portions {
		portions[key] = p
	}
	q.mu.Unlock()
	for key, p := range portions {
		p.mu.Lock()
		idle := now.Sub(p.usedAt) >= portionIdle
		away := idle && !q.back(ctx, key, p)
		p.mu.Unlock()
		switch {
		case away:
			return // the others wait for the next time
		case idle && now.Unix()-key.day > int64(2*quotaMemory/time.Second):
			q.mu.Lock()
			delete(q.portions, key)
			q.mu.Unlock()
		}
	}
}

// back returns the whole portion to the table, and says whether it did. Where it is not known whether a commit went through, the portion
// is gone here all the same: what may be in the table again is not given out twice. It needs the portion's lock.
func (q *sharedQuota) back(ctx context.Context, key portionKey, p *portion) bool {
	if p.left == (use{}) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), portionTimeout)
	defer cancel()
	var commits bool
	err := q.write(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE audit.use SET requests = greatest(0, requests - $3), records = greatest(0, records - $4) WHERE uid = $1 AND step = $2`,
			key.uid, time.Unix(key.day, 0).UTC(), p.left.requests, p.left.records)
		commits = err == nil
		return err
	})
	if commits {
		p.left = use{}
	}
	if err != nil {
		q.log.Error("return of a quota", "agreement", key.uid, "lost", commits, "err", err)
	}
	return err == nil
}

// write runs in a transaction that may write.
func (q *sharedQuota) write(ctx context.Context, do func(pgx.Tx) error) error {
	return withoutValues(pgx.BeginTxFunc(ctx, q.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, do))
}

// run settles until ctx ends, and then gives back everything: who starts next finds it.
func (q *sharedQuota) run(ctx context.Context, now func() time.Time) error {
	if q == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(portionIdle / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			q.settle(ctx, now())
		}
	}
}

// close gives back all portions: after the last request.
func (q *sharedQuota) close(now time.Time) {
	q.settle(context.Background(), now.Add(portionIdle))
}

// takeQuota takes a request, or the going on of one, from the quota of the agreement: of what this gateway counts in its log, and of what
// all gateways share. It gives how many of want.records may be read, or errQuotaUsedUp or errQuotaUnavailable.
func (s *server) takeQuota(ctx context.Context, r *reading, want use) (records int64, err error) {
	day := r.policy.dayStart(r.at)
	records, ok := s.quota.take(r.grant.UID, r.grant, day, r.at, want)
	if !ok {
		return 0, errQuotaUsedUp
	}
	given, err := s.shared.take(ctx, r.grant, day, r.at, use{want.requests, records})
	if err != nil {
		s.quota.add(r.grant.UID, r.at, use{-want.requests, -records})
		return 0, err
	}
	s.quota.add(r.grant.UID, r.at, use{records: given - records})
	return given, nil
}

// returnQuota gives back what was taken and not used.
func (s *server) returnQuota(r *reading, u use) {
	s.quota.add(r.grant.UID, r.at, use{-u.requests, -u.records})
	s.shared.giveBack(r.grant, r.policy.dayStart(r.at), u)
}

// quotaProblem is the answer where takeQuota gave an error.
func quotaProblem(err error) *Problem {
	if errors.Is(err, errQuotaUnavailable) {
		return problem(http.StatusServiceUnavailable, reasonQuotaUnavailable, err.Error())
	}
	return problem(http.StatusTooManyRequests, reasonQuotaExceeded, err.Error())
}
