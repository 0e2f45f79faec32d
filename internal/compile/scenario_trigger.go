package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// usualLateness is what the engine takes where a scenario does not say.
const usualLateness = 2 * time.Minute

// wholeWindow in place of a duration is the whole window of the schedule.
const wholeWindow = "window"

// reader reads the parts of a scenario in which parameters may stand.
type reader struct {
	c      *problems
	params map[string]any
	texts  map[string]string
	// zone of the platform.
	zone string
	// declared are the parameters with their types.
	declared []v1alpha1.ScenarioParameter
}

func (r reader) seconds(field string, e v1alpha1.DurationExpression) int64 {
	return durationOf(r.c, field, string(e), r.params)
}

// mostAfter bounds how long an alarm stands before people hear of it.
const mostAfter = 24 * time.Hour

// after gives how long an alarm must stand before its case is opened, in seconds.
func (r reader) after(e v1alpha1.DurationExpression) int64 {
	s := r.seconds("spec.case.after", e)
	if s < 0 || time.Duration(s)*time.Second > mostAfter {
		r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.case.after", fmt.Sprintf("%ds; write at most 24h", s))
	}
	return s
}

// trigger writes what must happen. What a version before reads stands in Trigger; the rest of the language in Terms, which that version leaves
// out: it then runs everything but this scenario.
func (r reader) trigger(o *v1alpha1.Scenario, doc *contract.Scenario) {
	t := o.Spec.Trigger
	if d := t.Lateness.Duration; d != usualLateness {
		doc.LatenessSeconds = int64(d / time.Second)
		if d < time.Second || d > 24*time.Hour {
			r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.trigger.lateness", fmt.Sprintf("%s; write 1s to 24h", d))
		}
	}
	r.graver(o, doc)
	alone := v1alpha1.Term{When: t.When, For: t.For, Absent: t.Absent, Count: t.Count, Offline: t.Offline, Remember: t.Remember}
	if plain(o) {
		one := r.term("spec.trigger.", alone)
		doc.Trigger = contract.Trigger{When: one.When, ForSeconds: one.ForSeconds, Absent: one.Absent, Count: one.Count,
			Unless: t.Unless, Clear: t.Clear, DedupSeconds: r.seconds("spec.trigger.dedup", t.Dedup)}
		return
	}
	doc.Unless, doc.Clear, doc.DedupSeconds = t.Unless, t.Clear, r.seconds("spec.trigger.dedup", t.Dedup)
	if len(t.AnyOf) == 0 {
		doc.Terms = []contract.Term{r.term("spec.trigger.", alone)}
	}
	for i, one := range t.AnyOf {
		doc.Terms = append(doc.Terms, r.term(fmt.Sprintf("spec.trigger.anyOf[%d].", i), one))
	}
	doc.Schedule = r.schedule(t.Schedule)
	r.baselines(o, doc)
}

// plain says of a trigger that a version before can read it. What makes its alarms graver, that version leaves out.
func plain(o *v1alpha1.Scenario) bool {
	t := o.Spec.Trigger
	return len(t.AnyOf) == 0 && t.Schedule == nil && t.Offline == nil && len(t.Remember) == 0 && len(o.Spec.Baselines) == 0 &&
		(t.Absent == nil || ofDevice(t.Absent.Scope) && string(t.Absent.Duration) != wholeWindow) && (t.Count == nil || ofDevice(t.Count.Scope))
}

func ofDevice(s v1alpha1.Scope) bool { return s == "" || s == v1alpha1.ScopeDevice }

// scope writes a scope as documents do: the device's is left out.
func scope(s v1alpha1.Scope) string {
	if ofDevice(s) {
		return ""
	}
	return string(s)
}

func (r reader) term(at string, t v1alpha1.Term) contract.Term {
	out := contract.Term{When: t.When, ForSeconds: r.seconds(at+"for", t.For), Offline: t.Offline != nil, Remember: t.Remember, Count: r.count(at+"count.", t.Count)}
	if a := t.Absent; a != nil {
		out.Absent = &contract.Absent{Event: a.Event, Scope: scope(a.Scope), WholeWindow: string(a.Duration) == wholeWindow}
		if !out.Absent.WholeWindow {
			out.Absent.Seconds = durationOf(r.c, at+"absent.duration", string(a.Duration), r.params)
		}
	}
	return out
}

func (r reader) count(at string, n *v1alpha1.CountTrigger) *contract.Count {
	if n == nil {
		return nil
	}
	return &contract.Count{AtLeast: integerOf(r.c, at+"atLeast", string(n.AtLeast), r.params), DistinctBy: n.DistinctBy,
		WithinSeconds: r.seconds(at+"within", n.Within), Scope: scope(n.Scope)}
}

// weekdays by name.
var weekdays = map[v1alpha1.Weekday]time.Weekday{"Sunday": time.Sunday, "Monday": time.Monday, "Tuesday": time.Tuesday, "Wednesday": time.Wednesday,
	"Thursday": time.Thursday, "Friday": time.Friday, "Saturday": time.Saturday}

