package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// stored is what outlives the process: a line with the digest of what follows, then this as JSON.
type stored struct {
	Incarnation string      `json:"incarnation"`
	Position    uint64      `json:"position"`
	Keys        []storedKey `json:"keys,omitempty"`
	// Engine is the state of scenarios as the version before left it.
	Engine  []storedDevice  `json:"engine,omitempty"`
	Orders  []*order        `json:"orders,omitempty"`
	Desired []storedDesired `json:"desired,omitempty"`
	// Heard is what the hub said.
	Heard heard `json:"heard,omitzero"`
}

type storedKey struct {
	Scenario string          `json:"n,omitempty"`
	Scope    rules.Scope     `json:"o"`
	ID       string          `json:"i"`
	State    json.RawMessage `json:"s"`
}

type storedDevice struct {
	Fleet  string          `json:"f"`
	Device string          `json:"d"`
	State  json.RawMessage `json:"s"`
}

type storedDesired struct {
	Fleet  string  `json:"f"`
	Device string  `json:"d"`
	Wanted *wanted `json:"w"`
}

var errTorn = errors.New("is torn: its digest does not fit")

// snapshot gives all that the core knows. After that nothing is unsaved, for whoever writes it.
func (c *core) snapshot() ([]byte, error) {
	s := stored{Incarnation: c.incarnation, Position: c.position, Orders: c.sorted(), Heard: c.heard}
	states, err := c.engine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("scenarios: %w", err)
	}
	for _, k := range states {
		s.Keys = append(s.Keys, storedKey{k.Scenario, k.Scope, k.ID, k.State})
	}
	for d, w := range c.desired {
		s.Desired = append(s.Desired, storedDesired{d.Fleet, d.Device, w})
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("scenarios: %w", err)
	}
	c.unsaved, c.changed = false, false
	return append([]byte(contract.Digest(raw)+"\n"), raw...), nil
}

// restore takes back what snapshot gave, into a core that has seen nothing. Of another incarnation of the outbox only the commands count:
// its positions mean other messages.
func (c *core) restore(raw []byte, incarnation string) error {
	digest, body, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || contract.Digest(body) != string(digest) {
		return errTorn
	}
	var s stored
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	for _, o := range s.Orders {
		c.keep(o)
	}
	for _, d := range s.Desired {
		if d.Wanted != nil {
			c.desired[command.Target{Fleet: d.Fleet, Device: d.Device}] = d.Wanted
		}
	}
	c.incarnation, c.heard = incarnation, s.Heard
	for _, f := range c.heard.Facts { // before the states, which reflect them
		c.engine.Know(fact(f))
	}
	if s.Incarnation != incarnation {
		return nil
	}
	c.position = s.Position
	for _, k := range s.Keys {
		if err := c.engine.Restore(rules.KeyState{Scenario: k.Scenario, Scope: k.Scope, ID: k.ID, State: k.State}); err != nil {
			c.log.Error("state of a scenario dropped", "err", err) // one broken state must not stop every alarm
		}
	}
	for _, d := range s.Engine {
		if _, err := c.engine.RestoreDevice(d.Fleet, d.Device, d.State); err != nil {
			c.log.Error("state of a device dropped", "err", err)
		}
	}
	return nil
}
