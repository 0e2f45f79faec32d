package local

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/reading"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// core is the engine, and what became of its alarms. It reads no clock and sends nothing. It is not safe for concurrent use.
type core struct {
	edge    string
	log     *slog.Logger
	metrics *metrics

	bundle *intake.Bundle
	engine *rules.Engine
	reader *reading.Reader
	// position in the outbox up to which everything was taken, of the outbox of that incarnation.
	position    uint64
	incarnation string

	// orders by what names them (command.Order.Once), and by id.
	orders  map[string]*order
	byID    map[uuid.UUID]*order
	desired map[command.Target]*wanted
	// heard is what the hub says beside that, anew what it is saying anew and has not come to an end with.
	heard heard
	anew  *heard
	// unsaved says that a command was given, or taken back, which may not leave before it is on disk.
	unsaved bool
	// changed says that something else is other than on disk.
	changed bool
}

// newCore makes one under its first bundle.
func newCore(edge string, b *intake.Bundle, m *metrics, log *slog.Logger) *core {
	c := &core{edge: edge, log: log, metrics: m, orders: map[string]*order{}, byID: map[uuid.UUID]*order{}, desired: map[command.Target]*wanted{}}
	c.reader = &reading.Reader{Compiled: func(fleet, profile string, problems []rules.Problem) {
		for _, p := range problems {
			log.Error("mapping does not fit its profile", "fleet", fleet, "profile", profile, "field", p.Field, "problem", p.Message)
		}
	}}
	c.bundle = b
	c.begin()
	return c
}

// begin takes a new engine, which has seen nothing.
func (c *core) begin() {
	var problems []rules.Problem
	c.engine, problems = rules.New(c.bundle.Rules, rules.Options{
		OnError:   func(scenario, part string, _ error) { c.metrics.faults.WithLabelValues(scenario, part).Inc() },
		OnTooLate: func(scenario string) { c.metrics.late.WithLabelValues(scenario).Inc() },
		Rows:      c.lookup,
		Zone:      zone(c.bundle),
	})
	for _, f := range c.heard.Facts {
		c.engine.Know(fact(f))
	}
	c.loaded(problems)
}

// update takes another bundle.
func (c *core) update(b *intake.Bundle) {
	c.bundle = b
	c.loaded(c.engine.Update(b.Rules))
}

func (c *core) loaded(problems []rules.Problem) {
	c.reader.Update(c.bundle.Rules.Profiles, c.bundle.Fleets)
	c.metrics.scenarios.Set(float64(c.engine.Loaded()))
	for _, p := range problems {
		c.log.Error("scenario does not run", "scenario", p.Scenario, "field", p.Field, "problem", p.Message)
	}
}

// take takes messages of the outbox, up to a position.
func (c *core) take(b contract.EdgeBatch, position uint64, now time.Time) {
	c.changed = c.changed || position != c.position
	c.incarnation = b.Incarnation
	c.tell(now)
	for _, o := range c.orders { // before an alarm is compared with them
		c.hold(o, now)
	}
	for _, m := range b.Messages {
		c.message(m, now)
	}
	c.position = position
}

// message is one message, read as the hub will read it.
func (c *core) message(m contract.EdgeMessage, now time.Time) {
	if !contract.ValidFleet(m.Fleet) || !contract.ValidDevice(m.Device) {
		return
	}
	at := reading.Arrival(m.At, now)
	in, refused := c.reader.Read(contract.DeviceSubject(m.Fleet, m.Device, m.Channel), m.Payload, at, reading.Paced(m.At), now)
	if in.Device != "" {
		c.spoke(command.Target{Fleet: in.Fleet, Device: in.Device}, m.Channel, at, now)
	}
	if refused != "" {
		c.metrics.messages.WithLabelValues(string(refused)).Inc()
		return
	}
	c.metrics.messages.WithLabelValues("taken").Inc()
	if in.Channel == contract.ChannelAck {
		if a, err := command.ParseAck(m.Payload); err == nil {
			c.acknowledge(command.Target{Fleet: in.Fleet, Device: in.Device}, a, now)
		}
		return
	}
	c.follow(c.engine.Step(in.Message(m.Payload, at, fmt.Sprintf("%s/%s/%d", c.edge, c.incarnation, m.Sequence))), now)
}

// tick moves the clock of what waits for time. at is a time up to which every message was taken.
func (c *core) tick(at, now time.Time) {
	c.tell(now)
	c.follow(c.engine.Tick(at, c.lookup), now)
}

// lookup reads a row of the bundle.
func (c *core) lookup(fleet, device string) (contract.Device, string, bool) {
	f := c.bundle.Fleets[fleet]
	row, ok := f.Devices[device]
	return row, f.Profile, ok
}

// reset forgets what the engine waits for, after the machine's clock was set: time that nobody lived through is neither silence nor a
// condition that held. What is being sent goes out at once.
func (c *core) reset(now time.Time) {
	c.begin()
	for _, o := range c.orders {
		o.SentAt, o.NextAt = time.Time{}, now
	}
	c.unsaved = true
}

// follow gives the commands of alarms.
func (c *core) follow(events []rules.Event, now time.Time) {
	c.changed = c.changed || len(events) > 0
	for _, e := range events {
		c.metrics.alarms.WithLabelValues(e.Scenario, string(e.Kind)).Inc()
		a := command.Alarm{Scenario: e.Scenario, Scope: string(e.Scope), Place: e.ID, Fleet: e.Fleet, Device: e.Device, Start: e.Start, At: e.At, Kind: string(e.Kind), Mode: e.Mode}
		switch e.Kind {
		case rules.Raised, rules.Cleared:
			if !e.Along {
				c.alarm(a, now)
			}
		case rules.Retracted:
			c.takeBack(a.Key(), now)
		}
	}
}

func (c *core) alarm(a command.Alarm, now time.Time) {
	b := c.bundle
	if _, here := b.Fleets[a.Fleet].Devices[a.Device]; !here {
		return
	}
	for place, k := range a.Commands(b.Rules, b.Fleets) {
		if k.At != a.Kind {
			continue
		}
		given := 0
		for _, to := range command.Targets(b.Fleets, k, command.Target{Fleet: a.Fleet, Device: a.Device}) {
			o, code := a.Order(b.Rules, b.Fleets, place, to, now)
			if code == "" && given >= command.MaxTargets {
				code = command.TooManyDevices
			}
			if code != "" {
				c.metrics.commands.WithLabelValues("Refused", string(code)).Inc()
				continue
			}
			at := a.At
			if at.After(now) {
				at = now
			}
			if c.give(&order{Order: o, Scenario: a.Scenario, Alarm: a.Key(), GivenAt: at}, now) {
				given++
			}
		}
	}
}
