package access

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/offline"
)

// Effect of a change.
type Effect string

// Effects. What cannot be compared may be wider, and counts as it.
const (
	Wider    Effect = "Wider"
	Narrower Effect = "Narrower"
	Other    Effect = "Other"
)

// Change is what one axis of one agreement on one dataset opens or closes.
type Change struct {
	Platform  string `json:"platform"`
	Dataset   string `json:"dataset"`
	Consumer  string `json:"consumer"`
	Agreement string `json:"agreement,omitempty"`
	// DatasetName and ConsumerName are their display names.
	DatasetName  string `json:"datasetName,omitempty"`
	ConsumerName string `json:"consumerName,omitempty"`
	// Axis is a key of axisWords, such as "fields".
	Axis   string `json:"axis"`
	Effect Effect `json:"effect"`
	// Opens and Closes list parts; From and To give a value before and after.
	Opens  []string `json:"opens,omitempty"`
	Closes []string `json:"closes,omitempty"`
	From   string   `json:"from,omitempty"`
	To     string   `json:"to,omitempty"`
	// Residents of what opens, after the communities' own figures; 0 where there are none.
	Residents int64 `json:"residents,omitempty"`
	// Class is the highest data class of the fields that open.
	Class string `json:"class,omitempty"`
	// OnceSigned says that it holds only once every party has signed the text.
	OnceSigned bool `json:"onceSigned,omitempty"`
}

// Diff compares two states of a platform. The answer is sorted by dataset, consumer, agreement and axis.
func Diff(was, is Side) []Change {
	d := differ{was: was, is: is}
	before, after := map[key]given{}, map[key]given{}
	for _, g := range was.grants() {
		before[g.key] = g
	}
	for _, g := range is.grants() {
		after[g.key] = g
	}
	for k, g := range after {
		if old, ok := before[k]; ok {
			d.compare(old, g)
			continue
		}
		d.whole(g, is, Wider)
	}
	for k, g := range before {
		if _, ok := after[k]; !ok {
			d.whole(g, was, Narrower)
		}
	}
	d.identities()
	slices.SortFunc(d.out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Agreement, b.Agreement), cmp.Compare(a.Axis, b.Axis))
	})
	return d.out
}

// Widens says whether a change opens something, or may.
func Widens(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Effect != Narrower })
}

type differ struct {
	was, is Side
	out     []Change
}

func (d *differ) add(k key, c Change) {
	c.Platform, c.Dataset, c.Consumer, c.Agreement = cmp.Or(d.is.Platform, d.was.Platform), k.dataset, k.consumer, k.agreement
	c.DatasetName = cmp.Or(d.is.Access.Datasets[k.dataset].DisplayName, d.was.Access.Datasets[k.dataset].DisplayName)
	c.ConsumerName = cmp.Or(d.is.Directory.Organizations[k.consumer].DisplayName, d.was.Directory.Organizations[k.consumer].DisplayName)
	d.out = append(d.out, c)
}

// whole is an agreement that is new, or gone.
func (d *differ) whole(g given, s Side, e Effect) {
	c := Change{Axis: "agreement", Effect: e}
	reached := communities(s, g.grant.Rows)
	list := &c.Opens
	if e == Narrower {
		list = &c.Closes
	} else {
		c.Residents, c.Class = residents(s, reached), classOf(s, g.key.dataset, g.seen())
	}
	for _, name := range g.seen() {
		*list = append(*list, name+maskText(g.grant.Fields[name]))
	}
	*list = append(*list, reached...)
	d.add(g.key, c)
}

