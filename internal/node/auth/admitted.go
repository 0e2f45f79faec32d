package auth

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// kicksAtOnce bounds the connections that are cut at the same time.
const kicksAtOnce = 32

// admitted remembers which connection of which broker this replica let in for each client id: whom a revocation names is cut at once, and
// the look at all connections only proves it. It knows nothing of what another replica, or a process before, let in.
type admitted struct {
	mu sync.Mutex
	// era grows with every registry.
	era uint32
	// servers are the ids of brokers, each kept once.
	servers []string
	at      map[string]place
}

// place is a connection: the broker's number in servers, the connection's there, and the era that it was let in.
type place struct {
	server, era uint32
	cid         uint64
}

// begin begins an era: what is let in from now on rests on a newer registry.
func (a *admitted) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.era++
}

// add notes a connection. A client id has one at most: the broker cuts the one before.
func (a *admitted) add(clientID, server string, cid uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[string]place{}
	}
	a.at[clientID] = place{a.number(server), a.era, cid}
}

// number gives the number of a broker. There are few: each start of one has an id. The caller holds the lock.
func (a *admitted) number(server string) uint32 {
	for n := len(a.servers) - 1; n >= 0; n-- {
		if a.servers[n] == server {
			return uint32(n) //nolint:gosec // the number of starts of brokers
		}
	}
	a.servers = append(a.servers, server)
	return uint32(len(a.servers) - 1) //nolint:gosec // likewise
}

// take gives, and forgets, the connection of a client id that was let in before this era.
func (a *admitted) take(clientID string) (server string, cid uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.at[clientID]
	if !ok || p.era == a.era {
		return "", 0, false
	}
	delete(a.at, clientID)
	return a.servers[p.server], p.cid, true
}

// cutKnown cuts the connections of these client ids that are known. What fails here is found by the look that follows.
func (s sweeper) cutKnown(ctx context.Context, gone []string) {
	if s.admitted == nil {
		return
	}
	var g errgroup.Group
	g.SetLimit(kicksAtOnce)
	for _, id := range gone {
		if server, cid, ok := s.admitted.take(id); ok {
			g.Go(func() error { return s.kick(ctx, server, cid) })
		}
	}
	_ = g.Wait()
}
