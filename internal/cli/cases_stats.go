package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// CaseFigures are the figures of a group of cases; times are in seconds.
type CaseFigures struct {
	Cases          int64    `json:"cases"`
	Open           int64    `json:"open"`
	Closed         int64    `json:"closed"`
	Void           int64    `json:"void"`
	Overdue        int64    `json:"overdue"`
	Escalated      int64    `json:"escalated"`
	Reopened       int64    `json:"reopened"`
	Score          *float64 `json:"score"`
	AcknowledgeP50 *float64 `json:"acknowledgeP50"`
	AcknowledgeP90 *float64 `json:"acknowledgeP90"`
	OnSiteP50      *float64 `json:"onSiteP50"`
	OnSiteP90      *float64 `json:"onSiteP90"`
	CloseP50       *float64 `json:"closeP50"`
	CloseP90       *float64 `json:"closeP90"`
}

// CaseGroup is a group of cases, with the dimensions that were asked for.
type CaseGroup struct {
	Period       string `json:"period"`
	Community    string `json:"community"`
	Grid         string `json:"grid"`
	Class        string `json:"class"`
	Organization string `json:"organization"`
	Severity     string `json:"severity"`
	Source       string `json:"source"`
	Rest         bool   `json:"rest"`
	CaseFigures
}

// CaseStatistics are figures of cases.
type CaseStatistics struct {
	Interval string      `json:"interval"`
	By       []string    `json:"by"`
	Groups   []CaseGroup `json:"groups"`
	Whole    CaseFigures `json:"whole"`
	Withheld bool        `json:"withheld"`
}

// reportOutput is how a command prints figures.
type reportOutput struct{ caseOutput }

func (o *reportOutput) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "json, yaml or csv")
	cmd.Flags().StringVar(&o.lang, "lang", "", "zh or en; default: by LC_ALL and LANG")
	complete(cmd, map[string][]string{"output": {"json", "yaml", "csv"}, "lang": {"en", "zh"}})
}

// askFigures asks for figures and prints them as text by show, as CSV as it comes, or as JSON or YAML.
func (a *app) askFigures(ctx context.Context, f *gridFlags, o *reportOutput, path string, query url.Values, show func(words, json.RawMessage) error) error {
	if o.format != "csv" {
		if err := checkFormat(o.format); err != nil {
			return err
		}
	}
	w, err := a.words(o.lang)
	if err != nil {
		return err
	}
	s, err := a.grid(ctx, f)
	if err != nil {
		return err
	}
	if o.format == "csv" {
		query.Set("format", "csv")
		var raw []byte
		if err := s.call(ctx, http.MethodGet, path, query, nil, &raw); err != nil {
			return denied(err)
		}
		_, err := a.Out.Write(raw)
		return err
	}
	var raw json.RawMessage
	if err := s.call(ctx, http.MethodGet, path, query, nil, &raw); err != nil {
		return denied(err)
	}
	if printed, err := printAs(a.Out, o.format, raw); printed {
		return err
	}
	return show(w, raw)
}

