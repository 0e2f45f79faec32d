package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) renderCommand() *cobra.Command {
	var f fileFlags
	var keepGoing bool
	cmd := &cobra.Command{
		Use:   "render -f PATH",
		Short: "Print what the operator would apply, or every problem",
		Long: `Print, without a cluster, exactly what the operator would apply for the platforms in the files: a YAML stream in the order
in which it would. If there are problems they are printed instead, all of them, as

  file:line: Kind/name: field: what is wrong and what to write

and the exit code is 1. What only a cluster has (generated passwords, issued certificates, Secrets that are not in the files)
is a placeholder; comments on standard error say which.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, result, err := a.compile(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if len(result.Platforms) == 0 && len(result.Findings) == 0 {
				return fmt.Errorf("no GridPlatform in the files; name the file that holds it too")
			}
			if len(result.Findings) > 0 {
				printFindings(a.Err, result.Findings)
			}
			if len(result.Findings) > 0 && !keepGoing {
				return exit{ExitFailed, nil}
			}
			for _, p := range result.Platforms {
				a.note(p.Notes)
			}
			if err := renderAll(a.Out, result); err != nil {
				return err
			}
			if len(result.Findings) > 0 {
				return exit{ExitFailed, nil}
			}
			return nil
		},
	}
	f.add(cmd)
	f.addImages(cmd)
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "print what compiles beside the problems, as the operator would apply it; the exit code stays 1")
	return cmd
}

func renderAll(w io.Writer, r *offline.Result) error {
	for _, p := range r.Platforms {
		for _, o := range p.Render() {
			raw, err := yaml.Marshal(o)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "---\n%s", raw); err != nil {
				return err
			}
		}
	}
	return nil
}

func printFindings(w io.Writer, list []offline.Finding) {
	for _, f := range list {
		fmt.Fprintln(w, f)
	}
}
