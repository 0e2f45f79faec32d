package offline

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Explained is a scenario with all of its values filled in, as it stands on a platform or in one community of it.
type Explained struct {
	Name        string `json:"name"`
	CatalogueID string `json:"catalogueID,omitempty"`
	// Title and TitleEN are the display names.
	Title   string `json:"title,omitempty"`
	TitleEN string `json:"titleEN,omitempty"`
	Source  string `json:"source,omitempty"`
	// Runs says whether it runs on the platform, Why why; DisabledReason is what the scenario says it takes.
	Runs           bool   `json:"runs"`
	Why            string `json:"why"`
	DisabledReason string `json:"disabledReason,omitempty"`
	// Community is the one that it is explained for; empty is none.
	Community string `json:"community,omitempty"`

	// Profile whose messages it looks at; empty is every device. Fields are those that it looks at.
	Profile      string           `json:"profile,omitempty"`
	ProfileTitle string           `json:"profileTitle,omitempty"`
	Fields       []ExplainedField `json:"fields,omitempty"`
	Registers    []string         `json:"registers,omitempty"`
	AppliesTo    string           `json:"appliesTo,omitempty"`
	ConsentScope string           `json:"consentScope,omitempty"`

	// Terms of which one must come true. In all expressions and times values are filled in.
	Terms     []ExplainedTerm        `json:"terms"`
	Windows   []string               `json:"windows,omitempty"`
	Weekdays  []string               `json:"weekdays,omitempty"`
	TimeZone  string                 `json:"timeZone,omitempty"`
	Unless    string                 `json:"unless,omitempty"`
	Clear     string                 `json:"clear,omitempty"`
	Dedup     string                 `json:"dedup,omitempty"`
	Baselines []v1alpha1.Baseline    `json:"baselines,omitempty"`
	Raises    []ExplainedRaise       `json:"raises,omitempty"`
	Combines  []ExplainedCombination `json:"combines,omitempty"`
	Values    []ExplainedValue       `json:"values,omitempty"`
	Case      *ExplainedCase         `json:"case,omitempty"`
	Calls     []ExplainedResponder   `json:"calls,omitempty"`
	Commands  []ExplainedCommand     `json:"commands,omitempty"`
	// Input is Case or Command where it looks at no device; Act is done to the case, and Ledger is what each message enters.
	Input     string           `json:"input,omitempty"`
	Act       string           `json:"act,omitempty"`
	Ledger    *ExplainedLedger `json:"ledger,omitempty"`
	DataClass string           `json:"dataClass"`
	// RetentionSeconds keeps the case after it is over; RetentionFrom is the field of the GridPlatform that says so, or FromScenario.
	RetentionSeconds int64  `json:"retentionSeconds,omitempty"`
	RetentionFrom    string `json:"retentionFrom,omitempty"`
}

// ExplainedField is a field of the profile.
type ExplainedField struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	Unit  string `json:"unit,omitempty"`
}

// ExplainedTerm is one thing that can happen.
type ExplainedTerm struct {
	When      string             `json:"when,omitempty"`
	For       string             `json:"for,omitempty"`
	Missed    string             `json:"missed,omitempty"`
	MissedFor string             `json:"missedFor,omitempty"`
	Scope     string             `json:"scope,omitempty"`
	Count     *ExplainedCounting `json:"count,omitempty"`
	Offline   bool               `json:"offline,omitempty"`
}

// ExplainedCounting is how often something must happen, and within which time.
type ExplainedCounting struct {
	AtLeast    string `json:"atLeast"`
	Within     string `json:"within"`
	DistinctBy string `json:"distinctBy,omitempty"`
	Scope      string `json:"scope,omitempty"`
}

// ExplainedRaise makes an alarm graver.
type ExplainedRaise struct {
	Severity string             `json:"severity"`
	When     string             `json:"when,omitempty"`
	Count    *ExplainedCounting `json:"count,omitempty"`
	// Calls are called then in addition.
	Calls []ExplainedResponder `json:"calls,omitempty"`
}

// ExplainedCombination makes an alarm graver while one of another scenario stands at the same place.
type ExplainedCombination struct {
	With string `json:"with"`
	// Within is how far apart the two may be; empty: both stand.
	Within   string `json:"within,omitempty"`
	Scope    string `json:"scope"`
	Severity string `json:"severity"`
}

// Where a value comes from.
const (
	FromText      = "Text"      // the cited document has it
	FromOurs      = "Ours"      // the document has none: our proposal
	FromPlatform  = "Platform"  // the GridPlatform sets it
	FromCommunity = "Community" // the Community sets it
)

