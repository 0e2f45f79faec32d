package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) scenarioExplain() *cobra.Command {
	var f scenarioFiles
	var o caseOutput
	var community string
	cmd := &cobra.Command{
		Use:   "explain NAME [-f DIR] [--community C]",
		Short: "Say in words what a scenario looks at, when it is an alarm, who is called, and where each value comes from",
		Long: `Say in words what a scenario of the release or of the files looks at, for whom, and when it is an alarm; with its values and where each comes from:
the text of the paper that it cites, us, the platform, or the community. Then who is called, within which times, what devices are told, and how
long the case is kept. With --community: who that is there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.caseWords(&o)
			if err != nil {
				return err
			}
			p, findings, err := a.openListed(cmd.Context(), &f)
			if err != nil {
				return err
			}
			e, err := p.Explain(args[0], community)
			if err != nil {
				return err
			}
			wrong := a.tellFindings(findings)
			if printed, err := printAs(a.Out, o.format, e); printed && err != nil {
				return err
			} else if !printed {
				columns, _ := terminal(a.Out)
				lines(a.Out, columns, explained(w, e)...)
			}
			if wrong {
				return exit{ExitFailed, nil}
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.scenarioNames(cmd, &f, len(args)), cobra.ShellCompDirectiveNoFileComp
		},
	}
	f.add(cmd)
	delete(cmd.Flags().Lookup("filename").Annotations, cobra.BashCompOneRequiredFlag)
	o.add(cmd)
	cmd.Flags().StringVar(&community, "community", "", "Community for which it is explained; it is in the files")
	return cmd
}

// scenarioNames completes the first argument.
func (a *app) scenarioNames(cmd *cobra.Command, f *scenarioFiles, given int) (names []string) {
	p, _, err := a.openListed(cmd.Context(), f)
	if err != nil || given > 0 {
		return nil
	}
	for _, l := range p.Listed() {
		names = append(names, l.Name)
	}
	return names
}

// explained writes a scenario in words, a text a line.
func explained(w words, e *offline.Explained) []string {
	x := teller{w: w}
	title := e.TitleEN
	if w.index == chinese || title == "" {
		title = e.Title
	}
	x.add(strings.TrimSpace(strings.Join([]string{e.Name, e.CatalogueID, title}, "  ")))
	x.line("source", e.Source)
	x.line(map[bool]string{true: "runs", false: "off"}[e.Runs], e.Why)
	if !e.Runs {
		x.line("takes", e.DisabledReason)
	}
	x.sees(e)
	x.when(e)
	x.values(e)
	x.becomes(e)
	x.calls(e)
	x.commands(e)
	x.line("data", w.of(classWords, e.DataClass))
	if e.RetentionSeconds > 0 {
		kept := fmt.Sprintf(x.say("kept by itself"), span(e.RetentionSeconds))
		if e.RetentionFrom != offline.FromScenario {
			kept = fmt.Sprintf(x.say("kept for"), span(e.RetentionSeconds), e.RetentionFrom)
		}
		x.line("kept", kept)
	}
	return x.out
}

// teller collects lines.
type teller struct {
	w   words
	out []string
}

func (x *teller) say(key string) string { return x.w.of(explainWords, key) }

func (x *teller) add(text string) { x.out = append(x.out, text) }

// line writes a head and a text; nothing where there is no text.
func (x *teller) line(head, text string) {
	if text != "" {
		x.add(x.say(head) + text)
	}
}

// item writes a line below a head.
func (x *teller) item(text string) { x.add("  " + text) }

func (x *teller) sees(e *offline.Explained) {
	sees := x.say("every device")
	if e.Input != "" {
		sees = x.say("input " + e.Input)
	}
	if e.Profile != "" {
		sees = fmt.Sprintf(x.say("messages"), titled(e.Profile, e.ProfileTitle))
	}
	var fields []string
	for _, f := range e.Fields {
		text := titled(f.Name, f.Title)
		if u := unit(f.Unit); u != "" {
			text += " " + u
		}
		fields = append(fields, text)
	}
	if len(fields) > 0 {
		sees += x.say("fields") + strings.Join(fields, x.say("and"))
	}
	x.line("sees", sees)
	var whom []string
	if len(e.Registers) > 0 {
		whom = append(whom, fmt.Sprintf(x.say("registers"), strings.Join(e.Registers, x.say("or"))))
	}
	if e.AppliesTo != "" {
		whom = append(whom, fmt.Sprintf(x.say("applies"), e.AppliesTo))
	}
	if e.ConsentScope != "" {
		whom = append(whom, fmt.Sprintf(x.say("consent"), e.ConsentScope))
	}
	if len(whom) == 0 {
		whom = []string{x.say("all" + map[bool]string{true: " of input"}[e.Input != ""])}
	}
	x.line("whom", strings.Join(whom, x.say("and")))
}

// titled gives a name with what people call it.
func titled(name, title string) string {
	if title == "" {
		return name
	}
	return name + " (" + title + ")"
}

func (x *teller) when(e *offline.Explained) {
	if len(e.Terms) == 1 {
		x.line("when", x.term(e.Terms[0]))
	} else {
		x.add(x.say("any"))
		for i, t := range e.Terms {
			x.item(fmt.Sprintf("%d. %s", i+1, x.term(t)))
		}
	}
	if len(e.Windows) > 0 {
		days := x.say("daily")
		if len(e.Weekdays) > 0 {
			days = strings.Join(e.Weekdays, x.say("and"))
		}
		x.line("hours", strings.TrimSpace(days+" "+strings.Join(e.Windows, x.say("and"))+" "+e.TimeZone))
	}
	for _, b := range e.Baselines {
		x.line("baseline", x.baseline(b))
	}
	x.line("unless", e.Unless)
	x.line("clear", e.Clear)
	if e.Dedup != "" {
		x.line("dedup", fmt.Sprintf(x.say("joins"), e.Dedup))
	}
	for _, r := range e.Raises {
		text := r.When
		if r.Count != nil {
			text = strings.TrimSpace(text + " " + x.counting("alarms", *r.Count))
		}
		text = fmt.Sprintf(x.say("becomes"), text, x.w.severity(r.Severity))
		var besides []string
		for _, c := range r.Calls {
			besides = append(besides, x.responder(e, c))
		}
		if len(besides) > 0 {
			text += x.say("besides") + strings.Join(besides, x.say("and"))
		}
		x.line("raise", text)
	}
	for _, c := range e.Combines {
		text := fmt.Sprintf(x.say("combined"), c.With, x.w.of(scopeWords, c.Scope))
		if c.Within != "" {
			text += fmt.Sprintf(x.say("apart"), c.Within)
		}
		x.line("raise", fmt.Sprintf(x.say("becomes"), text, x.w.severity(c.Severity)))
	}
}

func (x *teller) baseline(b v1alpha1.Baseline) string {
	text := fmt.Sprintf(x.say("figure"), b.Name, string(b.Statistic), string(b.Daily), b.Value, span(int64(b.Window.Seconds())), b.MinDays)
	if b.Hours != nil {
		text += fmt.Sprintf(x.say("of hours"), b.Hours.From, b.Hours.To)
	}
	return text
}

func (x *teller) term(t offline.ExplainedTerm) string {
	switch {
	case t.Offline:
		return x.say("offline")
	case t.Missed != "" && t.MissedFor == "window":
		return fmt.Sprintf(x.say("missed window"), t.Missed) + x.scope(t.Scope)
	case t.Missed != "":
		return fmt.Sprintf(x.say("missed"), t.MissedFor, t.Missed) + x.scope(t.Scope)
	case t.Count != nil:
		return strings.TrimSpace(t.When + x.say("counted") + x.counting("messages counted", *t.Count))
	case t.For != "":
		return fmt.Sprintf(x.say("holds"), t.When, t.For)
	}
	return t.When
}

// scope says whose messages count, where it is not the device's own.
func (x *teller) scope(scope string) string {
	if scope == "" || scope == "Device" {
		return ""
	}
	return fmt.Sprintf(x.say("scope"), x.w.of(scopeWords, scope))
}

func (x *teller) counting(what string, n offline.ExplainedCounting) string {
	text := fmt.Sprintf(x.say(what), n.AtLeast, n.Within)
	if n.DistinctBy != "" {
		text += fmt.Sprintf(x.say("distinct"), n.DistinctBy)
	}
	return text + x.scope(n.Scope)
}

// values writes each value, where it comes from, and what it does: descriptions are Chinese and English, with a stroke between.
func (x *teller) values(e *offline.Explained) {
	if len(e.Values) == 0 {
		return
	}
	x.add(x.say("values"))
	for _, v := range e.Values {
		description, en, both := strings.Cut(v.Description, " / ")
		if both && x.w.index == english {
			description = en
		}
		value := strings.TrimSpace(v.Value + " " + unit(v.Unit))
		text := fmt.Sprintf("%s = %s  [%s]  %s", v.Name, value, x.w.of(fromWords, v.From), description)
		if v.Unserved != "" {
			text += fmt.Sprintf(x.say("unserved"), e.Community, v.Unserved)
		}
		x.item(strings.TrimSpace(text))
	}
}

func (x *teller) becomes(e *offline.Explained) {
	k := e.Case
	if k == nil {
		x.does(e)
		return
	}
	title := k.TitleEN
	if x.w.index == chinese || title == "" {
		title = k.Title
	}
	opens := fmt.Sprintf(x.say("opens"), k.Class, x.w.severity(k.Severity), title, x.w.of(scopeWords, k.MergeBy))
	if k.After != "" {
		opens += fmt.Sprintf(x.say("after"), k.After)
	}
	x.line("case", opens)
	var times []string
	for _, t := range []struct {
		kind    string
		seconds int64
	}{{"Acknowledge", k.Times.AcknowledgeSeconds}, {"OnSite", k.Times.OnSiteSeconds}, {"Resolve", k.Times.ResolveSeconds}} {
		if t.seconds > 0 {
			times = append(times, fmt.Sprintf(x.say("within"), x.w.of(timeWords, t.kind), span(t.seconds)))
		}
	}
	text := strings.Join(times, x.say("and"))
	if k.Times.Working {
		text += x.w.of(showWords, "working")
	}
	x.line("times", fmt.Sprintf("%s  [%s]", text, x.w.of(fromWords, k.TimesFrom)))
	for i, c := range k.Closing {
		if i == 0 {
			x.add(x.say("closing"))
		}
		x.item(fmt.Sprintf("%d. %s", i+1, c))
	}
}

// does says what a scenario without a case does.
func (x *teller) does(e *offline.Explained) {
	if e.Act != "" {
		x.line("act", x.say(e.Act))
	}
	if l := e.Ledger; l != nil {
		text := fmt.Sprintf(x.say("enters"), l.Amount, l.Subject, l.Name)
		if l.DailyCap != "" {
			text += fmt.Sprintf(x.say("a day"), l.DailyCap)
		}
		x.line("ledger", text)
	}
	if len(e.Commands) > 0 {
		x.line("case", x.say("no case"))
	}
}

func (x *teller) calls(e *offline.Explained) {
	if len(e.Calls) == 0 {
		return
	}
	x.add(x.say("calls"))
	for _, r := range e.Calls {
		text := x.responder(e, r)
		if r.Step > 1 && r.MinSeverity != "" {
			text += fmt.Sprintf(x.say("later or graver"), r.Step, x.w.severity(r.MinSeverity))
		} else if r.Step > 1 {
			text += fmt.Sprintf(x.say("later"), r.Step)
		} else if r.MinSeverity != "" {
			text += fmt.Sprintf(x.say("graver"), x.w.severity(r.MinSeverity))
		}
		x.item(text)
	}
}

// responder says who is called; of a community, who that is there.
func (x *teller) responder(e *offline.Explained, r offline.ExplainedResponder) string {
	text := fmt.Sprintf(x.say("post"), r.Post)
	if r.Duty != "" {
		text = fmt.Sprintf(x.say("duty"), r.Duty)
	}
	switch {
	case e.Community == "" || len(r.There) == 0 && len(r.Compounds) > 0:
	case len(r.There) == 0:
		text += fmt.Sprintf(x.say("nobody"), e.Community)
	case r.Duty != "":
		text += fmt.Sprintf(x.say("there"), strings.Join(r.There, x.say("and")))
	default:
		text += fmt.Sprintf(x.say("grids"), strings.Join(r.There, x.say("and")))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Compounds)) {
		text += fmt.Sprintf(x.say("in compound"), k, strings.Join(r.Compounds[k], x.say("and")))
	}
	return text
}

// unit gives a unit as people write it: "1" is none.
func unit(u string) string {
	if u == "1" {
		return ""
	}
	return u
}

func (x *teller) commands(e *offline.Explained) {
	for i, c := range e.Commands {
		if i == 0 {
			x.add(x.say("commands"))
		}
		target := x.say("its device")
		if c.Target != "Device" && c.Target != "" {
			target = fmt.Sprintf(x.say("all of"), c.Profile, x.w.of(scopeWords, c.Target))
		}
		x.item(strings.TrimSpace(fmt.Sprintf(x.say("command "+c.At), titled(c.Command, c.Title), target) + " " + strings.Join(c.Arguments, " ")))
	}
}

// span writes seconds as people say them: whole days as such, else as 1h30m.
func span(seconds int64) string {
	if seconds > 0 && seconds%86400 == 0 {
		return fmt.Sprintf("%dd", seconds/86400)
	}
	text := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
