package trace

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
	"github.com/dizuo/dizuo/internal/offline"
)

// shipped gives a world with the shipped scenario alone that a trace is of, and the trace with what is expected of it.
func shipped(t *testing.T, name string) (World, []Line, []string) {
	t.Helper()
	dir := filepath.Join("..", "..", "config", "scenarios")
	set, err := offline.Load(t.Context(), offline.Source{Paths: []string{filepath.Join(dir, name+".yaml")}}, "default")
	if err != nil {
		t.Fatal(err)
	}
	if set, err = offline.Alone(t.Context(), set, "default"); err != nil {
		t.Fatal(err)
	}
	catalog, err := offline.Catalog()
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
	raw, err := os.ReadFile(filepath.Join(dir, name+".expect.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	expected, err := ReadExpected(raw, name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(dir, name+".trace.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines, err := Read(file, name)
	if err != nil {
		t.Fatal(err)
	}
	return World{Rules: in.Rules, Fleets: in.Fleets, Communities: in.Communities}, lines, expected
}

// TestCatalogue: every shipped scenario has a trace beside it, and what comes is what somebody wrote down: in one go, with a new engine after every line,
// with every line twice, and shuffled within its lateness.
func TestCatalogue(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "scenarios", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
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

// endless are scenarios whose alarms no message ends, and why.
var endless = map[string]string{"s14-falling-object": "what fell has fallen: a person closes the case", "s30-one-key": "a person closes the response"}

// single says that a scenario is of single messages: there is no alarm.
func single(s contract.Scenario) bool {
	return (s.Act != "" || s.Ledger != nil) && s.CaseClass == "" && len(s.Commands) == 0
}

// ofSingle are the changes of those.
var ofSingle = map[string]bool{"nothing keeps it down": true, "a parameter is one more": true, "a day has room for one more": true}

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
	"a parameter is one more": func(s *contract.Scenario) {
		for name, v := range s.Params {
			if text := s.Trigger.When + textOf(s.Ledger); !single(*s) || !strings.Contains(text, "params."+name) {
				continue
			}
			s.Params = maps.Clone(s.Params)
			switch v := v.(type) {
			case float64:
				s.Params[name] = v + 1
			case int64:
				s.Params[name] = v + 1
			}
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

func textOf(l *contract.Ledger) string {
	if l == nil {
		return ""
	}
	return l.Subject + l.Amount
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