// compare looks at every axis.
func (d *differ) compare(was, is given) {
	k, a, b := is.key, was.grant, is.grant
	d.fields(was, is)
	d.sets(k, "communities", communities(d.was, a.Rows), communities(d.is, b.Rows), true)
	d.limits(k, "grids", a.Rows.Grids, b.Rows.Grids)
	d.limits(k, "compounds", a.Rows.Compounds, b.Rows.Compounds)
	d.flag(k, "roster", a.Rows.Roster, b.Rows.Roster)
	d.requirements(k, a.Rows.Requirements, b.Rows.Requirements)
	d.sets(k, "purposes", a.Purposes, b.Purposes, false)
	d.roles(was, is)
	d.flag(k, "caseNumberRequired", a.CaseNumberRequired, b.CaseNumberRequired)
	d.bound(k, "caseNumber", a.CaseNumber, b.CaseNumber)
	d.needs(k, "consent", scopes(was), scopes(is))
	d.date(k, "notBefore", a.NotBefore, b.NotBefore, func(n int64) int64 { return -n })
	d.date(k, "notAfter", a.NotAfter, b.NotAfter, unlimited)
	d.number(k, "requestsPerDay", a.RequestsPerDay, b.RequestsPerDay, unlimited)
	d.number(k, "recordsPerDay", a.RecordsPerDay, b.RecordsPerDay, unlimited)
	d.hours(k, a.Hours, b.Hours)
	d.caseCondition(k, a.Case, b.Case)
	d.aggregates(k, a.Aggregates, b.Aggregates)
	d.breakGlass(k, a.BreakGlass, b.BreakGlass)
	d.flag(k, "noOnward", a.NoOnward, b.NoOnward)
	d.ranked(k, "retention", a.RetentionSeconds, b.RetentionSeconds, unlimited, inDays)
	d.other(k, "source", was.dataset.Source, is.dataset.Source)
}

func unlimited(n int64) int64 {
	if n == 0 {
		return 1<<63 - 1
	}
	return n
}

// scopes lists what each subject must have consented to: all of them.
func scopes(g given) []string {
	return slices.DeleteFunc([]string{g.grant.ConsentScope, g.dataset.ConsentScope}, func(s string) bool { return s == "" })
}

// fields compares what is seen of each field, and where it comes from.
func (d *differ) fields(was, is given) {
	before, after := was.seen(), is.seen()
	d.sets(is.key, "fields", before, after, false)
	for _, name := range after {
		if !slices.Contains(before, name) {
			continue
		}
		a, b := was.grant.Fields[name], is.grant.Fields[name]
		if a != b {
			d.add(is.key, Change{Axis: "mask", Effect: compareMasks(a, b), From: name + maskText(a), To: name + maskText(b)})
		}
		if x, y := was.dataset.Fields[name].Column, is.dataset.Fields[name].Column; x != y {
			d.add(is.key, Change{Axis: "column", Effect: Other, From: name + " = " + x, To: name + " = " + y})
		}
	}
}

// compareMasks says whether the second shows more. Masks of two methods show other things, so they cannot be compared.
func compareMasks(was, is contract.Mask) Effect {
	generalise, keepLast := string(v1alpha1.MaskGeneralise), string(v1alpha1.MaskKeepLast)
	switch {
	case is.Method == "":
		return Wider
	case was.Method == "":
		return Narrower
	case was.Method != is.Method:
		return Other
	case is.Method == keepLast:
		return order(int64(was.Keep), int64(is.Keep))
	case is.Method == generalise:
		return compareRounding(was.To, is.To)
	}
	return Other
}

var grains = []string{"Year", "Quarter", "Month", "Day", "Hour"}

// compareRounding compares grains of time, or steps of which one is a multiple of the other.
func compareRounding(was, is string) Effect {
	if a, b := slices.Index(grains, was), slices.Index(grains, is); a >= 0 && b >= 0 {
		return order(int64(a), int64(b))
	}
	a, errA := strconv.ParseInt(was, 10, 64)
	b, errB := strconv.ParseInt(is, 10, 64)
	switch {
	case errA != nil || errB != nil || a <= 0 || b <= 0:
		return Other
	case b%a == 0:
		return Narrower
	case a%b == 0:
		return Wider
	}
	return Other
}

func order(was, is int64) Effect {
	if is > was {
		return Wider
	}
	return Narrower
}

// roles matter where a person must be shown, and for who breaks the glass.
func (d *differ) roles(was, is given) {
	a, b := was.needsPerson(), is.needsPerson()
	d.flag(is.key, "person", a, b)
	if a && b || was.grant.BreakGlass != nil && is.grant.BreakGlass != nil {
		d.sets(is.key, "roles", was.grant.Roles, is.grant.Roles, false)
	}
}

// needsPerson is the rule of policies/access: counts are of nobody.
func (g given) needsPerson() bool {
	counts := g.grant.Aggregates != nil && g.grant.Aggregates.Only
	return g.grant.PersonRequired || g.grant.Rows.Roster || !counts && g.dataset.Personal(g.seen())
}

