package grid

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// replay takes a trace through the code of a batch to a database; only the broker is not there.
type replay struct {
	*alarmStage
	w       *worker
	s       *session
	settled rules.Settled
	n       uint64
	// final says that nothing comes of an alarm after a person closed its case: all cases have the severity of their alarms.
	final bool
}

// replayBundle has alarms by a message, by a time and by a count; two scenarios of unequal severity share the cases of a building, and a count becomes
// graver. What comes late makes false alarms of haze, which has the cases to itself.
func replayBundle(b *intake.Bundle) {
	on, off := "msg.smoke == true", "msg.smoke == false"
	s := func(class string, severity contract.Severity, merge, ends string, term contract.Term) contract.Scenario {
		return contract.Scenario{Profile: "smoke", CaseClass: class, Severity: severity, MergeBy: merge, Title: class, DataClass: "C0", DedupSeconds: 300, Clear: ends,
			Terms: []contract.Term{term}, Responders: []contract.Responder{{Post: "GridWorker"}}}
	}
	many := s("crowd", contract.SeverityLow, "", off, contract.Term{When: on, Count: &contract.Count{AtLeast: 2, DistinctBy: "device.id", WithinSeconds: 240, Scope: "Building"}})
	many.Raise = []contract.Raise{{Name: "more", Severity: contract.SeverityHigh, Count: &contract.Count{AtLeast: 2, WithinSeconds: 600, Scope: "Compound"}}}
	b.Rules.Scenarios = map[string]contract.Scenario{
		"flame": s("fire", contract.SeverityHigh, "Building", off, contract.Term{When: on}),
		"thick": s("fire", contract.SeverityCritical, "Building", "msg.density <= 50.0", contract.Term{When: "msg.density > 50.0", ForSeconds: 60}),
		"trace": s("smell", contract.SeverityMedium, "", "msg.density < 30.0", contract.Term{When: "msg.density > 70.0"}),
		"haze":  s("haze", contract.SeverityLow, "", "msg.density <= 30.0", contract.Term{When: "msg.density > 30.0", ForSeconds: 100}),
		"many":  many,
	}
	b.Fleets["smokes"].Devices["s3"] = contract.Device{Community: "jinghu", Grid: "g1", Compound: "garden", Building: "8"}
	b.Fleets["smokes"].Devices["s01"] = contract.Device{Community: "jinghu", Grid: "g1"}
}

// replayTrace draws what four devices say in episodes, and when a person has closed what is over. Between the two everything late has come.
func replayTrace(r *rand.Rand, from time.Time) (said []onItsWay, closings []time.Time) {
	for episode := range 3 {
		begin := from.Add(time.Duration(episode) * time.Hour)
		for _, device := range []string{"s1", "s2", "s3", "s01"} {
			t := r.IntN(60)
			for ; t < 900; t += 20 + r.IntN(180) {
				payload := fmt.Sprintf(`"smoke":%t`, r.IntN(2) == 0)
				if r.IntN(3) > 0 {
					payload += fmt.Sprintf(`,"density":%d`, []int{10, 40, 60, 90}[r.IntN(4)])
				}
				said = append(said, onItsWay{device: device, at: begin.Add(time.Duration(t) * time.Second), payload: payload})
			}
			if r.IntN(4) > 0 {
				said = append(said, onItsWay{device: device, at: begin.Add(time.Duration(t) * time.Second), payload: `"smoke":false,"density":10`})
			}
		}
		closings = append(closings, begin.Add(50*time.Minute))
	}
	return said, closings
}

// onItsWay is a message on its way, and its words but for their time.
type onItsWay struct {
	device      string
	at, arrives time.Time
	payload     string
}

// logMessage is a message of the ingest log.
type logMessage struct {
	jetstream.Msg
	onItsWay
	n uint64
}

func (m logMessage) Subject() string {
	return contract.IngestPrefix + contract.DeviceSubject("smokes", m.device, contract.ChannelSignal)
}
func (m logMessage) Data() []byte {
	return fmt.Appendf(nil, `{"ts":%q,%s}`, m.at.Format(time.RFC3339), m.payload)
}
func (m logMessage) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Timestamp: m.arrives, Sequence: jetstream.SequencePair{Stream: m.n}}, nil
}

func newReplay(t *testing.T) *replay {
	stage := newAlarmStage(t)
	replayBundle(stage.b)
	p := replayOn(stage)
	p.final = true
	return p
}

