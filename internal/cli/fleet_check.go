package cli

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
)

// fleetCheck is one run of `dizuo fleet check`.
type fleetCheck struct {
	*app
	paths, with []string
	recursive   bool
	namespace   string
	fleet       string
	format      string

	results []checkedFleet
	header  bool // the head of the table was printed
	failed  bool
}

// checkedFleet is what was found about one inventory.
type checkedFleet struct {
	// Namespace and Fleet are empty for files that were checked without one.
	Namespace string                   `json:"namespace,omitempty"`
	Fleet     string                   `json:"fleet,omitempty"`
	Rows      int                      `json:"rows"`
	Rejected  int                      `json:"rejected"`
	ByCode    []v1alpha1.RejectedCount `json:"rejectedByCode,omitempty"`
	// RejectedRows are all of them, in the order of reading.
	RejectedRows []v1alpha1.RejectedRow `json:"rejectedRows,omitempty"`
	// Findings are about the fleet and not about a row.
	Findings []offline.Finding `json:"findings,omitempty"`
	// Size of files of CSV.
	Size *csvSize `json:"size,omitempty"`
}

// csvSize says what files of CSV need.
type csvSize struct {
	// Bytes as they are, and gzipped.
	Bytes int64 `json:"bytes"`
	Gzip  int64 `json:"gzip"`
	// Secrets that the gzipped rows need.
	Secrets int `json:"secrets"`
}

