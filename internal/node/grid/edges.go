package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/edge/wire"
	"github.com/dizuo/dizuo/internal/node/reading"
)

const (
	// maxEdgeRequests bounds the requests of edge nodes that wait, and so their memory: some 20 MiB. maxOfOneEdge bounds those of one node, which
	// waits for each answer: nobody takes the room of the others.
	maxEdgeRequests, maxOfOneEdge = 64, 2
	// maxEdgeWork bounds the messages from edge nodes in one transaction.
	maxEdgeWork = 8 * contract.MaxEdgeBatch
	// maxFormer bounds the outboxes that a node may lose.
	maxFormer = 64
	// edgeWait is fetchWait while edge nodes bring something: they wait for each answer.
	edgeWait = 30 * time.Millisecond
	// edgeBusy is how long that lasts after the last request.
	edgeBusy = 2 * time.Second
)

// edgePosition is how far the outbox of one edge node is worked off. A row of grid.edge_position.
type edgePosition struct {
	incarnation string
	former      []string
	sequence    uint64
	drainedTo   time.Time
	lost        uint64
}

// edges is what a session knows of the edge nodes. Requests come in by hear; everything else belongs to the session alone.
type edges struct {
	subs     []*nats.Subscription
	requests chan *nats.Msg
	mu       sync.Mutex
	// waiting counts the requests that wait, by subject, which names the node.
	waiting map[string]int

	positions map[string]edgePosition
	last      time.Time
}

// loadEdges reads the positions and begins to listen. Only the replica that holds the lock answers edge nodes.
func (s *session) loadEdges(ctx context.Context) error {
	s.edges = &edges{requests: make(chan *nats.Msg, maxEdgeRequests), waiting: map[string]int{}, positions: map[string]edgePosition{}}
	rows, err := s.conn.Query(ctx, "SELECT edge, incarnation, former, sequence, drained_to, lost FROM grid.edge_position")
	if err != nil {
		return fmt.Errorf("edge positions: %w", err)
	}
	var name string
	var p edgePosition
	var sequence, lost int64
	var drained *time.Time
	_, err = pgx.ForEachRow(rows, []any{&name, &p.incarnation, &p.former, &sequence, &drained, &lost}, func() error {
		one := edgePosition{incarnation: p.incarnation, former: slices.Clone(p.former), sequence: uint64(sequence), lost: uint64(lost)}
		if drained != nil {
			one.drainedTo = *drained
		}
		s.edges.positions[name] = one
		return nil
	})
	if err != nil {
		return fmt.Errorf("edge positions: %w", err)
	}
	for _, v := range []contract.EdgeVerb{contract.EdgeHello, contract.EdgeUp} {
		sub, err := s.w.nc.Subscribe(contract.EdgeSubject("*", v), s.edges.hear)
		if err != nil {
			return fmt.Errorf("edge nodes: %w", err)
		}
		s.edges.subs = append(s.edges.subs, sub)
	}
	return nil
}

// hear takes a request, or says at once that there is no room: the node tries again.
func (e *edges) hear(m *nats.Msg) {
	if e.wait(m) {
		select {
		case e.requests <- m:
			return
		default:
			e.done(m)
		}
	}
	answer(m, contract.EdgeBatchReply{Again: true, Error: "busy"})
}

// wait counts a request of a node, if it has not too many.
func (e *edges) wait(m *nats.Msg) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting[m.Subject] >= maxOfOneEdge {
		return false
	}
	e.waiting[m.Subject]++
	return true
}

func (e *edges) done(m *nats.Msg) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting[m.Subject]--; e.waiting[m.Subject] == 0 {
		delete(e.waiting, m.Subject)
	}
}

// end stops listening. Requests that wait go unanswered; their nodes ask whoever works next.
func (e *edges) end() {
	if e == nil {
		return
	}
	for _, sub := range e.subs {
		_ = sub.Unsubscribe()
	}
}

// drain takes the requests that wait, and notes when there were some.
func (e *edges) drain(now time.Time) (out []*nats.Msg) {
	for len(out) < maxEdgeWork/contract.MaxEdgeBatch {
		select {
		case m := <-e.requests:
			e.done(m)
			out, e.last = append(out, m), now
		default:
			return out
		}
	}
	return out
}

// patience says how long an empty ingest log is waited for.
func (e *edges) patience(now time.Time) time.Duration {
	if now.Sub(e.last) < edgeBusy {
		return edgeWait
	}
	return fetchWait
}

// reply is an answer that may go out once the transaction is committed.
type reply struct {
	to   *nats.Msg
	body any
}

func answer(m *nats.Msg, body any) {
	raw, err := json.Marshal(body)
	if err == nil {
		_ = m.Respond(raw) // what does not arrive is asked again
	}
}

