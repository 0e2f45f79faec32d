package grid

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// newStepStage is a timer stage whose scenario "ordered" calls organisations o1, o2 and so on by their duties d1, d2 and so on.
func newStepStage(t *testing.T, responders ...contract.Responder) *timerStage {
	s := newTimerStage(t)
	s.b.Directory.Platform.SLA[contract.SeverityHigh] = contract.SLA{AcknowledgeSeconds: 20 * 60}
	for i := range 8 {
		s.b.Directory.Organizations[fmt.Sprint("o", i)] = contract.Organization{Type: "Utility", Jurisdiction: []string{"4107"}, Duties: []string{fmt.Sprint("d", i)}, Webhook: &contract.Webhook{URL: "https://example.test/o"}}
	}
	s.b.Rules.Scenarios["ordered"] = contract.Scenario{CaseClass: "lamp", Responders: responders}
	return s
}

// begin makes a case of scenario "ordered" that is dispatched.
func (s *timerStage) begin(severity contract.Severity) uuid.UUID {
	s.t.Helper()
	c := &Case{Community: "jinghu", Grid: "g1", Class: "lamp", Scenario: "ordered", Severity: severity, Title: "t", Source: SourceDevice, StartedAt: s.at, LastSignalAt: s.at}
	if err := pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error {
		if err := insert(s.t.Context(), tx, s.b.Directory, c, system, s.at, nil); err != nil {
			return err
		}
		if err := move(s.t.Context(), tx, s.b.Directory.Platform, c, File, system, s.at, nil, nil); err != nil {
			return err
		}
		return dispatch(s.t.Context(), tx, s.b.Directory, c, respondersOf(s.b, c), system, s.at, nil)
	}); err != nil {
		s.t.Fatal(err)
	}
	return c.ID
}