// sets compares lists of what is allowed.
func (d *differ) sets(k key, axis string, was, is []string, people bool) {
	c := Change{Axis: axis, Opens: without(is, was), Closes: without(was, is)}
	switch {
	case len(c.Opens) > 0:
		if c.Effect = Wider; people {
			c.Residents = residents(d.is, c.Opens)
		}
		if axis == "fields" {
			c.Class = classOf(d.is, k.dataset, c.Opens)
		}
	case len(c.Closes) > 0:
		c.Effect = Narrower
	default:
		return
	}
	d.add(k, c)
}

// limits compares lists of which an empty one does not limit.
func (d *differ) limits(k key, axis string, was, is []string) {
	switch {
	case len(was) == 0 && len(is) == 0:
	case len(is) == 0:
		d.add(k, Change{Axis: axis, Effect: Wider, From: strings.Join(was, ", ")})
	case len(was) == 0:
		d.add(k, Change{Axis: axis, Effect: Narrower, To: strings.Join(is, ", ")})
	default:
		d.sets(k, axis, was, is, false)
	}
}

// flag compares a condition that is asked for or not.
func (d *differ) flag(k key, axis string, was, is bool) {
	if was != is {
		e := Narrower
		if was {
			e = Wider
		}
		d.add(k, Change{Axis: axis, Effect: e, From: fmt.Sprint(was), To: fmt.Sprint(is)})
	}
}

// bound compares a condition that is none when it is empty.
func (d *differ) bound(k key, axis, was, is string) {
	if was == is {
		return
	}
	e := Other
	switch "" {
	case was:
		e = Narrower
	case is:
		e = Wider
	}
	d.add(k, Change{Axis: axis, Effect: e, From: was, To: is})
}

func (d *differ) number(k key, axis string, was, is int64, rank func(int64) int64) {
	if was != is {
		d.add(k, Change{Axis: axis, Effect: order(rank(was), rank(is)), From: fmt.Sprint(was), To: fmt.Sprint(is)})
	}
}

// date is number of Unix seconds, said in the platform's time zone.
func (d *differ) date(k key, axis string, was, is int64, rank func(int64) int64) {
	zone, err := time.LoadLocation(cmp.Or(d.is.Directory.Platform.TimeZone, d.was.Directory.Platform.TimeZone, "Asia/Shanghai"))
	if err != nil {
		zone = time.UTC
	}
	d.ranked(k, axis, was, is, rank, func(n int64) string { return time.Unix(n, 0).In(zone).Format("2006-01-02 15:04:05 -07:00") })
}

// ranked is number with words for its values; 0 is none.
func (d *differ) ranked(k key, axis string, was, is int64, rank func(int64) int64, say func(int64) string) {
	if was == is {
		return
	}
	words := func(n int64) string {
		if n == 0 {
			return ""
		}
		return say(n)
	}
	d.add(k, Change{Axis: axis, Effect: order(rank(was), rank(is)), From: words(was), To: words(is)})
}

// inDays says seconds as whole days, hours or minutes where they are that, else as they are.
func inDays(seconds int64) string {
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}} {
		if seconds%unit.seconds == 0 {
			return fmt.Sprintf("%d%s", seconds/unit.seconds, unit.name)
		}
	}
	return fmt.Sprintf("%ds", seconds)
}

// other says that something changed of which it cannot be told what it opens.
func (d *differ) other(k key, axis string, was, is any) {
	if a, b := text(was), text(is); a != b {
		d.add(k, Change{Axis: axis, Effect: Other, From: a, To: b})
	}
}

// requirements are compared as they are written.
func (d *differ) requirements(k key, was, is []contract.Requirement) {
	var before, after []string
	for _, r := range was {
		before = append(before, requirementText(r))
	}
	for _, r := range is {
		after = append(after, requirementText(r))
	}
	d.needs(k, "requirements", before, after)
}

// needs compares conditions that must all hold: one more is narrower.
func (d *differ) needs(k key, axis string, was, is []string) {
	opened, closed := without(was, is), without(is, was)
	c := Change{Axis: axis, From: strings.Join(opened, "; "), To: strings.Join(closed, "; ")}
	switch {
	case len(opened) == 0 && len(closed) == 0:
		return
	case len(closed) == 0:
		c.Effect = Wider
	case len(opened) == 0:
		c.Effect = Narrower
	default:
		c.Effect = Other
	}
	d.add(k, c)
}