// takeEdge runs one request of an edge node through the batch. Positions change in the batch alone until it is committed.
func (b *batch) takeEdge(m *nats.Msg) {
	name, verb, err := contract.ParseEdgeSubject(m.Subject)
	if err != nil {
		return
	}
	switch verb {
	case contract.EdgeHello:
		b.replies = append(b.replies, reply{m, b.hello(name, m)})
	case contract.EdgeUp:
		b.replies = append(b.replies, reply{m, b.up(name, m)})
	}
}

// hello begins a session of a node. An incarnation that is new takes the place of the one before, which may not come back.
func (b *batch) hello(name string, m *nats.Msg) contract.HelloReply {
	var h contract.Hello
	no := func(format string, args ...any) contract.HelloReply {
		return contract.HelloReply{Now: b.now, Error: fmt.Sprintf(format, args...)}
	}
	if err := wire.Decode(m, &h); err != nil {
		return no("hello: %v", err)
	}
	if _, ok := b.s.bundle.Edges[name]; !ok {
		return no("edge node %s is not known here", name)
	}
	p, known := b.edge(name)
	switch {
	case !contract.ValidDevice(h.Incarnation):
		return no("incarnation %.80q: want 1 to 64 letters, digits, _ or -", h.Incarnation)
	case h.Base > math.MaxInt64:
		return no("base %d is too large", h.Base)
	case known && h.Incarnation == p.incarnation:
		return contract.HelloReply{Mark: p.sequence, Now: b.now}
	case slices.Contains(p.former, h.Incarnation):
		return no("outbox %s was replaced by %s and may not come back: is another machine running as %s?", h.Incarnation, p.incarnation, name)
	case len(p.former) >= maxFormer:
		return no("edge node %s has lost its outbox %d times: make it anew under another name", name, maxFormer)
	}
	if known {
		p.former = append(slices.Clone(p.former), p.incarnation)
		b.s.w.log.Warn("edge node has a new outbox", "edge", name, "incarnation", h.Incarnation, "former", p.incarnation)
	}
	p.incarnation, p.sequence = h.Incarnation, h.Base
	b.edges[name] = p
	return contract.HelloReply{Mark: p.sequence, Now: b.now}
}

