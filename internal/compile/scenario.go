package compile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// ScenarioPlan is what a Scenario becomes.
type ScenarioPlan struct {
	Document contract.Scenario
	// Running is false for a scenario that is switched off; its document then stays out of the bundle.
	Running bool
	// Why says why it runs or not.
	Why string
	// Cost is the estimated cost of its costliest expression at worst, in CEL's units; 0 while it is not known, for something is wrong.
	Cost int64
}

// Scenario compiles a Scenario of s.Platform, or one of the catalogue that the platform enables.
func Scenario(s *Snapshot, o *v1alpha1.Scenario) (ScenarioPlan, Problems) {
	var c problems
	claimName(&c, o, s.Scenarios)
	checkOutputs(&c, o)
	combinations(&c, s, o)
	base := choose(s.Platform, o, v1alpha1.ModeRoutine, nil)
	plan := ScenarioPlan{Running: base.on, Why: base.why}
	params, texts := parameters(&c, o, base.set...)
	doc := scenarioDocument(&c, s, o, params, texts)
	profile, ok := scenarioProfile(&c, s, o)
	checkTitle(&c, o)
	checkCaseRetention(&c, o)
	if ok && !c.list.Fatal() {
		cost, found := rules.Check(contract.Rules{Profiles: map[string]contract.Profile{doc.Profile: profile}, Scenarios: map[string]contract.Scenario{o.Name: doc}})
		plan.Cost = cost
		for _, wrong := range found {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidExpression, specPath(o, wrong.Field), wrong.Message)
		}
	}
	doc.Commands = scenarioCommands(&c, s, o, texts)
	plan.Document = doc
	if !c.list.Fatal() {
		newVaried(s, o, doc).variants(&c, &plan)
	}
	return plan, c.list
}

// scenarioDocument writes a scenario with values of its parameters, but for its commands.
func scenarioDocument(c *problems, s *Snapshot, o *v1alpha1.Scenario, params map[string]any, texts map[string]string) contract.Scenario {
	doc := contract.Scenario{
		CatalogueID: o.Spec.CatalogueID, Params: params, DataClass: string(o.Spec.DataClass), Responders: responders(o.Spec.Responders),
	}
	read := reader{c, params, texts, s.Platform.Spec.TimeZone, o.Spec.Parameters}
	read.trigger(o, &doc)
	if o.Spec.ProfileRef != nil {
		doc.Profile = o.Spec.ProfileRef.Name
	}
	read.effects(o, &doc)
	if o.Spec.Subject != nil {
		doc.AppliesTo, doc.Registers, doc.ConsentScope = o.Spec.Subject.AppliesTo, o.Spec.Subject.Registers, o.Spec.Subject.ConsentScope
	}
	if k := o.Spec.Case; k != nil {
		doc.CaseClass, doc.Severity, doc.Title, doc.TitleEN = k.Class, contract.Severity(k.Severity), k.Title, k.TitleEN
		doc.Closing = k.Closing
		if k.GBClass != nil {
			doc.GBClass = &contract.GBClass{Part: k.GBClass.Part, Year: k.GBClass.Year, Code: k.GBClass.Code}
		}
		if k.Retention != nil {
			doc.RetentionSeconds = seconds(k.Retention.Duration)
		}
		if k.MergeBy != v1alpha1.ScopeDevice { // what the trigger counts by
			doc.MergeBy = string(k.MergeBy)
		}
		doc.AfterSeconds = read.after(k.After)
	}
	return doc
}

// checkCaseRetention refuses a time in which nobody could look at the closed case, such as the 720 of somebody who meant 720h.
func checkCaseRetention(c *problems, o *v1alpha1.Scenario) {
	if k := o.Spec.Case; k != nil && k.Retention != nil && k.Retention.Duration < time.Hour {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.case.retention", "is under an hour; write how long the closed case is kept, such as 720h, or leave it out")
	}
}

// checkTitle refuses what nothing would fill in: it would stand in every case as it is written.
func checkTitle(c *problems, o *v1alpha1.Scenario) {
	if o.Spec.Case == nil {
		return
	}
	for _, title := range []struct{ field, text string }{{"spec.case.title", o.Spec.Case.Title}, {"spec.case.titleEN", o.Spec.Case.TitleEN}} {
		for _, unknown := range contract.UnknownInTitle(title.text) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, title.field, fmt.Sprintf("%s is filled in by nothing; write ${%s}", unknown, strings.Join(contract.TitleParts(), "}, ${")))
		}
	}
}