// called gives the organisations o0 to o9 that were called to a case as responders, sorted.
func (s *timerStage) called(id uuid.UUID) string {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), "SELECT DISTINCT organization FROM grid.case_parties WHERE case_id = $1 AND kind = 'Responder' AND organization ~ '^o[0-9]$' ORDER BY 1", id)
	if err != nil {
		s.t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func (s *timerStage) minutes(n int) { s.at = s.at.Add(time.Duration(n) * time.Minute) }

func TestRespondersAreCalledInOrder(t *testing.T) {
	t.Parallel()
	s := newStepStage(t, contract.Responder{Duty: "d1"}, contract.Responder{Duty: "d2", Order: 2}, contract.Responder{Duty: "nobody", Order: 3}, contract.Responder{Duty: "d4", Order: 4},
		contract.Responder{Duty: "d5", Order: 2, MinSeverity: contract.SeverityCritical})
	id, w, other := s.begin(contract.SeverityMedium), s.sweeper(), s.sweeper()
	want := func(what, names string) {
		t.Helper()
		if got := s.called(id); got != names {
			t.Errorf("%s: called are %q, want %q", what, got, names)
		}
	}
	want("at once", "o1")
	s.minutes(29)
	s.sweepBoth(w, other)
	want("there is time yet", "o1")
	s.minutes(1)
	s.sweepBoth(w, other)
	want("nobody took it", "o1 o2")
	s.minutes(30)
	s.sweepBoth(w, other)
	want("a step with nobody is passed over", "o1 o2 o4")
	s.minutes(300)
	s.sweepBoth(w, other)
	want("the last", "o1 o2 o4")
	rows, err := s.pool.Query(t.Context(), "SELECT (detail->>'step') || ' ' || (detail->>'organizations') || ' ' || (detail->>'because') || ' ' || coalesce(detail->>'unanswered', '') FROM grid.case_history WHERE action = 'StepCalled' ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`2 ["o2"] nobody acknowledged step 1 in time `, `4 ["o4"] nobody acknowledged step 2 in time ["duty nobody"]`}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE organization IN ('o2', 'o4') AND type = $1", EventDispatched); n != 2 {
		t.Errorf("%d messages call them, want 2", n)
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.timers WHERE kind = 'Step'"); n != 0 {
		t.Errorf("%d steps are to come still", n)
	}

	id = s.begin(contract.SeverityMedium)
	s.act(id, Acknowledge, nil)
	s.minutes(60)
	s.sweepBoth(w, other)
	want("somebody took it", "o1")

	id = s.begin(contract.SeverityMedium)
	s.minutes(25)
	s.do(id, func(tx pgx.Tx, c *Case) error {
		return worsen(t.Context(), tx, s.b, c, rules.Event{Scenario: "ordered", Severity: contract.SeverityCritical}, s.at)
	})
	want("it became grave", "o1 o5")
	s.minutes(5)
	s.sweepBoth(w)
	want("five minutes of thirty were left, less than the ten of the severity", "o1 o2 o5")

	id = s.begin(contract.SeverityCritical)
	want("it is grave, and that is of the second step", "o1")
	s.minutes(10)
	s.sweepBoth(w, other)
	want("in their turn", "o1 o2 o5")

	s.b.Directory.Platform.SLA[contract.SeverityMedium] = contract.SLA{ResolveSeconds: 3600}
	id = s.begin(contract.SeverityMedium)
	want("no time to acknowledge by which to wait", "o1 o2 o4")
}

// TestAStepWaitsForTheHours: with working time, the next step is called when the hours are over, and a new calendar moves that.
func TestAStepWaitsForTheHours(t *testing.T) {
	t.Parallel()
	s := newStepStage(t, contract.Responder{Duty: "d1"}, contract.Responder{Duty: "d2", Order: 2})
	id, w := s.begin(contract.SeverityLow), s.sweeper() // at 7:00 of a Friday: an hour of work is over at 10:00
	s.minutes(4 * 60)
	s.b.Directory.Platform.Calendar = &contract.Calendar{Weekdays: []int{1, 2, 3, 4, 5}, Holidays: []string{s.at.Format(time.DateOnly)}}
	s.sweepBoth(w, s.sweeper())
	if got := s.called(id); got != "o1" {
		t.Errorf("called on a holiday: %s", got)
	}
	s.at = time.Date(2026, 3, 9, 10, 0, 0, 0, s.at.Location())
	s.sweepBoth(w, s.sweeper())
	if got := s.called(id); got != "o1 o2" {
		t.Errorf("on Monday, after an hour, called are %s", got)
	}
}

// TestStepsAsTheModel plays random responders, worsening, acknowledging, giving back and dispatching against a model that knows minutes.
func TestStepsAsTheModel(t *testing.T) {
	t.Parallel()
	severities := []contract.Severity{contract.SeverityMedium, contract.SeverityHigh, contract.SeverityCritical}
	acknowledge := map[contract.Severity]int{contract.SeverityMedium: 30, contract.SeverityHigh: 20, contract.SeverityCritical: 10}
	steps := 0
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 48))
		var responders []contract.Responder
		for i := range 8 {
			x := contract.Responder{Duty: fmt.Sprint("d", i), Order: int32(r.IntN(4))}
			if r.IntN(3) == 0 {
				x.MinSeverity = severities[1+r.IntN(2)]
			}
			if r.IntN(6) == 0 {
				x.Duty = "nobody"
			}
			responders = append(responders, x)
		}
		s := newStepStage(t, responders...)
		grave := 0
		called := map[string]bool{}
		allowed := func(x contract.Responder) bool {
			return x.MinSeverity == "" || slices.Index(severities, x.MinSeverity) <= grave
		}
		// next calls the first step behind a number that has somebody new; it gives that number.
		next := func(behind int, fresh bool) int {
			for n := behind + 1; n <= 3; n++ {
				found := false
				for _, x := range responders {
					if max(1, int(x.Order)) == n && allowed(x) && x.Duty != "nobody" && (fresh || !called["o"+x.Duty[1:]]) {
						called["o"+x.Duty[1:]], found = true, true
					}
				}
				if found {
					return n
				}
			}
			return 0
		}
		last := 0
		for _, x := range responders {
			last = max(last, 1, int(x.Order))
		}
		step, due, now, state := 0, -1, 0, Dispatched
		start := func() {
			if step, due = next(0, true), -1; step > 0 && step < last {
				due = now + acknowledge[severities[grave]]
			}
		}
		start()
		id, w := s.begin(severities[0]), []*sweeper{s.sweeper(), s.sweeper()}
		if step == 0 {
			continue // nobody to dispatch to
		}
		for range 60 {
			n := 1 + r.IntN(9)
			now += n
			s.minutes(n)
			switch op := r.IntN(12); {
			case op == 0 && grave < 2:
				was := grave
				grave += 1 + r.IntN(2-grave)
				s.do(id, func(tx pgx.Tx, c *Case) error {
					return worsen(t.Context(), tx, s.b, c, rules.Event{Scenario: "ordered", Severity: severities[grave]}, s.at)
				})
				for _, x := range responders {
					if x.MinSeverity != "" && slices.Index(severities, x.MinSeverity) > was && allowed(x) && x.Duty != "nobody" {
						called["o"+x.Duty[1:]] = true
					}
				}
				if due >= 0 {
					due = min(due, now+acknowledge[severities[grave]])
				}
			case op == 1 && state == Dispatched:
				s.act(id, Acknowledge, nil)
				state, due = Handling, -1
			case op <= 3 && state == Handling || op == 2 && state == Dispatched:
				s.act(id, Return, nil)
				state, due = Returned, -1
			case op < 8 && state == Returned:
				s.do(id, func(tx pgx.Tx, c *Case) error {
					return dispatch(t.Context(), tx, s.b.Directory, c, respondersOf(s.b, c), Actor{Kind: "Person", Role: RoleDispatcher}, s.at, nil)
				})
				state = Dispatched
				start()
			default:
				s.sweepBoth(w[:1+r.IntN(2)]...)
				if due >= 0 && due <= now {
					behind := step
					if step, due = next(behind, false), -1; step > 0 {
						steps++
						if step < last {
							due = now + acknowledge[severities[grave]]
						}
					}
				}
			}
			var want []string
			for o := range called {
				want = append(want, o)
			}
			slices.Sort(want)
			if got := s.called(id); got != strings.Join(want, " ") {
				t.Fatalf("seed %d, minute %d: called are %s, want %s", seed, now, got, want)
			}
		}
	}
	if steps < 5 {
		t.Errorf("%d steps were called: the model plays nothing", steps)
	}
}

