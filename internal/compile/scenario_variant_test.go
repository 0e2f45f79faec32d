package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// world is what a scenario with the parameters a and b is in; every list may say something of it, or nothing.
type variantWorld struct {
	scenario    v1alpha1.Scenario
	platform    []v1alpha1.ScenarioSelection
	modes       map[v1alpha1.ModeName][]v1alpha1.ScenarioSelection
	communities map[string][]v1alpha1.ScenarioSelection
}

func randomSelection(r *rand.Rand) []v1alpha1.ScenarioSelection {
	if r.IntN(3) == 0 {
		return nil
	}
	sel := v1alpha1.ScenarioSelection{Name: "s", Parameters: map[string]v1alpha1.ParameterValue{}}
	if n := r.IntN(3); n < 2 {
		on := n == 0
		sel.Enabled = &on
	}
	for _, name := range []string{"a", "b"} {
		if r.IntN(2) == 0 {
			sel.Parameters[name] = v1alpha1.ParameterValue(fmt.Sprint(1 + r.IntN(2)))
		}
	}
	return []v1alpha1.ScenarioSelection{{Name: "other"}, sel}
}

func randomVariants(r *rand.Rand) variantWorld {
	w := variantWorld{modes: map[v1alpha1.ModeName][]v1alpha1.ScenarioSelection{}, communities: map[string][]v1alpha1.ScenarioSelection{}, platform: randomSelection(r)}
	w.scenario = v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "henan"}}
	w.scenario.Spec = v1alpha1.ScenarioSpec{Input: v1alpha1.InputDevice, DataClass: []v1alpha1.DataClass{v1alpha1.DataClassC0, v1alpha1.DataClassC2}[r.IntN(2)], ProfileRef: &v1alpha1.ProfileRef{Name: "p"},
		Parameters: []v1alpha1.ScenarioParameter{{Name: "a", Type: v1alpha1.ParameterInteger, Default: "1"}, {Name: "b", Type: v1alpha1.ParameterInteger, Default: "1"}},
		Trigger:    v1alpha1.Trigger{When: "msg.x >= params.a", Count: &v1alpha1.CountTrigger{AtLeast: "${b}", Within: "10m"}, Lateness: metav1.Duration{Duration: 2 * time.Minute}},
		Case:       &v1alpha1.ScenarioCase{Class: "c", Severity: v1alpha1.SeverityHigh, Title: "t"}}
	switch r.IntN(5) {
	case 0:
		w.scenario.Spec.Modes = []v1alpha1.ModeName{v1alpha1.ModeEmergency}
	case 1:
		w.scenario.Spec.Modes = []v1alpha1.ModeName{v1alpha1.ModeRoutine}
	}
	for _, m := range []v1alpha1.ModeName{v1alpha1.ModeRoutine, v1alpha1.ModeEmergency} {
		if r.IntN(3) > 0 {
			w.modes[m] = randomSelection(r)
		}
	}
	for _, c := range []string{"x", "y"} {
		w.communities[c] = randomSelection(r)
	}
	return w
}

// effective is what a scenario does in one place: nothing, or with these numbers.
type effective struct {
	on   bool
	a, b string
}

// naive asks everybody in turn, from the widest to the most special.
func (w variantWorld) naive(mode v1alpha1.ModeName, community string) effective {
	out := effective{w.scenario.Spec.DataClass == v1alpha1.DataClassC0, "1", "1"}
	say := func(list []v1alpha1.ScenarioSelection) {
		for _, sel := range list {
			if sel.Name != "s" {
				continue
			}
			out.on = sel.Enabled == nil || *sel.Enabled
			if v, ok := sel.Parameters["a"]; ok {
				out.a = string(v)
			}
			if v, ok := sel.Parameters["b"]; ok {
				out.b = string(v)
			}
		}
	}
	if w.modes[mode] == nil {
		say(w.platform)
	}
	say(w.modes[mode])
	say(w.communities[community])
	for _, m := range w.scenario.Spec.Modes {
		out.on = out.on && m == mode
	}
	if !out.on {
		return effective{}
	}
	return out
}