// FromScenario says that the scenario itself says how long its cases are kept.
const FromScenario = "case.retention"

// ExplainedValue is the value of a parameter, and where it comes from.
type ExplainedValue struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Unit        string `json:"unit,omitempty"`
	From        string `json:"from"`
	Description string `json:"description,omitempty"`
	// Unserved is what the community sets, where this version does not take it.
	Unserved string `json:"unserved,omitempty"`
}

// ExplainedCase is the case that an alarm opens, with its times in seconds; 0 is not measured.
type ExplainedCase struct {
	Class    string `json:"class"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	TitleEN  string `json:"titleEN,omitempty"`
	MergeBy  string `json:"mergeBy"`
	// After is how long the alarm must stand before the case is opened; empty opens it at once.
	After   string   `json:"after,omitempty"`
	Closing []string `json:"closing,omitempty"`
	// Times are those of the severity; TimesFrom is Platform or Ours.
	Times     contract.SLA `json:"times"`
	TimesFrom string       `json:"timesFrom"`
}

// ExplainedResponder is who is called: a post, or organisations by a duty. There are those of the community.
type ExplainedResponder struct {
	Post  string   `json:"post,omitempty"`
	Duty  string   `json:"duty,omitempty"`
	There []string `json:"there,omitempty"`
	// Compounds are those of the community, by name, to which others are called: property companies act in their compounds alone.
	Compounds map[string][]string `json:"compounds,omitempty"`
	// Step is when: 1 at once, each further one when nobody took the case in time, or at once from MinSeverity on.
	Step        int    `json:"step"`
	MinSeverity string `json:"minSeverity,omitempty"`
}

// ExplainedCommand is what devices are told.
type ExplainedCommand struct {
	Command   string   `json:"command"`
	Title     string   `json:"title,omitempty"`
	At        string   `json:"at"`
	Target    string   `json:"target"`
	Profile   string   `json:"profile,omitempty"`
	Arguments []string `json:"arguments,omitempty"`
}

// filler fills the values of parameters into texts.
type filler map[string]string

var (
	inText = regexp.MustCompile(`\$\{(\w+)\}`)
	inCEL  = regexp.MustCompile(`\bparams\.(\w+)`)
	ofMsg  = regexp.MustCompile(`\bmsg\.(\w+)`)
)

func (f filler) fill(text string) string {
	for _, pattern := range []*regexp.Regexp{inText, inCEL} {
		text = pattern.ReplaceAllStringFunc(text, func(found string) string {
			if v, ok := f[pattern.FindStringSubmatch(found)[1]]; ok {
				return v
			}
			return found
		})
	}
	return text
}

// Explain gives a scenario of the files or of the release as it stands on the platform; with a community, with what stands there.
func (p *Platform) Explain(name, community string) (*Explained, error) {
	o, ok := p.Snapshot.Scenarios.Get(name)
	if !ok {
		o = p.Snapshot.Catalog.Scenarios[name]
	}
	if o == nil {
		return nil, fmt.Errorf("no Scenario %q in the files or the release; `dizuo scenario list` has their names", name)
	}
	if community != "" {
		if _, ok := p.Snapshot.Communities.Get(community); !ok {
			return nil, fmt.Errorf("no Community %q on the platform; name one of the files", community)
		}
	}
	plan, _ := compile.Scenario(p.Snapshot, o)
	e := &Explained{
		Name: name, CatalogueID: o.Spec.CatalogueID, Title: o.Spec.DisplayName, TitleEN: o.Spec.DisplayNameEN, Source: o.Spec.Source, Community: community,
		Runs: plan.Running, Why: plan.Why, DisabledReason: o.Spec.DisabledReason, DataClass: string(o.Spec.DataClass), Baselines: o.Spec.Baselines,
	}
	var f filler
	e.Values, f = p.values(o, plan, community)
	e.subject(p, o)
	e.trigger(o, f)
	e.become(p, o, f)
	e.Calls = e.called(p, plan.Document.Responders)
	e.graver(p, o, plan.Document, f)
	e.commands(p, o, f)
	e.effects(o, f)
	e.fields(p, o)
	return e, nil
}

// values gives what each parameter is, where it comes from, and all of them by name.
func (p *Platform) values(o *v1alpha1.Scenario, plan compile.ScenarioPlan, community string) (out []ExplainedValue, f filler) {
	set := func(all []v1alpha1.ScenarioSelection, name string) (string, bool) {
		for _, s := range all {
			if v, ok := s.Parameters[name]; ok && s.Name == o.Name {
				return string(v), true
			}
		}
		return "", false
	}
	f = filler{}
	for _, q := range o.Spec.Parameters {
		v := ExplainedValue{Name: q.Name, Value: q.Default, Unit: q.Unit, From: FromOurs, Description: q.Description}
		if q.Origin == v1alpha1.OriginText {
			v.From = FromText
		}
		if own, ok := set(p.Snapshot.Platform.Spec.Scenarios, q.Name); ok {
			v.Value, v.From = own, FromPlatform
		}
		if c, there := p.Snapshot.Communities.Get(community); there {
			if own, ok := set(c.Spec.Scenarios, q.Name); ok && takesCommunities(plan, community) {
				v.Value, v.From = own, FromCommunity
			} else if ok {
				v.Unserved = own
			}
		}
		out, f[q.Name] = append(out, v), v.Value
	}
	return out, f
}

// takesCommunities says whether a compiled scenario has what a community sets.
func takesCommunities(plan compile.ScenarioPlan, community string) bool {
	for key := range plan.Document.Variants {
		if strings.HasSuffix(key, "/"+community) {
			return true
		}
	}
	return false
}

func (e *Explained) subject(p *Platform, o *v1alpha1.Scenario) {
	if r := o.Spec.ProfileRef; r != nil {
		e.Profile = r.Name
		if profile := p.profile(r.Name); profile != nil {
			e.ProfileTitle = profile.Spec.DisplayName
		}
	}
	if s := o.Spec.Subject; s != nil {
		e.Registers, e.AppliesTo, e.ConsentScope = s.Registers, s.AppliesTo, s.ConsentScope
	}
}

func (p *Platform) profile(name string) *v1alpha1.DeviceProfile {
	if o, ok := p.Snapshot.Profiles.Get(name); ok {
		return o
	}
	return p.Snapshot.Catalog.Profiles[name]
}

func (e *Explained) trigger(o *v1alpha1.Scenario, f filler) {
	t := o.Spec.Trigger
	terms := t.AnyOf
	if len(terms) == 0 {
		terms = []v1alpha1.Term{{When: t.When, For: t.For, Absent: t.Absent, Count: t.Count, Offline: t.Offline, Remember: t.Remember}}
	}
	for _, x := range terms {
		one := ExplainedTerm{When: f.fill(x.When), For: f.fill(string(x.For)), Count: f.counting(x.Count), Offline: x.Offline != nil}
		if x.Absent != nil {
			one.Missed, one.MissedFor, one.Scope = f.fill(x.Absent.Event), f.fill(string(x.Absent.Duration)), string(x.Absent.Scope)
		}
		e.Terms = append(e.Terms, one)
	}
	if s := t.Schedule; s != nil {
		for _, w := range s.Windows {
			e.Windows = append(e.Windows, f.fill(string(w.From))+"–"+f.fill(string(w.To)))
		}
		for _, d := range s.Weekdays {
			e.Weekdays = append(e.Weekdays, string(d))
		}
		e.TimeZone = s.TimeZone
	}
	e.Unless, e.Clear, e.Dedup = f.fill(t.Unless), f.fill(t.Clear), f.fill(string(t.Dedup))
	e.AppliesTo = f.fill(e.AppliesTo)
}

// graver says what makes an alarm graver.
func (e *Explained) graver(p *Platform, o *v1alpha1.Scenario, doc contract.Scenario, f filler) {
	for i, r := range o.Spec.Raise {
		one := ExplainedRaise{Severity: string(r.Severity), When: f.fill(r.When), Count: f.counting(r.Count)}
		if i < len(doc.Raise) {
			one.Calls = e.called(p, doc.Raise[i].Responders)
		}
		e.Raises = append(e.Raises, one)
	}
	for _, c := range o.Spec.Combines {
		e.Combines = append(e.Combines, ExplainedCombination{With: c.Scenario, Within: f.fill(string(c.Within)), Scope: string(c.Scope), Severity: string(c.Severity)})
	}
}

func (f filler) counting(n *v1alpha1.CountTrigger) *ExplainedCounting {
	if n == nil {
		return nil
	}
	return &ExplainedCounting{f.fill(string(n.AtLeast)), f.fill(string(n.Within)), f.fill(n.DistinctBy), string(n.Scope)}
}

// become says what an alarm becomes, within which times it is worked on, and how long it is kept.
func (e *Explained) become(p *Platform, o *v1alpha1.Scenario, f filler) {
	k := o.Spec.Case
	if k == nil {
		return
	}
	e.Case = &ExplainedCase{Class: k.Class, Severity: string(k.Severity), Title: k.Title, TitleEN: k.TitleEN, MergeBy: string(k.MergeBy), Closing: k.Closing, After: f.fill(string(k.After)),
		Times: p.Plan.Document.SLA[contract.Severity(k.Severity)], TimesFrom: FromOurs}
	if slices.ContainsFunc(p.Snapshot.Platform.Spec.SLA, func(s v1alpha1.SLA) bool { return s.Severity == k.Severity }) {
		e.Case.TimesFrom = FromPlatform
	}
	if k.Retention != nil {
		e.RetentionSeconds, e.RetentionFrom = int64(k.Retention.Seconds()), FromScenario
		return
	}
	r := p.Plan.Document.Retention
	e.RetentionSeconds, e.RetentionFrom = r.CommandSeconds, "spec.retention.cases"
	if own, ok := r.CommandClasses[e.DataClass]; ok {
		e.RetentionSeconds, e.RetentionFrom = own, "spec.retention.classes"
	}
}

// called says who is called; of a community, who that is there.
func (e *Explained) called(p *Platform, responders []contract.Responder) (out []ExplainedResponder) {
	d := p.directory()
	com := d.Communities[e.Community]
	for _, r := range responders {
		one := ExplainedResponder{Post: r.Post, Duty: r.Duty, Step: max(1, int(r.Order)), MinSeverity: string(r.MinSeverity)}
		switch {
		case e.Community == "":
		case r.Duty != "":
			one.There, one.Compounds = d.Responsible(r.Duty, contract.Place{Community: e.Community}, r.Types...), map[string][]string{}
			for _, k := range com.Compounds {
				if names := d.Responsible(r.Duty, contract.Place{Community: e.Community, Compound: k}, r.Types...); !slices.Equal(names, one.There) {
					one.Compounds[k] = names
				}
			}
		case slices.Contains(com.Posts, r.Post):
			one.There = []string{e.Community} // wherever the case is
		default:
			for _, g := range com.Grids {
				if slices.Contains(g.Posts, r.Post) || slices.ContainsFunc(g.MicroGrids, func(m contract.MicroGrid) bool { return slices.Contains(m.Posts, r.Post) }) {
					one.There = append(one.There, cmp.Or(g.Name, e.Community)) // a community without grids is one
				}
			}
		}
		out = append(out, one)
	}
	return out
}

// directory gives the communities and organisations of the files that compile.
func (p *Platform) directory() contract.Directory {
	d := contract.Directory{Communities: map[string]contract.Community{}, Organizations: map[string]contract.Organization{}}
	for _, m := range p.Members {
		switch plan := m.Plan.(type) {
		case compile.CommunityPlan:
			d.Communities[m.GetName()] = plan.Document
		case compile.OrganizationPlan:
			if !m.Fatal {
				d.Organizations[m.GetName()] = plan.Document
			}
		}
	}
	return d
}

func (e *Explained) commands(p *Platform, o *v1alpha1.Scenario, f filler) {
	for _, c := range o.Spec.Commands {
		profile := e.Profile
		one := ExplainedCommand{Command: c.Command, At: string(c.At), Target: string(c.Target)}
		if c.ProfileRef != nil {
			profile, one.Profile = c.ProfileRef.Name, c.ProfileRef.Name
		}
		if owner := p.profile(profile); owner != nil {
			for _, known := range owner.Spec.Commands {
				if known.Name == c.Command {
					one.Title = known.DisplayName
				}
			}
		}
		for _, a := range c.Arguments {
			one.Arguments = append(one.Arguments, a.Name+"="+f.fill(a.Value))
		}
		e.Commands = append(e.Commands, one)
	}
}

// fields gives the fields of the profile that expressions look at, in its order.
func (e *Explained) fields(p *Platform, o *v1alpha1.Scenario) {
	profile := p.profile(e.Profile)
	if profile == nil {
		return
	}
	texts := []string{e.Unless, e.Clear}
	for _, t := range e.Terms {
		texts = append(texts, t.When, t.Missed)
		if t.Count != nil {
			texts = append(texts, t.Count.DistinctBy)
		}
	}
	for _, r := range e.Raises {
		texts = append(texts, r.When)
	}
	for _, b := range o.Spec.Baselines {
		texts = append(texts, b.Value)
	}
	if e.Ledger != nil {
		texts = append(texts, e.Ledger.Subject, e.Ledger.Amount)
	}
	used := map[string]bool{}
	for _, m := range ofMsg.FindAllStringSubmatch(strings.Join(texts, " "), -1) {
		used[m[1]] = true
	}
	for _, field := range profile.Spec.Fields {
		if used[field.Name] {
			e.Fields = append(e.Fields, ExplainedField{field.Name, field.DisplayName, field.Unit})
		}
	}
}
