package grid

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// timerStage is a database with a community: a post of the grid, a post and a committee of the community, no township, two departments of which
// one has the duty of class "lamp".
type timerStage struct {
	t    *testing.T
	pool *pgxpool.Pool
	b    *intake.Bundle
	at   time.Time
}

func newTimerStage(t *testing.T) *timerStage {
	cfg, _ := database(t)
	b := testBundle("https://example.test", "")
	b.Directory.Platform.SLA = map[contract.Severity]contract.SLA{
		contract.SeverityLow:      {AcknowledgeSeconds: 60 * 60, OnSiteSeconds: 90 * 60, ResolveSeconds: 400 * 60, Working: true},
		contract.SeverityMedium:   {AcknowledgeSeconds: 30 * 60, ResolveSeconds: 240 * 60},
		contract.SeverityCritical: {AcknowledgeSeconds: 10 * 60, OnSiteSeconds: 20 * 60, ResolveSeconds: 60 * 60},
	}
	com := b.Directory.Communities["jinghu"]
	com.Posts = []string{"clerk"}
	b.Directory.Communities["jinghu"] = com
	b.Directory.Organizations["city-works"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"municipal"}, Webhook: &contract.Webhook{URL: "https://example.test/w"}}
	b.Directory.Organizations["city-health"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{"health"}}
	b.Rules.Scenarios["lamp"] = contract.Scenario{CaseClass: "lamp", Responders: []contract.Responder{{Post: "GridWorker"}, {Duty: "municipal-lamps"}, {Duty: "municipal"}}}
	return &timerStage{t, poolOf(t, cfg), b, time.Date(2026, 3, 6, 7, 0, 0, 0, location(b.Directory.Platform))} // a Friday
}

// sweeper gives a replica's sweeper, whose clock stands at the stage's.
func (s *timerStage) sweeper() *sweeper {
	return &sweeper{pool: s.pool, in: intake.NewStatic(s.b), metrics: newMetrics(prometheus.NewRegistry()), log: quiet(), now: func() time.Time { return s.at }}
}

// do runs f in a transaction with the case locked.
func (s *timerStage) do(id uuid.UUID, f func(pgx.Tx, *Case) error) {
	s.t.Helper()
	if err := s.try(id, f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *timerStage) try(id uuid.UUID, f func(pgx.Tx, *Case) error) error {
	return pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error {
		c, err := oneCase(s.t.Context(), tx, "c.id = $1 FOR UPDATE", id)
		if err != nil {
			return err
		}
		return f(tx, c)
	})
}

// open makes a case that the grid's post was called to.
func (s *timerStage) open(severity contract.Severity) uuid.UUID {
	s.t.Helper()
	c := &Case{Community: "jinghu", Grid: "g1", Class: "lamp", Severity: severity, Title: "t", Source: SourceSystem, StartedAt: s.at, LastSignalAt: s.at}
	if err := pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error {
		if err := insert(s.t.Context(), tx, s.b.Directory, c, system, s.at, nil); err != nil {
			return err
		}
		if err := move(s.t.Context(), tx, s.b.Directory.Platform, c, File, system, s.at, nil, nil); err != nil {
			return err
		}
		return dispatch(s.t.Context(), tx, s.b.Directory, c, []contract.Responder{{Post: "GridWorker"}}, system, s.at, nil)
	}); err != nil {
		s.t.Fatal(err)
	}
	return c.ID
}

// act moves a case as a dispatcher.
func (s *timerStage) act(id uuid.UUID, a Action, until *time.Time) {
	s.t.Helper()
	s.do(id, func(tx pgx.Tx, c *Case) error {
		if a == Dispatch {
			return dispatch(s.t.Context(), tx, s.b.Directory, c, []contract.Responder{{Post: "GridWorker"}}, Actor{Kind: "Person", Role: RoleDispatcher}, s.at, nil)
		}
		return move(s.t.Context(), tx, s.b.Directory.Platform, c, a, Actor{Kind: "Person", Role: RoleDispatcher}, s.at, until, nil)
	})
}

// sweepBoth lets two replicas sweep at once.
func (s *timerStage) sweepBoth(replicas ...*sweeper) {
	s.t.Helper()
	var all sync.WaitGroup
	problems := make([]error, len(replicas))
	for i, r := range replicas {
		all.Go(func() { problems[i] = r.sweep(s.t.Context(), s.b) })
	}
	all.Wait()
	if err := errors.Join(problems...); err != nil {
		s.t.Fatal(err)
	}
}

// says gives what the history has of a case, an action each, that are not moves of people.
func (s *timerStage) count(id uuid.UUID, action string) int64 {
	return number(s.t, s.pool, "SELECT count(*) FROM grid.case_history WHERE case_id = $1 AND action = $2", id, action)
}

