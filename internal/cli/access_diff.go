package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/access"
	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) accessDiffCommand() *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what a change of files opens and closes",
		Long: `Say in words what a change of files opens (+) and closes (-), and what may do either (~), for each organisation, dataset and agreement:
fields, masks, communities, conditions, purposes, roles, hours, validity, quota, consent, and who speaks for the organisation. People
affected are the residents of the communities that open, by the communities' own figures.

  dizuo access diff OLD NEW     two files or folders, such as two commits of a repository

What does not compile gives no access, on both sides. Exit code 0: nothing wider; 2: wider, or what may be; 1: failed.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.accessDiff(cmd.Context(), &f, args[0], args[1])
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.files.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringVarP(&f.files.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.StringVarP(&f.format, "output", "o", "", "json or yaml")
	f.files.addImages(cmd)
	f.addLang(cmd)
	return cmd
}

func (a *app) accessDiff(ctx context.Context, f *accessFlags, from, to string) error {
	if err := f.checkLang(); err != nil {
		return err
	}
	was, wasFindings, err := a.accessOf(ctx, f, from)
	if err != nil {
		return err
	}
	is, isFindings, err := a.accessOf(ctx, f, to)
	if err != nil {
		return err
	}
	printFindings(a.Err, offline.Brought(wasFindings, isFindings))
	changes := access.DiffAll(was, is)
	if printed, err := printAs(a.Out, f.format, changes); err != nil {
		return err
	} else if !printed {
		for _, line := range access.Lines(changes, f.lang) {
			fmt.Fprintln(a.Out, line)
		}
	}
	if access.Widens(changes) {
		return exit{ExitWider, nil}
	}
	return nil
}

func (a *app) accessOf(ctx context.Context, f *accessFlags, path string) ([]access.Side, []offline.Finding, error) {
	files := f.files
	files.paths = []string{path}
	_, result, err := a.compile(ctx, &files)
	if err != nil {
		return nil, nil, err
	}
	return access.Sides(result), result.Findings, nil
}