func (r reader) schedule(s *v1alpha1.Schedule) *contract.Schedule {
	if s == nil {
		return nil
	}
	out := &contract.Schedule{TimeZone: cmp.Or(s.TimeZone, r.zone)}
	for _, day := range s.Weekdays {
		out.Weekdays |= 1 << weekdays[day]
	}
	for i, w := range s.Windows {
		at := fmt.Sprintf("spec.trigger.schedule.windows[%d].", i)
		out.Windows = append(out.Windows, contract.Window{From: r.minutes(at+"from", string(w.From)), To: r.minutes(at+"to", string(w.To))})
	}
	for i, w := range out.Windows {
		for j, other := range out.Windows[:i] {
			if overlap(w, other) {
				r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.trigger.schedule.windows[%d]", i),
					fmt.Sprintf("overlaps windows[%d]; write one window for both", j))
			}
		}
	}
	return out
}

// day in minutes.
const day = 24 * 60

// overlap says whether two windows have a minute in common; one that ends at or before its beginning goes over midnight.
func overlap(a, b contract.Window) bool {
	inside := func(w contract.Window, minute int) bool {
		length := (w.To-w.From+day-1)%day + 1
		return (minute-w.From+day)%day < length
	}
	return inside(a, b.From) || inside(b, a.From)
}

// minutes reads a local time or a ${parameter} into minutes since midnight.
func (r reader) minutes(field, text string) int {
	if name, ok := parameterName(text); ok {
		if _, known := r.params[name]; !known {
			r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidParameter, field, text+" names no parameter of type TimeOfDay")
			return 0
		}
		text = r.texts[name]
	}
	at := minuteOf(text)
	if at < 0 {
		r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%q is not a local time such as 06:30", text))
		return 0
	}
	return at
}

func (r reader) baselines(o *v1alpha1.Scenario, doc *contract.Scenario) {
	for i, b := range o.Spec.Baselines {
		out := contract.Baseline{Name: b.Name, Value: b.Value, WindowSeconds: int64(b.Window.Seconds()), MinDays: b.MinDays}
		if b.Daily != "" && b.Daily != v1alpha1.DailyMean {
			out.Daily = string(b.Daily)
		}
		if b.Statistic != v1alpha1.BaselineMean {
			out.Statistic = string(b.Statistic)
		}
		if name, ok := parameterName(b.Above); ok {
			out.Above = "params." + name
		} else {
			out.Above = b.Above
		}
		if b.Hours != nil {
			at := fmt.Sprintf("spec.baselines[%d].hours.", i)
			out.Hours = &contract.Window{From: r.minutes(at+"from", b.Hours.From), To: r.minutes(at+"to", b.Hours.To)}
		}
		doc.Baselines = append(doc.Baselines, out)
	}
}

// graver writes what makes an alarm graver.
func (r reader) graver(o *v1alpha1.Scenario, doc *contract.Scenario) {
	for i, x := range o.Spec.Raise {
		at := fmt.Sprintf("spec.raise[%d].", i)
		doc.Raise = append(doc.Raise, contract.Raise{Name: x.Name, Severity: contract.Severity(x.Severity), When: x.When, Count: r.count(at+"count.", x.Count), Responders: responders(x.Responders)})
		r.notLower(o, at+"severity", x.Severity)
	}
	for i, x := range o.Spec.Combines {
		at := fmt.Sprintf("spec.combines[%d].", i)
		doc.Combines = append(doc.Combines, contract.Combination{Scenario: x.Scenario, Scope: string(x.Scope), WithinSeconds: r.seconds(at+"within", x.Within), Severity: contract.Severity(x.Severity)})
		r.notLower(o, at+"severity", x.Severity)
	}
}

// severities, the least grave first.
var severities = []v1alpha1.Severity{v1alpha1.SeverityLow, v1alpha1.SeverityMedium, v1alpha1.SeverityHigh, v1alpha1.SeverityCritical}

func (r reader) notLower(o *v1alpha1.Scenario, field string, to v1alpha1.Severity) {
	if o.Spec.Case != nil && slices.Index(severities, to) <= slices.Index(severities, o.Spec.Case.Severity) {
		r.c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%s is not graver than case.severity, which is %s", to, o.Spec.Case.Severity))
	}
}

// specPath gives the place in a Scenario of a field of its document. Documents name the entries of lists that have names.
func specPath(o *v1alpha1.Scenario, field string) string {
	switch field {
	case "appliesTo":
		return "spec.subject.appliesTo"
	case "profile":
		return "spec.profileRef"
	}
	list, rest, _ := strings.Cut(field, ".")
	name, rest, _ := strings.Cut(rest, ".")
	at := -1
	switch list {
	case "baselines":
		at = slices.IndexFunc(o.Spec.Baselines, func(b v1alpha1.Baseline) bool { return b.Name == name })
	case "raise":
		at = slices.IndexFunc(o.Spec.Raise, func(x v1alpha1.SeverityRaise) bool { return x.Name == name })
	case "combines":
		at = slices.IndexFunc(o.Spec.Combines, func(x v1alpha1.Combination) bool { return x.Scenario == name })
	}
	if at < 0 {
		return "spec." + field
	}
	return strings.TrimSuffix("spec."+list+"["+strconv.Itoa(at)+"]."+rest, ".")
}
