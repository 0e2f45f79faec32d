package trace

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
	"github.com/dizuo/dizuo/internal/offline"
)

var scenariosDir = filepath.Join("..", "..", "config", "scenarios")

// catalogue is read once.
var catalogue = sync.OnceValues(offline.Catalog)

// world gives one with the scenario of a file alone.
func world(t *testing.T, file string) World {
	t.Helper()
	set, err := offline.Load(t.Context(), offline.Source{Paths: []string{file}}, "default")
	if err != nil {
		t.Fatal(err)
	}
	if set, err = offline.Alone(t.Context(), set, "default"); err != nil {
		t.Fatal(err)
	}
	catalog, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	result, err := offline.Compile(t.Context(), set, offline.Options{Now: time.Now(), Catalog: catalog})
	if err != nil || len(result.Findings) > 0 {
		t.Fatal(err, result.Findings)
	}
	in, err := result.Platforms[0].Playable(false)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation(in.Zone)
	if err != nil {
		t.Fatal(err)
	}
	return World{Rules: in.Rules, Fleets: in.Fleets, Communities: in.Communities, Zone: zone}
}

// scenario reads a shipped one as it is written.
func scenario(t *testing.T, name string) *v1alpha1.Scenario {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(scenariosDir, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := &v1alpha1.Scenario{}
	if err := yaml.UnmarshalStrict(raw, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// with gives a world with a shipped scenario of which a parameter has another default.
func with(t *testing.T, name, parameter, to string) World {
	t.Helper()
	s := scenario(t, name)
	for i := range s.Spec.Parameters {
		if p := &s.Spec.Parameters[i]; p.Name == parameter {
			p.Default = to
		}
	}
	raw, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return world(t, file)
}

// steps gives the values one step below and one above the default of a parameter.
func steps(t *testing.T, p v1alpha1.ScenarioParameter) []string {
	t.Helper()
	v, err := strconv.ParseFloat(p.Default, 64)
	if err != nil {
		t.Fatal(err)
	}
	step := 1.0
	if p.Type == v1alpha1.ParameterNumber {
		_, digits, _ := strings.Cut(p.Default, ".")
		step = min(math.Pow10(-len(digits)), math.Abs(v)/10)
	}
	text := func(v float64) string { return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64) }
	return []string{text(v - step), text(v + step)}
}

// unseen are parameters that no output of a trace depends on, and why.
var unseen = map[string]string{
	"s32-visitor-plate.seconds": "an argument of a command: a trace tells that it is sent", "s33-irrigation.minutes": "an argument of a command: a trace tells that it is sent",
}

// shipped gives a world with the shipped scenario alone that a trace is of, and the trace with what is expected of it.
func shipped(t *testing.T, name string) (World, []Line, []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(scenariosDir, name+".expect.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	expected, err := ReadExpected(raw, name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(scenariosDir, name+".trace.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines, err := Read(file, name)
	if err != nil {
		t.Fatal(err)
	}
	return world(t, filepath.Join(scenariosDir, name+".yaml")), lines, expected
}

// TestCatalogue: every shipped scenario has a trace beside it, and what comes is what somebody wrote down: in one go, with a new engine after every line,
// with every line twice, and shuffled within its lateness.
func TestCatalogue(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			w, lines, expected := shipped(t, name)
			kinds := strings.Join(expected, "\n")
			if single(w.Rules.Scenarios[name]) {
				if !strings.Contains(kinds, `"kind":"act"`) && !strings.Contains(kinds, `"kind":"ledger"`) {
					t.Error("the trace shows nothing that a message does")
				}
			} else if !strings.Contains(kinds, KindRaised) || strings.Contains(kinds, KindCleared) == (endless[name] != "") {
				t.Error("the trace shows no alarm that is raised, or none that is cleared, or one of those that nothing clears")
			}
			for how, p := range map[string]player{"in one go": {}, "restarted": {each: restart}, "doubled": {}, "shuffled": {}} {
				given := lines
				switch how {
				case "doubled":
					given = doubled(lines)
				case "shuffled":
					given = shuffled(rand.New(rand.NewPCG(1, 2)), lines)
				}
				got, err := p.play(w, given, time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				if different := Difference(expected, got.Outputs); different != nil {
					t.Errorf("%s:\n%s", how, strings.Join(different, "\n"))
				}
			}
			for what, change := range changes {
				if what == anotherEnd && endless[name] != "" || single(w.Rules.Scenarios[name]) && !ofSingle[what] {
					continue
				}
				changed := w
				s := w.Rules.Scenarios[name]
				s.Raise = slices.Clone(s.Raise)
				if change(&s); reflect.DeepEqual(s, w.Rules.Scenarios[name]) {
					continue // it has nothing of the kind
				}
				changed.Rules.Scenarios = maps.Clone(w.Rules.Scenarios)
				changed.Rules.Scenarios[name] = s
				got, err := Play(changed, lines, time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				if Difference(expected, got.Outputs) == nil {
					t.Errorf("%s, and nothing differs: the trace does not show it", what)
				}
			}
		})
	}
}

// names are those of the shipped scenarios.
func names(t *testing.T) (out []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(scenariosDir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return out
}

// TestThresholds: each number that a scenario has as a parameter is proven where it lies: set one step lower or one step higher, the same trace gives something
// else. A step is one of a whole number, and of others the unit of the last digit that the default has, yet not more than a tenth of it.
func TestThresholds(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			_, lines, expected := shipped(t, name)
			for _, p := range scenario(t, name).Spec.Parameters {
				if p.Type != v1alpha1.ParameterNumber && p.Type != v1alpha1.ParameterInteger || unseen[name+"."+p.Name] != "" {
					continue
				}
				for _, to := range steps(t, p) {
					w := with(t, name, p.Name, to)
					got, err := Play(w, lines, time.Time{})
					if err != nil {
						t.Fatal(err)
					}
					if Difference(expected, got.Outputs) == nil {
						t.Errorf("parameter %s is %s in place of %s, and nothing differs: the trace does not show where it lies", p.Name, to, p.Default)
					}
				}
			}
		})
	}
}