// runs reads a document as the engine does: the most special variant counts, and says only what differs.
func runs(doc contract.Scenario, running bool, mode v1alpha1.ModeName, community string) effective {
	if !running {
		return effective{}
	}
	off, params, terms := doc.Off, doc.Params, doc.Terms
	if len(terms) == 0 {
		terms = []contract.Term{{Count: doc.Trigger.Count}}
	}
	a, b := params["a"], terms[0].Count.AtLeast
	for _, key := range []string{string(mode) + "/" + community, "/" + community, string(mode) + "/"} {
		v, ok := doc.Variants[key]
		if !ok {
			continue
		}
		off = v.Off
		if x, ok := v.Params["a"]; ok {
			a = x
		}
		if len(v.Terms) > 0 {
			b = v.Terms[0].Count.AtLeast
		}
		break
	}
	if off {
		return effective{}
	}
	return effective{true, fmt.Sprint(a), fmt.Sprint(b)}
}

// TestVariantsAreWhatEverybodySays: over many settings, the document says in each mode and community what asking everybody in turn does. What
// says nothing new is not in it.
func TestVariantsAreWhatEverybodySays(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 1))
	var kept, rows int
	for range 3000 {
		w := randomVariants(r)
		p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "henan", Namespace: "henan"}}
		p.Spec.Scenarios = w.platform
		for _, m := range []v1alpha1.ModeName{v1alpha1.ModeRoutine, v1alpha1.ModeEmergency} {
			if list, ok := w.modes[m]; ok {
				p.Spec.Modes = append(p.Spec.Modes, v1alpha1.ModePlan{Name: m, Scenarios: list})
			}
		}
		s := &compile.Snapshot{Platform: p, Communities: compile.Named[*v1alpha1.Community]{}, Profiles: compile.Named[*v1alpha1.DeviceProfile]{}, Scenarios: compile.Named[*v1alpha1.Scenario]{}}
		s.Profiles.Add(&v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "henan"}, Spec: v1alpha1.DeviceProfileSpec{Fields: []v1alpha1.ProfileField{{Name: "x", Type: "Number"}}}})
		s.Scenarios.Add(&w.scenario)
		for name, list := range w.communities {
			s.Communities.Add(&v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "henan"}, Spec: v1alpha1.CommunitySpec{Scenarios: list}})
		}
		plan, wrong := compile.Scenario(s, &w.scenario)
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		modes := []v1alpha1.ModeName{v1alpha1.ModeRoutine}
		if _, planned := w.modes[v1alpha1.ModeEmergency]; planned {
			modes = append(modes, v1alpha1.ModeEmergency)
		}
		for _, mode := range modes {
			for _, community := range []string{"x", "y", "z"} {
				if got, want := runs(plan.Document, plan.Running, mode, community), w.naive(mode, community); got != want {
					t.Fatalf("in %s at %s it is %+v, want %+v\n%+v\n%+v", mode, community, got, want, w, plan.Document)
				}
			}
		}
		for key := range plan.Document.Variants {
			without := plan.Document
			without.Variants = map[string]contract.Variant{}
			for k, v := range plan.Document.Variants {
				if k != key {
					without.Variants[k] = v
				}
			}
			needed := false
			for _, mode := range modes {
				for _, community := range []string{"x", "y", "z"} {
					needed = needed || runs(without, plan.Running, mode, community) != w.naive(mode, community)
				}
			}
			if kept++; !needed {
				rows++
			}
		}
		if len(plan.Document.Variants) > 0 && plan.Document.Trigger.When != "" {
			t.Fatal("a version that knows no variants would run it everywhere")
		}
	}
	if kept < 1000 || rows > 0 {
		t.Errorf("of %d variants %d say nothing new", kept, rows)
	}
}

