package grid

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// told is an alarm as it was written down: which case it went into.
type told struct {
	CaseID      uuid.UUID  `db:"case_id"`
	RetractedAt *time.Time `db:"retracted_at"`
}

// toldOf reads an alarm by its name: the key of its scenario and its start; nil if it was never told.
func toldOf(ctx context.Context, tx pgx.Tx, e rules.Event) (*told, error) {
	rows, err := tx.Query(ctx, "SELECT case_id, retracted_at FROM grid.case_alarms WHERE scenario = $1 AND scope = $2 AND scope_id = $3 AND start = $4", e.Scenario, e.Scope, e.ID, e.Start)
	if err != nil {
		return nil, fmt.Errorf("alarm: %w", err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[told])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("alarm: %w", err)
	}
	return a, nil
}

// caseOfAlarm finds, and locks, the open case that an alarm is in; nil if there is none.
func caseOfAlarm(ctx context.Context, tx pgx.Tx, e rules.Event) (*Case, error) {
	return oneCase(ctx, tx, `c.open AND c.id = (SELECT a.case_id FROM grid.case_alarms a WHERE a.scenario = $1 AND a.scope = $2 AND a.scope_id = $3 AND a.start = $4)`+forChange,
		e.Scenario, e.Scope, e.ID, e.Start)
}

// settle writes what an event of the engine does to cases. An alarm goes into a case once, whatever is told twice; one that was retracted may
// be raised again under its name.
func settle(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	a, err := toldOf(ctx, tx, e)
	if err != nil {
		return err
	}
	if untold := a == nil || a.RetractedAt != nil; untold && (e.Kind != rules.Raised || b.Rules.Scenarios[e.Scenario].Waits()) {
		if waits, err := waiting(ctx, tx, e); err != nil || waits {
			return err
		}
		if a, err = toldOf(ctx, tx, e); err != nil { // a sweeper may have opened its case meanwhile
			return err
		}
	}
	if a == nil || e.Kind == rules.Raised {
		if e.Kind == rules.Raised && (a == nil || a.RetractedAt != nil) || e.Kind == rules.Joined {
			return place(ctx, tx, b, e, now)
		}
		return nil
	}
	c, err := oneCase(ctx, tx, "c.id = $1"+forChange, a.CaseID)
	if err != nil || c == nil {
		return err
	}
	if e.Kind == rules.Joined && !c.State.Open() {
		// What people closed too early, or what flares up again, must not go unseen because the engine still counts it to the first alarm.
		end := c.UpdatedAt
		if c.ClosedAt != nil {
			end = *c.ClosedAt
		}
		if end.Before(e.At) {
			return place(ctx, tx, b, e, now)
		}
		return nil
	}
	left, err := note(ctx, tx, c, e, now)
	if err != nil || !c.State.Open() {
		return err
	}
	switch e.Kind {
	case rules.Joined:
		return count(ctx, tx, c, e) // a detector that repeats itself must not fill the history
	case rules.Cleared:
		more := detail{"at": e.At, "scenario": e.Scenario}
		if left.uncleared > 0 {
			more["alarmsLeft"] = left.uncleared
		}
		return record(ctx, tx, c, "SignalCleared", c.State, deviceActor, now, more)
	case rules.Moved:
		return record(ctx, tx, c, "SignalMoved", c.State, system, now, detail{"start": e.Start, "began": e.Began, "because": "late evidence"})
	case rules.Worse:
		return worsen(ctx, tx, b, c, e, now)
	case rules.Retracted:
		return retract(ctx, tx, b, c, e, left, now)
	}
	return fmt.Errorf("event kind %q is unknown", e.Kind)
}

// standing counts the alarms of a case: those not retracted, and of these the ones not cleared.
type standing struct{ alarms, uncleared int }

