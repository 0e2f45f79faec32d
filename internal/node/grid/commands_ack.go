package grid

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

// stateFloor is the least time between two sendings of a desired state that the device has acknowledged: a device that answers each with a
// message on state must not be answered for ever.
const stateFloor = time.Minute

// ackFrom is an ack and the device that sent it.
type ackFrom struct {
	device
	command.Ack
	// edge is the node through whose outbox it came, and at when it came there; both are empty otherwise.
	edge string
	at   time.Time
	// heard is when it came here, behind so many events of its batch.
	heard  time.Time
	behind int
}

// takeAck keeps an ack for the transaction. What is no ack is counted and never stops others.
func (b *batch) takeAck(fleet, name string, raw []byte, arrived time.Time) {
	m := b.s.w.metrics
	a, err := command.ParseAck(raw)
	switch {
	case errors.Is(err, command.ErrResult):
		m.acks.WithLabelValues("unknown").Inc()
	case err != nil:
		m.acks.WithLabelValues("malformed").Inc()
	default:
		from := ackFrom{device: device{fleet, name}, Ack: a, edge: b.node, heard: b.now, behind: len(b.events)}
		if b.node != "" {
			from.at = arrived
		}
		b.acks = append(b.acks, from)
	}
}

// commands does what a batch says about commands, in its transaction: acks first, so that a device which speaks is not sent again what it
// has just acknowledged; then alarms, and with them the acks once more that were for nothing yet, for an edge node gives the commands of its
// alarms by itself; then who spoke gets what waits for them.
func (b *batch) commands(ctx context.Context, tx pgx.Tx) error {
	m := b.s.w.commander
	now := m.now().UTC()
	// Always in one order, as others lock commands: by id.
	slices.SortStableFunc(b.acks, func(x, y ackFrom) int { return strings.Compare(x.ID.String(), y.ID.String()) })
	unmatched, err := m.acknowledgeAll(ctx, tx, b.acks, now)
	if err != nil {
		return err
	}
	if unmatched, err = b.alarms(ctx, tx, unmatched, now); err != nil {
		return err
	}
	b.s.early = early(unmatched, b.now)
	// Of another device, of a former desired state, repeated, or of nothing at all.
	m.metrics.acks.WithLabelValues("unmatched").Add(float64(len(unmatched) - len(b.s.early)))
	return b.spoken(ctx, tx, now)
}

// alarms gives the commands of alarms. Acks that were for nothing yet are looked at again in their place among them: what a device
// acknowledged before the next alarm is not superseded by that; and all that are left once more behind the last. It gives those that are
// still for nothing. Where there is no alarm, nothing can have come about for them.
func (b *batch) alarms(ctx context.Context, tx pgx.Tx, unmatched []ackFrom, now time.Time) (still []ackFrom, err error) {
	m := b.s.w.commander
	if len(b.events) == 0 {
		return append(unmatched, b.s.early...), nil
	}
	slices.SortStableFunc(unmatched, func(x, y ackFrom) int { return x.behind - y.behind })
	for n, e := range b.events {
		here := 0
		for here < len(unmatched) && unmatched[here].behind <= n {
			here++
		}
		rest, err := m.acknowledgeGiven(ctx, tx, unmatched[:here], now)
		if err != nil {
			return nil, err
		}
		still, unmatched = append(still, rest...), unmatched[here:]
		if err := m.alarm(ctx, tx, b.s.bundle, e, now); err != nil {
			return nil, fmt.Errorf("commands of scenario %s, device %s.%s: %w", e.Scenario, e.Fleet, e.Device, err)
		}
	}
	return m.acknowledgeGiven(ctx, tx, slices.Concat(still, unmatched, b.s.early), now)
}

const (
	// earlyFor is how long an ack from an edge node waits for its command: an alarm by the passing of time comes about here a little later than
	// there, once it is known that the node has said everything up to then. maxEarly bounds those that wait, earlyOfNode those that came through
	// one edge node, earlyOfOne those of one device.
	earlyFor                          = time.Minute
	maxEarly, earlyOfNode, earlyOfOne = 1024, 64, 8
)

// early gives the acks that wait for their command. A restart forgets them: then a command that the node gave stays without its ack here, or
// is sent once more. It is pure.
func early(unmatched []ackFrom, now time.Time) (out []ackFrom) {
	of, through := map[device]int{}, map[string]int{}
	for _, a := range unmatched {
		if a.edge == "" || len(out) >= maxEarly || through[a.edge] >= earlyOfNode || of[a.device] >= earlyOfOne || now.Sub(a.heard) > earlyFor {
			continue
		}
		of[a.device]++
		through[a.edge]++
		a.behind = math.MaxInt
		out = append(out, a)
	}
	return out
}

