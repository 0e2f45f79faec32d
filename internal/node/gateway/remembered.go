package gateway

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// maxRemembered is how many entries a memory holds, in two halves of that size at most.
	maxRemembered = 1024
	// maxRememberedKey is the longest request, in bytes, that a decision is remembered for.
	maxRememberedKey = 4096
)

// memory keeps what was found lately, a bounded number of entries: once the newer half is full, it takes the place of the older.
type memory[K comparable, V any] struct {
	mu         sync.Mutex
	newer, old map[K]V
}

func (m *memory[K, V]) get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.newer[k]
	if !ok {
		if v, ok = m.old[k]; ok {
			m.hold(k, v)
		}
	}
	return v, ok
}

func (m *memory[K, V]) put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold(k, v)
}

// hold needs the lock.
func (m *memory[K, V]) hold(k K, v V) {
	if m.newer == nil || len(m.newer) >= maxRemembered/2 {
		m.newer, m.old = make(map[K]V, 16), m.newer
	}
	m.newer[k] = v
}

// decided is an answer of the policy and how long it is the same: from its first second to the one before until. 0 stands for no bound.
type decided struct {
	decision    contract.Decision
	grant       contract.Grant
	from, until int64
}

// holds says whether the answer is that of another moment too.
func (d decided) holds(now int64) bool {
	return (d.from == 0 || now >= d.from) && (d.until == 0 || now < d.until)
}

// rememberedKey gives what a decision is remembered by: the whole input but its time. Of a case and of an emergency nothing is
// remembered: the grace of a case runs on the same clock, and an emergency is too rare and too grave. Nor of a time at which 0, which
// stands for "no bound" in an agreement, would be one.
func rememberedKey(in contract.DecisionInput) (key string, ok bool) {
	if in.Case != nil || in.BreakGlass != nil || in.Now <= 0 {
		return "", false
	}
	in.Now = 0
	raw, err := json.Marshal(in)
	return string(raw), err == nil && len(raw) <= maxRememberedKey
}

// bounded narrows the time in which an answer holds by the bounds of an agreement, the only moments at which the policy, under one
// bundle and for one input, changes its mind: it asks now >= notBefore and now < notAfter, and nothing else of the time.
func (d *decided) bounded(g contract.Grant, now int64) {
	for _, bound := range []int64{g.NotBefore, g.NotAfter} {
		switch {
		case bound == 0:
		case bound <= now:
			d.from = max(d.from, bound)
		case d.until == 0 || bound < d.until:
			d.until = bound
		}
	}
}

// verified is what signatures proved at from, and prove until certificate or token ends. Refusals are not remembered.
type verified[V any] struct {
	value       V
	from, until time.Time
}

func (v verified[V]) holds(now time.Time) bool { return !now.Before(v.from) && now.Before(v.until) }

// shown names what was verified against which CAs, by its digest.
type shown struct {
	digest [sha256.Size]byte
	roots  *x509.CertPool
}
