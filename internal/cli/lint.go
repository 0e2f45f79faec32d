package cli

import (
	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) lintCommand() *cobra.Command {
	f := fileFlags{withoutPlatform: true}
	var format string
	cmd := &cobra.Command{
		Use:   "lint -f PATH",
		Short: "Print every problem in the files, guardrails (红线规则) included",
		Long: `Check the files as the API server and the operator would: the schema, its rules, references between objects, claims,
expressions, approvals and guardrails. One line a problem, on standard output; exit code 1 if there is one. Without a
GridPlatform in the files each object is checked by itself.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, result, err := a.compile(cmd.Context(), &f)
			if err != nil {
				return err
			}
			found := append([]offline.Finding{}, result.Findings...)
			printed, err := printAs(a.Out, format, found)
			if err != nil {
				return err
			}
			if !printed {
				printFindings(a.Out, found)
				for _, p := range result.Platforms {
					a.note(p.Missing)
				}
			}
			if len(found) > 0 {
				return exit{ExitFailed, nil}
			}
			return nil
		},
	}
	f.add(cmd)
	f.addImages(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}
