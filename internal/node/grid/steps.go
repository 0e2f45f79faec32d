package grid

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// Timers that are no times of an SLA. Party says what they are about.
const (
	timerStep = "Step" // the next responders are called; party is the number of the step that was called last
	timerCall = "Call" // a call goes a level up; party is the id of who was called
)

var otherTimers = []string{timerStep, timerCall}

// other is one of these timers.
type other struct {
	Party string `db:"party"`
	timer
}

// callable gives the responders that a severity lets be called.
func callable(severity contract.Severity, responders []contract.Responder) (out []contract.Responder) {
	for _, r := range responders {
		if r.MinSeverity == "" || !rules.Graver(r.MinSeverity, severity) {
			out = append(out, r)
		}
	}
	return out
}

// reached gives the responders who are called from a severity on that a case came to from a lower one.
func reached(was, is contract.Severity, responders []contract.Responder) (out []contract.Responder) {
	for _, r := range callable(is, responders) {
		if r.MinSeverity != "" && rules.Graver(r.MinSeverity, was) {
			out = append(out, r)
		}
	}
	return out
}

// stepOf gives the step at which a responder is called.
func stepOf(r contract.Responder) int { return max(1, int(r.Order)) }

// stepsOf gives the numbers of the steps of responders, sorted.
func stepsOf(responders []contract.Responder) []int {
	set := map[int]bool{}
	for _, r := range responders {
		set[stepOf(r)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// nextStep finds the first step behind a number in which somebody stands whom the case's severity lets be called and who was not called yet. A
// step with nobody is passed over: nobody would acknowledge it. later says that there are steps behind it; step is 0 if there is none. It is pure.
func nextStep(d contract.Directory, c *Case, responders []contract.Responder, behind int, there []party) (who called, step int, later bool) {
	steps := stepsOf(responders)
	for i, n := range steps {
		if n <= behind {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(responders), func(r contract.Responder) bool { return stepOf(r) != n })
		at := respond(d, c, mine)
		who.Unanswered = append(who.Unanswered, at.Unanswered...)
		who.Posts, who.Organizations = uncalled(there, at.Posts, at.Organizations)
		if len(who.Posts)+len(who.Organizations) > 0 {
			return who, n, i+1 < len(steps)
		}
	}
	return who, 0, false
}

// firstStep gives those of responders who are called at once.
func firstStep(responders []contract.Responder) []contract.Responder {
	steps := stepsOf(responders)
	return slices.DeleteFunc(slices.Clone(responders), func(r contract.Responder) bool { return stepOf(r) != steps[0] })
}

// setOther sets a timer that is no time of the SLA, with full time from now.
func setOther(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case, kind, about string, long time.Duration, working bool, now time.Time) error {
	c.Round++
	t := timer{Kind: kind, Round: c.Round, Working: working, LeftMS: long.Milliseconds()}.run(p, now)
	if _, err := tx.Exec(ctx, `WITH n AS (UPDATE grid.cases SET round = $4 WHERE id = $1)
		INSERT INTO grid.timers (case_id, kind, party, round, working, left_ms, running_since, due, calendar) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		c.ID, kind, about, t.Round, t.Working, t.LeftMS, t.RunningSince, t.Due, t.Calendar); err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	return nil
}

// setStep lets the next step be called when the time to acknowledge has passed.
func setStep(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case, step int, now time.Time) error {
	s := slaOf(p, c)
	return setOther(ctx, tx, p, c, timerStep, strconv.Itoa(step), allowed(s, timerAcknowledge), s.Working, now)
}

// dropOthers deletes timers of a kind.
func dropOthers(ctx context.Context, tx pgx.Tx, c *Case, kind string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM grid.timers WHERE case_id = $1 AND kind = $2", c.ID, kind); err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	return nil
}

// reckonOthers gives the running timers that are no times of the SLA the dues of the platform's calendar.
func reckonOthers(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case) error {
	rows, err := tx.Query(ctx, "SELECT party, "+timerColumns+" FROM grid.timers WHERE case_id = $1 AND kind = ANY($2) AND working AND due IS NOT NULL AND calendar <> $3", c.ID, otherTimers, calendarDigest(p))
	if err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[other])
	if err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	for _, o := range all {
		t := o.reckon(p)
		if _, err := tx.Exec(ctx, "UPDATE grid.timers SET due = $5, calendar = $6 WHERE case_id = $1 AND kind = $2 AND party = $3 AND round = $4", c.ID, t.Kind, o.Party, t.Round, t.Due, t.Calendar); err != nil {
			return fmt.Errorf("timers of case %s: %w", c.Number, err)
		}
	}
	return nil
}

// fireOthers fires what is due of a case beside the times of its SLA. The case is locked in tx.
func fireOthers(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, now time.Time) error {
	if err := reckonOthers(ctx, tx, b.Directory.Platform, c); err != nil { // the case may have been held while the others were reckoned anew
		return err
	}
	rows, err := tx.Query(ctx, "DELETE FROM grid.timers WHERE case_id = $1 AND kind = ANY($3) AND due <= $2 RETURNING party, "+timerColumns, c.ID, now, otherTimers)
	if err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByName[other])
	if err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	slices.SortFunc(due, func(x, y other) int { return x.Due.Compare(*y.Due) })
	for _, o := range due {
		if !c.State.Open() {
			continue
		}
		if err := effects[o.Kind](ctx, tx, b, c, o, now); err != nil {
			return err
		}
	}
	return nil
}

// effects say what these timers do when they are due.
var effects = map[string]func(context.Context, pgx.Tx, *intake.Bundle, *Case, other, time.Time) error{timerStep: stepDue, timerCall: callDue}

// stepDue calls the next responders of a case that nobody acknowledged.
func stepDue(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, o other, now time.Time) error {
	behind, err := strconv.Atoi(o.Party)
	if err != nil || c.State != Dispatched {
		return err
	}
	there, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return err
	}
	who, step, later := nextStep(b.Directory, c, respondersOf(b, c), behind, there)
	if step == 0 {
		return nil
	}
	more := detail{"step": step, "posts": who.Posts, "organizations": who.Organizations, "because": fmt.Sprintf("nobody acknowledged step %d in time", behind)}
	if len(who.Unanswered) > 0 {
		more["unanswered"] = who.Unanswered
	}
	if written, err := recordOnce(ctx, tx, c, fmt.Sprintf("%s/%s/%d", timerStep, o.Party, o.Round), "StepCalled", c.State, system, now, more); err != nil || !written {
		return err
	}
	if err := summonStep(ctx, tx, b.Directory, c, partyResponder, step, who.Posts, who.Organizations, now); err != nil || !later {
		return err
	}
	return setStep(ctx, tx, b.Directory.Platform, c, step, now)
}

// hurryStep gives the next step of a case that is graver now, or in another mode, the time to acknowledge that it has now from a time on, where
// that is sooner.
func hurryStep(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case, now time.Time) error {
	s := slaOf(p, c)
	long := allowed(s, timerAcknowledge)
	if c.State != Dispatched || long == 0 {
		return nil
	}
	t := timer{Kind: timerStep, Working: s.Working, LeftMS: long.Milliseconds()}.run(p, now)
	if _, err := tx.Exec(ctx, "UPDATE grid.timers SET working = $3, left_ms = $4, running_since = $5, due = $6, calendar = $7 WHERE case_id = $1 AND kind = $2 AND due > $6",
		c.ID, timerStep, t.Working, t.LeftMS, t.RunningSince, t.Due, t.Calendar); err != nil {
		return fmt.Errorf("timers of case %s: %w", c.Number, err)
	}
	return nil
}
