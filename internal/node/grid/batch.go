package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

type device struct{ fleet, name string }

// enriched is what goes out again under CommunitySubject.
type enriched struct {
	Community string           `json:"community"`
	Grid      string           `json:"grid,omitempty"`
	Fleet     string           `json:"fleet"`
	Device    string           `json:"device"`
	Channel   contract.Channel `json:"channel"`
	Time      time.Time        `json:"ts"`
	Payload   map[string]any   `json:"payload"`
}

// happened is an event of the engine's. heard is when the message that shows it arrived, by the clock of who took it; untimed says that
// nobody knows how old that message is; see reading.Believed.
type happened struct {
	rules.Event
	heard   time.Time
	untimed bool
}

// batch is what one transaction does.
type batch struct {
	s      *session
	now    time.Time
	seen   map[device]time.Time
	signal []enriched
	events []happened
	acks   []ackFrom
	// node is the edge node whose message is being taken, untimed that its clock is not believed; empty for others.
	node    string
	untimed bool
	// stated are devices that said their state.
	stated map[device]bool
	// edges are the positions of edge nodes that moved, replies what they hear after the commit.
	edges   map[string]edgePosition
	replies []reply
	// facts is up to which n what is said was taken.
	facts int64
	// misfits counts messages that did not fit their profile, by fleet.
	misfits map[string]int64
	// hourly is what telemetry adds to the summary of its hour.
	hourly map[hourly]summary
}

// work takes messages and the time, commits what they do, and only then acknowledges.
func (s *session) work(ctx context.Context, stored []jetstream.Msg, loose, fromEdges []*nats.Msg) error {
	if b := s.w.in.Current(); b != s.bundle {
		s.bundle = b
		s.w.tellProblems(s.engine.Update(b.Rules))
		s.w.presence.update(b)
		s.tellDrained()
		s.reader.Update(b.Rules.Profiles, b.Fleets)
	}
	s.w.metrics.scenarios.Set(float64(s.engine.Loaded()))
	due := s.watermark.Sub(s.ticked) >= tickEvery
	if len(stored)+len(loose)+len(fromEdges) == 0 && !due {
		return nil
	}
	if err := s.learnModes(ctx); err != nil {
		return err
	}
	start := s.w.now()
	b := &batch{s: s, now: start.UTC(), seen: map[device]time.Time{}, stated: map[device]bool{}, edges: map[string]edgePosition{}, facts: s.facts}
	if err := b.run(ctx, stored, loose, fromEdges, due); err != nil {
		return err
	}
	if len(stored) > 0 {
		s.w.metrics.batch.Observe(s.w.now().Sub(start).Seconds())
		if err := stored[len(stored)-1].Ack(); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	for _, r := range b.replies {
		answer(r.to, r.body)
	}
	b.publish()
	return nil
}

// run takes everything to the engine and writes what comes out, in one transaction. Idle ticks cost no transaction.
func (b *batch) run(ctx context.Context, stored []jetstream.Msg, loose, fromEdges []*nats.Msg, due bool) error {
	last := b.s.sequence
	if due {
		if err := b.takeFacts(ctx); err != nil {
			return err
		}
	}
	for _, m := range stored {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("message: %w", err)
		}
		b.take(m.Subject(), m.Data(), meta.Timestamp, meta.Timestamp, fmt.Sprint(meta.Sequence.Stream))
		last = meta.Sequence.Stream
	}
	for i, m := range loose {
		b.take(m.Subject, m.Data, b.now, b.now, fmt.Sprintf("%d-%d", b.now.UnixNano(), i))
	}
	for _, m := range fromEdges {
		b.takeEdge(m)
	}
	if due {
		b.keep(b.s.engine.Tick(b.s.watermark, lookup(b.s.bundle)), b.now)
		b.s.ticked = b.s.watermark
	}
	states, err := b.s.engine.Changed()
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	if len(stored)+len(b.seen)+len(b.misfits)+len(b.events)+len(states)+len(b.edges) == 0 && b.facts == b.s.facts {
		return nil
	}
	if err := b.commit(ctx, states, last); err != nil {
		return err
	}
	b.s.sequence, b.s.facts, b.s.former = last, b.facts, false
	if len(b.edges) > 0 {
		maps.Copy(b.s.edges.positions, b.edges)
		b.s.tellDrained()
	}
	b.s.w.presence.heard(b.seen, b.misfits)
	b.s.w.metrics.keys.Set(float64(b.s.engine.Keys()))
	for _, e := range b.events {
		b.s.w.metrics.alarms.WithLabelValues(e.Scenario, string(e.Kind)).Inc()
	}
	return nil
}

