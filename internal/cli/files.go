package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
)

// fileFlags are the flags of the commands that work on files.
type fileFlags struct {
	paths           []string
	recursive       bool
	namespace       string
	node, postgres  string
	withoutPlatform bool
}

func (f *fileFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.paths, "filename", "f", nil, "file or folder with YAML or JSON; - for standard input; may be repeated")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "go into folders of folders")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "namespace of objects that name none")
	_ = cmd.MarkFlagRequired("filename")
}

func (f *fileFlags) addImages(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.node, "node-image", DefaultNodeImage, "image of the data plane, where the platform names none")
	cmd.Flags().StringVar(&f.postgres, "postgres-image", DefaultPostgresImage, "PostgreSQL image, where the platform names none")
}

// Images of the release, which the operator gets as flags. A release build sets them (-ldflags -X).
var (
	DefaultNodeImage     = "dizuo/dizuo:dev"
	DefaultPostgresImage = "docker.io/dizuo/postgres:15-dev"
)

func (a *app) source(f *fileFlags) offline.Source {
	return offline.Source{Paths: f.paths, Recursive: f.recursive, Stdin: a.In}
}

// compile reads and compiles files.
func (a *app) compile(ctx context.Context, f *fileFlags) (*offline.Set, *offline.Result, error) {
	set, err := offline.Load(ctx, a.source(f), f.namespace)
	if err != nil {
		return nil, nil, err
	}
	if len(set.Objects)+len(set.Findings) == 0 {
		return nil, nil, fmt.Errorf("no Kubernetes object in %s", strings.Join(f.paths, ", ")) // an empty pipe must not pass for a good one
	}
	if f.withoutPlatform && !set.HasPlatform() {
		fmt.Fprintln(a.Err, "# no GridPlatform in the files: each object was checked by itself, references between them were not")
		return set, &offline.Result{Findings: set.Findings}, nil
	}
	options, err := a.options(f)
	if err != nil {
		return nil, nil, err
	}
	result, err := offline.Compile(ctx, set, options)
	return set, result, err
}

func (a *app) options(f *fileFlags) (offline.Options, error) {
	catalog, err := offline.Catalog()
	return offline.Options{Now: a.now(), Catalog: catalog, Images: compile.Images{Node: f.node, Postgres: f.postgres}}, err
}

// note writes comments to standard error.
func (a *app) note(lines []string) {
	for _, line := range lines {
		fmt.Fprintln(a.Err, "# "+line)
	}
}
