package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/offline"
)

// ExitDifferent is the exit code of plan when there is a difference.
const ExitDifferent = 2

type planFlags struct {
	files    fileFlags
	kube     kubeFlags
	from, to string
	prune    bool
	format   string
}

func (a *app) planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan (-f PATH | --from PATH --to PATH)",
		Short: "Show what would be created, changed and deleted",
		Long: `Show, before it is applied, what files would change: the objects that people write, with their defaults, and those that the
operator makes from them.

  dizuo plan -f DIR                 against the cluster: what DIR would change there
  dizuo plan -f DIR --prune         likewise, and what a prune (Flux, Argo CD) of everything else would delete
  dizuo plan --from OLD --to NEW    without a cluster, between two folders, such as two commits of a repository

Random and issued contents (passwords, certificates, keys) are left out on both sides. Values of Secrets are not shown. Problems
that the change brings go to standard error. Exit code 0: no difference; 2: there is one; 1: it brings problems, or failed.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.plan(cmd.Context(), &f) },
	}
	f.kube.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files.paths, "filename", "f", nil, "file or folder to compare with the cluster; - for standard input; may be repeated")
	flags.StringVar(&f.from, "from", "", "file or folder as it is")
	flags.StringVar(&f.to, "to", "", "file or folder as it will be")
	flags.BoolVarP(&f.files.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringVarP(&f.files.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.BoolVar(&f.prune, "prune", false, "with -f: what stands in the cluster and not in the files would be deleted")
	flags.StringVarP(&f.format, "output", "o", "", "json or yaml")
	f.files.addImages(cmd)
	cmd.MarkFlagsRequiredTogether("from", "to")
	cmd.MarkFlagsMutuallyExclusive("filename", "from")
	cmd.MarkFlagsOneRequired("filename", "from")
	return cmd
}

func (a *app) plan(ctx context.Context, f *planFlags) error {
	from, to, err := a.sides(ctx, f)
	if err != nil {
		return err
	}
	to = offline.LastGood(to, from)
	options, err := a.options(&f.files)
	if err != nil {
		return err
	}
	was, err := offline.Compile(ctx, from, options)
	if err != nil {
		return err
	}
	is, err := offline.Compile(ctx, to, options)
	if err != nil {
		return err
	}
	changes, err := offline.Diff(was, is, from, to)
	if err != nil {
		return err
	}
	if printed, err := printAs(a.Out, f.format, changes); err != nil {
		return err
	} else if !printed {
		printChanges(a.Out, changes)
	}
	brought := offline.Brought(was.Findings, is.Findings)
	printFindings(a.Err, brought)
	switch {
	case len(brought) > 0:
		return exit{ExitFailed, nil}
	case len(changes) > 0:
		return exit{ExitDifferent, nil}
	}
	return nil
}

// sides loads what is and what will be.
func (a *app) sides(ctx context.Context, f *planFlags) (from, to *offline.Set, err error) {
	load := func(paths ...string) (*offline.Set, error) {
		set, err := offline.Load(ctx, offline.Source{Paths: paths, Recursive: f.files.recursive, Stdin: a.In}, f.files.namespace)
		if err == nil && len(set.Objects)+len(set.Findings) == 0 && f.from == "" {
			err = errors.New("no Kubernetes object in the files")
		}
		return set, err
	}
	if f.from != "" {
		if from, err = load(f.from); err != nil {
			return nil, nil, err
		}
		to, err = load(f.to)
		return from, to, err
	}
	if to, err = load(f.files.paths...); err != nil {
		return nil, nil, err
	}
	if from, err = a.live(ctx, &f.kube, to); err != nil {
		return nil, nil, err
	}
	if f.prune {
		return from, offline.Over(to, from.Context(to)), nil
	}
	return from, offline.Over(to, from), nil
}

func printChanges(w io.Writer, changes []offline.Change) {
	marks := map[offline.Action]string{offline.ActionCreate: "+", offline.ActionChange: "~", offline.ActionDelete: "-"}
	count := map[offline.Action]int{}
	owner := ""
	for _, c := range changes {
		count[c.Action]++
		if c.Owner != owner {
			owner = c.Owner
			fmt.Fprintf(w, "made for %s:\n", owner)
		}
		indent := ""
		if owner != "" {
			indent = "  "
		}
		name := c.Name
		if c.Namespace != "" {
			name = c.Namespace + "/" + c.Name
		}
		fmt.Fprintf(w, "%s%s %s %s\n", indent, marks[c.Action], c.Kind, name)
		for _, field := range c.Fields {
			fmt.Fprintf(w, "%s    %s: %s -> %s\n", indent, field.Path, short(field.From), short(field.To))
		}
	}
	if len(changes) == 0 {
		fmt.Fprintln(w, "no difference")
		return
	}
	fmt.Fprintf(w, "%d to create, %d to change, %d to delete\n", count[offline.ActionCreate], count[offline.ActionChange], count[offline.ActionDelete])
}

// shortest is how much of a value is printed, in characters; -o json has it whole.
const shortest = 120

// short gives a value on one line.
func short(v any) string {
	if v == nil {
		return "(not set)"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	text := []rune(string(raw))
	if len(text) > shortest {
		return string(text[:shortest-1]) + "…"
	}
	return string(text)
}
