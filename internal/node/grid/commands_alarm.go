package grid

import (
	"context"
	"slices"
	"time"

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
func (m *commander) alarm(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	a := command.Alarm{Scenario: e.Scenario, Fleet: e.Fleet, Device: e.Device, Start: e.Start, At: e.At, Kind: string(e.Kind)}
	if e.Kind == rules.Retracted {
		return m.retract(ctx, tx, b, a, e.Heard, now)
	}
	s := b.Rules.Scenarios[e.Scenario]
	if _, ok := b.Fleets[e.Fleet].Devices[e.Device]; !ok || e.Kind != rules.Raised && e.Kind != rules.Cleared {
		return nil
	}
	for place, k := range s.Commands {
		if k.At != a.Kind {
			continue
		}
		c, err := oneCase(ctx, tx, openCaseOf, e.Scenario, e.Fleet, e.Device)
		if err != nil {
			return err
		}
		told := tally{}
		for _, to := range command.Targets(b.Fleets, k, command.Target{Fleet: e.Fleet, Device: e.Device}) {
			result, err := m.order(ctx, tx, b, a, place, to, c, told["Given"]+told["LeftToEdgeNode"]+told[string(command.Superseded)], now)
			if err != nil {
				return err
			}
			if result != "" {
				told[result]++
			}
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

// order gives one command of an alarm to one device and says what became of it: Given, LeftToEdgeNode, Superseded by one that was given after
// the alarm, why it is refused, or nothing where it was given before. c is the alarm's case, if it has one; before is how many devices got the command before this one.
func (m *commander) order(ctx context.Context, tx pgx.Tx, b *intake.Bundle, a command.Alarm, place int, to command.Target, c *Case, before int, now time.Time) (string, error) {
	o, code := a.Order(b.Rules, b.Fleets, place, to, now)
	left := code == command.AlarmTooOld && atNode(b, a, to)
	if (code == "" || left) && before >= command.MaxTargets {
		code, left = command.TooManyDevices, false
	}
	if code != "" && !left {
		m.metrics.commands.WithLabelValues("Refused", string(code)).Inc()
		return string(code), nil
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
		return m.leave(ctx, tx, order, a, now)
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
		return "", err
	case given.State == command.Superseded:
		return string(command.Superseded), nil
	}
	return "Given", nil
}

// leave writes a command that only the edge node can have given: when its alarm, or what retracts that, came here, it had expired. It is not sent. Whether the node
// gave it is what the device's ack says, which comes behind the alarm; see acknowledge.
func (m *commander) leave(ctx context.Context, tx pgx.Tx, c *Command, a command.Alarm, now time.Time) (string, error) {
	was, err := oneCommand(ctx, tx, "c.once = $1 OR c.id = $2", *c.Once, c.ID)
	if err != nil || was != nil {
		return "", err
	}
	c.State, c.Reason, c.CreatedAt, c.FinishedAt = command.Expired, reasonTooLate, a.At, &c.ExpiresAt
	inserted, err := insertCommand(ctx, tx, c, system, now)
	if err != nil || !inserted {
		return "", err
	}
	m.metrics.commands.WithLabelValues(string(command.Expired), reasonTooLate).Inc()
	return "LeftToEdgeNode", recordCommand(ctx, tx, c, "LeaveToEdgeNode", "", system, now, detail{"scenario": a.Scenario, "reason": reasonTooLate})
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
		_, err := m.leave(ctx, tx, safe, command.Alarm{Scenario: c.Scenario, At: heard}, now)
		return err
	}
	safe.NextSendAt = now.Add(atNodeFirst)
	_, _, err := m.give(ctx, tx, safe, system, now, detail{"cause": c.ID})
	return err
}