// TestWhatHasOneValueForAll: a parameter may differ wherever it stands but in a ledger: there a mode refuses the scenario, and in a community it does not run
// then.
func TestWhatHasOneValueForAll(t *testing.T) {
	may := func(o *v1alpha1.Scenario) { // terms of the trigger, and numbers that are read when a message comes
		o.Spec.Trigger.Count = &v1alpha1.CountTrigger{AtLeast: "2", Within: "${long}"}
		o.Spec.Baselines = []v1alpha1.Baseline{{Name: "nights", Value: "msg.x", Daily: v1alpha1.DailyMean, Statistic: v1alpha1.BaselineDaysAbove, Above: "${above}", Window: metav1.Duration{Duration: 14 * 24 * time.Hour}, MinDays: 7}}
	}
	for field, change := range map[string]func(*v1alpha1.Scenario){
		"":                   may,
		"spec.trigger.dedup": func(o *v1alpha1.Scenario) { o.Spec.Trigger.Dedup = "${long}" },
		"spec.trigger.schedule": func(o *v1alpha1.Scenario) {
			o.Spec.Trigger.Schedule = &v1alpha1.Schedule{Windows: []v1alpha1.ScheduleWindow{{From: "${from}", To: "06:00"}}}
		},
		"spec.raise": func(o *v1alpha1.Scenario) {
			o.Spec.Raise = []v1alpha1.SeverityRaise{{Name: "often", Severity: v1alpha1.SeverityCritical, Count: &v1alpha1.CountTrigger{AtLeast: "2", Within: "${long}"}}}
		},
		"spec.combines": func(o *v1alpha1.Scenario) {
			o.Spec.Combines = []v1alpha1.Combination{{Scenario: "other", Scope: v1alpha1.ScopeHousehold, Severity: v1alpha1.SeverityCritical, Within: "${long}"}}
		},
		"spec.case.after": func(o *v1alpha1.Scenario) { o.Spec.Case.After = "${long}" },
		"spec.ledger": func(o *v1alpha1.Scenario) {
			o.Spec.Case, o.Spec.Ledger = nil, &v1alpha1.LedgerEntry{Name: "points", Subject: "device.id", Amount: "1.0", DailyCap: "${above}"}
		},
	} {
		refused := ""
		if field == "spec.ledger" {
			refused = field
		}
		o := &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "henan"}}
		o.Spec = v1alpha1.ScenarioSpec{Input: v1alpha1.InputDevice, DataClass: v1alpha1.DataClassC0, ProfileRef: &v1alpha1.ProfileRef{Name: "p"},
			Parameters: []v1alpha1.ScenarioParameter{{Name: "long", Type: v1alpha1.ParameterDuration, Default: "10m"}, {Name: "from", Type: v1alpha1.ParameterTimeOfDay, Default: "22:00"}, {Name: "above", Type: v1alpha1.ParameterNumber, Default: "1"}},
			Trigger:    v1alpha1.Trigger{When: "msg.x > 1.0", Lateness: metav1.Duration{Duration: 2 * time.Minute}},
			Case:       &v1alpha1.ScenarioCase{Class: "c", Severity: v1alpha1.SeverityLow, Title: "t"}}
		other := o.DeepCopy()
		other.Name = "other"
		change(o)
		selection := []v1alpha1.ScenarioSelection{{Name: "s", Parameters: map[string]v1alpha1.ParameterValue{"long": "5m", "from": "21:00", "above": "2"}}}
		for _, where := range []string{"mode", "community"} {
			p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "henan", Namespace: "henan"}}
			com := &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "henan"}}
			if where == "mode" {
				p.Spec.Modes = []v1alpha1.ModePlan{{Name: v1alpha1.ModeEmergency, Scenarios: selection}}
			} else {
				com.Spec.Scenarios = selection
			}
			s := &compile.Snapshot{Platform: p, Communities: compile.Named[*v1alpha1.Community]{}, Profiles: compile.Named[*v1alpha1.DeviceProfile]{}, Scenarios: compile.Named[*v1alpha1.Scenario]{}}
			s.Profiles.Add(&v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "henan"}, Spec: v1alpha1.DeviceProfileSpec{Fields: []v1alpha1.ProfileField{{Name: "x", Type: "Number"}}}})
			s.Scenarios.Add(o)
			s.Scenarios.Add(other)
			s.Communities.Add(com)
			plan, wrong := compile.Scenario(s, o)
			got := ""
			for _, w := range wrong {
				got += w.Field
				if !strings.HasPrefix(w.Message, "in mode Emergency: is the same in all modes and communities") {
					t.Errorf("%s: %s", field, w.Message)
				}
			}
			switch {
			case where == "mode" && got != refused:
				t.Errorf("%s: in a mode %q is wrong, want %q", field, got, refused)
			case where == "community" && len(wrong) > 0:
				t.Errorf("%s of a community is the scenario's mistake: %v", field, wrong)
			case where == "community" && plan.Document.Variants["/x"].Off != (refused != ""):
				t.Errorf("%s: in the community it runs as %+v", field, plan.Document.Variants["/x"])
			}
		}
	}
}