// minuteCount is a naive calendar: how many minutes were worked from the beginning of the test up to each.
type minuteCount []int

// naive asks every minute of 60 days from a midnight on whether it is worked: on working days but off, in hours.
func naive(midnight time.Time, off string, hours [][2]int) minuteCount {
	out := minuteCount{0}
	for m := range 60 * 1440 {
		at := midnight.Add(time.Duration(m) * time.Minute)
		n := 0
		for _, h := range hours {
			if of := at.Hour()*60 + at.Minute(); of >= h[0] && of < h[1] && at.Weekday() != time.Saturday && at.Weekday() != time.Sunday && at.Format(time.DateOnly) != off {
				n = 1
			}
		}
		out = append(out, out[m]+n)
	}
	return out
}

// modelClock is a time of the model: so many minutes were left at a minute; it stands still if since is -1.
type modelClock struct {
	left, since int
	working     bool
}

// modelCase is a case as the guide tells it.
type modelCase struct {
	id         uuid.UUID
	severity   contract.Severity
	state      State
	clocks     map[string]modelClock
	done, late map[string]bool
	fired      map[string]int64
	level      int
}

// model is cases, a minute, and the calendar in force.
type model struct {
	now      int
	calendar minuteCount
	sla      map[contract.Severity]contract.SLA
	cases    []*modelCase
}

func (m *model) full(c *modelCase, kind string) (modelClock, bool) {
	s := m.sla[c.severity]
	left := map[string]int64{"Acknowledge": s.AcknowledgeSeconds, "OnSite": s.OnSiteSeconds, "Resolve": s.ResolveSeconds}[kind] / 60
	return modelClock{int(left), m.now, s.Working}, left > 0
}

func (m *model) left(k modelClock, at int) int {
	switch {
	case k.since < 0:
		return k.left
	case k.working:
		return max(0, k.left-(m.calendar[at]-m.calendar[k.since]))
	}
	return max(0, k.left-(at-k.since))
}

// due gives the minute at which nothing is left of a clock that runs.
func (m *model) due(k modelClock) int {
	for at := k.since; ; at++ {
		if m.left(k, at) == 0 {
			return at
		}
	}
}

func (m *model) anew(c *modelCase, kinds ...string) {
	for _, kind := range kinds {
		delete(c.clocks, kind)
		c.done[kind], c.late[kind] = false, false
		if k, ok := m.full(c, kind); ok {
			c.clocks[kind] = k
		}
	}
}

func (m *model) act(c *modelCase, a Action, next State, minutesMore int) {
	c.state = next
	switch a {
	case Acknowledge:
		c.done["Acknowledge"] = true
		delete(c.clocks, "Acknowledge")
	case Arrive, RequestVerification:
		c.done["OnSite"] = true
		delete(c.clocks, "OnSite")
	case Return:
		if c.done["Acknowledge"] {
			m.anew(c, "Acknowledge", "OnSite")
		}
	case Suspend:
		for kind, k := range c.clocks {
			c.clocks[kind] = modelClock{m.left(k, m.now), -1, k.working}
		}
	case Resume:
		for kind, k := range c.clocks {
			if k.since < 0 {
				k.since = m.now
			}
			c.clocks[kind] = k
		}
	case Extend:
		c.late["Resolve"] = false
		c.clocks["Resolve"] = modelClock{minutesMore, m.now, false}
	case Close, MarkVoid:
		clear(c.clocks)
	case Reopen:
		c.level = 0
		m.anew(c, "Acknowledge", "OnSite", "Resolve")
	}
}

func (m *model) worsen(c *modelCase) {
	if c.severity == contract.SeverityCritical {
		return
	}
	c.severity = contract.SeverityCritical
	for _, kind := range []string{"Acknowledge", "OnSite", "Resolve"} {
		fresh, ok := m.full(c, kind)
		old, had := c.clocks[kind]
		if !ok || c.done[kind] {
			continue
		}
		if c.state == Suspended {
			fresh.since = -1
			if had && !old.working && old.left <= fresh.left {
				continue
			}
		} else if had && m.due(old) <= m.due(fresh) {
			continue
		}
		c.clocks[kind] = fresh
	}
}

func (m *model) sweep() {
	above := map[int]int{0: 2, 2: 4}
	for _, c := range m.cases {
		due := []string{}
		for _, kind := range []string{"Acknowledge", "OnSite", "Resolve"} {
			if k, ok := c.clocks[kind]; ok && k.since >= 0 && m.left(k, m.now) == 0 {
				due = append(due, kind)
			}
		}
		slices.SortStableFunc(due, func(a, b string) int { return m.due(c.clocks[a]) - m.due(c.clocks[b]) })
		for _, kind := range due {
			c.fired[kind]++
			c.late[kind] = true
			delete(c.clocks, kind)
			if next := above[c.level]; next > 0 {
				c.level = next
				if fresh, ok := m.full(c, kind); ok {
					c.clocks[kind] = fresh
				}
			}
		}
	}
}