// replayOn plays on a stage, with its bundle.
func replayOn(stage *alarmStage) *replay {
	p := &replay{alarmStage: stage}
	in, m := intake.NewStatic(p.b), newMetrics(prometheus.NewRegistry())
	now := func() time.Time { return p.at }
	p.w = &worker{pool: p.pool, in: in, presence: &presence{}, metrics: m, log: quiet(), now: now, burst: time.Hour, committed: func() {},
		commander: &commander{in: in, metrics: m, log: quiet(), now: now}}
	return p
}

// begin makes a session of what is stored.
func (p *replay) begin() {
	p.t.Helper()
	conn, err := p.pool.Acquire(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.s = &session{w: p.w, conn: conn, bundle: p.b, reader: p.w.newReader(), edges: &edges{}}
	if err := p.s.restore(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// restart has another session go on.
func (p *replay) restart() {
	p.t.Helper()
	p.s.conn.Release()
	p.begin()
}

// batch takes messages, and the time of the last.
func (p *replay) batch(at time.Time, messages ...onItsWay) {
	p.t.Helper()
	var stored []jetstream.Msg
	for _, m := range messages {
		p.n++
		stored = append(stored, logMessage{onItsWay: m, n: p.n})
	}
	p.take(at, stored)
}

// take takes what the ingest log holds, and a time.
func (p *replay) take(at time.Time, stored []jetstream.Msg) {
	p.t.Helper()
	p.at, p.s.watermark = at, at
	if err := p.s.learnModes(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	b := &batch{s: p.s, now: at, seen: map[device]time.Time{}, stated: map[device]bool{}, edges: map[string]edgePosition{}, facts: p.s.facts, changes: p.s.changes}
	if err := b.run(p.t.Context(), stored, nil, nil, true); err != nil {
		p.t.Fatal(err)
	}
	for _, e := range b.events {
		p.settled.Take([]rules.Event{e.Event})
	}
}

// close is a person who closes the cases whose cause is gone.
func (p *replay) close(at time.Time) {
	p.t.Helper()
	p.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $1, updated_at = $1 WHERE open AND cleared_at IS NOT NULL", at)
}

// replayWay is how a trace reaches the service.
type replayWay struct {
	name                   string
	again, double, shuffle bool
}

// play takes a trace to a database of its own.
func (way replayWay) play(t *testing.T, r *rand.Rand, said []onItsWay, closings []time.Time) *replay {
	t.Helper()
	p := newReplay(t)
	p.begin()
	var on []onItsWay
	for _, m := range said {
		for range 1 + map[bool]int{true: 1}[way.double] {
			m.arrives = m.at
			if way.shuffle {
				m.arrives = m.at.Add(time.Duration(r.IntN(119)) * time.Second)
			}
			on = append(on, m)
		}
	}
	slices.SortStableFunc(on, func(a, b onItsWay) int { return a.arrives.Compare(b.arrives) })
	for _, end := range closings {
		for len(on) > 0 && on[0].arrives.Before(end) {
			n := 1
			for !way.again && n < len(on) && n < 5 && on[n].arrives.Before(end) && r.IntN(2) == 0 {
				n++
			}
			p.batch(on[n-1].arrives, on[:n]...)
			on = on[n:]
			if way.again {
				p.restart()
			}
		}
		p.batch(end)
		p.close(end)
	}
	p.s.conn.Release()
	return p
}

// cases gives the cases that are not void, with the alarms that stand in them. Beside them it gives what depends on what else was thought meanwhile:
// severity and signals.
func (p *replay) cases() (cases []string, beside []string) {
	p.t.Helper()
	rows, err := p.pool.Query(p.t.Context(), `SELECT concat_ws(' ', c.class, c.scope, c.scope_id, to_char(c.started_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS'), coalesce(to_char(c.cleared_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS'), 'burns'), a.list),
		concat_ws(' ', c.severity, c.signals), c.severity, a.severities, EXISTS (SELECT FROM grid.case_history h WHERE h.case_id = c.id AND h.action IN ('SignalRetracted', 'SignalMoved')), c.signals, a.n
		FROM grid.cases c, LATERAL (SELECT count(*) AS n, array_agg(a.severity) AS severities, string_agg(concat_ws(' ', a.scenario, a.severity, to_char(a.began AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS')), ', ' ORDER BY a.began, a.scenario, a.scope_id) AS list
			FROM grid.case_alarms a WHERE a.case_id = c.id AND a.retracted_at IS NULL) a
		WHERE c.state <> 'Void' ORDER BY c.class, c.scope_id, c.started_at, c.cleared_at`)
	if err != nil {
		p.t.Fatal(err)
	}
	var one, other string
	var severity contract.Severity
	var of []contract.Severity
	var corrected bool
	var signals, alarms int64
	if _, err := pgx.ForEachRow(rows, []any{&one, &other, &severity, &of, &corrected, &signals, &alarms}, func() error {
		cases, beside = append(cases, one), append(beside, other)
		if p.final {
			gravest := slices.MaxFunc(of, func(a, b contract.Severity) int { return graverFirst(b, a) })
			if rules.Graver(gravest, severity) || gravest != severity && !corrected {
				p.t.Errorf("%s is %s; its gravest alarm is %s", one, severity, gravest)
			}
		}
		if signals < alarms {
			p.t.Errorf("%s has %d signals of %d alarms", one, signals, alarms)
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	return cases, beside
}

func graverFirst(a, b contract.Severity) int {
	switch {
	case rules.Graver(a, b):
		return -1
	case rules.Graver(b, a):
		return 1
	}
	return 0
}

// folded says which cases the settled list makes: of each merge key, alarms are one case until a person closes it. It is the oracle, and knows no
// database.
func folded(b *intake.Bundle, list []rules.Standing, closings []time.Time) (out []string) {
	type sum struct {
		key            []string
		began, cleared time.Time
		burns          bool
		alarms         []string
	}
	clock := func(t time.Time) string { return t.UTC().Format("01-02 15:04:05") }
	open := map[string]*sum{}
	done := func(key string) {
		c, last := open[key], "burns"
		if !c.burns {
			last = clock(c.cleared)
		}
		out = append(out, strings.Join([]string{c.key[0], c.key[1], c.key[2], clock(c.began), last, strings.Join(c.alarms, ", ")}, " "))
		delete(open, key)
	}
	slices.SortStableFunc(list, func(x, y rules.Standing) int { return x.Began.Compare(y.Began) })
	for _, end := range closings {
		for len(list) > 0 && list[0].Began.Before(end) {
			a := list[0]
			list = list[1:]
			s := b.Rules.Scenarios[a.Scenario]
			scope, id := a.Scope, a.ID
			if building := b.Fleets[a.Fleet].Devices[a.Device]; s.MergeBy != "" && building.Building != "" {
				scope, id = rules.ScopeBuilding, "jinghu/"+building.Compound+"/"+building.Building
			}
			key := s.CaseClass + string(scope) + id
			c := open[key]
			if c == nil {
				c = &sum{key: []string{s.CaseClass, string(scope), id}, began: a.Began}
				open[key] = c
			}
			c.cleared, c.burns = later(c.cleared, a.Cleared), c.burns || a.Cleared.IsZero()
			c.alarms = append(c.alarms, fmt.Sprint(a.Scenario, " ", a.Severity, " ", clock(a.Began)))
		}
		for key, c := range open {
			if !c.burns && !c.cleared.After(end) {
				done(key)
			}
		}
	}
	for key := range open {
		done(key)
	}
	slices.Sort(out)
	return out
}

// TestCasesAreAFunctionOfTheMessages: a trace makes the same cases in one go, with another session after every message, with every message twice, and
// shuffled within the lateness; and they are those of its settled list. See docs/decisions/0038.
func TestCasesAreAFunctionOfTheMessages(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 2
	}
	ways := []replayWay{{name: "in one go"}, {name: "restarted after every message", again: true}, {name: "every message twice", double: true}, {name: "shuffled", shuffle: true},
		{name: "all of it", again: true, double: true, shuffle: true}}
	var voids atomic.Int64
	t.Cleanup(func() { // behind the parallel ones
		if voids.Load() == 0 {
			t.Error("late evidence voided no case: the traces show too little")
		}
	})
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 6))
			said, closings := replayTrace(r, time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
			var want, first []string
			for _, way := range ways {
				p := way.play(t, r, said, closings)
				got, beside := p.cases()
				void := number(t, p.pool, "SELECT count(*) FROM grid.cases WHERE state = 'Void'")
				if voids.Add(void); void > 0 && !way.shuffle {
					t.Errorf("%s: %d cases are void, and nothing came late", way.name, void)
				}
				if want == nil {
					want, first = folded(p.b, p.settled.List(), closings), beside
					if len(want) < 5 {
						t.Fatalf("the trace makes %d cases: too few to show anything", len(want))
					}
				}
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: -wanted +cases:\n%s", way.name, diff)
				}
				if diff := cmp.Diff(first, beside); diff != "" && !way.shuffle {
					t.Errorf("%s: severity and signals, -in one go +so:\n%s", way.name, diff)
				}
			}
		})
	}
}