// up takes a batch: what is at or below the mark is ignored, a gap is stepped over where it is declared lost, and nothing behind
// another one is taken.
func (b *batch) up(name string, m *nats.Msg) contract.EdgeBatchReply {
	var in contract.EdgeBatch
	if err := wire.Decode(m, &in); err != nil {
		return contract.EdgeBatchReply{Again: true, Error: "batch: " + err.Error()}
	}
	edge, ok := b.s.bundle.Edges[name]
	if !ok {
		return contract.EdgeBatchReply{Again: true, Error: "edge node " + name + " is not known here"}
	}
	p, known := b.edge(name)
	if !known || p.incarnation != in.Incarnation {
		return contract.EdgeBatchReply{Mark: p.sequence, Again: true}
	}
	err := b.follow(name, edge, &p, in)
	if at := in.DrainedTo; err == nil {
		// A clock that is ahead must not make anybody believe what has not happened yet, nor that what waits in the outbox has come.
		if at.After(b.now) {
			at = b.now
			if in.Last > p.sequence {
				at = time.Time{}
			}
		}
		p.drainedTo = later(p.drainedTo, at)
	}
	b.edges[name] = p
	b.asks(name, in.Known)
	out := contract.EdgeBatchReply{Mark: p.sequence}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// follow moves a position along a batch.
func (b *batch) follow(name string, edge contract.Edge, p *edgePosition, in contract.EdgeBatch) error {
	if len(in.Messages) > contract.MaxEdgeBatch || len(in.Lost) > contract.MaxEdgeBatch+1 {
		return fmt.Errorf("batch has %d messages and %d lost ranges; at most %d messages are taken", len(in.Messages), len(in.Lost), contract.MaxEdgeBatch)
	}
	results := map[string]int{}
	defer func() {
		for result, n := range results {
			b.s.w.metrics.edgeMessages.WithLabelValues(name, result).Add(float64(n))
		}
		if n := results["violation"]; n > 0 {
			b.s.w.log.Warn("edge node spoke for devices that are not its own", "edge", name, "messages", n)
		}
	}()
	for _, m := range in.Messages {
		if m.Sequence <= p.sequence {
			results["repeated"]++
			continue
		}
		if m.Sequence > math.MaxInt64 { // before anything moves there: the database could not hold it
			return fmt.Errorf("message %d has too large a sequence", m.Sequence)
		}
		b.stepOver(name, p, in.Lost, m.Sequence-1)
		if m.Sequence != p.sequence+1 {
			return fmt.Errorf("message %d does not follow %d, and what is between is not declared lost", m.Sequence, p.sequence)
		}
		p.sequence = m.Sequence
		results[b.takeFrom(name, edge, p.incarnation, m)]++
	}
	b.stepOver(name, p, in.Lost, math.MaxInt64)
	return nil
}

// stepOver moves a position over what is declared lost, but not beyond a sequence, and counts it.
func (b *batch) stepOver(name string, p *edgePosition, lost []contract.LostRange, upTo uint64) {
	for _, l := range lost {
		if l.From > p.sequence+1 || l.To <= p.sequence {
			continue
		}
		to := min(l.To, upTo)
		if to <= p.sequence {
			continue
		}
		n := to - p.sequence
		p.sequence, p.lost = to, p.lost+min(n, math.MaxInt64-p.lost)
		b.s.w.metrics.edgeLost.WithLabelValues(name).Add(float64(n))
		b.s.w.log.Error("edge node has lost messages that it acknowledged", "edge", name, "count", n, "upTo", to)
	}
}

// takeFrom takes one message of a node, and names what became of it. A node may speak for fleets that are placed at edge nodes, or were
// until a while ago, and there for its communities alone.
func (b *batch) takeFrom(name string, edge contract.Edge, incarnation string, m contract.EdgeMessage) string {
	if !contract.ValidFleet(m.Fleet) || !contract.ValidDevice(m.Device) {
		return "violation"
	}
	fleet := b.s.bundle.Fleets[m.Fleet]
	row, ok := fleet.Devices[m.Device]
	if ok && (!fleet.AtEdge(b.now) || !slices.Contains(edge.Communities, row.Community)) {
		return "violation"
	}
	b.node, b.untimed = name, !reading.Believed(m.At, b.now)
	defer func() { b.node, b.untimed = "", false }()
	b.take(contract.DeviceSubject(m.Fleet, m.Device, m.Channel), m.Payload, reading.Arrival(m.At, b.now), reading.Paced(m.At), fmt.Sprintf("%s/%s/%d", name, incarnation, m.Sequence))
	if !ok {
		return "unregistered" // a row that went while its device's messages waited
	}
	return "taken"
}

// edge gives the position of a node as this batch has it.
func (b *batch) edge(name string) (edgePosition, bool) {
	if p, ok := b.edges[name]; ok {
		return p, true
	}
	p, ok := b.s.edges.positions[name]
	return p, ok
}

// writeEdges writes the positions that the batch moved. An incarnation that another replica wrote over ends the session.
func writeEdges(ctx context.Context, tx pgx.Tx, moved map[string]edgePosition, now time.Time) error {
	for name, p := range moved {
		var drained *time.Time
		if !p.drainedTo.IsZero() {
			drained = &p.drainedTo
		}
		former := p.former
		if former == nil {
			former = []string{}
		}
		tag, err := tx.Exec(ctx, `INSERT INTO grid.edge_position (edge, incarnation, former, sequence, drained_to, lost, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (edge) DO UPDATE SET incarnation = excluded.incarnation, former = excluded.former, sequence = excluded.sequence,
				drained_to = excluded.drained_to, lost = excluded.lost, updated_at = excluded.updated_at
			WHERE edge_position.incarnation <> excluded.incarnation OR edge_position.sequence <= excluded.sequence`,
			name, p.incarnation, former, int64(p.sequence), drained, int64(p.lost), now)
		if err != nil {
			return fmt.Errorf("position of edge node %s: %w", name, err)
		}
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("position of edge node %s: %w", name, errBehind)
		}
	}
	return nil
}

var errBehind = errors.New("the database is further than this session")

// until says up to when everything is known that a device sent; ok is false for one that reaches the platform without an edge node.
// Silence of a device after that time proves nothing: what it said may lie in an outbox behind a cut line.
func (s *session) until(fleet, community string) (at time.Time, ok bool) {
	if s.bundle.Fleets[fleet].Placement != contract.PlacementEdge {
		return time.Time{}, false
	}
	for _, name := range s.serving(community) {
		if drained := s.edges.positions[name].drainedTo; !ok || drained.Before(at) {
			at, ok = drained, true
		}
	}
	return at, ok
}

// tellDrained tells presence up to when everything is known of the devices behind edge nodes, by community.
func (s *session) tellDrained() {
	drained := map[string]time.Time{}
	for _, e := range s.bundle.Edges {
		for _, c := range e.Communities {
			for _, name := range s.serving(c) {
				if at, known := drained[c]; !known || s.edges.positions[name].drainedTo.Before(at) {
					drained[c] = s.edges.positions[name].drainedTo
				}
			}
		}
	}
	s.w.presence.drained.Store(&drained)
}

// serving gives the edge nodes of a community; the map is made once a bundle.
func (s *session) serving(community string) []string {
	if s.servedOf != s.bundle {
		s.served, s.servedOf = map[string][]string{}, s.bundle
		for name, e := range s.bundle.Edges {
			for _, c := range e.Communities {
				s.served[c] = append(s.served[c], name)
			}
		}
	}
	return s.served[community]
}
