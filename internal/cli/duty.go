package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/pkg/client/grid"
)

// dutyWords in English and Chinese.
var dutyWords = map[string][2]string{
	"head": {"POST|ON DUTY|ORGANIZATION|OF POST|WHY", "岗位|当班人|组织|实际岗位|原因"}, "nobody": {"nobody", "无人"},
	"OnDuty": {"on duty", "当班"}, "OffShift": {"off shift", "不当班"}, "Absent": {"absent", "请假"}, "absent": {"absent, %s stands in", "请假，由 %s 代班"},
	"SubstitutesCircle": {"substitutes stand in for each other", "代班人互相代班"}, "TooManySubstitutes": {"too many substitutes in a row", "代班层数过多"}, "Vacant": {"vacant", "空岗"},
}

func (a *app) dutyCommand() *cobra.Command {
	var f gridFlags
	var o caseOutput
	var community, gridName, microGrid, moment string
	cmd := &cobra.Command{
		Use: "duty --community C [--grid G] [--at TIME]", Short: "Who is on duty in a place, and why (当班)", Args: noArgs,
		Long: `Show for each post of a community, or of its grid and micro-grid, who is on duty by the roster, the shifts and the substitutes: whoever is called to a
case that falls there. Why, person by person, is told to committees and townships.`,
		Example: `  dizuo duty --community chengdong --grid g1
  dizuo duty --community chengdong --at 2026-06-01T02:00:00+08:00 -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.caseWords(&o)
			if err != nil {
				return err
			}
			asked := grid.GetDutyParams{Community: community, Grid: given(gridName), MicroGrid: given(microGrid)}
			if moment != "" {
				t, err := time.Parse(time.RFC3339, moment)
				if err != nil {
					return usage("--at: %q is not a time such as 2026-06-01T18:00:00+08:00", moment)
				}
				asked.At = &t
			}
			return a.duty(cmd.Context(), &f, &asked, o.format, w)
		},
	}
	f.add(cmd)
	o.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&community, "community", "", "Community")
	flags.StringVar(&gridName, "grid", "", "grid of the community")
	flags.StringVar(&microGrid, "micro-grid", "", "micro-grid of the grid")
	flags.StringVar(&moment, "at", "", "when, as 2026-06-01T18:00:00+08:00; default: now")
	_ = cmd.MarkFlagRequired("community")
	return cmd
}

func (a *app) duty(ctx context.Context, f *gridFlags, asked *grid.GetDutyParams, format string, w words) error {
	client, err := a.gridClient(ctx, f)
	if err != nil {
		return err
	}
	answer, err := client.GetDutyWithResponse(ctx, asked)
	if err != nil {
		return denied(err)
	}
	if answer.JSON200 == nil {
		return errNoJSON
	}
	if printed, err := printAs(a.Out, format, answer.JSON200); printed {
		return err
	}
	rows := [][]string{strings.Split(w.of(dutyWords, "head"), "|")}
	for _, d := range answer.JSON200.Posts {
		rows = append(rows, dutyRow(w, d))
	}
	columns, _ := terminal(a.Out)
	return table(a.Out, fitted(rows, columns, 4, 3, 2))
}

// dutyRow gives who is on duty for a post, and of whom it was asked before.
func dutyRow(w words, d grid.Duty) []string {
	var why []string
	for _, step := range d.Chain {
		why = append(why, strings.TrimSpace(text(step.Person)+" "+outcome(w, step)))
	}
	post := ""
	if asked := strings.Join(d.Asked, ","); text(d.Post) != asked {
		post = text(d.Post) // another's, who stands in for the post
	}
	return []string{strings.Join(d.Asked, ","), cmp.Or(text(d.Person), w.of(dutyWords, "nobody")), dash(text(d.Organization)), dash(post), dash(strings.Join(why, "; "))}
}

func outcome(w words, step grid.DutyStep) string {
	if step.Outcome == grid.DutyStepOutcomeAbsent && step.Substitute != nil {
		return strings.Replace(w.of(dutyWords, "absent"), "%s", *step.Substitute, 1)
	}
	return w.of(dutyWords, string(step.Outcome))
}

// text is an optional text; empty if it is not there.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
