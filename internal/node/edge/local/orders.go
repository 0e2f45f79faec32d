package local

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

const (
	// maxOrders bounds the commands that are remembered, and so those that wait.
	maxOrders = 4096
	// keepFor is how long one that has ended is remembered: late evidence may retract its alarm, and the hub may send it.
	keepFor = 24 * time.Hour
)

// order is a command of an alarm, or the safe state that follows one.
type order struct {
	command.Order
	Scenario string `json:",omitempty"`
	// Alarm that gave it; empty for a safe state.
	Alarm string `json:",omitempty"`
	Safe  bool   `json:",omitempty"`
	// GivenAt is when its alarm was; a safe state has that of its cause, for what came after that took the place of both.
	GivenAt time.Time
	State   command.State
	Sent    int       `json:",omitempty"`
	SentAt  time.Time `json:",omitzero"`
	NextAt  time.Time
}

// outgoing is a message for a device.
type outgoing struct {
	subject string
	payload []byte
}

// give takes a command that was checked; it gives false for one that was given before. Of two of the same name that the device has not
// acknowledged the older one ends: two that are sent again and again would fight. That is this one where its alarm came late.
func (c *core) give(o *order, now time.Time) bool {
	if c.orders[o.Once] != nil || c.byID[o.ID] != nil {
		return false
	}
	if len(c.orders) >= maxOrders && !c.makeRoom() {
		c.metrics.commands.WithLabelValues("Refused", "TooMany").Inc()
		c.log.Error("command not given: too many wait for their devices", "fleet", o.Fleet, "device", o.Device, "command", o.Command)
		return false
	}
	o.State, o.NextAt = command.Pending, now
	for _, other := range c.orders {
		if other.State != command.Pending || !other.sameTask(o) {
			continue
		}
		older := other
		if other.GivenAt.After(o.GivenAt) {
			older = o
		}
		c.end(older, command.Superseded, "NewerCommand")
	}
	c.keep(o)
	c.unsaved = true
	if o.State != command.Pending {
		return true
	}
	c.metrics.commands.WithLabelValues(string(command.Pending), "").Inc()
	c.log.Info("command given", "scenario", o.Scenario, "fleet", o.Fleet, "device", o.Device, "command", o.Command, "id", o.ID)
	return true
}

func (c *core) keep(o *order) { c.orders[o.Once], c.byID[o.ID] = o, o }

func (c *core) forget(o *order) {
	delete(c.orders, o.Once)
	delete(c.byID, o.ID)
}

// makeRoom forgets the oldest of those that have ended.
func (c *core) makeRoom() bool {
	var oldest *order
	for _, o := range c.orders {
		if o.State.Final() && (oldest == nil || o.before(oldest)) {
			oldest = o
		}
	}
	if oldest == nil {
		return false
	}
	c.forget(oldest)
	return true
}

// sameTask says that two commands are of one name, for one device.
func (o *order) sameTask(p *order) bool { return o.Target == p.Target && o.Command == p.Command }

// before orders by when commands were given.
func (o *order) before(p *order) bool {
	if d := o.GivenAt.Compare(p.GivenAt); d != 0 {
		return d < 0
	}
	return bytes.Compare(o.ID[:], p.ID[:]) < 0
}

func (c *core) end(o *order, s command.State, reason string) {
	o.State, c.changed = s, true
	c.metrics.commands.WithLabelValues(string(s), reason).Inc()
}

// endSafely ends a command that the device may have, and gives the safe state that the profile has for it.
func (c *core) endSafely(o *order, s command.State, reason string, now time.Time) {
	c.end(o, s, reason)
	f := c.bundle.Fleets[o.Fleet]
	if o.Safe || c.misplaced(o) != "" {
		return
	}
	args, expires, ok := command.SafeState(c.bundle.Rules.Profiles[f.Profile], o.Command, now)
	if !ok {
		return
	}
	safe := o.Order
	safe.ID, safe.Once, safe.Arguments, safe.ExpiresAt = command.SafeID(o.ID, s), "safe\x1f"+o.ID.String(), args, expires
	c.give(&order{Order: safe, Scenario: o.Scenario, Safe: true, GivenAt: o.GivenAt}, now)
}