func requirementText(r contract.Requirement) string {
	values := slices.Sorted(slices.Values(r.Values))
	return strings.TrimSpace(r.Field + " " + r.Operator + " " + strings.Join(values, ","))
}

// hours compares the minutes of a working day, and of one that is not.
func (d *differ) hours(k key, was, is *contract.Hours) {
	opens, closes := false, false
	for _, working := range []bool{true, false} {
		for minute := range 24 * 60 {
			a, b := within(was, minute, working), within(is, minute, working)
			opens, closes = opens || b && !a, closes || a && !b
		}
	}
	c := Change{Axis: "hours", From: hoursText(was), To: hoursText(is)}
	switch {
	case opens:
		c.Effect = Wider
	case closes:
		c.Effect = Narrower
	default:
		return
	}
	d.add(k, c)
}

func within(h *contract.Hours, minute int, working bool) bool {
	switch {
	case h == nil:
		return true
	case h.WorkingDaysOnly && !working:
		return false
	case h.From < h.To:
		return minute >= h.From && minute < h.To
	}
	return minute >= h.From || minute < h.To
}

func hoursText(h *contract.Hours) string {
	if h == nil {
		return ""
	}
	out := fmt.Sprintf("%02d:%02d-%02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60)
	if h.WorkingDaysOnly {
		out += " Mo-Fr"
	}
	return out
}

// caseCondition compares what cases are taken; severities by their order.
func (d *differ) caseCondition(k key, was, is *contract.CaseCondition) {
	switch {
	case was == nil && is == nil:
	case is == nil:
		d.add(k, Change{Axis: "case", Effect: Wider, From: text(was)})
	case was == nil:
		d.add(k, Change{Axis: "case", Effect: Narrower, To: text(is)})
	default:
		d.limits(k, "caseClasses", was.Classes, is.Classes)
		severities := []contract.Severity{contract.SeverityCritical, contract.SeverityHigh, contract.SeverityMedium, contract.SeverityLow}
		if a, b := slices.Index(severities, was.MinSeverity), slices.Index(severities, is.MinSeverity); a != b {
			d.add(k, Change{Axis: "caseSeverity", Effect: order(int64(a), int64(b)), From: string(was.MinSeverity), To: string(is.MinSeverity)})
		}
		d.number(k, "caseGrace", was.GraceSeconds, is.GraceSeconds, func(n int64) int64 { return n })
	}
}

// aggregates are compared part by part. Other dimensions cut other groups, so they cannot be compared.
func (d *differ) aggregates(k key, was, is *contract.Aggregates) {
	d.flag(k, "aggregatesOnly", was != nil && was.Only, is != nil && is.Only)
	switch {
	case was == nil && is == nil:
	case was == nil:
		d.add(k, Change{Axis: "aggregates", Effect: Wider, To: text(is)})
	case is == nil:
		d.add(k, Change{Axis: "aggregates", Effect: Narrower, From: text(was)})
	default:
		d.number(k, "smallCell", int64(was.SmallCell), int64(is.SmallCell), func(n int64) int64 { return -n })
		d.sets(k, "measures", was.Measures, is.Measures, false)
		d.other(k, "dimensions", slices.Sorted(slices.Values(was.Dimensions)), slices.Sorted(slices.Values(is.Dimensions)))
	}
}

func (d *differ) breakGlass(k key, was, is *contract.BreakGlass) {
	switch {
	case was == nil && is == nil:
	case was == nil:
		d.add(k, Change{Axis: "breakGlass", Effect: Wider, To: strings.Join(is.Roles, ", ")})
	case is == nil:
		d.add(k, Change{Axis: "breakGlass", Effect: Narrower, From: strings.Join(was.Roles, ", ")})
	default:
		d.sets(k, "breakGlassRoles", was.Roles, is.Roles, false)
		d.number(k, "breakGlassReview", was.ReviewSeconds, is.ReviewSeconds, func(n int64) int64 { return n })
		d.other(k, "breakGlassReviewer", was.Reviewer, is.Reviewer)
	}
}

// identities compares who speaks for the consumers of what can be read: another key is another reader.
func (d *differ) identities() {
	consumers := map[string]bool{}
	for _, g := range d.is.grants() {
		consumers[g.key.consumer] = true
	}
	for _, name := range slices.Sorted(maps.Keys(consumers)) {
		a, known := d.was.Directory.Organizations[name]
		b := d.is.Directory.Organizations[name]
		d.sets(key{consumer: name}, "identity", identitiesOf(a), identitiesOf(b), false)
		if known && a.Clearance != b.Clearance {
			d.add(key{consumer: name}, Change{Axis: "clearance", Effect: order(int64(clearance(a)), int64(clearance(b))), From: a.Clearance, To: b.Clearance})
		}
	}
}

// clearance ranks what an organisation may be given; one without is given what is public.
func clearance(o contract.Organization) int {
	return max(0, slices.Index([]string{"C0", "C1", "C2", "C3"}, o.Clearance))
}

// classOf gives the data class that some fields of a dataset make; empty where the dataset is not in the files.
func classOf(s Side, dataset string, fields []string) string {
	d, ok := s.Datasets[dataset]
	if !ok {
		return ""
	}
	return string(compile.ClassOf(d, func(name string) bool { return slices.Contains(fields, name) }))
}

func identitiesOf(o contract.Organization) []string {
	out := slices.Concat(o.KeyDigests, o.PersonKeyDigests, o.URIs)
	for _, i := range o.OIDC {
		out = append(out, text(i))
	}
	return out
}

// communities gives the communities that rows reach by their code.
func communities(s Side, rows contract.Rows) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.Directory.Communities)) {
		if len(rows.Communities) > 0 && !slices.Contains(rows.Communities, name) {
			continue
		}
		if len(s.Directory.CodesIn(rows.Divisions, []string{name})) > 0 {
			out = append(out, name)
		}
	}
	return out
}