// agree compares a case with the model's.
func (s *timerStage) agree(step string, c *modelCase) {
	s.t.Helper()
	s.do(c.id, func(tx pgx.Tx, got *Case) error {
		if got.State != c.state || got.Level != c.level || got.AcknowledgeOverdue != c.late["Acknowledge"] || got.OnSiteOverdue != c.late["OnSite"] || got.ResolveOverdue != c.late["Resolve"] {
			return fmt.Errorf("%s: case is %s at level %d, late %t %t %t; want %s at level %d, late %v", step, got.State, got.Level, got.AcknowledgeOverdue, got.OnSiteOverdue, got.ResolveOverdue, c.state, c.level, c.late)
		}
		k, err := clocksOf(s.t.Context(), tx, s.b.Directory.Platform, got)
		if err != nil {
			return err
		}
		if len(k) != len(c.clocks) {
			return fmt.Errorf("%s: timers %v, want %v", step, k, c.clocks)
		}
		for kind, want := range c.clocks {
			if t, ok := k[kind]; !ok || (t.Due == nil) != (want.since < 0) {
				return fmt.Errorf("%s: timer %s is %+v, want %+v", step, kind, t, want)
			}
		}
		return nil
	})
	for _, kind := range []string{"Acknowledge", "OnSite", "Resolve"} {
		if got := s.count(c.id, kind+"Overdue"); got != c.fired[kind] {
			s.t.Fatalf("%s: %s fired %d times, want %d", step, kind, got, c.fired[kind])
		}
	}
}

// TestTimersAsTheModel plays random actions on some cases, lets time pass, changes the calendar, and sweeps with two replicas at once, some of
// which die before they commit; a model that counts minutes says what must have fired, and how far up each case is.
func TestTimersAsTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			playTimers(t, rand.New(rand.NewPCG(seed, 46)))
		})
	}
}

func playTimers(t *testing.T, r *rand.Rand) {
	s := newTimerStage(t)
	midnight := s.at.Add(-7 * time.Hour)
	calendars := []*contract.Calendar{nil, {Weekdays: []int{1, 2, 3, 4, 5}, Holidays: []string{"2026-03-09"}, Hours: []contract.Window{{From: 480, To: 1200}}}}
	counted := []minuteCount{naive(midnight, "", [][2]int{{540, 720}, {810, 1050}}), naive(midnight, "2026-03-09", [][2]int{{480, 1200}})}
	m := &model{now: 7 * 60, calendar: counted[0], sla: s.b.Directory.Platform.SLA}
	a, b := s.sweeper(), s.sweeper()
	fired, turns := int64(0), map[Action]int{}
	for step := range 300 {
		switch n := r.IntN(20); {
		case n < 2 && len(m.cases) < 8:
			c := &modelCase{severity: []contract.Severity{contract.SeverityLow, contract.SeverityMedium}[r.IntN(2)], state: Dispatched, clocks: map[string]modelClock{}, done: map[string]bool{}, late: map[string]bool{}, fired: map[string]int64{}}
			c.id = s.open(c.severity)
			m.anew(c, "Acknowledge", "OnSite", "Resolve")
			m.cases = append(m.cases, c)
		case n < 12 && len(m.cases) > 0:
			c := m.cases[r.IntN(len(m.cases))]
			var fits []Action
			for _, a := range []Action{Dispatch, Acknowledge, Arrive, Return, Extend, Suspend, Resume, RequestVerification, Rework, Close, MarkVoid, Reopen} {
				if _, err := Next(c.state, a, RoleDispatcher); err == nil && (a != MarkVoid || r.IntN(8) == 0) {
					fits = append(fits, a)
				}
			}
			act := fits[r.IntN(len(fits))]
			turns[act]++
			next, _ := Next(c.state, act, RoleDispatcher)
			more := 1 + r.IntN(600)
			until := s.at.Add(time.Duration(more) * time.Minute)
			if act != Extend {
				s.act(c.id, act, nil)
			} else {
				s.act(c.id, act, &until)
			}
			m.act(c, act, next, more)
		case n == 12 && len(m.cases) > 0:
			c := m.cases[r.IntN(len(m.cases))]
			if c.state.Open() {
				s.do(c.id, func(tx pgx.Tx, got *Case) error {
					return worsen(t.Context(), tx, s.b, got, rules.Event{Severity: contract.SeverityCritical}, s.at)
				})
				m.worsen(c)
			}
		case n == 13: // next year's notice comes, or is taken back
			i := r.IntN(2)
			s.b.Directory.Platform.Calendar, m.calendar = calendars[i], counted[i]
			s.sweepBoth(a, b)
			m.sweep()
		default:
			more := 1 + r.IntN(150)
			if m.now+more+2000 > len(m.calendar) {
				continue
			}
			s.at, m.now = s.at.Add(time.Duration(more)*time.Minute), m.now+more
		}
		if r.IntN(2) == 0 {
			continue
		}
		for _, c := range m.cases { // a replica does all of it, and dies before it commits
			if r.IntN(4) == 0 {
				if err := s.try(c.id, func(tx pgx.Tx, got *Case) error {
					if _, err := fire(t.Context(), tx, s.b, got, s.at); err != nil {
						return err
					}
					return errDied
				}); !errors.Is(err, errDied) {
					t.Fatal(err)
				}
			}
		}
		s.sweepBoth(a, b)
		m.sweep()
		for i, c := range m.cases {
			s.agree(fmt.Sprintf("step %d, case %d, %s", step, i, s.at.Format(time.DateTime)), c)
		}
	}
	for _, c := range m.cases {
		fired += c.fired["Acknowledge"] + c.fired["OnSite"] + c.fired["Resolve"]
	}
	if fired < 10 || turns[Suspend]*turns[Resume]*turns[Extend]*turns[Reopen]*turns[Return]*turns[Arrive] == 0 {
		t.Errorf("the play is dull: %d fired, %v", fired, turns)
	}
}

