package local

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

// againFloor is the least time between two sendings of a desired state from here.
const againFloor = time.Minute

// wanted is the desired state that the hub last sent to a device.
type wanted struct {
	command.Desired
	Heard        time.Time `json:"heard"`
	SentAt       time.Time `json:"sentAt"`
	Acknowledged bool      `json:"acknowledged,omitempty"`
	Due          bool      `json:"due,omitempty"`
}

// want remembers what the hub wants of a device of this node.
func (c *core) want(d command.Target, payload []byte, now time.Time) {
	var is command.Desired
	if json.Unmarshal(payload, &is) != nil || is.ID == uuid.Nil {
		return
	}
	was := c.desired[d]
	if was == nil {
		was = &wanted{Heard: now}
		c.desired[d] = was
	}
	was.Acknowledged = was.Acknowledged && was.ID == is.ID
	c.changed = true
	was.Desired, was.SentAt, was.Due = is, now, false
}

// returned notes that a device was heard: one that says its state, or was silent for as long as makes it offline, is to be told again what
// is wanted of it.
func (c *core) returned(d command.Target, channel contract.Channel, at time.Time) {
	w := c.desired[d]
	if w == nil {
		return
	}
	silence := time.Duration(c.bundle.Rules.Profiles[c.bundle.Fleets[d.Fleet].Profile].OfflineSeconds()) * time.Second
	if channel == contract.ChannelState || silence > 0 && at.Sub(w.Heard) > silence || !w.Acknowledged {
		w.Due = true
	}
	if at.After(w.Heard) {
		w.Heard = at
	}
}

// dueDesired gives what devices that came back are told again. The hub does that itself while the line is there.
func (c *core) dueDesired(now time.Time) (out []outgoing) {
	for d, w := range c.desired {
		f := c.bundle.Fleets[d.Fleet]
		if _, here := f.Devices[d.Device]; !here {
			delete(c.desired, d)
			continue
		}
		if !w.Due || now.Sub(w.SentAt) < againFloor {
			continue
		}
		is := command.Desired{ID: w.ID, Desired: map[string]map[string]any{}}
		for name, args := range w.Desired.Desired {
			k, ok := c.bundle.Rules.Profiles[f.Profile].Commands[name]
			if args, err := command.Arguments(k, args); ok && k.Desired && err == nil {
				is.Desired[name] = args
			}
		}
		raw, err := json.Marshal(is)
		if err != nil {
			continue
		}
		w.SentAt, w.Due = now, false
		out = append(out, outgoing{contract.DeviceSubject(d.Fleet, d.Device, contract.ChannelDesired), raw})
	}
	return out
}
