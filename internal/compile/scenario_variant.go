package compile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// A scenario runs by what says most specially whether and with which parameters: a community, the plan of a mode, the platform, the scenario
// itself. Of all that, the document has what is so in Routine where no community says otherwise, and Variants for what differs.

// setting sets parameters of a scenario.
type setting struct {
	// who is the object, at the field in it.
	who, at    string
	parameters map[string]v1alpha1.ParameterValue
}

// choice is how a scenario runs in a mode and a community.
type choice struct {
	on  bool
	why string
	// set are the parameters, the most special last.
	set []setting
}

// selected gives the entry of a scenario in a list.
func selected(list []v1alpha1.ScenarioSelection, name string) (at int, sel *v1alpha1.ScenarioSelection) {
	at = slices.IndexFunc(list, func(x v1alpha1.ScenarioSelection) bool { return x.Name == name })
	if at < 0 {
		return at, nil
	}
	return at, &list[at]
}

// choose says how a scenario runs in a mode and, if com is not nil, in a community. An entry of a mode stands in place of the platform's; one
// of a community goes over it. Where the scenario says in which modes it runs, it does so in no other, whoever lists it.
func choose(p *v1alpha1.GridPlatform, o *v1alpha1.Scenario, mode v1alpha1.ModeName, com *v1alpha1.Community) choice {
	out := choice{}
	out.on, out.why = running(p, o)
	who := "GridPlatform " + p.Name
	if i, sel := selected(p.Spec.Scenarios, o.Name); sel != nil {
		out.set = []setting{{who, fmt.Sprintf("spec.scenarios[%d]", i), sel.Parameters}}
	}
	if m := slices.IndexFunc(p.Spec.Modes, func(m v1alpha1.ModePlan) bool { return m.Name == mode }); m >= 0 {
		if i, sel := selected(p.Spec.Modes[m].Scenarios, o.Name); sel != nil {
			out.choose(sel, who, fmt.Sprintf("spec.modes[%d].scenarios[%d]", m, i))
			out.set = out.set[len(out.set)-1:]
		}
	}
	if com != nil {
		if i, sel := selected(com.Spec.Scenarios, o.Name); sel != nil {
			out.choose(sel, "Community "+com.Name, fmt.Sprintf("spec.scenarios[%d]", i))
		}
	}
	// What is off anyway says what turns it on, and not the mode.
	if out.on && len(o.Spec.Modes) > 0 && !slices.Contains(o.Spec.Modes, mode) {
		out.on, out.why = false, fmt.Sprintf("the scenario runs in mode %s only", o.Spec.Modes[0])
	}
	return out
}

func (c *choice) choose(sel *v1alpha1.ScenarioSelection, who, at string) {
	c.on = sel.Enabled == nil || *sel.Enabled
	c.why = fmt.Sprintf("%s of %s says enabled: %v", at, who, c.on)
	c.set = append(c.set, setting{who, at, sel.Parameters})
}

// Selects says that a Community says something of a scenario.
func Selects(o *v1alpha1.Community, scenario string) bool {
	_, sel := selected(o.Spec.Scenarios, scenario)
	return sel != nil
}

// ScenariosNamed gives the names of scenarios of which a GridPlatform says something, in any mode.
func ScenariosNamed(p *v1alpha1.GridPlatform) (out []string) {
	lists := [][]v1alpha1.ScenarioSelection{p.Spec.Scenarios}
	for _, m := range p.Spec.Modes {
		lists = append(lists, m.Scenarios)
	}
	for _, sel := range slices.Concat(lists...) {
		out = append(out, sel.Name)
	}
	return out
}

// ProfilesOf names the profiles that a Scenario refers to: of the devices that it listens to, and of those that it sends commands to.
func ProfilesOf(o *v1alpha1.Scenario) (names []string) {
	add := func(ref *v1alpha1.ProfileRef) {
		if ref != nil && !slices.Contains(names, ref.Name) {
			names = append(names, ref.Name)
		}
	}
	add(o.Spec.ProfileRef)
	for _, c := range o.Spec.Commands {
		add(c.ProfileRef)
	}
	return names
}

// otherModes gives the modes of a platform beside Routine.
func otherModes(p *v1alpha1.GridPlatform) (out []v1alpha1.ModeName) {
	for _, m := range p.Spec.Modes {
		if m.Name != v1alpha1.ModeRoutine {
			out = append(out, m.Name)
		}
	}
	return out
}

// varied reads a scenario again with other parameters. It is for one scenario, whose document is without problems.
type varied struct {
	s    *Snapshot
	o    *v1alpha1.Scenario
	base contract.Scenario
	// profile of its devices; without one the expressions are not looked at.
	profile *contract.Profile
	// known are results by the values of the parameters: most communities say the same.
	known map[string]variation
}

