package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/access"
	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) accessDiffCommand() *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{
		Use:   "diff (OLD NEW | -f PATH --cluster)",
		Short: "Say what a change of files opens and closes",
		Long: `Say in words what a change of files opens (+) and closes (-), and what may do either (~), for each organisation, dataset and agreement:
fields, masks, communities, conditions, purposes, roles, hours, validity, quota, consent, obligations, and who speaks for the organisation. People
affected are the residents of the communities that open, by the communities' own figures.

  dizuo access diff OLD NEW           two files or folders, such as two commits of a repository
  dizuo access diff -f DIR --cluster  what applying the files to the cluster would do; what they do not hold stays

What does not compile gives no access, on both sides. A text that is not signed yet opens nothing; what it will open is said behind
"once signed:". Exit code 0: nothing wider; 2: wider, or what may be, at once or once signed; 1: failed,
or something that does not compile could not be compared.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.cluster == (len(args) > 0) || f.cluster != (len(f.files.paths) > 0) || !f.cluster && len(args) != 2 {
				return usage("write two files or folders, or -f PATH and --cluster")
			}
			return a.accessDiff(cmd.Context(), &f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files.paths, "filename", "f", nil, "with --cluster: file or folder with YAML or JSON; - for standard input; may be repeated")
	flags.BoolVar(&f.cluster, "cluster", false, "compare the cluster with the files of -f applied to it")
	f.kube.add(cmd)
	flags.BoolVarP(&f.files.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringVarP(&f.files.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.StringVarP(&f.format, "output", "o", "", "json or yaml")
	f.files.addImages(cmd)
	f.addLang(cmd)
	return cmd
}

func (a *app) accessDiff(ctx context.Context, f *accessFlags, args []string) error {
	if err := f.checkLang(); err != nil {
		return err
	}
	from, to, err := a.diffSets(ctx, f, args)
	if err != nil {
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
	changes := access.DiffStates(was, is)
	if printed, err := printAs(a.Out, f.format, changes); err != nil {
		return err
	} else if !printed {
		for _, line := range access.Lines(changes, f.lang) {
			fmt.Fprintln(a.Out, line)
		}
	}
	broken := a.sayBroken("before the change", was) + a.sayBroken("after the change", is)
	switch {
	case access.Widens(changes):
		return exit{ExitWider, nil}
	case broken > 0:
		return exit{ExitFailed, nil}
	}
	return nil
}

// sayBroken says of one side what is not compared, and counts it.
func (a *app) sayBroken(when string, s access.State) int {
	if len(s.Broken) > 0 {
		fmt.Fprintf(a.Err, "%s %d objects do not compile, and what they would give is not compared: %s; see dizuo lint\n", when, len(s.Broken), strings.Join(s.Broken, ", "))
	}
	return len(s.Broken)
}

// diffSets loads what is and what will be.
func (a *app) diffSets(ctx context.Context, f *accessFlags, args []string) (from, to *offline.Set, err error) {
	load := func(paths ...string) (*offline.Set, error) {
		files := f.files
		files.paths = paths
		return offline.Load(ctx, a.source(&files), files.namespace)
	}
	if !f.cluster {
		if from, err = load(args[0]); err != nil {
			return nil, nil, err
		}
		to, err = load(args[1])
		return from, to, err
	}
	if to, err = load(f.files.paths...); err != nil {
		return nil, nil, err
	}
	if from, err = a.live(ctx, &f.kube, to); err != nil {
		return nil, nil, err
	}
	return from, offline.Over(to, from), nil
}

func (a *app) accessOf(ctx context.Context, f *accessFlags, set *offline.Set) (state access.State, findings []offline.Finding, err error) {
	options, err := a.options(&f.files)
	if err != nil {
		return state, nil, err
	}
	result, err := offline.Compile(ctx, set, options)
	if err != nil {
		return state, nil, err
	}
	state = access.StateOf(result)
	for _, o := range set.Objects {
		if o.Invalid {
			state.Broken = append(state.Broken, o.Kind+"/"+o.GetName())
		}
	}
	return state, result.Findings, nil
}