func (a *app) checkCommand() *cobra.Command {
	c := fleetCheck{app: a}
	cmd := &cobra.Command{
		Use:   "check -f FILE",
		Short: "Check every row of an inventory, and say what to write instead",
		Long: `Check every row of an inventory as the operator would, and print all that it would reject: the place, the device, a code that
stays the same, and what to write. Exit code 1 if there is one.

FILE is a CSV (.csv or .csv.gz), or YAML with a DeviceFleet and its Secrets, or a folder of YAML. Of a CSV alone the form is checked,
doubles, and what the broker takes; with --with, YAML of the platform and its communities, also whether grids, compounds and
maintainers are there and whether another fleet holds a device. Several CSV files are one inventory. For a CSV it also says into how
many Secrets it fits. Nothing is asked of a cluster, and nothing is fetched.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&c.paths, "filename", "f", nil, "CSV, or file or folder with YAML; may be repeated")
	flags.StringArrayVar(&c.with, "with", nil, "file or folder with YAML of the platform, its communities and fleets; may be repeated")
	flags.BoolVarP(&c.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringVarP(&c.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.StringVar(&c.fleet, "fleet", "", "DeviceFleet of --with whose inventory the CSV is; default: the only one")
	flags.StringVarP(&c.format, "output", "o", "", "json or yaml")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

func (c *fleetCheck) run(ctx context.Context) error {
	if err := checkFormat(c.format); err != nil {
		return err
	}
	var files, manifests []string
	for _, path := range c.paths {
		if isCSV(path) {
			files = append(files, path)
		} else {
			manifests = append(manifests, path)
		}
	}
	var err error
	switch {
	case len(files) > 0 && len(manifests) > 0:
		return usage("-f has CSV and YAML: give the YAML with --with")
	case len(files) > 0:
		err = c.files(ctx, files)
	default:
		err = c.manifests(ctx, manifests)
	}
	if err != nil {
		return err
	}
	if _, err := printAs(c.Out, c.format, c.results); err != nil {
		return err
	}
	if c.failed {
		return exit{ExitFailed, nil}
	}
	return nil
}

func isCSV(path string) bool {
	return strings.HasSuffix(path, ".csv") || strings.HasSuffix(path, ".csv.gz")
}

// load reads YAML and gives its fleets.
func (c *fleetCheck) load(ctx context.Context, paths []string) ([]offline.Fleet, []offline.Finding, error) {
	set, err := offline.Load(ctx, offline.Source{Paths: paths, Recursive: c.recursive, Stdin: c.In}, c.namespace)
	if err != nil {
		return nil, nil, err
	}
	options, err := c.options(&fileFlags{node: DefaultNodeImage, postgres: DefaultPostgresImage})
	if err != nil {
		return nil, nil, err
	}
	if !set.HasPlatform() {
		c.note([]string{"no GridPlatform in the files: communities, grids and maintainers were not looked up; give them with --with"})
	}
	fleets, findings, missing := set.Fleets(options)
	c.note(missing)
	return fleets, findings, nil
}

// manifests checks the fleets of YAML files.
func (c *fleetCheck) manifests(ctx context.Context, paths []string) error {
	fleets, findings, err := c.load(ctx, append(paths, c.with...))
	if err != nil {
		return err
	}
	named := 0
	for _, f := range fleets {
		if c.fleet != "" && f.GetName() != c.fleet {
			continue
		}
		named++
		result := checkedFleet{Namespace: f.GetNamespace(), Fleet: f.GetName()}
		counts, problems := compile.CheckFleet(f.Snapshot, f.Fleet, c.tell(&result))
		result.Findings = append(f.Oversized(), f.Problems(problems)...)
		c.end(result, counts)
	}
	if len(findings) > 0 { // of objects that could not be read or have no place: their rows were not checked
		c.end(checkedFleet{Findings: findings}, compile.Checked{})
	}
	if named == 0 && len(findings) == 0 {
		return fmt.Errorf("no DeviceFleet in %s; name a CSV (.csv or .csv.gz), or YAML with a DeviceFleet", strings.Join(c.paths, ", "))
	}
	return nil
}

// files checks files of CSV as one inventory.
func (c *fleetCheck) files(ctx context.Context, paths []string) error {
	var snapshot *compile.Snapshot
	var fleet *v1alpha1.DeviceFleet
	result := checkedFleet{Fleet: c.fleet}
	if len(c.with) > 0 {
		fleets, findings, err := c.load(ctx, c.with)
		if err != nil {
			return err
		}
		result.Findings = findings
		f, err := c.choose(fleets)
		if err != nil {
			return err
		}
		snapshot, fleet, result.Namespace, result.Fleet = f.Snapshot, f.Fleet, f.GetNamespace(), f.GetName()
	}
	var sizes sizer
	var csvs []compile.CSV
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		packed := strings.HasSuffix(path, ".gz")
		csvs = append(csvs, compile.CSV{Source: path, In: sizes.reader(file, packed), Packed: packed})
	}
	counts := compile.CheckCSV(snapshot, fleet, csvs, c.tell(&result))
	size, err := sizes.sum()
	result.Size = size
	c.end(result, counts)
	return err
}

// choose gives the fleet whose inventory a CSV is.
func (c *fleetCheck) choose(fleets []offline.Fleet) (offline.Fleet, error) {
	var found []offline.Fleet
	for _, f := range fleets {
		if c.fleet == "" || f.GetName() == c.fleet {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return offline.Fleet{}, usage("%d DeviceFleets in --with could be meant; name one with --fleet", len(found))
	}
	return found[0], nil
}

// tell prints a rejected row at once, so that a long list needs no memory; JSON and YAML are printed whole.
func (c *fleetCheck) tell(result *checkedFleet) func(v1alpha1.RejectedRow) {
	return func(r v1alpha1.RejectedRow) {
		if c.format != "" {
			result.RejectedRows = append(result.RejectedRows, r)
			return
		}
		const row = "%-36s %-24s %-22s %s\n"
		if !c.header {
			c.header = true
			fmt.Fprintf(c.Out, row, "PLACE", "DEVICE", "CODE", "REASON")
		}
		place := r.Source
		if r.Line > 0 {
			place = fmt.Sprintf("%s:%d", r.Source, r.Line)
		}
		fmt.Fprintf(c.Out, row, place, dash(r.Device), r.Code, r.Reason)
	}
}

// end takes a result in, and prints what is to be said of a whole inventory.
func (c *fleetCheck) end(result checkedFleet, counts compile.Checked) {
	result.Rows, result.Rejected, result.ByCode = counts.Rows, counts.Rejected, counts.ByCode
	c.failed = c.failed || result.Rejected > 0 || len(result.Findings) > 0
	if c.format != "" {
		c.results = append(c.results, result)
		return
	}
	printFindings(c.Out, result.Findings)
	if result.Fleet == "" && result.Size == nil {
		return
	}
	var codes []string
	for _, n := range counts.ByCode {
		codes = append(codes, fmt.Sprintf("%d %s", n.Rows, n.Code))
	}
	what := ""
	if result.Fleet != "" {
		what = "DeviceFleet " + result.Fleet + ": "
	}
	line := fmt.Sprintf("%s%d rows, %d rejected", what, counts.Rows, counts.Rejected)
	if len(codes) > 0 {
		line += ": " + strings.Join(codes, ", ")
	}
	fmt.Fprintln(c.Out, line)
	if s := result.Size; s != nil {
		fmt.Fprintf(c.Out, "%d KiB, %d KiB gzipped: fits %s of %d KiB", kib(s.Bytes), kib(s.Gzip), plural(s.Secrets, "Secret"), compile.MaxSecretBytes>>10)
		if s.Secrets > 1 {
			fmt.Fprintf(c.Out, ", about %d rows each, every part with the header line", (counts.Rows+s.Secrets-1)/s.Secrets)
		}
		fmt.Fprintln(c.Out)
	}
}

func kib(bytes int64) int64 { return (bytes + 1023) >> 10 }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sizer measures files of CSV while they are read.
type sizer struct {
	bytes, gzip int64
	packers     []io.Closer
}

type tally struct{ n *int64 }

// Write implements io.Writer.
func (t tally) Write(p []byte) (int, error) {
	*t.n += int64(len(p))
	return len(p), nil
}

// reader gives what counts a file as it is read: its bytes, and those that it has gzipped.
func (s *sizer) reader(in io.Reader, packed bool) io.Reader {
	in = io.TeeReader(in, tally{&s.bytes})
	if packed {
		return io.TeeReader(in, tally{&s.gzip})
	}
	z := gzip.NewWriter(tally{&s.gzip})
	s.packers = append(s.packers, z)
	return io.TeeReader(in, z)
}

// sum ends the measuring.
func (s *sizer) sum() (*csvSize, error) {
	var err error
	for _, z := range s.packers {
		err = errors.Join(err, z.Close())
	}
	// A tenth stays free: parts pack a little worse than the whole.
	fill := int64(compile.MaxSecretBytes) * 9 / 10
	return &csvSize{Bytes: s.bytes, Gzip: s.gzip, Secrets: int(max(1, (s.gzip+fill-1)/fill))}, err
}