// acknowledgeAll takes acks to what they name, and gives those that name nothing.
func (m *commander) acknowledgeAll(ctx context.Context, tx pgx.Tx, acks []ackFrom, now time.Time) (unmatched []ackFrom, err error) {
	for _, a := range acks {
		known, err := m.acknowledge(ctx, tx, a, now)
		if err != nil {
			return nil, fmt.Errorf("ack of device %s.%s: %w", a.fleet, a.name, err)
		}
		if !known {
			unmatched = append(unmatched, a)
		}
	}
	return unmatched, nil
}

// acknowledgeGiven is acknowledgeAll for acks of which only commands that were given meanwhile can be meant. One statement finds those.
func (m *commander) acknowledgeGiven(ctx context.Context, tx pgx.Tx, acks []ackFrom, now time.Time) (unmatched []ackFrom, err error) {
	if len(acks) == 0 {
		return nil, nil
	}
	var ids []uuid.UUID
	var fleets, names []string
	for _, a := range acks {
		ids, fleets, names = append(ids, a.ID), append(fleets, a.fleet), append(names, a.name)
	}
	rows, err := tx.Query(ctx, `SELECT c.id FROM grid.commands c
		JOIN unnest($1::uuid[], $2::text[], $3::text[]) x (id, fleet, device) ON c.id = x.id AND c.fleet = x.fleet AND c.device = x.device`, ids, fleets, names)
	if err != nil {
		return nil, fmt.Errorf("commands of acks: %w", err)
	}
	given, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("commands of acks: %w", err)
	}
	var matched []ackFrom
	for _, a := range acks {
		if slices.Contains(given, a.ID) {
			matched = append(matched, a)
		} else {
			unmatched = append(unmatched, a)
		}
	}
	rest, err := m.acknowledgeAll(ctx, tx, matched, now)
	return append(unmatched, rest...), err
}

// acknowledge takes an ack to the command or the desired state that it names, of this very device; known is false if there is none.
func (m *commander) acknowledge(ctx context.Context, tx pgx.Tx, a ackFrom, now time.Time) (known bool, err error) {
	c, err := oneCommand(ctx, tx, "c.id = $1 AND c.fleet = $2 AND c.device = $3 FOR UPDATE", a.ID, a.fleet, a.name)
	if err != nil {
		return false, err
	}
	if c == nil {
		return m.acknowledgeDesired(ctx, tx, a, now)
	}
	from, when, more := c.State, now, detail{"result": a.Result}
	behind := a.edge != "" && c.State == command.Expired && c.AcknowledgedAt == nil && !a.at.After(c.ExpiresAt)
	if behind { // said in time, and heard here behind a cut line: it had not expired
		from, when, more = command.Pending, a.at, detail{"result": a.Result, "edge": a.edge, "at": a.at}
	}
	next, moved := command.After(from, a.Result)
	if !moved {
		return true, m.lateAck(ctx, tx, c, a, now)
	}
	m.metrics.acks.WithLabelValues(string(a.Result)).Inc()
	m.metrics.commands.WithLabelValues(string(next), "").Inc()
	from = c.State
	c.State, c.Detail, c.FinishedAt = next, a.Detail, nil
	if c.AcknowledgedAt == nil {
		c.AcknowledgedAt = &when
	}
	if next.Final() {
		c.FinishedAt = &when
	}
	if behind {
		c.Reason = ""
	}
	if _, err := tx.Exec(ctx, "UPDATE grid.commands SET state = $2, detail = $3, acknowledged_at = $4, finished_at = $5, reason = $6 WHERE id = $1",
		c.ID, c.State, c.Detail, c.AcknowledgedAt, c.FinishedAt, c.Reason); err != nil {
		return true, fmt.Errorf("command %s: %w", c.ID, err)
	}
	if err := recordCommand(ctx, tx, c, "Acknowledge", from, deviceActor, now, more); err != nil || !behind {
		return true, err
	}
	return true, m.dropSafeState(ctx, tx, c, now)
}

// dropSafeState ends the safe state that was to follow a command which the device had acknowledged after all, if it was never sent.
func (m *commander) dropSafeState(ctx context.Context, tx pgx.Tx, c *Command, now time.Time) error {
	safe, err := oneCommand(ctx, tx, "c.cause = $1 AND c.state = 'Pending' AND c.sent = 0 FOR UPDATE", c.ID)
	if err != nil || safe == nil {
		return err
	}
	return m.end(ctx, tx, safe, command.Void, reasonAcknowledged, system, now)
}

