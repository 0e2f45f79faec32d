package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) explainCommand() *cobra.Command {
	f := fileFlags{withoutPlatform: true}
	var format string
	cmd := &cobra.Command{
		Use:   "explain -f PATH",
		Short: "Print every default taken, and why",
		Long: `Print every value that nobody wrote: the defaults of the schema, the strict ones included (a field that is not marked is
personal Sensitive), and those that depend on other objects: the rows of an agreement, which scenarios run and why, images.

  Kind/name: field = value  (why)

Problems go to standard error and do not stop it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, result, err := a.compile(cmd.Context(), &f)
			if err != nil {
				return err
			}
			printFindings(a.Err, result.Findings)
			if len(set.Objects) == 0 {
				return exit{ExitFailed, nil} // nothing could be read
			}
			defaults := append([]offline.Default{}, offline.Explain(set, result)...)
			if printed, err := printAs(a.Out, format, defaults); printed {
				return err
			}
			for _, d := range defaults {
				fmt.Fprintln(a.Out, d)
			}
			return nil
		},
	}
	f.add(cmd)
	f.addImages(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}
