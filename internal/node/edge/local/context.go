package local

import (
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// factsMatter is how long what is no longer said can still matter to a message: the longest lateness, and a day on top.
const factsMatter = 48 * time.Hour

// heard is what the hub says beside what devices say.
type heard struct {
	// Modes are the switches of the mode, ModesDigest the hub's name for them.
	Modes       []contract.ModeSwitch `json:"modes,omitempty"`
	ModesDigest string                `json:"modesDigest,omitempty"`
	// Facts up to Position, by number; FactsDigest is the hub's name for what it told of.
	Facts       []contract.EdgeFact `json:"facts,omitempty"`
	FactsDigest string              `json:"factsDigest,omitempty"`
	Position    int64               `json:"position,omitempty"`
}

// Known says what the scenarios know beside what devices say; nil before the first bundle.
func (s *Scenarios) Known() *contract.EdgeKnown {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.core == nil {
		return nil
	}
	return s.core.known()
}

// Learn takes what the hub says beside that.
func (s *Scenarios) Learn(is contract.EdgeContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.core == nil {
		return
	}
	s.core.learn(is, s.now())
	if is.ModesDigest != "" {
		s.log.Info("the hub tells the mode", "mode", modeNow(s.core.modesAt(s.now())))
	}
}

func (c *core) known() *contract.EdgeKnown {
	k := &contract.EdgeKnown{Modes: c.heard.ModesDigest, Facts: c.heard.FactsDigest, Position: c.heard.Position}
	if c.anew != nil {
		k.Facts, k.Position = c.anew.FactsDigest, c.anew.Position
	}
	return k
}

// learn takes what the hub says. Facts that come anew, in several answers, take the place of the others at once: half of them would say that
// nobody is away.
func (c *core) learn(is contract.EdgeContext, now time.Time) {
	c.changed = true
	if is.ModesDigest != "" {
		c.heard.Modes, c.heard.ModesDigest = is.Modes, is.ModesDigest
		c.tellModes(now)
	}
	switch {
	case is.Reset:
		c.anew = &heard{Facts: is.Facts, FactsDigest: is.FactsDigest, Position: is.Position}
	case is.FactsDigest != "" && c.anew != nil && is.FactsDigest == c.anew.FactsDigest:
		c.anew.Facts, c.anew.Position = append(c.anew.Facts, is.Facts...), is.Position
	case is.FactsDigest != "" && c.anew == nil && is.FactsDigest == c.heard.FactsDigest:
		c.say(is.Facts, now)
		c.heard.Position = is.Position
	}
	if c.anew != nil && !is.More {
		c.replace(*c.anew, now)
		c.anew = nil
	}
	c.prune(now)
}

// say tells the engine facts that it does not know, in order.
func (c *core) say(list []contract.EdgeFact, now time.Time) {
	for _, f := range list {
		c.heard.Facts = append(c.heard.Facts, f)
		c.follow(c.engine.SetFact(fact(f), c.lookup), now)
	}
}

// replace takes other facts in place of those that are known. What was known before is not judged anew.
func (c *core) replace(by heard, now time.Time) {
	was := map[int64]bool{}
	for _, f := range c.heard.Facts {
		was[f.N] = true
	}
	c.heard.Facts, c.heard.FactsDigest, c.heard.Position = nil, by.FactsDigest, by.Position
	c.engine.ForgetFacts()
	var fresh []contract.EdgeFact
	for _, f := range by.Facts {
		if !was[f.N] {
			fresh = append(fresh, f)
			continue
		}
		c.heard.Facts = append(c.heard.Facts, f)
		c.engine.Know(fact(f))
	}
	c.say(fresh, now)
}

func fact(f contract.EdgeFact) rules.Fact {
	return rules.Fact{Scope: rules.Scope(f.Scope), ID: f.ID, Name: f.Name, Member: f.Member, Value: f.Value, Since: f.Since, Until: f.Until}
}

// prune forgets what was said before something else was, or ended, so long ago that no message asks for it.
func (c *core) prune(now time.Time) {
	type place struct{ scope, id, name, member string }
	next, limit := map[place]time.Time{}, now.Add(-factsMatter)
	kept := c.heard.Facts[:0:0]
	for _, f := range slices.Backward(c.heard.Facts) {
		k := place{f.Scope, f.ID, f.Name, f.Member}
		if at, ok := next[k]; ok && !at.After(limit) || !f.Until.IsZero() && !f.Until.After(limit) {
			continue
		}
		next[k] = f.Since
		kept = append(kept, f)
	}
	slices.Reverse(kept)
	c.heard.Facts = kept
}

// tell tells the engine what is so at now, whatever the hub last said.
func (c *core) tell(now time.Time) {
	c.tellModes(now)
	// Whether somebody is away, or consents, nobody knows who does not hear of it: it goes with the lease, from here and from the disk.
	if h := &c.heard; (h.FactsDigest != "" || c.anew != nil) && !c.bundle.Lease.ExpiresAt.After(now) {
		c.log.Info("what was said of places is forgotten with the lease", "facts", len(h.Facts))
		h.Facts, h.FactsDigest, h.Position, c.anew = nil, "", 0, nil
		c.engine.ForgetFacts()
		c.changed = true
	}
}

// tellModes tells the engine the switches of the mode as they are at now.
func (c *core) tellModes(now time.Time) { c.engine.SetModes(c.modesAt(now)) }

// modesAt gives the switches up to now. A mode that nobody ended or prolonged here, for the line may be cut, ends when it was said to: no node
// stays in an emergency for longer than a commander wanted.
func (c *core) modesAt(now time.Time) []contract.ModeSwitch {
	list := slices.Clone(c.heard.Modes)
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