// running decides whether a scenario runs: what the platform says by name, else what the scenario says, else only without
// personal data.
func running(p *v1alpha1.GridPlatform, o *v1alpha1.Scenario) (bool, string) {
	for _, sel := range p.Spec.Scenarios {
		if sel.Name == o.Name {
			on := sel.Enabled == nil || *sel.Enabled
			return on, fmt.Sprintf("spec.scenarios of GridPlatform %s says enabled: %v", p.Name, on)
		}
	}
	if o.Spec.Enabled != nil {
		return *o.Spec.Enabled, fmt.Sprintf("the scenario says enabled: %v", *o.Spec.Enabled)
	}
	if o.Spec.DataClass == v1alpha1.DataClassC0 {
		return true, "data class C0 is on by default"
	}
	return false, fmt.Sprintf("data class %s is off by default; list the scenario in spec.scenarios of GridPlatform %s to run it", o.Spec.DataClass, p.Name)
}

func scenarioProfile(c *problems, s *Snapshot, o *v1alpha1.Scenario) (contract.Profile, bool) {
	if o.Spec.ProfileRef == nil { // about every device: the engine says what such a scenario may look at
		return contract.Profile{}, true
	}
	return profileNamed(c, s, "spec.profileRef.name", o.Spec.ProfileRef.Name)
}

// profileNamed compiles the profile that a field names.
func profileNamed(c *problems, s *Snapshot, field, name string) (contract.Profile, bool) {
	p, ok := s.Profiles.Get(name)
	if !ok {
		p = s.Catalog.Profiles[name]
	}
	if p == nil {
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonProfileNotFound, field,
			"DeviceProfile "+name+" is neither on the platform nor in the catalogue; create it")
		return contract.Profile{}, false
	}
	plan, wrong := Profile(&Snapshot{}, p)
	if wrong.Fatal() {
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonProfileNotFound, field, "DeviceProfile "+name+" is not valid")
		return contract.Profile{}, false
	}
	return plan.Document, true
}

// parameters gives the values that CEL sees, and their texts: the scenario's defaults under what is set, the last over those before.
func parameters(c *problems, o *v1alpha1.Scenario, set ...setting) (values map[string]any, texts map[string]string) {
	texts, source := map[string]string{}, map[string]string{}
	for i, q := range o.Spec.Parameters {
		texts[q.Name], source[q.Name] = q.Default, fmt.Sprintf("spec.parameters[%d].default", i)
	}
	for _, by := range set {
		for _, name := range slices.Sorted(maps.Keys(by.parameters)) {
			if _, known := texts[name]; !known {
				c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, "spec.parameters",
					fmt.Sprintf("%s sets parameter %q, which this scenario does not declare", by.who, name))
				continue
			}
			texts[name], source[name] = string(by.parameters[name]), fmt.Sprintf("%s: %s.parameters.%s", by.who, by.at, name)
		}
	}
	values = map[string]any{}
	for _, q := range o.Spec.Parameters {
		v, err := parameterValue(q.Type, texts[q.Name])
		if err != nil {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, "spec.parameters", fmt.Sprintf("%s: %q is no %s", q.Name, texts[q.Name], q.Type))
			continue
		}
		values[q.Name] = v
		if bounds := outside(q, v); bounds != "" {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, "spec.parameters", fmt.Sprintf("%s: %s is out of bounds; write %s", source[q.Name], texts[q.Name], bounds))
		}
	}
	return values, texts
}

// outside gives the bounds of a number that lies outside them, or nothing.
func outside(q v1alpha1.ScenarioParameter, value any) string {
	var v float64
	switch typed := value.(type) {
	case float64:
		v = typed
	case int64:
		v = float64(typed)
	}
	if q.Type != v1alpha1.ParameterNumber && q.Type != v1alpha1.ParameterInteger {
		return ""
	}
	least, err1 := strconv.ParseFloat(q.Min, 64)
	most, err2 := strconv.ParseFloat(q.Max, 64)
	switch below, above := err1 == nil && !(v >= least), err2 == nil && !(v <= most); { // NaN is in no bounds
	case !below && !above:
		return ""
	case q.Min == "":
		return "at most " + q.Max
	case q.Max == "":
		return "at least " + q.Min
	}
	return q.Min + " to " + q.Max
}