func residents(s Side, names []string) (sum int64) {
	for _, name := range names {
		sum += s.Residents[name]
	}
	return sum
}

func without(list, other []string) []string {
	var out []string
	for _, v := range slices.Sorted(slices.Values(list)) {
		if !slices.Contains(other, v) && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// maskText is a mask behind a field's name: nothing where it is given as it is.
func maskText(m contract.Mask) string {
	switch {
	case m.Method == "":
		return ""
	case m.To != "":
		return "(" + m.Method + " " + m.To + ")"
	case m.Method == string(v1alpha1.MaskKeepLast):
		return fmt.Sprintf("(%s %d)", m.Method, m.Keep)
	}
	return "(" + m.Method + ")"
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// DiffAll compares the platforms of two states, by namespace and name. One that is new opens all that it has.
func DiffAll(was, is []Side) []Change {
	out := []Change{}
	names := map[string][2]Side{}
	for _, s := range was {
		names[s.Platform] = [2]Side{s, {}}
	}
	for _, s := range is {
		names[s.Platform] = [2]Side{names[s.Platform][0], s}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, Diff(names[name][0], names[name][1])...)
	}
	return out
}

// State is the platforms of files: as they are, and as they would be once every party has signed every text.
type State struct {
	Now, OnceSigned []Side
	// Broken names what does not compile for another cause than missing approvals, as "kind/name": what it would give is not compared.
	Broken []string
}

// StateOf gives the access of compiled files.
func StateOf(r *offline.Result) State {
	out := State{Now: Sides(r), OnceSigned: sidesOnceSigned(r)}
	for _, p := range r.Platforms {
		if p.Fatal {
			out.Broken = append(out.Broken, p.Object.Kind+"/"+p.Object.GetName())
		}
		for _, m := range p.Members {
			if plan, ok := m.Plan.(compile.AgreementPlan); m.Fatal && (!ok || !plan.Sound) {
				out.Broken = append(out.Broken, m.Kind+"/"+m.GetName())
			}
		}
	}
	return out
}

// DiffStates compares two states as DiffAll does, and behind that what changes only once the texts are signed: the review of a text that is
// not signed yet would else see nothing but an agreement that closes.
func DiffStates(was, is State) []Change {
	out := DiffAll(was.Now, is.Now)
	told := map[string]bool{}
	for _, c := range out {
		told[text(c)] = true
	}
	for _, c := range DiffAll(was.OnceSigned, is.OnceSigned) {
		if !told[text(c)] {
			c.OnceSigned = true
			out = append(out, c)
		}
	}
	return out
}
