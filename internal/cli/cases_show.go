package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) caseShowCommand() *cobra.Command {
	var f gridFlags
	var o caseOutput
	cmd := &cobra.Command{
		Use: "show CASE", Short: "Show one case: its times, who was called, and its history; CASE is its id or number", Args: cobra.ExactArgs(1), ValidArgsFunction: a.caseNames(&f),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onCase(cmd.Context(), &f, &o, args[0], http.MethodGet, "", nil)
		},
	}
	f.add(cmd)
	o.add(cmd)
	return cmd
}

// printCase prints one case.
func (a *app) printCase(format string, w words, raw json.RawMessage) error {
	if printed, err := printAs(a.Out, format, raw); printed {
		return err
	}
	var c Case
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	place := c.Community
	if c.Grid != "" {
		place += "/" + c.Grid
	}
	columns, _ := terminal(a.Out)
	lines(a.Out, columns, strings.Join([]string{c.Number, w.state(c.State), w.severity(c.Severity), place, c.Title}, "  "), c.ID+"  "+dash(device(c)))
	for _, section := range []struct {
		head string
		rows [][]string
	}{{"times", timeRows(w, c)}, {"parties", partyRows(w, c)}, {"closing", closingRows(c)}, {"history", historyRows(w, c.History)}} {
		if len(section.rows) == 0 {
			continue
		}
		lines(a.Out, columns, w.of(showWords, section.head))
		var text strings.Builder
		if err := table(&text, section.rows); err != nil {
			return err
		}
		for i, line := range strings.Split(strings.TrimRight(text.String(), "\n"), "\n") {
			lines(a.Out, columns, line)
			if section.head == "history" && c.History[i].Note != "" {
				lines(a.Out, columns, "      "+c.History[i].Note)
			}
		}
	}
	return nil
}

// lines writes texts, each broken to fit so many columns; 0 breaks nothing.
func lines(w io.Writer, columns int, texts ...string) {
	for _, text := range texts {
		for i, line := range wrap(text, columns) {
			if i > 0 {
				line = "      " + line
			}
			fmt.Fprintln(w, line)
		}
	}
}

func timeRows(w words, c Case) (rows [][]string) {
	for _, t := range c.Times {
		left := span(t.LeftSeconds)
		if t.Working {
			left += w.of(showWords, "working")
		}
		says := fmt.Sprintf(w.of(showWords, "paused"), left)
		if t.Due != nil {
			says = fmt.Sprintf(w.of(showWords, "left"), left, clock(*t.Due))
		}
		rows = append(rows, []string{"  " + w.of(timeWords, t.Kind), says})
	}
	for _, t := range []struct {
		kind   string
		missed bool
		due    *time.Time
	}{{"Acknowledge", c.AcknowledgeOverdue, c.AcknowledgeDue}, {"OnSite", c.OnSiteOverdue, c.OnSiteDue}, {"Resolve", c.ResolveOverdue, c.ResolveDue}} {
		if t.missed && t.due != nil {
			rows = append(rows, []string{"  " + w.of(timeWords, t.kind), fmt.Sprintf(w.of(showWords, "late"), clock(*t.due))})
		}
	}
	return rows
}

func partyRows(w words, c Case) (rows [][]string) {
	for _, p := range c.Parties {
		says := fmt.Sprintf(w.of(showWords, "called"), clock(p.CalledAt))
		if p.ReleasedAt != nil {
			says += fmt.Sprintf(w.of(showWords, "released"), clock(*p.ReleasedAt), p.Release)
		}
		rows = append(rows, []string{"  " + w.of(partyWords, p.Kind), strings.TrimSpace(p.Post + " " + strings.TrimSpace(p.Organization+" "+p.Person)), says})
	}
	return rows
}

func closingRows(c Case) (rows [][]string) {
	for i, s := range c.Closing {
		mark := "  [ ]"
		if s.DoneAt != nil {
			mark = "  [x]"
		}
		rows = append(rows, []string{mark, fmt.Sprint(i + 1), s.Text})
	}
	return rows
}

func historyRows(w words, history []CaseStep) (rows [][]string) {
	for _, h := range history {
		who := strings.Trim(strings.Join([]string{h.Actor.Kind, h.Actor.Organization, h.Actor.Role, h.Actor.Person}, " "), " ")
		from := "-"
		if h.From != "" {
			from = w.state(h.From)
		}
		rows = append(rows, []string{"  " + clock(h.At), w.action(h.Action), from + " -> " + w.state(h.To), who})
	}
	return rows
}
