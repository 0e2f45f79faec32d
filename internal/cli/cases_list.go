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

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// Case of the grid service, as far as the commands show it.
type Case struct {
	ID             string     `json:"id"`
	Number         string     `json:"number"`
	State          string     `json:"state"`
	Class          string     `json:"class"`
	Severity       string     `json:"severity"`
	Community      string     `json:"community"`
	Grid           string     `json:"grid,omitempty"`
	Fleet          string     `json:"fleet,omitempty"`
	Device         string     `json:"device,omitempty"`
	Scenario       string     `json:"scenario,omitempty"`
	Title          string     `json:"title"`
	Version        int        `json:"version"`
	Level          int        `json:"level"`
	OpenedAt       time.Time  `json:"openedAt"`
	UpdatedAt      time.Time  `json:"updatedAt"`
	AcknowledgeDue *time.Time `json:"acknowledgeDue,omitempty"`
	OnSiteDue      *time.Time `json:"onSiteDue,omitempty"`
	ResolveDue     *time.Time `json:"resolveDue,omitempty"`
	// AcknowledgeOverdue, OnSiteOverdue and ResolveOverdue say that an SLA time was missed.
	AcknowledgeOverdue bool `json:"acknowledgeOverdue,omitempty"`
	OnSiteOverdue      bool `json:"onSiteOverdue,omitempty"`
	ResolveOverdue     bool `json:"resolveOverdue,omitempty"`
	// Closing are the steps to check before the case may be closed; one that is done has a time.
	Closing []CaseClosingStep `json:"closing,omitempty"`
	// Parties, Times and History are there where one case is asked for.
	Parties []CaseParty `json:"parties,omitempty"`
	Times   []CaseTime  `json:"times,omitempty"`
	History []CaseStep  `json:"history,omitempty"`
}

// CaseClosingStep is a step to check before a case is closed.
type CaseClosingStep struct {
	Text   string     `json:"text"`
	DoneAt *time.Time `json:"doneAt,omitempty"`
}

// CaseParty is somebody who was called to a case.
type CaseParty struct {
	Kind         string     `json:"kind"`
	Post         string     `json:"post,omitempty"`
	Organization string     `json:"organization,omitempty"`
	Person       string     `json:"person,omitempty"`
	CalledAt     time.Time  `json:"calledAt"`
	ReleasedAt   *time.Time `json:"releasedAt,omitempty"`
	Release      string     `json:"release,omitempty"`
}

// CaseTime is a time of a case that runs, or stands still; Due is not there while it does.
type CaseTime struct {
	Kind        string     `json:"kind"`
	Due         *time.Time `json:"due,omitempty"`
	LeftSeconds int64      `json:"leftSeconds"`
	Working     bool       `json:"working,omitempty"`
	Paused      bool       `json:"paused,omitempty"`
}

// CaseStep is a line of a case's history.
type CaseStep struct {
	N      int       `json:"n"`
	At     time.Time `json:"at"`
	Action string    `json:"action"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to"`
	Actor  struct {
		Kind         string `json:"kind"`
		Organization string `json:"organization,omitempty"`
		Person       string `json:"person,omitempty"`
		Role         string `json:"role,omitempty"`
	} `json:"actor"`
	Note string `json:"note,omitempty"`
}

type casePage struct {
	Cases []json.RawMessage `json:"cases"`
	Next  string            `json:"next"`
}

// caseQuery narrows a list of cases.
type caseQuery struct {
	state, community, severity, class, grid, party string
	overdue, mine                                  bool
	limit                                          int
}

func (q *caseQuery) add(cmd *cobra.Command) {
	q.addFilters(cmd)
	cmd.Flags().IntVar(&q.limit, "limit", 100, "at most so many")
}

// addFilters adds the flags that say which cases, but not how many.
func (q *caseQuery) addFilters(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&q.state, "state", "", "only cases in this state, such as Dispatched; Open for all that are not finished")
	flags.StringVar(&q.community, "community", "", "only cases of this Community")
	flags.StringVar(&q.grid, "grid", "", "only cases of this grid")
	flags.StringVar(&q.class, "class", "", "only cases of this class")
	flags.StringVar(&q.severity, "severity", "", "only cases of this severity")
	flags.StringVar(&q.party, "party", "", "only cases to which this Organization is called")
	flags.BoolVar(&q.overdue, "overdue", false, "only cases that missed a time")
	flags.BoolVar(&q.mine, "mine", false, "only cases that are assigned to --subject, or called to a post on which the roster has them")
	complete(cmd, map[string][]string{"state": append([]string{"Open"}, sortedKeys(stateWords)...), "severity": {"Critical", "High", "Medium", "Low"}})
}

// values gives the query of the REST API.
func (q *caseQuery) values() url.Values {
	out := url.Values{}
	for name, v := range map[string]string{"state": q.state, "community": q.community, "severity": q.severity, "class": q.class, "grid": q.grid, "organization": q.party} {
		if v != "" {
			out.Set(name, v)
		}
	}
	for name, v := range map[string]bool{"overdue": q.overdue, "mine": q.mine} {
		if v {
			out.Set(name, "true")
		}
	}
	return out
}

