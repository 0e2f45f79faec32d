package rules

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// What a single message does by itself, with no alarm: an entry in a ledger, an act on a case. Nothing is kept of it, so it comes again when the
// message does: whoever carries it out does so once for each name.

// maxAmount bounds an entry, so that no sum of them is too large for a ledger; what a device sends may be in it.
const maxAmount = 1e12

// Effect is what a message does.
type Effect struct {
	// Once names it: the same for a message that is repeated.
	Once string
	// Subject and Amount of an entry in a ledger.
	Subject string
	Amount  float64
}

// effects compiles what single messages do, and refuses triggers that are of more than one.
func (c *compiler) effects(s contract.Scenario) {
	c.inputs(s)
	if s.Ledger == nil && s.Act == "" {
		return
	}
	field := "act"
	if l := s.Ledger; l != nil {
		field = "ledger"
		c.r.subject, c.r.amount = c.text("ledger.subject", l.Subject, nil), c.text("ledger.amount", l.Amount, nil)
	}
	for _, t := range c.r.base.terms {
		if t.mode != modeWhen || len(t.remember) > 0 {
			c.fail(field, "is of single messages; write trigger.when alone, or a scenario for the rest")
			break
		}
	}
	if len(s.Baselines) > 0 || c.looksBack() {
		c.fail(field, "is of single messages; leave baseline and state out")
	}
	c.r.effect, c.r.bare = true, s.CaseClass == "" && len(s.Commands) == 0
	if c.r.bare && (s.Clear != "" || len(s.Raise)+len(s.Combines) > 0) {
		c.fail(field, "is done at once, and there is no alarm; leave trigger.clear, raise and combines out")
	}
}

// looksBack says whether an expression looks at what came before.
func (c *compiler) looksBack() bool {
	for _, x := range c.all {
		if x.state || x.baseline {
			return true
		}
	}
	return false
}

// inputs refuses what scenarios that look at no device cannot wait for: their messages are of moments, and say nothing by not coming.
func (c *compiler) inputs(s contract.Scenario) {
	if !builtIn(s.Profile) {
		return
	}
	for i, t := range c.r.base.terms {
		if t.mode != modeWhen && t.mode != modeCount || len(t.remember) > 0 {
			c.fail(path(i, len(c.r.base.terms), "when"), "is of changes and answers, which are moments; write when, or when with count")
			return
		}
	}
	if len(s.Baselines) > 0 {
		c.fail("baselines", "are of devices; leave them out")
	}
	if s.Profile == contract.CaseProfile && s.Act == "" && c.r.scope == ScopeDevice {
		c.fail("trigger.count", "is needed where changes of cases open a case; write count with the scope of a place such as Grid, or act in place of case")
	}
}

// builtIn says of a profile that no device has it.
func builtIn(profile string) bool {
	return profile == contract.CaseProfile || profile == contract.CommandProfile
}

// effect tells what the message that e.in shows does by itself.
func (e *Engine) effect(r *rule, h uint64) {
	if e.in.plan.off || !e.applies() {
		return
	}
	if _, _, in := e.in.plan.schedule.at(e.in.at); !in {
		return
	}
	moved := false
	for i := range e.in.plan.terms {
		moved = moved || e.test(e.in.plan.terms[i].when, "trigger.when") == yes
	}
	if !moved || r.unless != nil && e.test(r.unless, "trigger.unless") == yes {
		return
	}
	at := time.UnixMilli(e.in.at).UTC()
	// The day is in the name: devices there are that begin their ids anew.
	x := Effect{Once: at.In(r.zone).Format(time.DateOnly) + "/" + strconv.FormatUint(h, 16)}
	kind := Acted
	if r.scenario.Ledger != nil {
		var ok bool
		if x.Subject, x.Amount, ok = e.entry(r); !ok {
			return
		}
		kind = Entered
	}
	e.events = append(e.events, Event{Kind: kind, Scenario: r.name, Scope: ScopeDevice, ID: e.in.fleet + "/" + e.in.name, Fleet: e.in.fleet, Device: e.in.name,
		Start: at, Began: at, At: at, Effect: &x})
}

// entry evaluates an entry of a ledger; ok is false where there is none.
func (e *Engine) entry(r *rule) (subject string, amount float64, ok bool) {
	whose, err := r.subject.value(&e.in)
	if err != nil {
		e.failed("ledger.subject", err)
	}
	much, err2 := r.amount.value(&e.in)
	if err2 != nil {
		e.failed("ledger.amount", err2)
	}
	if whose == nil || much == nil || err != nil || err2 != nil {
		return "", 0, false
	}
	subject, isText := whose.Value().(string)
	if !isText {
		e.failed("ledger.subject", errors.New("gives no text"))
		return "", 0, false
	}
	if amount, ok = number(much); !ok {
		e.failed("ledger.amount", errors.New("gives no number"))
	}
	return subject, amount, ok && subject != "" && !strings.ContainsRune(subject, 0) && amount > 0 && amount <= maxAmount
}

// Capped gives how much of an amount is entered for a subject that has sum in that day; limit nil is no bound.
func Capped(limit *float64, sum, amount float64) float64 {
	if limit == nil {
		return amount
	}
	return max(0, min(amount, *limit-sum))
}
