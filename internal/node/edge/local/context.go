package local

import (
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Known says what the scenarios know beside what devices say; nil before the first bundle.
func (s *Scenarios) Known() *contract.EdgeKnown {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.core == nil {
		return nil
	}
	return &contract.EdgeKnown{Modes: s.core.modesDigest}
}

// Learn takes what the hub says beside that.
func (s *Scenarios) Learn(is contract.EdgeContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.core == nil {
		return
	}
	if is.ModesDigest != "" {
		s.core.modes, s.core.modesDigest, s.core.changed = is.Modes, is.ModesDigest, true
		s.log.Info("the hub tells the mode", "mode", modeNow(s.core.modesAt(s.now())))
	}
}

// tellModes tells the engine the switches of the mode as they are at now.
func (c *core) tellModes(now time.Time) { c.engine.SetModes(c.modesAt(now)) }

// modesAt gives the switches up to now. A mode that nobody ended or prolonged here, for the line may be cut, ends when it was said to: no node
// stays in an emergency for longer than a commander wanted.
func (c *core) modesAt(now time.Time) []contract.ModeSwitch {
	list := slices.Clone(c.modes)
	if n := len(list); n > 0 {
		if last := list[n-1]; !last.ExpiresAt.IsZero() {
			list = append(list, contract.ModeSwitch{Mode: contract.ModeRoutine, Since: last.ExpiresAt})
		}
	}
	return slices.DeleteFunc(list, func(m contract.ModeSwitch) bool { return m.Since.After(now) })
}

// modeNow gives the last of some switches.
func modeNow(list []contract.ModeSwitch) string {
	if len(list) == 0 {
		return contract.ModeRoutine
	}
	return list[len(list)-1].Mode
}