// complete gives a shell the words that flags take.
func complete(cmd *cobra.Command, words map[string][]string) {
	for name, list := range words {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
	}
}

// caseOutput is how a command prints cases.
type caseOutput struct{ format, lang string }

func (o *caseOutput) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "json or yaml")
	cmd.Flags().StringVar(&o.lang, "lang", "", "zh or en; default: by LC_ALL and LANG")
	complete(cmd, map[string][]string{"output": {"json", "yaml"}, "lang": {"en", "zh"}})
}

// words checks the format before anything is done, and gives the language.
func (a *app) caseWords(o *caseOutput) (words, error) {
	if err := checkFormat(o.format); err != nil {
		return words{}, err
	}
	return a.words(o.lang)
}

func (a *app) caseListCommand(use string) *cobra.Command {
	var f gridFlags
	var q caseQuery
	var o caseOutput
	cmd := &cobra.Command{
		Use: use, Short: "List the cases that a person may see, newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.caseWords(&o)
			if err != nil {
				return err
			}
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			list, err := listCases(cmd.Context(), s, q.values(), q.limit)
			if err != nil {
				return denied(err)
			}
			return a.printCases(o.format, w, list)
		},
	}
	f.add(cmd)
	q.add(cmd)
	o.add(cmd)
	return cmd
}

// listCases follows pages up to the limit.
func listCases(ctx context.Context, s *service, query url.Values, limit int) ([]json.RawMessage, error) {
	list := []json.RawMessage{}
	for len(list) < limit {
		query.Set("limit", strconv.Itoa(min(limit-len(list), 500)))
		var page casePage
		if err := s.call(ctx, http.MethodGet, "/v1/cases", query, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Cases...)
		if page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	return list, nil
}

// caseID gives the id of a case that a person names by id or number.
func caseID(ctx context.Context, s *service, name string) (string, error) {
	if _, err := uuid.Parse(name); err == nil {
		return name, nil
	}
	list, err := listCases(ctx, s, url.Values{"number": {name}}, 1)
	if err != nil {
		return "", err
	}
	for _, raw := range list {
		var c Case
		if json.Unmarshal(raw, &c) == nil && c.Number == name {
			return c.ID, nil
		}
	}
	return "", fmt.Errorf("case %s: this person sees no case of that number; `dizuo cases list` has those that they see", name)
}

// completionTime bounds how long a shell waits for words from a service.
const completionTime = 3 * time.Second

// caseNames completes the number of a case, if the flags so far reach the service.
func (a *app) caseNames(f *gridFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		var names []string
		if s, err := a.grid(ctx, f); err == nil {
			list, _ := listCases(ctx, s, url.Values{"state": {"Open"}}, 100)
			for _, raw := range list {
				var c Case
				if json.Unmarshal(raw, &c) == nil {
					names = append(names, cobra.CompletionWithDesc(c.Number, c.Title))
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func (a *app) printCases(format string, w words, list []json.RawMessage) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{w.row("NUMBER", "STATE", "SEVERITY", "COMMUNITY", "DEVICE", "TITLE", "OPENED", "OVERDUE")}
	for _, raw := range list {
		var c Case
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		rows = append(rows, []string{
			c.Number, w.state(c.State), w.severity(c.Severity), c.Community, dash(device(c)), c.Title, clock(c.OpenedAt), dash(overdue(w, c)),
		})
	}
	columns, _ := terminal(a.Out)
	return table(a.Out, fitted(rows, columns, 5, 4, 3, 6))
}

// fitted makes the rows of a table fit so many columns; 0 is any. It cuts the texts of one column short, down to 12, and then leaves columns out, in
// the order given.
func fitted(rows [][]string, columns, text int, less ...int) [][]string {
	gone := map[int]bool{}
	for columns > 0 && len(rows) > 0 {
		room, widest := columns, 0
		for i := range rows[0] {
			if gone[i] {
				continue
			}
			width := 0
			for _, r := range rows {
				width = max(width, wide.StringWidth(r[i]))
			}
			if i == text {
				widest = width
			} else {
				room -= width + 3
			}
		}
		if room >= widest || room >= 12 || len(less) == 0 {
			return cut(rows, text, max(room, 12), gone)
		}
		gone[less[0]], less = true, less[1:]
	}
	return rows
}

// cut gives rows without the columns that are gone, and with the texts of one column cut to a width.
func cut(rows [][]string, text, width int, gone map[int]bool) [][]string {
	out := make([][]string, len(rows))
	for n, r := range rows {
		for i, cell := range r {
			if i == text {
				cell = wide.Truncate(cell, width, "…")
			}
			if !gone[i] {
				out[n] = append(out[n], cell)
			}
		}
	}
	return out
}

func device(c Case) string {
	if c.Fleet == "" {
		return c.Device
	}
	return c.Fleet + "." + c.Device
}

func overdue(w words, c Case) string {
	var out []string
	for _, t := range []struct {
		kind   string
		missed bool
	}{{"Acknowledge", c.AcknowledgeOverdue}, {"OnSite", c.OnSiteOverdue}, {"Resolve", c.ResolveOverdue}} {
		if t.missed {
			out = append(out, w.of(timeWords, t.kind))
		}
	}
	return strings.Join(slices.Compact(out), ",")
}