// take runs one message through validation and the engine. What is wrong with a message is counted and never stops others. paced is as in
// receive.
func (b *batch) take(subject string, raw []byte, arrived, paced time.Time, id string) {
	if strings.HasPrefix(subject, acksOfOrganizations) {
		return // deliveryAcks hears them as they come
	}
	in, ok := b.receive(subject, raw, arrived, paced)
	if !ok {
		return
	}
	switch in.Channel {
	case contract.ChannelAck:
		b.takeAck(in.Fleet, in.Device, raw, arrived)
		return
	case contract.ChannelState:
		b.stated[device{in.Fleet, in.Device}] = true
	}
	m, p := b.s.w.metrics, in.Payload
	if len(p.Problems) > 0 {
		b.invalid(in.Fleet)
	}
	for _, x := range p.Problems {
		m.fields.WithLabelValues(in.Profile, x.Field, x.Reason).Inc()
	}
	m.messages.WithLabelValues("taken").Inc()
	message := in.Message(raw, arrived, id)
	b.keep(b.s.engine.Step(message), arrived)
	b.summarise(in, message.Time)
	b.signal = append(b.signal, enriched{in.Row.Community, in.Row.Grid, in.Fleet, in.Device, in.Channel, message.Time.UTC(), p.Fields})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keep copies events, which a message that arrived at a time has shown: the engine uses their space again.
func (b *batch) keep(events []rules.Event, arrived time.Time) {
	for _, e := range events {
		b.events = append(b.events, happened{e, arrived, b.untimed})
	}
}

// commit writes cases, states, presence and position in one transaction, on the connection that holds the lock.
func (b *batch) commit(ctx context.Context, states []rules.KeyState, sequence uint64) error {
	tx, err := b.s.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for _, e := range b.events {
		if err := settle(ctx, tx, b.s.bundle, e.Event, b.now); err != nil {
			return fmt.Errorf("scenario %s, device %s.%s: %w", e.Scenario, e.Fleet, e.Device, err)
		}
	}
	if err := b.commands(ctx, tx); err != nil {
		return err
	}
	if err := writeStates(ctx, tx, states, b.s.former); err != nil {
		return err
	}
	if err := writeSeen(ctx, tx, b.s.w.presence.news(b.seen)); err != nil {
		return err
	}
	if err := writeInvalid(ctx, tx, b.misfits); err != nil {
		return err
	}
	if err := writeHourly(ctx, tx, b.hourly); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.ingest_position (stream, stream_created, sequence) VALUES ($1, $2, $3)
		ON CONFLICT (stream) DO UPDATE SET stream_created = excluded.stream_created, sequence = excluded.sequence`,
		contract.IngestStream, b.s.streamCreated, int64(sequence)); err != nil {
		return fmt.Errorf("ingest position: %w", err)
	}
	if err := b.writeFacts(ctx, tx); err != nil {
		return err
	}
	if err := writeEdges(ctx, tx, b.edges, b.now); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// writeStates stores the keys that changed. former says that what they were in the form of the version before goes.
func writeStates(ctx context.Context, tx pgx.Tx, states []rules.KeyState, former bool) error {
	var kept, gone keyColumns
	for _, s := range states {
		if s.State == nil {
			gone.add(s)
			continue
		}
		kept.add(s)
	}
	if len(kept.ids) > 0 {
		if _, err := tx.Exec(ctx, `INSERT INTO grid.engine_keys (scenario, scope, id, state) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
			ON CONFLICT (scenario, scope, id) DO UPDATE SET state = excluded.state`, kept.scenarios, kept.scopes, kept.ids, kept.states); err != nil {
			return fmt.Errorf("engine state: %w", err)
		}
	}
	if len(gone.ids) > 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM grid.engine_keys e USING unnest($1::text[], $2::text[], $3::text[]) g (scenario, scope, id)
			WHERE e.scenario = g.scenario AND e.scope = g.scope AND e.id = g.id`, gone.scenarios, gone.scopes, gone.ids); err != nil {
			return fmt.Errorf("engine state: %w", err)
		}
	}
	if former {
		if _, err := tx.Exec(ctx, "DELETE FROM grid.engine_state"); err != nil {
			return fmt.Errorf("former engine state: %w", err)
		}
	}
	return nil
}

// keyColumns are keys by column.
type keyColumns struct {
	scenarios, scopes, ids []string
	states                 [][]byte
}

func (k *keyColumns) add(s rules.KeyState) {
	k.scenarios, k.scopes, k.ids, k.states = append(k.scenarios, s.Scenario), append(k.scopes, string(s.Scope)), append(k.ids, s.ID), append(k.states, s.State)
}

func writeSeen(ctx context.Context, tx pgx.Tx, seen map[device]time.Time) error {
	if len(seen) == 0 {
		return nil
	}
	var fleets, names []string
	var times []time.Time
	for _, d := range slices.SortedFunc(maps.Keys(seen), func(a, b device) int { return strings.Compare(a.fleet+"."+a.name, b.fleet+"."+b.name) }) {
		fleets, names, times = append(fleets, d.fleet), append(names, d.name), append(times, seen[d])
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.devices_seen (fleet, device, first_seen, last_seen) SELECT f, d, t, t FROM unnest($1::text[], $2::text[], $3::timestamptz[]) x (f, d, t)
		ON CONFLICT (fleet, device) DO UPDATE SET last_seen = greatest(devices_seen.last_seen, excluded.last_seen)`, fleets, names, times); err != nil {
		return fmt.Errorf("devices seen: %w", err)
	}
	return nil
}

// publish sends the signals on to the applications of their communities, best effort.
func (b *batch) publish() {
	for _, s := range b.signal {
		raw, err := json.Marshal(s)
		if err != nil {
			continue
		}
		_ = b.s.w.nc.Publish(contract.CommunitySubject(s.Community, s.Fleet, s.Device, s.Channel), raw)
	}
}
