package grid

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// maxTargets bounds the devices of one command of an alarm.
const maxTargets = 500

// alarm gives the commands that a scenario sends when an alarm is raised or cleared, each once for each alarm however often its messages
// are taken; and takes back those of an alarm that late evidence retracts.
func (m *commander) alarm(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	key := strings.Join([]string{e.Scenario, e.Fleet, e.Device, e.Start.UTC().Format(time.RFC3339Nano)}, "\x1f")
	if e.Kind == rules.Retracted {
		return m.retract(ctx, tx, b, key, now)
	}
	s := b.Rules.Scenarios[e.Scenario]
	row, ok := b.Fleets[e.Fleet].Devices[e.Device]
	if !ok || e.Kind != rules.Raised && e.Kind != rules.Cleared {
		return nil
	}
	for i, k := range s.Commands {
		if k.At != string(e.Kind) {
			continue
		}
		c, err := oneCase(ctx, tx, openCaseOf, e.Scenario, e.Fleet, e.Device)
		if err != nil {
			return err
		}
		told := tally{}
		for _, d := range targets(b, k, device{e.Fleet, e.Device}, row) {
			once := fmt.Sprintf("alarm\x1f%s\x1f%s\x1f%d\x1f%s", key, k.At, i, contract.DeviceID(d.fleet, d.name))
			order, reason := alarmCommand(b, e, k, d, now)
			if reason == "" && told["Given"] >= maxTargets {
				reason = reasonTooMany
			}
			if reason != "" {
				told[reason]++
				m.metrics.commands.WithLabelValues("Refused", reason).Inc()
				continue
			}
			order.Once, order.Alarm, order.DataClass = &once, key, s.DataClass
			if c != nil {
				order.CaseID = &c.ID
			}
			if _, fresh, err := m.give(ctx, tx, order, system, now, detail{"scenario": e.Scenario}); err != nil {
				return err
			} else if fresh {
				told["Given"]++
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

// alarmCommand makes the command of an alarm for one device, or says why there is none. Its time counts from the alarm, not from now: a
// message that was on its way for an hour must not open a door. It is pure.
func alarmCommand(b *intake.Bundle, e rules.Event, k contract.ScenarioCommand, d device, now time.Time) (*Command, string) {
	f := b.Fleets[d.fleet]
	row := f.Devices[d.name]
	c := &Command{
		Fleet: d.fleet, Device: d.name, Community: row.Community, Grid: row.Grid, Name: k.Command, Sender: command.SenderScenario, Scenario: e.Scenario,
	}
	declared, args, err := command.Check(b.Rules.Profiles[f.Profile], k.Command, k.Arguments, command.SenderScenario)
	if err != nil {
		return nil, codeOf(err)
	}
	if reason := unsendable(b, c); reason != "" {
		return nil, reason
	}
	at := e.At
	if at.After(now) {
		at = now
	}
	c.Arguments, c.ExpiresAt = args, at.Add(expiry(declared))
	if !c.ExpiresAt.After(now) {
		return nil, reasonTooLate
	}
	return c, ""
}

// targets lists the devices that get a command of an alarm, sorted. Two places are the same only if they have a name. It is pure.
func targets(b *intake.Bundle, k contract.ScenarioCommand, from device, row contract.Device) (out []device) {
	if k.Target == "Device" {
		return []device{from}
	}
	for fleet, f := range b.Fleets {
		if f.Profile != k.Profile {
			continue
		}
		for name, other := range f.Devices {
			if samePlace(k.Target, row, other) {
				out = append(out, device{fleet, name})
			}
		}
	}
	slices.SortFunc(out, compareDevices)
	return out
}

func samePlace(target string, a, b contract.Device) bool {
	same := func(x, y string) bool { return x != "" && x == y }
	if !same(a.Community, b.Community) {
		return false
	}
	switch target {
	case "Community":
		return true
	case "Grid":
		return same(a.Grid, b.Grid)
	case "MicroGrid":
		return same(a.Grid, b.Grid) && same(a.MicroGrid, b.MicroGrid)
	case "Compound":
		return same(a.Compound, b.Compound)
	case "Building": // a compound may be left out, but not differ
		return a.Compound == b.Compound && same(a.Building, b.Building)
	case "Household":
		return same(a.Household, b.Household)
	}
	return false
}

// retract takes back what an alarm gave. What others put in its place meanwhile stays.
func (m *commander) retract(ctx context.Context, tx pgx.Tx, b *intake.Bundle, alarm string, now time.Time) error {
	given, err := manyCommands(ctx, tx, "c.alarm = $1 AND c.state IN ('Pending', 'Received', 'Done') ORDER BY c.id FOR UPDATE", alarm)
	if err != nil {
		return err
	}
	for _, c := range given {
		if err := m.withdraw(ctx, tx, b, c, reasonRetracted, system, now); err != nil && !isRefusal(err) {
			return err
		}
	}
	return nil
}