func newVaried(s *Snapshot, o *v1alpha1.Scenario, base contract.Scenario) *varied {
	v := &varied{s: s, o: o, base: base, known: map[string]variation{}}
	var quiet problems
	if profile, ok := scenarioProfile(&quiet, s, o); ok {
		v.profile = &profile
	}
	return v
}

type variation struct {
	variant contract.Variant
	wrong   Problems
}

// of gives what differs from the scenario's document by a choice.
func (v *varied) of(ch choice) (contract.Variant, Problems) {
	if !ch.on {
		return contract.Variant{Off: true}, nil
	}
	var c problems
	params, texts := parameters(&c, v.o, ch.set...)
	if c.list.Fatal() {
		return contract.Variant{Off: true}, c.list
	}
	key := fmt.Sprintf("%q", texts) // in the order of keys
	if _, ok := v.known[key]; !ok {
		v.known[key] = v.read(params, texts)
	}
	return v.known[key].variant, v.known[key].wrong
}

// in gives what differs in a mode and, if com is not nil, in a community.
func (v *varied) in(mode v1alpha1.ModeName, com *v1alpha1.Community) (contract.Variant, Problems) {
	out, wrong := v.of(choose(v.s.Platform, v.o, mode, com))
	if out.Off {
		return out, wrong
	}
	var c problems
	if com != nil && v.ofPlatform() && !reflect.DeepEqual(out, contract.Variant{Params: out.Params}) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, "spec.trigger", "counts over the whole platform, and a parameter in its numbers differs in one community; leave the parameter as the platform has it")
	}
	if c.list.Fatal() {
		return contract.Variant{Off: true}, c.list
	}
	return out, nil
}

// ofPlatform says whether the trigger counts over the whole platform.
func (v *varied) ofPlatform() bool {
	return slices.ContainsFunc(asTerms(v.base).Terms, func(t contract.Term) bool {
		whole := string(v1alpha1.ScopePlatform)
		return t.Absent != nil && t.Absent.Scope == whole || t.Count != nil && t.Count.Scope == whole
	})
}

// read gives what differs with other values of the parameters.
func (v *varied) read(params map[string]any, texts map[string]string) variation {
	var c problems
	doc := scenarioDocument(&c, v.s, v.o, params, texts)
	doc.Commands = scenarioCommands(&c, v.s, v.o, texts)
	if v.profile != nil && !c.list.Fatal() {
		_, found := rules.Check(contract.Rules{Profiles: map[string]contract.Profile{doc.Profile: *v.profile}, Scenarios: map[string]contract.Scenario{v.o.Name: doc}})
		for _, wrong := range found {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, specPath(v.o, wrong.Field), wrong.Message)
		}
	}
	was, is := asTerms(v.base), asTerms(doc)
	if !reflect.DeepEqual(was.Ledger, is.Ledger) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, "spec.ledger", "is the same in all modes and communities, and a parameter in it differs here; leave the parameter as the platform has it")
	}
	if c.list.Fatal() {
		return variation{contract.Variant{Off: true}, c.list}
	}
	out := differs(was, is)
	for name, value := range params {
		if !reflect.DeepEqual(value, v.base.Params[name]) {
			if out.Params == nil {
				out.Params = map[string]any{}
			}
			out.Params[name] = value
		}
	}
	return variation{out, nil}
}

// differs gives what a parameter can change of a scenario beside what its conditions say.
func differs(was, is contract.Scenario) (out contract.Variant) {
	if was.DedupSeconds != is.DedupSeconds {
		out.DedupSeconds = &is.DedupSeconds
	}
	if was.AfterSeconds != is.AfterSeconds {
		out.AfterSeconds = &is.AfterSeconds
	}
	if !reflect.DeepEqual(was.Terms, is.Terms) {
		out.Terms = is.Terms
	}
	if !reflect.DeepEqual(was.Schedule, is.Schedule) {
		out.Schedule = is.Schedule
	}
	if !reflect.DeepEqual(was.Raise, is.Raise) {
		out.Raise = is.Raise
	}
	if !reflect.DeepEqual(was.Combines, is.Combines) {
		out.Combines = is.Combines
	}
	if !reflect.DeepEqual(was.Commands, is.Commands) {
		out.Commands = is.Commands
	}
	return out
}