// endless are scenarios whose alarms no message ends, and why.
var endless = map[string]string{"s14-falling-object": "what fell has fallen: a person closes the case", "s30-one-key": "a person closes the response"}

// single says that a scenario is of single messages: there is no alarm.
func single(s contract.Scenario) bool {
	return (s.Act != "" || s.Ledger != nil) && s.CaseClass == "" && len(s.Commands) == 0
}

// ofSingle are the changes of those.
var ofSingle = map[string]bool{"nothing keeps it down": true, "a day has room for one more": true}

const anotherEnd = "another end"

// changes of a scenario that its trace must show.
var changes = map[string]func(*contract.Scenario){
	anotherEnd: func(s *contract.Scenario) {
		if slices.ContainsFunc(s.Terms, func(term contract.Term) bool { return term.Offline }) {
			return // whatever a device says, it is not offline
		}
		missed := false
		changeTerms(s, func(term *contract.Term) {
			if term.Absent != nil {
				term.Absent.Event, missed = "("+term.Absent.Event+") && ts.getSeconds() != 0", true // an event on the minute is none
			}
		})
		if !missed || s.Trigger.Clear != "" || s.Clear != "" {
			s.Trigger.Clear, s.Clear = "1 == 2", "1 == 2"
		}
	},
	"all takes a second longer": func(s *contract.Scenario) {
		changeTerms(s, func(term *contract.Term) {
			if term.ForSeconds > 0 {
				term.ForSeconds++
			}
			if term.Absent != nil && !term.Absent.WholeWindow {
				term.Absent.Seconds++
			}
		})
	},
	"an alarm must stand for longer": func(s *contract.Scenario) {
		if s.AfterSeconds > 0 {
			s.AfterSeconds++
		}
	},
	"what comes again is the same": func(s *contract.Scenario) {
		s.Trigger.DedupSeconds, s.DedupSeconds = 100*24*3600, 100*24*3600
	},
	"a count looks further": counted(func(n *contract.Count) { n.WithinSeconds++ }),
	"a count needs more":    counted(func(n *contract.Count) { n.AtLeast++ }),
	"a count counts all":    counted(func(n *contract.Count) { n.DistinctBy = "" }),
	"nothing keeps it down": func(s *contract.Scenario) {
		if single(*s) {
			s.Trigger.Unless, s.Unless = "", ""
		}
	},
	"a day has room for one more": func(s *contract.Scenario) {
		if s.Ledger != nil && s.Ledger.DailyCap != nil {
			l := *s.Ledger
			l.DailyCap, s.Ledger = new(*l.DailyCap+1), &l
		}
	},
	"it combines with nothing": func(s *contract.Scenario) { s.Combines = nil },
	"combines look less near":  combined(func(c *contract.Combination) { c.WithinSeconds += 7 * 24 * 3600 }),
	"the place is the device's": func(s *contract.Scenario) {
		changeTerms(s, func(term *contract.Term) {
			if term.Absent != nil {
				term.Absent.Scope = ""
			}
		})
	},
	"it runs in any mode":   func(s *contract.Scenario) { s.Off, s.Variants = false, nil },
	"a raise looks further": raised(func(n *contract.Count) { n.WithinSeconds++ }),
	"a raise needs more":    raised(func(n *contract.Count) { n.AtLeast++ }),
	"a raise counts all":    raised(func(n *contract.Count) { n.Scope = string(rules.ScopeCommunity) }),
}

