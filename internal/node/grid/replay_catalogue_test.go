package grid

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/trace"
)

// scenariosDir holds the shipped scenarios, each with a recorded trace beside it and what is expected of it.
const scenariosDir = "../../../config/scenarios"

// leftOut are the shipped scenarios whose trace is not played into cases, and why. The test refuses one that has a case, or acts on one.
var leftOut = map[string]string{
	"s19-sorting-points": "it has no case: it makes entries in a ledger",
	"s32-visitor-plate":  "it has no case: it sends a command",
	"s33-irrigation":     "it has no case: it sends a command",
}

// notShuffled are scenarios whose cases depend on when a message arrives, and why.
var notShuffled = map[string]string{
	"s12-ebike-in-lift": "how long its alarm must stand counts from when it was heard, see docs/decisions/0048",
}

// shippedCatalogue is read once.
var shippedCatalogue = sync.OnceValues(offline.Catalog)

// recorded is a shipped scenario with its trace.
type recorded struct {
	name     string
	rules    contract.Rules
	fleets   map[string]contract.Fleet
	platform contract.Platform
	lines    []trace.Line
	// changes of cases, by the number of their line.
	changes  map[int]changedCase
	expected []string
}

// changedCase is a change of a case, as a line of a trace has it.
type changedCase struct {
	Number, Event, State, Class, Scenario, Source, Channel, Community, Grid string
	Severity                                                                contract.Severity
	Level                                                                   int
	Score                                                                   *int
	Overdue, Derived                                                        bool
}