// parameterValue reads a parameter; a duration becomes seconds.
func parameterValue(t v1alpha1.ParameterType, text string) (any, error) {
	switch t {
	case v1alpha1.ParameterNumber:
		return strconv.ParseFloat(text, 64)
	case v1alpha1.ParameterInteger:
		return strconv.ParseInt(text, 10, 64)
	case v1alpha1.ParameterBoolean:
		return strconv.ParseBool(text)
	case v1alpha1.ParameterDuration:
		d, err := time.ParseDuration(text)
		return int64(d.Seconds()), err
	}
	return text, nil
}

// durationOf reads a duration or a ${parameter} into seconds; empty is 0.
func durationOf(c *problems, field, text string, params map[string]any) int64 {
	if name, ok := parameterName(text); ok {
		v, isInt := params[name].(int64)
		if !isInt {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, field, fmt.Sprintf("%s names no parameter of type Duration", text))
		}
		return v
	}
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%q is not a duration such as 90s or 24h", text))
	}
	return int64(d.Seconds())
}

func integerOf(c *problems, field, text string, params map[string]any) int64 {
	if name, ok := parameterName(text); ok {
		v, isInt := params[name].(int64)
		if !isInt {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, field, fmt.Sprintf("%s names no parameter of type Integer", text))
		}
		return v
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%q is not an integer", text))
	}
	return v
}

func parameterName(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, "${")
	return strings.TrimSuffix(rest, "}"), ok
}

// duties of organisations that stand behind a responder's role, where the scenario names none.
var duties = map[v1alpha1.ResponderRole]string{
	v1alpha1.ResponderTownship: "township", v1alpha1.ResponderFire: "fire", v1alpha1.ResponderPolice: "police",
	v1alpha1.ResponderHealth: "health", v1alpha1.ResponderPropertyCompany: "property", v1alpha1.ResponderUtility: "utility",
	v1alpha1.ResponderMaintainer: "maintainer", v1alpha1.ResponderDepartment: "department",
}

// responderTypes are the types of organisation that answer as a role, whatever duty they are picked by. A department is whoever has no role of
// its own, such as a bank; who maintains a device may be of any type.
var responderTypes = map[v1alpha1.ResponderRole][]string{
	v1alpha1.ResponderTownship: {string(v1alpha1.OrganizationTownship)}, v1alpha1.ResponderFire: {string(v1alpha1.OrganizationFire)},
	v1alpha1.ResponderPolice: {string(v1alpha1.OrganizationPolice)}, v1alpha1.ResponderUtility: {string(v1alpha1.OrganizationUtility)},
	v1alpha1.ResponderHealth:          {string(v1alpha1.OrganizationHealth), string(v1alpha1.OrganizationHospital)},
	v1alpha1.ResponderPropertyCompany: {string(v1alpha1.OrganizationPropertyCompany)},
	v1alpha1.ResponderDepartment: {string(v1alpha1.OrganizationDepartment), string(v1alpha1.OrganizationDataOffice), string(v1alpha1.OrganizationCommittee),
		string(v1alpha1.OrganizationCompany), string(v1alpha1.OrganizationSocialOrganization)},
}

// responders gives who is called, in order: posts by role, organisations by type and duty.
func responders(of []v1alpha1.Responder) []contract.Responder {
	list := slices.SortedStableFunc(slices.Values(of), func(a, b v1alpha1.Responder) int { return int(a.Order - b.Order) })
	var out []contract.Responder
	for _, r := range list {
		duty := r.Duty
		if duty == "" {
			duty = duties[r.Role]
		}
		to := contract.Responder{Duty: duty, Types: responderTypes[r.Role], MinSeverity: contract.Severity(r.MinimumSeverity)}
		if duty == "" {
			to.Post = post(r.Role)
		}
		if r.Order > 1 { // 1 is left out
			to.Order = r.Order
		}
		out = append(out, to)
	}
	return out
}

// post gives the name of the post that holds a role, as communities write it: GridWorker is the post grid-worker.
func post(r v1alpha1.ResponderRole) string {
	var b strings.Builder
	for i, c := range string(r) {
		if unicode.IsUpper(c) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