// changeTerms changes copies of the terms of a scenario, its plain trigger among them.
func changeTerms(s *contract.Scenario, change func(*contract.Term)) {
	one := func(term contract.Term) contract.Term {
		if term.Absent != nil {
			a := *term.Absent
			term.Absent = &a
		}
		change(&term)
		return term
	}
	plain := one(contract.Term{ForSeconds: s.Trigger.ForSeconds, Absent: s.Trigger.Absent})
	s.Trigger.ForSeconds, s.Trigger.Absent = plain.ForSeconds, plain.Absent
	s.Terms = slices.Clone(s.Terms)
	for i := range s.Terms {
		s.Terms[i] = one(s.Terms[i])
	}
}

// counted changes the counts of terms that have a scope.
func counted(change func(*contract.Count)) func(*contract.Scenario) {
	return func(s *contract.Scenario) {
		if s.CatalogueID != "S30" {
			return // the traces of the others were written to show other things
		}
		s.Terms = slices.Clone(s.Terms)
		for i, term := range s.Terms {
			if term.Count != nil {
				n := *term.Count
				change(&n)
				s.Terms[i].Count = &n
			}
		}
	}
}

// combined changes combinations.
func combined(change func(*contract.Combination)) func(*contract.Scenario) {
	return func(s *contract.Scenario) {
		s.Combines = slices.Clone(s.Combines)
		for i := range s.Combines {
			change(&s.Combines[i])
		}
	}
}

// raised changes the counts of raises.
func raised(change func(*contract.Count)) func(*contract.Scenario) {
	return func(s *contract.Scenario) {
		for i, x := range s.Raise {
			if x.Count != nil {
				n := *x.Count
				change(&n)
				s.Raise[i].Count = &n
			}
		}
	}
}

// restart takes the engine's state into a new one.
func restart(p *player) error {
	states, err := p.engine.Snapshot()
	if err != nil {
		return err
	}
	if err := p.begin(); err != nil {
		return err
	}
	for _, s := range states {
		if err := p.engine.Restore(s); err != nil {
			return err
		}
	}
	return nil
}

func doubled(lines []Line) (out []Line) {
	for _, l := range lines {
		out = append(out, l, l)
	}
	return out
}

// shuffled lets messages arrive up to two minutes late, in another order, with their own time in the payload.
func shuffled(r *rand.Rand, lines []Line) []Line {
	out := slices.Clone(lines)
	for i, l := range out {
		if l.Topic == "" {
			continue
		}
		if !strings.Contains(string(l.Payload), `"ts"`) {
			l.Payload = []byte(strings.TrimSuffix(string(l.Payload), "}") + `,"ts":"` + l.At.Format(time.RFC3339) + `"}`)
			l.At = l.At.Add(time.Duration(r.IntN(119)) * time.Second)
		}
		out[i] = l
	}
	slices.SortStableFunc(out, func(a, b Line) int { return a.At.Compare(b.At) })
	return out
}
