package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// atNodeFirst is how long the edge node that gives a command by itself has for it, before it is sent from here as well: usually the
// device's ack is here by then.
const atNodeFirst = 2 * time.Second

// alarm gives the commands that a scenario sends when an alarm is raised or cleared, each once for each alarm however often its messages
// are taken; and takes back those of an alarm that late evidence retracts.
func (m *commander) alarm(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e happened, now time.Time) error {
	a := command.Alarm{Scenario: e.Scenario, Scope: string(e.Scope), Place: e.ID, Fleet: e.Fleet, Device: e.Device, Start: e.Start, At: e.At, Kind: string(e.Kind), Mode: e.Mode}
	if e.Kind == rules.Retracted {
		return m.retract(ctx, tx, b, a, e.heard, now)
	}
	if _, ok := b.Fleets[e.Fleet].Devices[e.Device]; !ok || e.Along || e.Kind != rules.Raised && e.Kind != rules.Cleared {
		return nil
	}
	for place, k := range a.Commands(b.Rules, b.Fleets) {
		if k.At != a.Kind {
			continue
		}
		c, err := caseOfAlarm(ctx, tx, e.Event)
		if err != nil {
			return err
		}
		told := tally{}
		var left []*Command
		for _, to := range command.Targets(b.Fleets, k, command.Target{Fleet: e.Fleet, Device: e.Device}) {
			result, leave, err := m.order(ctx, tx, b, a, e.untimed, place, to, c, told["Given"]+told[string(command.Superseded)]+len(left), now)
			switch {
			case err != nil:
				return err
			case leave != nil:
				left = append(left, leave)
			case result != "":
				told[result]++
			}
		}
		switch fresh, err := m.leave(ctx, tx, left, now); {
		case err != nil:
			return err
		case fresh > 0:
			told["LeftToEdgeNode"] = fresh
		}
		if c == nil || len(told) == 0 {
			continue
		}
		if err := record(ctx, tx, c, "Command", c.State, system, now, detail{"command": k.Command, "devices": told}); err != nil {
			return err
		}
	}
	return nil
}

// tally counts devices by what became of a command for them.
type tally map[string]int

// order gives one command of an alarm to one device and says what became of it: Given, Superseded by one that was given after the alarm,
// why it is refused, or nothing where it was given before. One that is to be left to the edge node it gives back, not yet written. c is the
// alarm's case, if it has one; before is how many devices got the command before this one. What an untimed alarm gives is taken to be too old.
func (m *commander) order(ctx context.Context, tx pgx.Tx, b *intake.Bundle, a command.Alarm, untimed bool, place int, to command.Target, c *Case, before int, now time.Time) (result string, leave *Command, err error) {
	o, code := a.Order(b.Rules, b.Fleets, place, to, now)
	if code == "" && untimed { // it may be hours old, and a door opens for nobody
		code = command.AlarmTooOld
	}
	left := code == command.AlarmTooOld && atNode(b, a, to)
	if (code == "" || left) && before >= command.MaxTargets {
		code, left = command.TooManyDevices, false
	}
	if code != "" && !left {
		m.metrics.commands.WithLabelValues("Refused", string(code)).Inc()
		return string(code), nil, nil
	}
	order := &Command{
		ID: o.ID, Fleet: to.Fleet, Device: to.Device, Community: o.Community, Grid: o.Grid, Name: o.Command, Arguments: o.Arguments,
		Sender: command.SenderScenario, Scenario: a.Scenario, ExpiresAt: o.ExpiresAt,
		Once: &o.Once, Alarm: a.Key(), DataClass: b.Rules.Scenarios[a.Scenario].DataClass,
	}
	if c != nil {
		order.CaseID = &c.ID
	}
	if left {
		order.CreatedAt = a.At
		return "", order, nil
	}
	if atNode(b, a, to) { // given there when the alarm was, however late that comes here
		order.NextSendAt, order.CreatedAt = now.Add(atNodeFirst), a.At
		if a.At.After(now) {
			order.CreatedAt = now
		}
	}
	given, fresh, err := m.give(ctx, tx, order, system, now, detail{"scenario": a.Scenario})
	switch {
	case err != nil || !fresh:
		return "", nil, err
	case given.State == command.Superseded:
		return string(command.Superseded), nil, nil
	}
	return "Given", nil, nil
}