// note writes an event to its alarm, and makes the case say what its alarms say: it began with the first of them, and its cause is gone when
// it is for all of them.
func note(ctx context.Context, tx pgx.Tx, c *Case, e rules.Event, now time.Time) (left standing, err error) {
	set := map[rules.Kind]string{
		rules.Raised: "retracted_at = NULL, cleared_at = NULL", rules.Joined: "cleared_at = NULL", rules.Cleared: "cleared_at = $5",
		rules.Moved: "severity = $7, began = $6", rules.Worse: "severity = $7, began = $6", rules.Retracted: "retracted_at = $8",
	}[e.Kind]
	began := e.Began
	if began.IsZero() {
		began = e.Start
	}
	// The other arguments are named so that every statement has the same.
	if _, err := tx.Exec(ctx, "UPDATE grid.case_alarms SET "+set+` WHERE scenario = $1 AND scope = $2 AND scope_id = $3 AND start = $4
		AND ($5::timestamptz, $6::timestamptz, $7::text, $8::timestamptz) IS NOT NULL`, e.Scenario, e.Scope, e.ID, e.Start, e.At, began, e.Severity, now); err != nil {
		return left, fmt.Errorf("alarm: %w", err)
	}
	if !c.State.Open() {
		return left, nil // what is over stays as it was closed
	}
	var started time.Time
	var cleared *time.Time
	err = tx.QueryRow(ctx, `UPDATE grid.cases SET updated_at = $2, started_at = coalesce(a.began, started_at), cleared_at = CASE WHEN a.uncleared = 0 AND a.alarms > 0 THEN a.cleared END
		FROM (SELECT count(*) AS alarms, count(*) FILTER (WHERE cleared_at IS NULL) AS uncleared, min(began) AS began, max(cleared_at) AS cleared
			FROM grid.case_alarms WHERE case_id = $1 AND retracted_at IS NULL) a WHERE id = $1 RETURNING a.alarms, a.uncleared, started_at, cleared_at`, c.ID, now).Scan(&left.alarms, &left.uncleared, &started, &cleared)
	if err != nil {
		return left, fmt.Errorf("case %s: %w", c.Number, err)
	}
	switch { // of other kinds the history says it
	case e.Kind == rules.Joined && c.ClearedAt != nil && cleared == nil:
		return left, changed(ctx, tx, c, "SignalAgain", now)
	case e.Kind == rules.Worse && !started.Equal(c.StartedAt):
		return left, changed(ctx, tx, c, "BeganEarlier", now)
	}
	return left, nil
}

// count adds a signal to an open case.
func count(ctx context.Context, tx pgx.Tx, c *Case, e rules.Event) error {
	if _, err := tx.Exec(ctx, "UPDATE grid.cases SET signals = signals + 1, last_signal_at = greatest(last_signal_at, $2) WHERE id = $1", c.ID, e.At); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	return nil
}

// mergeKey says which signals are one case: those of scenarios of one class in one place of the scope that the scenario says, or of the
// alarm's key where it says none or the device hangs in no such place. It is pure.
func mergeKey(s contract.Scenario, row contract.Device, e rules.Event) (key string, scope rules.Scope, id string) {
	scope, id = e.Scope, e.ID
	if s.MergeBy != "" {
		if at, ok := rules.Place(rules.Scope(s.MergeBy), e.Fleet, e.Device, &row); ok {
			scope, id = rules.Scope(s.MergeBy), at
		}
	}
	return s.CaseClass + "|" + string(scope) + "|" + id, scope, id
}

// place puts an alarm into the open case of its merge key, or opens one; an alarm that must stand for some time before waits.
func place(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, now time.Time) error {
	return open(ctx, tx, b, e, nil, now)
}

