package grid

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
	"github.com/dizuo/dizuo/internal/trace"
)

// tracedReplay takes a recorded trace to a database.
type tracedReplay struct {
	*replay
	r *recorded
	// ids of the cases that the trace says changes of.
	ids map[string]uuid.UUID
}

// register writes a row, or finds that the device of a topic has one; a fleet that no file has is named after its profile, or has the only one.
func (p *tracedReplay) register(fleet, device string, row *contract.Device) {
	f, known := p.b.Fleets[fleet]
	if _, there := f.Devices[device]; there && row == nil {
		return
	}
	if !known {
		f = contract.Fleet{Profile: fleet, AccessMode: "Device"}
		if _, named := p.b.Rules.Profiles[fleet]; !named {
			f.Profile = p.r.rules.Scenarios[p.r.name].Profile
		}
	}
	if row == nil {
		row = &contract.Device{}
	}
	f.Devices = maps.Clone(f.Devices)
	if f.Devices == nil {
		f.Devices = map[string]contract.Device{}
	}
	f.Devices[device] = *row
	p.b.Fleets[fleet] = f
	p.s.reader.Update(p.b.Rules.Profiles, p.b.Fleets)
}

// tracedMessage is a message of a trace, in the ingest log.
type tracedMessage struct {
	jetstream.Msg
	trace.Line
}

func (m tracedMessage) Subject() string {
	return contract.IngestPrefix + strings.ReplaceAll(m.Topic, "/", ".")
}
func (m tracedMessage) Data() []byte { return m.Payload }
func (m tracedMessage) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Timestamp: m.At, Sequence: jetstream.SequencePair{Stream: uint64(m.Number)}}, nil
}

// lines gives a trace as it arrives this way. What is shuffled has its own time in the payload, as trace.shuffled does; what comes twice is, if it has no
// time of its own, the same message of the log again.
func (way replayWay) lines(r *rand.Rand, recorded []trace.Line) (out []trace.Line) {
	for _, l := range recorded {
		if l.Topic == "" {
			out = append(out, l)
			continue
		}
		for range 1 + map[bool]int{true: 1}[way.double] {
			m := l
			if way.shuffle && !strings.Contains(string(l.Payload), `"ts"`) {
				m.Payload = []byte(strings.TrimSuffix(string(l.Payload), "}") + `,"ts":"` + l.At.Format(time.RFC3339) + `"}`)
				m.At = l.At.Add(time.Duration(r.IntN(119)) * time.Second)
			}
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b trace.Line) int { return a.At.Compare(b.At) })
	return out
}

// say writes down a line that is no message: the next batch takes it.
func (p *tracedReplay) say(l trace.Line) {
	p.t.Helper()
	switch {
	case l.Row != nil:
		fleet, device, _ := strings.Cut(l.Device, "/")
		p.register(fleet, device, l.Row)
	case l.Mode != nil:
		p.tx(func(tx pgx.Tx) error {
			_, err := switchMode(p.t.Context(), tx, modeRow{Mode: *l.Mode, Since: l.At, Reason: "trace", Organization: "committee", Person: "p", Role: "Commander"})
			return err
		})
	case l.Change != nil:
		p.change(l.At, p.r.changes[l.Number])
	case l.Answer != nil:
		p.t.Fatalf("line %d: answers of commands are not played yet", l.Number)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Context)) {
		p.fact(l, name, l.Context[name])
	}
}

