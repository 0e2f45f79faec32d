package grid

import (
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Kinds of timers: what is to be done until they fire.
const (
	timerAcknowledge = "Acknowledge" // somebody takes the case
	timerOnSite      = "OnSite"      // somebody is there
	timerResolve     = "Resolve"     // the case is closed
)

// timerKinds are the kinds that an SLA gives, in the order in which they are looked at.
var timerKinds = []string{timerAcknowledge, timerOnSite, timerResolve}

// timer is a clock of a case that runs down. It stands still while it is paused: then it has no RunningSince and no Due.
type timer struct {
	Kind string `db:"kind"`
	// Round is unique in the case: a time that is set anew has another.
	Round int `db:"round"`
	// Working counts only working time.
	Working bool `db:"working"`
	// LeftMS is what was left, in milliseconds, when it began to run or was paused.
	LeftMS       int64      `db:"left_ms"`
	RunningSince *time.Time `db:"running_since"`
	Due          *time.Time `db:"due"`
	// Calendar is the digest of the calendar that Due was reckoned with.
	Calendar string `db:"calendar"`
}

// left gives what was left when the timer began to run or was paused.
func (t timer) left() time.Duration { return time.Duration(t.LeftMS) * time.Millisecond }

// run lets a timer that is paused go on from now.
func (t timer) run(p contract.Platform, now time.Time) timer {
	if t.Due == nil {
		since := now.Truncate(time.Millisecond) // as fine as what is left, so that the two make the due that was meant
		t.RunningSince = &since
	}
	return t.reckon(p)
}

// reckon gives the timer with the due that the platform's calendar makes of it.
func (t timer) reckon(p contract.Platform) timer {
	if t.RunningSince == nil {
		return t
	}
	due := t.RunningSince.Add(t.left())
	if t.Working {
		due = addWorking(p.Calendar, t.RunningSince.In(location(p)), t.left())
	}
	due = due.UTC()
	t.Due, t.Calendar = &due, calendarDigest(p)
	return t
}

// pause lets the timer stand still with what is left of it; 0 if it is due and did not fire yet: then it fires when it goes on.
func (t timer) pause(p contract.Platform, now time.Time) timer {
	if t.RunningSince == nil {
		return t
	}
	spent := now.Sub(*t.RunningSince)
	if t.Working {
		spent = workingBetween(p.Calendar, t.RunningSince.In(location(p)), now)
	}
	t.LeftMS = max(0, t.LeftMS-spent.Milliseconds())
	t.RunningSince, t.Due = nil, nil
	return t
}

// allowed gives the time that an SLA allows for a kind of timer; 0 is not measured.
func allowed(s contract.SLA, kind string) time.Duration {
	return time.Duration(map[string]int64{timerAcknowledge: s.AcknowledgeSeconds, timerOnSite: s.OnSiteSeconds, timerResolve: s.ResolveSeconds}[kind]) * time.Second
}

// clocks are the timers of a case, one of a kind.
type clocks map[string]timer

// begin sets the kinds that the SLA of the case's severity has, with full time from now, and numbers them as one round.
func (k clocks) begin(p contract.Platform, c *Case, now time.Time, kinds ...string) {
	s := slaOf(p, c)
	c.Round++
	for _, kind := range kinds {
		delete(k, kind)
		if d := allowed(s, kind); d > 0 {
			k[kind] = timer{Kind: kind, Round: c.Round, Working: s.Working, LeftMS: d.Milliseconds()}.run(p, now)
		}
	}
	k.mirror(c)
}

// each changes every timer.
func (k clocks) each(p contract.Platform, now time.Time, f func(timer, contract.Platform, time.Time) timer) {
	for kind, t := range k {
		k[kind] = f(t, p, now)
	}
}

// times is what a case says of one of its times.
type times struct {
	due     **time.Time
	overdue *bool
	done    func() bool
}

// times gives what the case says of a kind of timer.
func (c *Case) times(kind string) times {
	switch kind {
	case timerAcknowledge:
		return times{&c.AcknowledgeDue, &c.AcknowledgeOverdue, func() bool { return c.AcknowledgedAt != nil }}
	case timerOnSite:
		return times{&c.OnSiteDue, &c.OnSiteOverdue, func() bool { return c.OnSiteAt != nil }}
	}
	return times{&c.ResolveDue, &c.ResolveOverdue, func() bool { return false }}
}

// mirror makes the case say when its times are due. A time that was missed stays the one that was missed, whoever has another now.
func (k clocks) mirror(c *Case) {
	for kind, t := range k {
		if says := c.times(kind); !*says.overdue {
			*says.due = t.Due
		}
	}
}

// touches says whether an action that led to a state sets, stops or pauses timers.
func touches(a Action, next State) bool {
	switch a {
	case Acknowledge, Arrive, RequestVerification, Suspend, Resume, Extend, Return, Reassign, Reopen:
		return true
	}
	return !next.Open()
}

// after makes of the timers, and of what the case says of them, what an action leaves. The case has its new state already. until is of Extend.
func (k clocks) after(p contract.Platform, c *Case, a Action, until *time.Time, now time.Time) {
	switch {
	case !c.State.Open():
		clear(k)
	case a == Acknowledge:
		if c.AcknowledgedAt == nil {
			c.AcknowledgedAt = &now
		}
		delete(k, timerAcknowledge)
	case a == Arrive || a == RequestVerification: // who did the work was there, and need not have said so
		if c.OnSiteAt == nil {
			c.OnSiteAt = &now
		}
		delete(k, timerOnSite)
	case a == Suspend:
		k.each(p, now, timer.pause)
	case a == Resume:
		k.each(p, now, timer.run)
	case a == Extend && until != nil:
		c.Round++
		c.ResolveOverdue = false
		// A date that people set: every minute counts, and no calendar moves it.
		k[timerResolve] = timer{Kind: timerResolve, Round: c.Round, LeftMS: until.Sub(now.Truncate(time.Millisecond)).Milliseconds()}.run(p, now)
	case (a == Return || a == Reassign) && c.AcknowledgedAt != nil: // whoever gets it next has to take it, and to come
		c.AcknowledgedAt, c.OnSiteAt, c.AcknowledgeOverdue, c.OnSiteOverdue = nil, nil, false, false
		k.begin(p, c, now, timerAcknowledge, timerOnSite)
	case a == Reopen:
		c.AcknowledgedAt, c.OnSiteAt, c.AcknowledgeOverdue, c.OnSiteOverdue, c.ResolveOverdue = nil, nil, false, false, false
		c.AcknowledgeDue, c.OnSiteDue, c.ResolveDue = nil, nil, nil
		c.Level, c.Reopened = levelMicroGrid, c.Reopened+1
		k.begin(p, c, now, timerKinds...)
	}
	k.mirror(c)
}

// worsen gives the case, which is graver now, the times of its severity from now where they are sooner than what it has. What was done in time
// is done.
func (k clocks) worsen(p contract.Platform, c *Case, now time.Time) {
	fresh := clocks{}
	was := *c
	fresh.begin(p, &was, now, timerKinds...)
	set := false
	for kind, t := range fresh {
		if c.times(kind).done() {
			continue
		}
		old, there := k[kind]
		if c.State == Suspended {
			t = t.pause(p, now)
			if there && old.Working == t.Working && old.LeftMS <= t.LeftMS {
				continue
			}
		} else if there && old.Due != nil && !t.Due.Before(*old.Due) {
			continue
		}
		k[kind], set = t, true
	}
	if set {
		c.Round = was.Round
	}
	k.mirror(c)
}

// adopt gives a case of before timers by what it says is due. What was missed, and what was done, needs none; a case that stands still since
// pausedAt keeps what was left then. It is pure.
func adopt(p contract.Platform, c *Case, pausedAt *time.Time) clocks {
	k, s := clocks{}, slaOf(p, c)
	c.Round = 1
	for _, kind := range timerKinds {
		says := c.times(kind)
		if *says.due == nil || *says.overdue || says.done() {
			continue
		}
		since, due := c.OpenedAt, **says.due
		if since.After(due) {
			since = due
		}
		t := timer{Kind: kind, Round: 1, Working: s.Working, RunningSince: &since, Due: &due, Calendar: calendarDigest(p)}
		if t.Working {
			t.LeftMS = workingBetween(p.Calendar, since.In(location(p)), due).Milliseconds()
		} else {
			t.LeftMS = due.Sub(since).Milliseconds()
		}
		if pausedAt != nil {
			t = t.pause(p, *pausedAt)
		}
		k[kind] = t
	}
	k.mirror(c)
	return k
}