// open is place of an alarm that waited, if it did.
func open(ctx context.Context, tx pgx.Tx, b *intake.Bundle, e rules.Event, w *waited, now time.Time) error {
	s, ok := b.Rules.Scenarios[e.Scenario]
	row, registered, err := rowOf(ctx, tx, b, e)
	if err != nil {
		return err
	}
	if !ok || !registered {
		return nil // gone with this bundle; the engine drops its state
	}
	if s.CaseClass == "" {
		return nil // it sends commands only
	}
	if e.Severity == "" {
		e.Severity = s.Severity
	}
	if e.Began.IsZero() {
		e.Began = e.Start
	}
	key, scope, id := mergeKey(s, row, e)
	c, err := oneCase(ctx, tx, "c.open AND c.merge_key = $1"+forChange, key)
	if err != nil {
		return err
	}
	joins := c != nil
	if after := s.AfterIn(e.Mode, row.Community); !joins && after > 0 && w == nil {
		return holdBack(ctx, tx, e, now.Add(time.Duration(after)*time.Second))
	}
	more := detail{"start": e.Start, "revision": b.Lease.Revision}
	if w != nil {
		more["stood"] = now.Sub(e.Began).Round(time.Second).String()
	}
	if !joins {
		c = &Case{
			Community: row.Community, Grid: row.Grid, MicroGrid: b.Directory.Communities[row.Community].MicroGridOf(row.Grid, row.Building), Fleet: e.Fleet, Device: e.Device, Scenario: e.Scenario,
			Class: s.CaseClass, Severity: e.Severity, Title: contract.FillTitle(s.Title, b.Directory, row, e.Device), TitleEN: contract.FillTitle(s.TitleEN, b.Directory, row, e.Device), GBClass: s.GBClass, DataClass: s.DataClass,
			Source: SourceDevice, StartedAt: e.Began, LastSignalAt: e.At, mergeKey: key, scope: string(scope), scopeID: id, Closing: closingSteps(s.Closing), retainSeconds: s.RetentionSeconds,
		}
		if rules.Contains(rules.ScopeCompound, scope) {
			c.Compound = row.Compound
		}
		by := c.fromInput(s.Profile)
		if err := insert(ctx, tx, b.Directory, c, by, now, more); err != nil {
			return err
		}
		if err := derive(ctx, tx, c, s.Profile); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.case_alarms (case_id, scenario, scope, scope_id, start, began, severity) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (scenario, scope, scope_id, start) DO UPDATE SET case_id = excluded.case_id, began = excluded.began, severity = excluded.severity, cleared_at = NULL, retracted_at = NULL`,
		c.ID, e.Scenario, e.Scope, e.ID, e.Start, e.Began, e.Severity); err != nil {
		return fmt.Errorf("alarm: %w", err)
	}
	if w != nil {
		if err := w.enter(ctx, tx, c, e); err != nil {
			return err
		}
	}
	if joins {
		return join(ctx, tx, b, c, e, s.DataClass, now)
	}
	if err := move(ctx, tx, b.Directory.Platform, c, File, system, now, nil, nil); err != nil {
		return err
	}
	if err := dispatch(ctx, tx, b.Directory, c, s.Responders, system, now, nil); err != nil {
		return err
	}
	if c.Class == classEmergency && scope == rules.ScopeGrid {
		if err := callAll(ctx, tx, b, c, placed(b.Directory.Communities[c.Community], c.Grid), detail{"scenario": e.Scenario}, now); err != nil {
			return err
		}
	}
	return callMore(ctx, tx, b, c, graverResponders(b, e), "the alarm is graver: "+strings.Join(e.With, ", "), now)
}

// graverResponders gives who is to be called in addition because of what makes an alarm graver.
func graverResponders(b *intake.Bundle, e rules.Event) (more []contract.Responder) {
	for _, r := range b.Rules.Scenarios[e.Scenario].Raise {
		if slices.Contains(e.With, r.Name) {
			more = append(more, r.Responders...)
		}
	}
	for _, other := range e.With {
		more = append(more, b.Rules.Scenarios[other].Responders...) // of a scenario that combines
	}
	return more
}

// join adds an alarm to an open case. The case is as sensitive as the gravest of its scenarios, and as grave as the gravest alarm.
func join(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, e rules.Event, dataClass string, now time.Time) error {
	if err := count(ctx, tx, c, e); err != nil {
		return err
	}
	e.Kind = rules.Raised
	if _, err := note(ctx, tx, c, e, now); err != nil {
		return err
	}
	if dataClass > c.DataClass {
		if _, err := tx.Exec(ctx, "UPDATE grid.cases SET data_class = $2 WHERE id = $1", c.ID, dataClass); err != nil {
			return fmt.Errorf("case %s: %w", c.Number, err)
		}
	}
	if err := record(ctx, tx, c, "AlarmMerged", c.State, deviceActor, now, detail{"start": e.Start, "scenario": e.Scenario}); err != nil {
		return err
	}
	if e.Scenario != c.Scenario {
		if err := callMore(ctx, tx, b, c, firstStep(b.Rules.Scenarios[e.Scenario].Responders), "an alarm of scenario "+e.Scenario+" joined", now); err != nil {
			return err
		}
	}
	return worsen(ctx, tx, b, c, e, now)
}

// worsen makes a case as grave as an alarm of it: its times count anew from now, who was called hears it, and who is to be called in addition
// is called. A case becomes less grave by people only.
func worsen(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, e rules.Event, now time.Time) error {
	if !rules.Graver(e.Severity, c.Severity) {
		return nil
	}
	p, was := b.Directory.Platform, c.Severity
	k, err := clocksOf(ctx, tx, p, c)
	if err != nil {
		return err
	}
	c.Severity, c.UpdatedAt = e.Severity, now
	k.worsen(p, c, now)
	if err := writeClocks(ctx, tx, c, k); err != nil {
		return err
	}
	if err := saveCase(ctx, tx, c); err != nil {
		return err
	}
	if err := record(ctx, tx, c, "SeverityRaised", c.State, system, now, detail{"from": was, "to": c.Severity, "scenario": e.Scenario, "with": e.With}); err != nil {
		return err
	}
	if err := tellCalled(ctx, tx, b, c, EventEscalated, now); err != nil {
		return err
	}
	if err := hurryStep(ctx, tx, p, c, now); err != nil {
		return err
	}
	if err := callMore(ctx, tx, b, c, reached(was, c.Severity, respondersOf(b, c)), "the case became "+string(c.Severity), now); err != nil {
		return err
	}
	return callMore(ctx, tx, b, c, graverResponders(b, e), "the alarm is graver: "+strings.Join(e.With, ", "), now)
}

// retract takes an alarm back. A case of which no alarm stands, and which nobody took or reopened, is void; else a person decides: somebody may be on
// the way.
func retract(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Case, e rules.Event, left standing, now time.Time) error {
	more := detail{"start": e.Start, "because": "late evidence"}
	if left.alarms > 0 || c.AcknowledgedAt != nil || c.Reopened > 0 {
		if left.alarms > 0 {
			more["alarmsLeft"] = left.alarms
		}
		return record(ctx, tx, c, "SignalRetracted", c.State, system, now, more)
	}
	if err := move(ctx, tx, b.Directory.Platform, c, MarkVoid, system, now, nil, more); err != nil {
		return err
	}
	if err := tellCalled(ctx, tx, b, c, EventVoided, now); err != nil {
		return err
	}
	return releaseParties(ctx, tx, c, "late evidence", now)
}

// called says whom a case goes to.
type called struct {
	// Posts on the grid, who see the case in the app.
	Posts []string
	// Organizations by name; those with a webhook get a message, the others see the case over the API.
	Organizations []string
	// Unanswered are responders that nobody stands for there.
	Unanswered []string
}

// respond finds who answers where a case is, of those whom its severity lets be called. It is pure.
func respond(d contract.Directory, c *Case, responders []contract.Responder) (out called) {
	com := d.Communities[c.Community]
	seen := map[string]bool{}
	add := func(list *[]string, kind, name string) {
		if !seen[kind+name] {
			seen[kind+name] = true
			*list = append(*list, name)
		}
	}
	for _, r := range callable(c.Severity, responders) {
		if r.Post != "" {
			if hasPost(com, c, r.Post) {
				add(&out.Posts, "post ", r.Post)
			} else {
				add(&out.Unanswered, "un ", "post "+r.Post)
			}
			continue
		}
		names := d.Responsible(r.Duty, c.place(), r.Types...)
		if len(names) == 0 {
			add(&out.Unanswered, "un ", "duty "+r.Duty)
		}
		for _, n := range names {
			add(&out.Organizations, "org ", n)
		}
	}
	return out
}

// hasPost says whether the community, or the case's grid or micro-grid, has the post; a case in no grid is looked after by any grid of the community.
func hasPost(com contract.Community, c *Case, post string) bool {
	if slices.Contains(com.Posts, post) {
		return true
	}
	for _, g := range com.Grids {
		if c.Grid != "" && g.Name != c.Grid {
			continue
		}
		if slices.Contains(g.Posts, post) {
			return true
		}
		for _, m := range g.MicroGrids {
			if m.Name == c.MicroGrid && slices.Contains(m.Posts, post) {
				return true
			}
		}
	}
	return false
}
