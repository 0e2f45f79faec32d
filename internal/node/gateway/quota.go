package gateway

import (
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// quotaStep is the grain in which use is counted: the beginning of a day falls on a quarter of an hour in every time zone,
// so the platform's zone may be learned later than the use.
const quotaStep = 15 * time.Minute

// quotaMemory is how far back use matters: a day, and the hour that a change of summer time may add.
const quotaMemory = 25 * time.Hour

// quota counts what was read under each agreement. It is filled from the decision log at start, so a restart gives nobody
// a second day's worth. Each gateway counts here what it gave itself; sharedQuota holds for all gateways of a platform together.
type quota struct {
	mu   sync.Mutex
	used map[string]map[int64]use

	// The rest is for replaying: the last line that is counted, of which chain, and the requests that have begun and not ended.
	instance string
	through  int64
	open     map[string]bool
}

type use struct{ requests, records int64 }

func newQuota() *quota { return &quota{used: map[string]map[int64]use{}, open: map[string]bool{}} }

// replay counts a line of the decision log, once. A request is decided again for each revision that it lives through, and counts once.
func (q *quota) replay(l chain.Line) {
	if l.Instance == q.instance && l.Sequence <= q.through {
		return
	}
	q.instance, q.through = l.Instance, l.Sequence
	switch {
	case l.Kind == contract.LogEnd:
		delete(q.open, l.Request)
	case l.UID == "" || l.Said == nil:
	case l.Kind == contract.LogDecision && l.Said.Decision != nil && l.Said.Decision.Allow && !q.open[l.Request]:
		q.open[l.Request] = true
		q.add(l.UID, l.At, use{requests: 1})
	case l.Kind == contract.LogRelease:
		q.add(l.UID, l.At, use{records: l.Said.Rows})
	}
}

// take reserves want.requests and up to want.records since the beginning of the day. It gives the number of records that may
// be read; ok is false if the quota is used up. A request that goes on asks for none.
func (q *quota) take(uid string, g contract.Grant, dayStart, now time.Time, want use) (records int64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	used := q.since(uid, dayStart)
	if g.RequestsPerDay > 0 && want.requests > 0 && used.requests+want.requests > g.RequestsPerDay {
		return 0, false
	}
	if g.RecordsPerDay > 0 {
		if want.records = min(want.records, g.RecordsPerDay-used.records); want.records <= 0 {
			return 0, false
		}
	}
	q.put(uid, now, want)
	return want.records, true
}

func (q *quota) add(uid string, at time.Time, u use) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(uid, at, u)
}

// put needs the lock.
func (q *quota) put(uid string, at time.Time, u use) {
	steps := q.used[uid]
	if steps == nil {
		steps = map[int64]use{}
		q.used[uid] = steps
	}
	step := at.Truncate(quotaStep).Unix()
	sum := steps[step]
	steps[step] = use{sum.requests + u.requests, sum.records + u.records}
	for old := range steps {
		if old < at.Add(-quotaMemory-quotaStep).Unix() {
			delete(steps, old)
		}
	}
}

// since needs the lock.
func (q *quota) since(uid string, from time.Time) use {
	var sum use
	for step, u := range q.used[uid] {
		if step >= from.Unix() {
			sum.requests += u.requests
			sum.records += u.records
		}
	}
	return sum
}