// acknowledge takes an ack to the command that it names, of this very device.
func (c *core) acknowledge(from command.Target, a command.Ack, now time.Time) {
	if w := c.desired[from]; w != nil && w.ID == a.ID {
		w.Acknowledged, w.Due = true, false
	}
	o := c.byID[a.ID]
	if o == nil || o.Target != from {
		return // of the hub's, or of nothing at all
	}
	next, moved := command.After(o.State, a.Result)
	if !moved {
		return
	}
	c.end(o, next, "")
	c.log.Info("command acknowledged", "fleet", o.Fleet, "device", o.Device, "command", o.Command, "id", o.ID, "result", a.Result,
		"after", now.Sub(o.GivenAt).Round(time.Millisecond))
}

// takeBack takes back what an alarm gave, unless a newer command took its place.
func (c *core) takeBack(alarm string, now time.Time) {
	for _, o := range c.sorted() {
		if o.Alarm != alarm || !o.State.Withdrawable() {
			continue
		}
		newer := false
		for _, p := range c.orders {
			newer = newer || p.sameTask(o) && o.before(p) && p.State.Withdrawable()
		}
		if !newer {
			c.endSafely(o, command.Withdrawn, "AlarmRetracted", now)
			c.unsaved = true
		}
	}
}

// spoke brings forward what waits for a device that was just heard.
func (c *core) spoke(d command.Target, channel contract.Channel, at, now time.Time) {
	for _, o := range c.orders {
		if o.Target == d && o.State == command.Pending && o.NextAt.After(now) && now.Sub(o.SentAt) >= command.FirstPause {
			o.NextAt = now
		}
	}
	c.returned(d, channel, at)
}

// due gives what is to be sent now, and ends what has expired.
func (c *core) due(now time.Time) (out []outgoing) {
	for _, o := range c.sorted() {
		c.hold(o, now)
		switch {
		case o.State != command.Pending:
			if o.ExpiresAt.Add(keepFor).Before(now) {
				c.forget(o)
			}
			continue
		case !o.ExpiresAt.After(now):
			c.endSafely(o, command.Expired, "", now)
			continue
		case o.NextAt.After(now):
			continue
		}
		args, reason := c.recheck(o)
		if reason != "" {
			if o.Sent > 0 { // the device may have it
				c.endSafely(o, command.Void, reason, now)
			} else {
				c.end(o, command.Void, reason)
			}
			continue
		}
		raw, err := json.Marshal(command.Message{ID: o.ID, Command: o.Command, Arguments: args, ExpiresAt: o.ExpiresAt.UTC()})
		if err != nil {
			c.end(o, command.Void, "Unknown")
			continue
		}
		c.changed = true
		o.Sent++
		o.SentAt, o.NextAt = now, now.Add(command.Pause(o.Sent, command.MaxPause))
		out = append(out, outgoing{contract.DeviceSubject(o.Fleet, o.Device, contract.ChannelCommand), raw})
	}
	return out
}