// asTerms writes a document whose trigger stands where a version before reads it in the form that such a version leaves out: it would run
// the scenario where a variant has it off.
func asTerms(doc contract.Scenario) contract.Scenario {
	if len(doc.Terms) > 0 {
		return doc
	}
	t := doc.Trigger
	doc.Terms = []contract.Term{{When: t.When, ForSeconds: t.ForSeconds, Absent: t.Absent, Count: t.Count}}
	doc.Unless, doc.Clear, doc.DedupSeconds, doc.Trigger = t.Unless, t.Clear, t.DedupSeconds, contract.Trigger{}
	return doc
}

// variants gives the document what differs by mode and community, and says whether the scenario runs at all. What a community has wrong keeps
// the scenario from running there, and is told of at the Community.
func (v *varied) variants(c *problems, plan *ScenarioPlan) {
	on := func(mode v1alpha1.ModeName, com *v1alpha1.Community, wrong *Problems) contract.Variant {
		out, found := v.in(mode, com)
		*wrong = append(*wrong, found...)
		return out
	}
	base := contract.Variant{Off: !plan.Running}
	out, byMode := map[string]contract.Variant{}, map[v1alpha1.ModeName]contract.Variant{}
	for _, mode := range otherModes(v.s.Platform) {
		var wrong Problems
		if byMode[mode] = on(mode, nil, &wrong); !reflect.DeepEqual(byMode[mode], base) {
			out[string(mode)+"/"] = byMode[mode]
		}
		for _, w := range wrong {
			w.Message = fmt.Sprintf("in mode %s: %s", mode, w.Message)
			c.list = append(c.list, w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.s.Communities)) {
		com, _ := v.s.Communities.Get(name)
		if !Selects(com, v.o.Name) {
			continue
		}
		var its Problems
		routine := on(v1alpha1.ModeRoutine, com, &its)
		always := !reflect.DeepEqual(routine, base)
		if always {
			out["/"+name] = routine
		}
		for _, mode := range otherModes(v.s.Platform) {
			instead := byMode[mode]
			if always {
				instead = routine // a community goes before a mode
			}
			if is := on(mode, com, &its); !reflect.DeepEqual(is, instead) {
				out[string(mode)+"/"+name] = is
			}
		}
	}
	if len(out) == 0 || c.list.Fatal() {
		return
	}
	if base.Off {
		var where []string
		for _, key := range slices.Sorted(maps.Keys(out)) {
			if !out[key].Off {
				where = append(where, whereabouts(key))
			}
		}
		if len(where) == 0 {
			return // off everywhere: nothing of it goes out
		}
		plan.Running, plan.Why = true, plan.Why+"; it runs "+enumerate(where, 3)
	}
	plan.Document = asTerms(plan.Document)
	plan.Document.Off, plan.Document.Variants = base.Off, out
}

// whereabouts says in words what a key of a variant means.
func whereabouts(key string) string {
	mode, community, _ := strings.Cut(key, "/")
	switch {
	case community == "":
		return "in mode " + mode
	case mode == "":
		return "in community " + community
	}
	return "in community " + community + " in mode " + mode
}

// enumerate lists the first few of some words.
func enumerate(words []string, most int) string {
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
}

// checkSelections looks at what a Community says of scenarios. What is wrong keeps a scenario from running there; the rest is in force.
func checkSelections(c *problems, s *Snapshot, o *v1alpha1.Community) {
	for i, sel := range o.Spec.Scenarios {
		at := fmt.Sprintf("spec.scenarios[%d]", i)
		sc, ok := s.Scenarios.Get(sel.Name)
		if !ok {
			sc = s.Catalog.Scenarios[sel.Name]
		}
		if sc == nil {
			c.list = append(c.list, Problem{Condition: v1alpha1.ConditionReferencesResolved, Reason: v1alpha1.ReasonScenarioNotFound, Field: at + ".name",
				Message: "Scenario " + sel.Name + " is neither on the platform nor in the catalogue", Waiting: true, Partial: true})
			continue
		}
		for _, w := range selectionMistakes(s, sc, o) {
			c.partial(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonInvalidParameter, at+".parameters", fmt.Sprintf("scenario %s does not run here: %s", sel.Name, w))
		}
	}
}

// selectionMistakes gives what is wrong with what a Community says of a scenario, over all modes. A scenario that does not compile tells that
// itself.
func selectionMistakes(s *Snapshot, sc *v1alpha1.Scenario, o *v1alpha1.Community) (out []string) {
	plan, wrong := Scenario(s, sc)
	if wrong.Fatal() {
		return nil
	}
	v := newVaried(s, sc, plan.Document)
	for _, mode := range append([]v1alpha1.ModeName{v1alpha1.ModeRoutine}, otherModes(s.Platform)...) {
		_, wrong := v.in(mode, o)
		for _, w := range wrong {
			if text := w.Text(); !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}