// TestWhatIsNamed: a platform names scenarios in any mode, and a scenario profiles of what it listens to and of what it commands, each once.
func TestWhatIsNamed(t *testing.T) {
	p := &v1alpha1.GridPlatform{}
	p.Spec.Scenarios = []v1alpha1.ScenarioSelection{{Name: "a"}}
	p.Spec.Modes = []v1alpha1.ModePlan{{Name: v1alpha1.ModeEmergency, Scenarios: []v1alpha1.ScenarioSelection{{Name: "b"}}}, {Name: v1alpha1.ModeRoutine, Scenarios: []v1alpha1.ScenarioSelection{{Name: "c"}}}}
	if got := fmt.Sprint(compile.ScenariosNamed(p)); got != "[a b c]" {
		t.Errorf("scenarios %s", got)
	}
	ref := func(name string) *v1alpha1.ProfileRef { return &v1alpha1.ProfileRef{Name: name} }
	o := &v1alpha1.Scenario{Spec: v1alpha1.ScenarioSpec{ProfileRef: ref("meter"), Commands: []v1alpha1.ScenarioCommand{{ProfileRef: ref("pump")}, {}, {ProfileRef: ref("meter")}}}}
	if got := fmt.Sprint(compile.ProfilesOf(o)); got != "[meter pump]" {
		t.Errorf("profiles %s", got)
	}
}

// TestWhereAScenarioRunsThatIsOff: the reason names the first few places, and how many more there are.
func TestWhereAScenarioRunsThatIsOff(t *testing.T) {
	o := &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "henan"}}
	o.Spec = v1alpha1.ScenarioSpec{Input: v1alpha1.InputDevice, DataClass: v1alpha1.DataClassC2, ProfileRef: &v1alpha1.ProfileRef{Name: "p"},
		Parameters: []v1alpha1.ScenarioParameter{{Name: "n", Type: v1alpha1.ParameterInteger, Default: "2"}},
		Trigger:    v1alpha1.Trigger{When: "msg.x > 1.0", Count: &v1alpha1.CountTrigger{AtLeast: "${n}", Within: "10m"}, Lateness: metav1.Duration{Duration: 2 * time.Minute}},
		Case:       &v1alpha1.ScenarioCase{Class: "c", Severity: v1alpha1.SeverityLow, Title: "t"}}
	p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "henan", Namespace: "henan"}}
	s := &compile.Snapshot{Platform: p, Communities: compile.Named[*v1alpha1.Community]{}, Profiles: compile.Named[*v1alpha1.DeviceProfile]{}, Scenarios: compile.Named[*v1alpha1.Scenario]{}}
	s.Profiles.Add(&v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "henan"}, Spec: v1alpha1.DeviceProfileSpec{Fields: []v1alpha1.ProfileField{{Name: "x", Type: "Number"}}}})
	s.Scenarios.Add(o)
	for n, want := range []string{"", "; it runs in community c1", "; it runs in community c1, in community c2", "; it runs in community c1, in community c2, in community c3",
		"; it runs in community c1, in community c2, in community c3 and 1 more", "; it runs in community c1, in community c2, in community c3 and 2 more"} {
		if n > 0 {
			s.Communities.Add(&v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", n), Namespace: "henan"}, Spec: v1alpha1.CommunitySpec{Scenarios: []v1alpha1.ScenarioSelection{{Name: "s"}}}})
		}
		plan, wrong := compile.Scenario(s, o)
		if len(wrong) > 0 || plan.Running != (n > 0) || n > 0 && !strings.HasSuffix(plan.Why, want) || n == 0 && strings.Contains(plan.Why, "it runs") {
			t.Errorf("%d communities: %v, %s, want %q: %v", n, plan.Running, plan.Why, want, wrong)
		}
	}
	// What the values make of the scenario is looked at as what stands in it is.
	delete(s.Communities, "c1")
	s.Communities.Add(&v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: "c1", Namespace: "henan"}, Spec: v1alpha1.CommunitySpec{Scenarios: []v1alpha1.ScenarioSelection{{Name: "s", Parameters: map[string]v1alpha1.ParameterValue{"n": "0"}}}}})
	if plan, wrong := compile.Scenario(s, o); len(wrong) > 0 || strings.Contains(plan.Why, "community c1") {
		t.Errorf("a count of none: %s, %v", plan.Why, wrong)
	}
}