// lateAck counts an ack that changes nothing. The first one after the end goes into the history: the device did what nobody waited for.
func (m *commander) lateAck(ctx context.Context, tx pgx.Tx, c *Command, a ackFrom, now time.Time) error {
	if !c.State.Final() || c.AcknowledgedAt != nil {
		m.metrics.acks.WithLabelValues("repeated").Inc()
		return nil
	}
	m.metrics.acks.WithLabelValues("late").Inc()
	if _, err := tx.Exec(ctx, "UPDATE grid.commands SET acknowledged_at = $2, detail = $3 WHERE id = $1", c.ID, now, a.Detail); err != nil {
		return fmt.Errorf("command %s: %w", c.ID, err)
	}
	return recordCommand(ctx, tx, c, "LateAcknowledge", c.State, deviceActor, now, detail{"result": a.Result})
}

// acknowledgeDesired is acknowledge for a desired state. One goes again to a device whenever that comes back or says its state; the same
// answer each time does not fill the history.
func (m *commander) acknowledgeDesired(ctx context.Context, tx pgx.Tx, a ackFrom, now time.Time) (known bool, err error) {
	var version int
	var same bool
	err = tx.QueryRow(ctx, `UPDATE grid.desired SET state = $4, detail = $5, acknowledged_at = $6, version = version + CASE WHEN h.same THEN 0 ELSE 1 END
		FROM (SELECT coalesce((SELECT id = $1 AND detail->>'result' = $4 FROM grid.desired_history
			WHERE fleet = $2 AND device = $3 ORDER BY n DESC LIMIT 1), false) AS same) h
		WHERE id = $1 AND fleet = $2 AND device = $3 AND state IN ('Pending', 'Received') AND state <> $4 RETURNING version, h.same`,
		a.ID, a.fleet, a.name, string(a.Result), a.Detail, now).Scan(&version, &same)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("desired state: %w", err)
	}
	m.metrics.acks.WithLabelValues(string(a.Result)).Inc()
	if same {
		return true, nil
	}
	return true, recordDesired(ctx, tx, a.fleet, a.name, version, a.ID, "Acknowledge", "", deviceActor, now, detail{"result": a.Result})
}

// spoken brings forward what waits for devices that were just heard: they are there. It must run before presence hears of the batch, because
// a desired state goes again to who was silent for as long as makes a device offline, or says its state.
func (b *batch) spoken(ctx context.Context, tx pgx.Tx, now time.Time) error {
	if len(b.seen) == 0 {
		return nil
	}
	var fleets, names []string
	var back []bool
	for _, d := range slices.SortedFunc(maps.Keys(b.seen), compareDevices) {
		fleets, names, back = append(fleets, d.fleet), append(names, d.name), append(back, b.stated[d] || b.cameBack(d))
	}
	soon := now.Add(-command.FirstPause)
	for _, table := range []string{"commands", "desired"} {
		if _, err := tx.Exec(ctx, `UPDATE grid.`+table+` c SET next_send_at = $1 FROM unnest($3::text[], $4::text[]) x (fleet, device)
			WHERE c.state = 'Pending' AND c.fleet = x.fleet AND c.device = x.device AND c.next_send_at > $1 AND c.last_sent_at <= $2`,
			now, soon, fleets, names); err != nil {
			return fmt.Errorf("%s of devices that spoke: %w", table, err)
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE grid.desired c SET state = 'Pending', sent = 0, next_send_at = $1
		FROM unnest($3::text[], $4::text[], $5::boolean[]) x (fleet, device, back)
		WHERE c.state IN ('Received', 'Done', 'Failed') AND c.fleet = x.fleet AND c.device = x.device AND x.back AND c.last_sent_at <= $2`,
		now, now.Add(-stateFloor), fleets, names, back); err != nil {
		return fmt.Errorf("desired states of devices that came back: %w", err)
	}
	return nil
}

// cameBack says whether a device of the batch was never heard before, or was silent for as long as makes it offline.
func (b *batch) cameBack(d device) bool {
	last := b.s.w.presence.lastHeard(d)
	silence := b.s.bundle.Rules.Profiles[b.s.bundle.Fleets[d.fleet].Profile].OfflineSeconds()
	return last == 0 || silence > 0 && int64(last) < b.seen[d].Unix()-silence
}

func compareDevices(a, b device) int {
	return strings.Compare(contract.DeviceID(a.fleet, a.name), contract.DeviceID(b.fleet, b.name))
}