var errDied = errors.New("died before the commit")

// TestManySweepersFireOnce lets six replicas race for the timers of many cases.
func TestManySweepersFireOnce(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	var ids []uuid.UUID
	for range 250 { // more than a page
		ids = append(ids, s.open(contract.SeverityCritical))
	}
	s.at = s.at.Add(12 * time.Minute)
	s.sweepBoth(s.sweeper(), s.sweeper(), s.sweeper(), s.sweeper(), s.sweeper(), s.sweeper())
	for _, id := range ids {
		if n, up := s.count(id, "AcknowledgeOverdue"), s.count(id, "Escalated"); n != 1 || up != 1 {
			t.Fatalf("missed %d times and escalated %d times, want once each", n, up)
		}
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Acknowledge' AND due = $1", s.at.Add(10*time.Minute)); n != 250 {
		t.Errorf("%d cases wait for the community, want 250", n)
	}
}

// TestASweeperIsKilled cuts the connection of a replica between what a timer does and the commit: it fires later, once.
func TestASweeperIsKilled(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	id := s.open(contract.SeverityCritical)
	s.at = s.at.Add(11 * time.Minute)
	if err := s.try(id, func(tx pgx.Tx, c *Case) error {
		missed, err := fire(t.Context(), tx, s.b, c, s.at)
		if err != nil || len(missed) != 1 {
			t.Fatalf("missed %v: %v", missed, err)
		}
		return tx.Conn().PgConn().Conn().Close()
	}); err == nil {
		t.Fatal("committed over a connection that is gone")
	}
	if n := s.count(id, "AcknowledgeOverdue"); n != 0 {
		t.Fatalf("%d entries of a replica that did not commit", n)
	}
	other := s.sweeper()
	eventually(t, "the database lets go of the case", func() bool {
		s.sweepBoth(other)
		return s.count(id, "AcknowledgeOverdue") > 0
	})
	s.sweepBoth(other, s.sweeper())
	if n, up := s.count(id, "AcknowledgeOverdue"), number(t, s.pool, "SELECT level FROM grid.cases"); n != 1 || up != 2 {
		t.Errorf("missed %d times, at level %d; want once, at 2", n, up)
	}
}

// TestHistoryHoldsATimerOnce: even a timer that comes back, as no code of ours does it, acts once.
func TestHistoryHoldsATimerOnce(t *testing.T) {
	t.Parallel()
	s := newTimerStage(t)
	id := s.open(contract.SeverityCritical)
	s.at = s.at.Add(11 * time.Minute)
	s.sweepBoth(s.sweeper())
	if _, err := s.pool.Exec(context.Background(), "UPDATE grid.timers SET round = 1, due = $1 WHERE kind = 'Acknowledge'", s.at); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(context.Background(), "UPDATE grid.cases SET acknowledge_overdue = false"); err != nil {
		t.Fatal(err)
	}
	s.sweepBoth(s.sweeper())
	if n, up := s.count(id, "AcknowledgeOverdue"), s.count(id, "Escalated"); n != 1 || up != 1 {
		t.Errorf("missed %d times and escalated %d times, want once each", n, up)
	}
}