// readRecorded compiles a shipped scenario alone, as `dizuo scenario test` does, and reads its trace and what is expected of it.
func readRecorded(t *testing.T, name string) *recorded {
	t.Helper()
	path := func(ext string) string { return filepath.Join(scenariosDir, name+ext) }
	set, err := offline.Load(t.Context(), offline.Source{Paths: []string{path(".yaml")}}, "default")
	if err != nil {
		t.Fatal(err)
	}
	if set, err = offline.Alone(t.Context(), set, "default"); err != nil {
		t.Fatal(err)
	}
	catalogue, err := shippedCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	result, err := offline.Compile(t.Context(), set, offline.Options{Now: time.Now(), Catalog: catalogue})
	if err != nil || len(result.Findings) > 0 {
		t.Fatal(err, result.Findings)
	}
	in, err := result.Platforms[0].Playable(false)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{name: name, rules: in.Rules, fleets: in.Fleets, platform: result.Platforms[0].Plan.Document, changes: map[int]changedCase{}}
	raw, err := os.ReadFile(path(".trace.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if r.lines, err = trace.Read(bytes.NewReader(raw), name); err != nil {
		t.Fatal(err)
	}
	text := bytes.Split(raw, []byte("\n"))
	for _, l := range r.lines {
		if l.Change == nil {
			continue
		}
		var written struct{ Case changedCase }
		if err := json.Unmarshal(text[l.Number-1], &written); err != nil {
			t.Fatal(err)
		}
		r.changes[l.Number] = written.Case
	}
	if raw, err = os.ReadFile(path(".expect.ndjson")); err != nil {
		t.Fatal(err)
	}
	if r.expected, err = trace.ReadExpected(raw, name); err != nil {
		t.Fatal(err)
	}
	return r
}

// playable says whether the scenario has to do with cases.
func (r *recorded) playable() bool {
	s := r.rules.Scenarios[r.name]
	return s.CaseClass != "" || s.Act != ""
}

func (r *recorded) end() time.Time { return r.lines[len(r.lines)-1].At }

// bundle gives what the service runs; a fleet that a trace only names gets its devices as they speak.
func (r *recorded) bundle() *intake.Bundle {
	b := testBundle("https://example.test", "")
	b.Directory.Platform, b.Rules, b.Fleets = r.platform, r.rules, maps.Clone(r.fleets)
	if b.Fleets == nil {
		b.Fleets = map[string]contract.Fleet{}
	}
	return b
}

// closings are when a person closes what is over: in pauses, when nothing is on its way.
func (r *recorded) closings() (out []time.Time) {
	for i, l := range r.lines[1:] {
		if was := r.lines[i].At; l.At.Sub(was) > 10*time.Minute {
			out = append(out, was.Add(5*time.Minute))
		}
	}
	return append(out, r.end().Add(longestLateness))
}

// longestLateness is what a scenario waits for late evidence at most.
const longestLateness = 24 * time.Hour

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

// say takes a line that is no message, and the time.
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
	p.take(l.At, nil)
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

// acts gives what somebody wrote down that scenarios do to cases.
func (r *recorded) acts(t *testing.T) (out []string) {
	t.Helper()
	for _, o := range r.outputs(t) {
		if o.Kind == trace.KindAct {
			out = append(out, actLine(o.TS, o.Scenario, o.Case, o.Act))
		}
	}
	slices.Sort(out)
	return out
}

// outputs gives what somebody wrote down that comes out of the trace.
func (r *recorded) outputs(t *testing.T) (out []trace.Output) {
	t.Helper()
	for _, text := range r.expected {
		var o trace.Output
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
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

// tracedReplay takes a recorded trace to a database.
type tracedReplay struct {
	*replay
	r *recorded
	// ids of the cases that the trace says changes of.
	ids map[string]uuid.UUID
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
			if on[0].Topic == "" {
				p.say(on[0])
				on = on[1:]
			} else {
				on = on[p.messages(random, on, end, atOnce):]
			}
			if way.again && random.IntN(3) == 0 {
				p.restart()
			}
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

// alarms gives the alarms that somebody wrote down, of scenarios that have cases; where alarms wait for their case, those that got it.
func (r *recorded) alarms(t *testing.T) (out []string) {
	t.Helper()
	raised := map[string]string{} // the alarm of a key that waits still
	for _, o := range r.outputs(t) {
		s := r.rules.Scenarios[o.Scenario]
		if s.CaseClass == "" {
			continue
		}
		if o.Scope == "" {
			o.Scope, o.Place = rules.ScopeDevice, o.Device
		}
		line, key := alarmLine(o.Kind, o.Scenario, o.Scope, o.Place, o.Severity, o.TS), o.Scenario+" "+string(o.Scope)+" "+o.Place
		switch {
		case o.Kind == trace.KindRaised && s.Waits():
			raised[key] = line
		case o.Kind == trace.KindCase:
			out = append(out, raised[key])
			delete(raised, key)
		case o.Kind == trace.KindRaised, o.Kind == trace.KindCleared && raised[key] == "":
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// TestCasesOfTheCatalogue: the recorded trace of each shipped scenario makes the same cases in one go, with other sessions in the middle, with every message
// twice, and shuffled within the lateness; and the alarms in them, and what is done to cases, is what somebody wrote down beside the trace. Changes of cases are
// no messages: the database has them once, in its order.
func TestCasesOfTheCatalogue(t *testing.T) {
	t.Parallel()
	grid, owner := database(t)
	pool := poolOf(t, grid)
	files, err := filepath.Glob(filepath.Join(scenariosDir, "*.trace.ndjson"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	ways := []replayWay{{name: "in one go"}, {name: "restarted in the middle", again: true}, {name: "every message twice", double: true}, {name: "shuffled", shuffle: true},
		{name: "all of it", again: true, double: true, shuffle: true}}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".trace.ndjson")
		t.Run(name, func(t *testing.T) {
			r := readRecorded(t, name)
			if why := leftOut[name]; r.playable() != (why == "") {
				t.Fatalf("it has to do with cases: %v; leftOut says %q", r.playable(), why)
			} else if why != "" {
				return
			}
			if notShuffled[name] != "" && !r.rules.Scenarios[name].Waits() {
				t.Fatal("its alarms do not wait for their case; take it out of notShuffled")
			}
			var want, first []string
			for _, way := range ways {
				if way.shuffle && notShuffled[name] != "" {
					continue
				}
				exec1(t, owner, forgotten)
				p := way.playRecorded(t, pool, r)
				got, beside := p.cases()
				if want == nil {
					want, first = got, beside
				}
				if len(got) == 0 {
					t.Errorf("%s: the trace makes no case", way.name)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: cases, -in one go +so:\n%s", way.name, diff)
				}
				if diff := cmp.Diff(first, beside); diff != "" && !way.shuffle {
					t.Errorf("%s: severity and signals, -in one go +so:\n%s", way.name, diff)
				}
				if diff := cmp.Diff(r.alarms(t), p.alarms(r.end())); diff != "" {
					t.Errorf("%s: alarms, -written down +in cases:\n%s", way.name, diff)
				}
				if diff := cmp.Diff(r.acts(t), p.acts()); diff != "" {
					t.Errorf("%s: acts, -written down +on cases:\n%s", way.name, diff)
				}
			}
		})
	}
	for _, action := range []string{"SignalMoved", string(MarkVoid)} {
		if number(t, pool, "SELECT count(*) FROM grid.case_history WHERE action = $1", action) == 0 {
			t.Errorf("late evidence makes no %s: the traces show too little", action)
		}
	}
}

// forgotten has the service know nothing of the trace before; the history of its cases, which nobody can delete, stays, and they are void.
const forgotten = `UPDATE grid.cases SET state = 'Void' WHERE state <> 'Void'; DELETE FROM grid.case_alarms; DELETE FROM grid.alarms_waiting; DELETE FROM grid.engine_keys; DELETE FROM grid.facts;
	DELETE FROM grid.modes; DELETE FROM grid.changes; DELETE FROM grid.devices_seen; DELETE FROM grid.ingest_position; DELETE FROM grid.feed_position WHERE reader LIKE 'engine.%'`