// change writes a change of a case, which stands from its first change on, and gives it its number in the feed.
func (p *tracedReplay) change(at time.Time, x changedCase) {
	p.t.Helper()
	ctx, key := p.t.Context(), x.Number+" "+x.Community+" "+x.Grid
	p.tx(func(tx pgx.Tx) (err error) {
		c := &Case{Community: x.Community, Grid: x.Grid, Class: x.Class, Scenario: x.Scenario, Source: x.Source, Channel: x.Channel, Severity: x.Severity, Level: x.Level, DataClass: "C0", StartedAt: at, LastSignalAt: at}
		if id, there := p.ids[key]; !there {
			err = insert(ctx, tx, p.b.Directory, c, system, at, nil)
			p.ids[key] = c.ID
		} else {
			c, err = oneCase(ctx, tx, "c.id = $1"+forChange, id)
		}
		if err != nil {
			return err
		}
		c.State, c.Level, c.AcknowledgeOverdue, c.UpdatedAt = State(x.State), max(x.Level, 1), x.Overdue, at
		if err := saveCase(ctx, tx, c); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE grid.cases SET derived = $2, score = $3 WHERE id = $1", c.ID, x.Derived, x.Score); err != nil {
			return err
		}
		return record(ctx, tx, c, x.Event, c.State, system, at, nil)
	})
	if _, err := (&sequencer{pool: p.pool}).number(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// acts gives what scenarios did to cases of the trace, as lines that come out of one.
func (p *tracedReplay) acts() (out []string) {
	p.t.Helper()
	for key, id := range p.ids {
		rows, err := p.pool.Query(p.t.Context(), "SELECT at, detail->>'scenario', detail->>'act' FROM grid.case_history WHERE case_id = $1 AND action = 'ScenarioActed'", id)
		if err != nil {
			p.t.Fatal(err)
		}
		var at time.Time
		var scenario, act string
		if _, err := pgx.ForEachRow(rows, []any{&at, &scenario, &act}, func() error {
			number, _, _ := strings.Cut(key, " ")
			out = append(out, actLine(at, scenario, number, act))
			return nil
		}); err != nil {
			p.t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

func actLine(at time.Time, scenario, number, act string) string {
	return fmt.Sprintf("%s %s, case %s, %s", at.UTC().Format(time.DateTime), scenario, number, act)
}

// fact says a fact of a line; an object is a set.
func (p *tracedReplay) fact(l trace.Line, name string, value any) {
	f := rules.Fact{Scope: l.Scope, ID: l.ID, Name: name, Value: value, Since: l.At}
	if f.Scope == "" {
		f.Scope = rules.ScopePlatform
	}
	members, isSet := value.(map[string]any)
	if !isSet {
		members = map[string]any{"": value}
	}
	for _, f.Member = range slices.Sorted(maps.Keys(members)) {
		f.Value = members[f.Member]
		p.tx(func(tx pgx.Tx) error { return sayFact(p.t.Context(), tx, f, system, l.At) })
	}
}

func (p *tracedReplay) tx(do func(pgx.Tx) error) {
	p.t.Helper()
	if err := pgx.BeginFunc(p.t.Context(), p.pool, do); err != nil {
		p.t.Fatal(err)
	}
}

// sweep opens, up to a time, the cases of alarms that waited for long enough, each when it is due.
func (p *tracedReplay) sweep(until time.Time) {
	p.t.Helper()
	s := &sweeper{pool: p.pool}
	for {
		var id uuid.UUID
		var due time.Time
		rows, err := p.pool.Query(p.t.Context(), "SELECT id, due FROM grid.alarms_waiting WHERE due <= $1 ORDER BY due LIMIT 1", until)
		if err != nil {
			p.t.Fatal(err)
		}
		found, err := pgx.ForEachRow(rows, []any{&id, &due}, func() error { return nil })
		if err != nil {
			p.t.Fatal(err)
		}
		if found.RowsAffected() == 0 {
			return
		}
		if err := s.openWaited(p.t.Context(), p.b, id, due); err != nil {
			p.t.Fatal(err)
		}
	}
}

// messages takes the first lines, which are messages that come before a time, some at once, and gives how many it took.
func (p *tracedReplay) messages(r *rand.Rand, on []trace.Line, end time.Time, atOnce int) (n int) {
	p.t.Helper()
	var stored []jetstream.Msg
	for n < len(on) && n < atOnce && on[n].Topic != "" && on[n].At.Before(end) && (n == 0 || r.IntN(3) > 0) {
		m := tracedMessage{Line: on[n]}
		if fleet, device, _, err := contract.ParseDeviceSubject(strings.ReplaceAll(m.Topic, "/", ".")); err == nil {
			p.register(fleet, device, nil)
		}
		stored = append(stored, m)
		n++
	}
	p.take(on[n-1].At, stored)
	return n
}

// playRecorded takes a recorded trace to the database of pool, in which nothing is known.
func (way replayWay) playRecorded(t *testing.T, pool *pgxpool.Pool, r *recorded) *tracedReplay {
	t.Helper()
	p := &tracedReplay{replay: replayOn(&alarmStage{t, pool, r.bundle(), r.lines[0].At}), r: r, ids: map[string]uuid.UUID{}}
	p.begin()
	random := rand.New(rand.NewPCG(uint64(len(r.lines)), 38))
	on, waits, atOnce := way.lines(random, r.lines), r.rules.Scenarios[r.name].Waits(), 5
	if waits {
		atOnce = 1 // of a backlog the end is known with the beginning
	}
	for _, end := range r.closings() {
		for len(on) > 0 && on[0].At.Before(end) {
			if waits {
				p.sweep(on[0].At)
			}
			n, restarts := 1, way.again && random.IntN(3) == 0
			if on[0].Topic == "" {
				p.say(on[0])
			} else {
				n = p.messages(random, on, end, atOnce)
			}
			if restarts {
				p.restart()
			}
			if on[0].Topic == "" {
				p.take(on[0].At, nil)
			}
			on = on[n:]
		}
		if waits && end.Before(r.end()) {
			p.sweep(end)
		}
		p.take(end, nil)
		p.close(end)
	}
	p.s.conn.Release()
	return p
}

// alarms gives the alarms of cases that stand, as lines that come out of a trace.
func (p *tracedReplay) alarms(end time.Time) (out []string) {
	p.t.Helper()
	rows, err := p.pool.Query(p.t.Context(), "SELECT scenario, scope, scope_id, began, cleared_at, severity FROM grid.case_alarms WHERE retracted_at IS NULL AND began <= $1", end)
	if err != nil {
		p.t.Fatal(err)
	}
	var scenario, id string
	var scope rules.Scope
	var began time.Time
	var cleared *time.Time
	var severity contract.Severity
	if _, err := pgx.ForEachRow(rows, []any{&scenario, &scope, &id, &began, &cleared, &severity}, func() error {
		out = append(out, alarmLine(trace.KindRaised, scenario, scope, id, severity, began))
		if cleared != nil && !cleared.After(end) {
			out = append(out, alarmLine(trace.KindCleared, scenario, scope, id, severity, *cleared))
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func alarmLine(kind, scenario string, scope rules.Scope, id string, severity contract.Severity, at time.Time) string {
	return fmt.Sprintf("%s %s of %s %s, %s, %s", at.UTC().Format(time.DateTime), scenario, scope, id, severity, kind)
}