// leave writes commands of one alarm that only the edge node can have given: when their alarm, or what retracts it, came here, they had
// expired, or may have. They are not sent. Whether the node gave them is what the devices' acks say, which come behind the alarm; see
// acknowledge. It gives how many were not written before. However many they are, it is one statement: a line that was cut for days brings
// thousands at once.
func (m *commander) leave(ctx context.Context, tx pgx.Tx, list []*Command, now time.Time) (fresh int, err error) {
	if len(list) == 0 {
		return 0, nil
	}
	var ids []uuid.UUID
	var fleets, devices, communities, grids, arguments, onces []string
	var expire []time.Time
	for _, c := range list {
		raw, err := json.Marshal(c.Arguments)
		if err != nil {
			return 0, fmt.Errorf("arguments of command %s: %w", c.Name, err)
		}
		ids, fleets, devices, expire = append(ids, c.ID), append(fleets, c.Fleet), append(devices, c.Device), append(expire, c.ExpiresAt)
		communities, grids, arguments, onces = append(communities, c.Community), append(grids, c.Grid), append(arguments, string(raw)), append(onces, *c.Once)
	}
	c := list[0]
	tag, err := tx.Exec(ctx, `WITH fresh AS (INSERT INTO grid.commands (id, fleet, device, community, grid, arguments, once, expires_at, finished_at,
			command, sender, scenario, alarm, case_id, data_class, state, reason, created_at, next_send_at, version, cause)
			SELECT x.id, x.fleet, x.device, x.community, x.grid, x.arguments::jsonb, x.once, x.expires, least(x.expires, $18), $9, $10, $11, $12, $13::uuid, $14, $15, $16, $17::timestamptz, $18::timestamptz, 1, $21::uuid
			FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
				x (id, fleet, device, community, grid, arguments, once, expires)
			ON CONFLICT DO NOTHING RETURNING id)
		INSERT INTO grid.command_history (command_id, n, at, action, from_state, to_state, actor, detail)
		SELECT id, 1, $18, 'LeaveToEdgeNode', '', $15, $19, $20::jsonb FROM fresh`,
		ids, fleets, devices, communities, grids, arguments, onces, expire,
		c.Name, c.Sender, c.Scenario, c.Alarm, c.CaseID, c.DataClass, command.Expired, reasonTooLate, c.CreatedAt, now,
		system.Kind, detail{"scenario": c.Scenario, "reason": reasonTooLate}, c.Cause)
	if err != nil {
		return 0, fmt.Errorf("leave commands to the edge node: %w", err)
	}
	m.metrics.commands.WithLabelValues(string(command.Expired), reasonTooLate).Add(float64(tag.RowsAffected()))
	return int(tag.RowsAffected()), nil
}

// atNode says whether an edge node gives a command of an alarm by itself: one that serves the device of the alarm and the one that gets it.
// It is pure.
func atNode(b *intake.Bundle, a command.Alarm, to command.Target) bool {
	from, target := b.Fleets[a.Fleet], b.Fleets[to.Fleet]
	community := from.Devices[a.Device].Community
	if from.Placement != contract.PlacementEdge || target.Placement != contract.PlacementEdge || target.Devices[to.Device].Community != community {
		return false
	}
	for _, e := range b.Edges {
		if slices.Contains(e.Communities, community) {
			return true
		}
	}
	return false
}

// retract takes back what an alarm gave, upon evidence that was heard at a time. What others put in its place meanwhile stays.
func (m *commander) retract(ctx context.Context, tx pgx.Tx, b *intake.Bundle, a command.Alarm, heard, now time.Time) error {
	given, err := manyCommands(ctx, tx, "c.alarm = $1 AND c.state IN ('Pending', 'Received', 'Done') ORDER BY c.id FOR UPDATE", a.Key())
	if err != nil {
		return err
	}
	for _, c := range given {
		if atNode(b, a, command.Target{Fleet: c.Fleet, Device: c.Device}) {
			err = m.withdrawBehind(ctx, tx, b, c, heard, now)
		} else {
			err = m.withdraw(ctx, tx, b, c, reasonRetracted, system, now)
		}
		if err != nil && !isRefusal(err) {
			return err
		}
	}
	return nil
}

// withdrawBehind is withdraw for a command that its edge node takes back by itself, when it hears the evidence: from then on the safe state
// counts. The node has time for it before it is sent from here; and one that has expired meanwhile is left to the node.
func (m *commander) withdrawBehind(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Command, heard, now time.Time) error {
	if err := withdrawable(ctx, tx, c); err != nil {
		return err
	}
	if err := m.end(ctx, tx, c, command.Withdrawn, reasonRetracted, system, now); err != nil {
		return err
	}
	if heard.IsZero() || heard.After(now) {
		heard = now
	}
	safe := safeState(b, c, heard)
	if safe == nil {
		return nil
	}
	if !safe.ExpiresAt.After(now) {
		safe.CreatedAt = heard
		_, err := m.leave(ctx, tx, []*Command{safe}, now)
		return err
	}
	safe.NextSendAt = now.Add(atNodeFirst)
	_, _, err := m.give(ctx, tx, safe, system, now, detail{"cause": c.ID})
	return err
}