func TestFirstStep(t *testing.T) {
	t.Parallel()
	order := func(n int32) contract.Responder { return contract.Responder{Duty: fmt.Sprint("d", n), Order: n} }
	for want, all := range map[string][]contract.Responder{"": nil, "d0 d1": {order(2), order(0), order(1), order(3)}, "d2": {order(3), order(2)}} {
		var got []string
		for _, r := range firstStep(all) {
			got = append(got, r.Duty)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("of %v: %v, want %s", all, got, want)
		}
	}
}

// TestWhoseAlarmJoinsCallsItsFirstStep: an alarm of another scenario calls whom that calls at once, and not those who would be called later.
func TestWhoseAlarmJoinsCallsItsFirstStep(t *testing.T) {
	t.Parallel()
	s := newAlarmStage(t)
	s.b.Directory.Organizations["gas"] = contract.Organization{Type: "Company", Jurisdiction: []string{"4107"}, Duties: []string{"gas"}}
	smell := s.b.Rules.Scenarios["heat"]
	smell.Responders = []contract.Responder{{Duty: "gas", Order: 3}, {Duty: "property", Order: 2}}
	s.b.Rules.Scenarios["smell"] = smell
	s.event(rules.Raised, "heat", "s1", 0, 0)
	s.event(rules.Raised, "smell", "s2", 1, 1)
	s.want("one case", "Dispatched Medium 2 2 burns 0")
	if n, m := number(t, s.pool, "SELECT count(*) FROM grid.case_parties WHERE organization = 'property'"), number(t, s.pool, "SELECT count(*) FROM grid.case_parties WHERE organization = 'gas'"); n != 1 || m != 0 {
		t.Errorf("of the first step %d are called, of the second %d, want 1 and 0", n, m)
	}
}

// TestNoTimeToHurryBy: a severity without a time to acknowledge takes nobody's time away.
func TestNoTimeToHurryBy(t *testing.T) {
	t.Parallel()
	s := newStepStage(t, contract.Responder{Duty: "d1"}, contract.Responder{Duty: "d2", Order: 2})
	s.b.Directory.Platform.SLA[contract.SeverityCritical] = contract.SLA{ResolveSeconds: 3600}
	id, w := s.begin(contract.SeverityMedium), s.sweeper()
	s.minutes(5)
	s.do(id, func(tx pgx.Tx, c *Case) error {
		return worsen(t.Context(), tx, s.b, c, rules.Event{Scenario: "ordered", Severity: contract.SeverityCritical}, s.at)
	})
	s.sweepBoth(w)
	if got := s.called(id); got != "o1" {
		t.Errorf("it became grave: called are %s", got)
	}
	s.minutes(25)
	s.sweepBoth(w)
	if got := s.called(id); got != "o1 o2" {
		t.Errorf("in their turn: called are %s", got)
	}
}