// hold keeps the times of a command to what they can be by the clock as it is now. A clock that was set back, also while the agent did not run,
// would have it wait in silence, and then live far longer than its profile says.
func (c *core) hold(o *order, now time.Time) {
	was := *o
	if k, ok := c.bundle.Rules.Profiles[c.bundle.Fleets[o.Fleet].Profile].Commands[o.Command]; ok {
		o.ExpiresAt = earlier(o.ExpiresAt, now.Add(command.Expiry(k)))
	}
	o.GivenAt = earlier(o.GivenAt, now)
	if o.SentAt.After(now) {
		o.SentAt = time.Time{}
	}
	if o.NextAt.After(now.Add(command.MaxPause)) {
		o.NextAt = now
	}
	c.changed = c.changed || o.ExpiresAt != was.ExpiresAt || o.GivenAt != was.GivenAt || o.SentAt != was.SentAt || o.NextAt != was.NextAt
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// recheck holds a command against the bundle once more before it leaves.
func (c *core) recheck(o *order) (args map[string]any, reason string) {
	if reason := c.misplaced(o); reason != "" {
		return nil, reason
	}
	b := c.bundle
	p := b.Rules.Profiles[b.Fleets[o.Fleet].Profile]
	var err error
	if o.Safe {
		_, args, err = command.CheckSafe(p, o.Command, o.Arguments)
	} else if _, there := b.Rules.Scenarios[o.Scenario]; !there {
		return nil, "ScenarioGone"
	} else {
		_, args, err = command.Check(p, o.Command, o.Arguments, command.SenderScenario)
	}
	if err != nil {
		return nil, string(command.CodeOf(err))
	}
	return args, ""
}

// misplaced says why a command may not go to its device whatever it says; empty if it may.
func (c *core) misplaced(o *order) string {
	f := c.bundle.Fleets[o.Fleet]
	row, ok := f.Devices[o.Device]
	switch {
	case !ok:
		return string(command.DeviceGone)
	case row.Community != o.Community || row.Grid != o.Grid:
		return "DeviceMoved"
	case !command.Reachable(f):
		return string(command.NotReachable)
	}
	return ""
}

// sorted gives the commands in the order in which they were given.
func (c *core) sorted() []*order {
	out := make([]*order, 0, len(c.orders))
	for _, o := range c.orders {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *order) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	return out
}

// passes says whether a command of the hub's goes on to its device: not one that was given up here, for its safe state has followed, and not
// the safe state of one that the device acknowledged here in time, of which the hub has not heard yet. What is done it may have again: it
// answers once more, and does it no more. What passes ends the node's own commands whose place it takes.
func (c *core) passes(to command.Target, id uuid.UUID, name string, now time.Time) bool {
	if o := c.byID[id]; o != nil {
		return o.State != command.Expired && o.State != command.Withdrawn && o.State != command.Superseded && o.State != command.Void
	}
	for _, o := range c.orders {
		acknowledged := o.State == command.StateReceived || o.State == command.StateDone || o.State == command.StateFailed
		if o.Target == to && acknowledged && command.SafeID(o.ID, command.Expired) == id {
			return false
		}
	}
	c.yield(to, id, name, now)
	return true
}

// yield ends what was given here before the hub's command of the same name: that is a newer one, or the safe state of one that the hub ended.
// That safe state is then sent from here as well, under the same id, for the line may be cut before the device has it.
func (c *core) yield(to command.Target, id uuid.UUID, name string, now time.Time) {
	for _, o := range c.sorted() {
		if o.Target != to || o.Command != name || !o.State.Withdrawable() || id.Version() != 7 || id.Time() <= o.ID.Time() {
			continue
		}
		c.unsaved = true
		ended := slices.IndexFunc(endsSafely, func(s command.State) bool { return command.SafeID(o.ID, s) == id })
		switch {
		case ended < 0:
			c.end(o, command.Superseded, "NewerCommand")
		case o.State == command.Pending:
			c.endSafely(o, endsSafely[ended], "EndedByHub", now)
		default:
			c.end(o, endsSafely[ended], "EndedByHub")
		}
	}
}

// commandName gives the name of the command that a message for a device bears; empty if it bears none.
func commandName(payload []byte) string {
	var m struct {
		Command string `json:"command"`
	}
	_ = json.Unmarshal(payload, &m)
	return m.Command
}

// endsSafely are the states that a safe state follows.
var endsSafely = []command.State{command.Expired, command.Withdrawn, command.Void}