func (a *app) caseStatsCommand() *cobra.Command {
	var f gridFlags
	var o reportOutput
	var by []string
	var interval, from, to, community, class string
	cmd := &cobra.Command{
		Use: "stats", Short: "Count cases by group and period, with the times they took", Args: noArgs,
		Long: `Count the cases that a person may see, by --by and --interval, with the times until they were taken, reached and closed. A case counts for the
period in which it was opened. Groups of fewer than 3 cases, of which one has data of class C2 or C3, are shown together.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, v := range map[string]string{"by": strings.Join(by, ","), "interval": interval, "from": from, "to": to, "community": community, "class": class} {
				if v != "" {
					query.Set(name, v)
				}
			}
			return a.askFigures(cmd.Context(), &f, &o, "/v1/statistics", query, a.printStatistics)
		},
	}
	f.add(cmd)
	o.add(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&by, "by", []string{"community"}, "what to group by: community, grid, class, organization, severity, source")
	flags.StringVar(&interval, "interval", "", "day, week or month; default: one period")
	flags.StringVar(&from, "from", "", "cases opened from then on: a date or a time; default: 30 days before --to")
	flags.StringVar(&to, "to", "", "cases opened before then; default: now")
	flags.StringVar(&community, "community", "", "only cases of this Community")
	flags.StringVar(&class, "class", "", "only cases of this class")
	complete(cmd, map[string][]string{"by": {"community", "grid", "class", "organization", "severity", "source"}, "interval": {"day", "week", "month"}})
	return cmd
}

func (a *app) printStatistics(w words, raw json.RawMessage) error {
	var s CaseStatistics
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	heads := slices.Clone(s.By)
	if s.Interval != "" {
		heads = append([]string{"period"}, heads...)
	}
	if len(heads) == 0 {
		heads = []string{"cases of"}
	}
	var upper []string
	for _, h := range heads {
		upper = append(upper, strings.ToUpper(h))
	}
	rows := [][]string{w.row(append(upper, "CASES", "OPEN", "CLOSED", "OVERDUE", "ESCALATED", "REOPENED", "VOID", "SCORE", "ACKNOWLEDGE", "ON SITE", "CLOSE")...)}
	for _, g := range s.Groups {
		row := make([]string, len(heads))
		for i, h := range heads {
			row[i] = dash(g.dimension(w, h))
		}
		if g.Rest {
			row = append([]string{w.of(statWords, "rest")}, slices.Repeat([]string{""}, len(heads)-1)...)
		}
		if len(s.By) > 0 || s.Interval != "" {
			rows = append(rows, append(row, g.cells()...))
		}
	}
	whole := append([]string{w.of(statWords, "whole")}, slices.Repeat([]string{""}, len(heads)-1)...)
	rows = append(rows, append(whole, s.Whole.cells()...))
	columns, _ := terminal(a.Out)
	at := len(heads)
	if err := table(a.Out, fitted(rows, columns, 0, at+7, at+5, at+4, at+6, at+9)); err != nil {
		return err
	}
	fmt.Fprint(a.Out, w.of(statWords, "times"))
	if s.Withheld {
		fmt.Fprint(a.Out, w.of(statWords, "withheld"))
	}
	return nil
}

// dimension gives the name of a dimension of a group.
func (g CaseGroup) dimension(w words, name string) string {
	switch name {
	case "severity":
		return w.severity(g.Severity)
	case "source":
		return g.Source
	}
	return map[string]string{"period": g.Period, "community": g.Community, "grid": g.Grid, "class": g.Class, "organization": g.Organization}[name]
}

func (f CaseFigures) cells() (out []string) {
	for _, n := range []int64{f.Cases, f.Open, f.Closed, f.Overdue, f.Escalated, f.Reopened, f.Void} {
		out = append(out, strconv.FormatInt(n, 10))
	}
	score := "-"
	if f.Score != nil {
		score = strconv.FormatFloat(*f.Score, 'f', 2, 64)
	}
	return append(out, score, twoTimes(f.AcknowledgeP50, f.AcknowledgeP90), twoTimes(f.OnSiteP50, f.OnSiteP90), twoTimes(f.CloseP50, f.CloseP90))
}

// twoTimes writes a median and a 90th percentile in seconds.
func twoTimes(p50, p90 *float64) string {
	if p50 == nil || p90 == nil {
		return "-"
	}
	text := func(seconds float64) string {
		d := time.Duration(seconds * float64(time.Second))
		for _, step := range []time.Duration{time.Hour, time.Minute} {
			if d >= 10*step {
				return span(int64(d.Round(step).Seconds()))
			}
		}
		return span(int64(d.Round(time.Second).Seconds()))
	}
	return text(*p50) + "/" + text(*p90)
}

// CaseTable is the monthly table of communities.
type CaseTable struct {
	Period     string `json:"period"`
	Complete   bool   `json:"complete"`
	Title      string `json:"title"`
	TitleEN    string `json:"titleEN"`
	Indicators []struct {
		ID     string `json:"id"`
		Name   string `json:"name"`
		NameEN string `json:"nameEN"`
		Unit   string `json:"unit"`
		UnitEN string `json:"unitEN"`
	} `json:"indicators"`
	Rows  []CaseTableRow `json:"rows"`
	Total CaseTableRow   `json:"total"`
}

// CaseTableRow is a row of it.
type CaseTableRow struct {
	Community string              `json:"community"`
	Values    map[string]*float64 `json:"values"`
	Withheld  []string            `json:"withheld"`
}

func (a *app) oneTableCommand() *cobra.Command {
	var f gridFlags
	var o reportOutput
	var period string
	cmd := &cobra.Command{
		Use: "one-table --period 2026-11", Short: "The monthly table of communities (一套表)", Args: noArgs,
		Long: `The monthly table of the communities that the person's organization covers (一套表), with the indicators of the release. -o csv gives the file to hand on.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"period": {period}}
			if w, err := a.words(o.lang); err == nil && o.format == "csv" && w.index == english && o.lang != "" {
				query.Set("lang", "en")
			}
			return a.askFigures(cmd.Context(), &f, &o, "/v1/one-table", query, a.printOneTable)
		},
	}
	f.add(cmd)
	o.add(cmd)
	cmd.Flags().StringVar(&period, "period", "", "month, such as 2026-11")
	_ = cmd.MarkFlagRequired("period")
	return cmd
}

// printOneTable prints a line for each indicator and a column for each community: there are fewer of these.
func (a *app) printOneTable(w words, raw json.RawMessage) error {
	var t CaseTable
	if err := json.Unmarshal(raw, &t); err != nil {
		return err
	}
	columns, _ := terminal(a.Out)
	title := t.Title
	if w.index == english {
		title = t.TitleEN
	}
	lines(a.Out, columns, t.Period+"  "+title)
	head, hidden := []string{""}, false
	for _, r := range t.Rows {
		head = append(head, r.Community)
	}
	rows := [][]string{append(head, w.of(statWords, "whole"))}
	for _, x := range t.Indicators {
		name, unit := x.Name, x.Unit
		if w.index == english {
			name, unit = x.NameEN, either(x.UnitEN, x.Unit)
		}
		row := []string{name + " (" + unit + ")"}
		for _, r := range append(slices.Clone(t.Rows), t.Total) {
			text := "-"
			switch v := r.Values[x.ID]; {
			case slices.Contains(r.Withheld, x.ID):
				text, hidden = "*", true
			case v != nil:
				text = strconv.FormatFloat(*v, 'f', -1, 64)
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	if err := table(a.Out, fitted(rows, columns, 0)); err != nil {
		return err
	}
	if !t.Complete {
		fmt.Fprintf(a.Out, w.of(statWords, "incomplete"), t.Period)
	}
	if hidden {
		fmt.Fprint(a.Out, w.of(statWords, "hidden"))
	}
	return nil
}
