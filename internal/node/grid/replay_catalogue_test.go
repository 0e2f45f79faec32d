package grid

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// closings are when a person closes what is over: in some thirty pauses at most, when nothing is on its way.
func (r *recorded) closings() (out []time.Time) {
	var pauses []time.Time
	for i, l := range r.lines[1:] {
		if was := r.lines[i].At; l.At.Sub(was) > 10*time.Minute {
			pauses = append(pauses, was.Add(5*time.Minute))
		}
	}
	for i := 0; i < len(pauses); i += 1 + len(pauses)/30 {
		out = append(out, pauses[i])
	}
	return append(out, r.end().Add(longestLateness))
}

// longestLateness is what a scenario waits for late evidence at most.
const longestLateness = 24 * time.Hour

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
	if testing.Short() {
		ways = slices.Delete(ways, 3, 4) // all of it is shuffled too
	}
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
	DELETE FROM grid.modes; DELETE FROM grid.changes; DELETE FROM grid.devices_seen; DELETE FROM grid.ingest_position; DELETE FROM grid.feed_position WHERE reader = 'engine.facts';
	UPDATE grid.feed_position SET n = (SELECT n FROM grid.feed_position WHERE reader = 'sequencer') WHERE reader = 'engine.changes'`
