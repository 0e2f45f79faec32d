package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/trace"
)

func (a *app) scenarioCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "scenario", Short: "Try scenarios (场景) on recorded messages, list them, and say what they do"}
	cmd.AddCommand(a.scenarioTest(), a.scenarioList(), a.scenarioExplain())
	return cmd
}

// scenarioFiles are the files that a scenario command reads, and the one platform in them.
type scenarioFiles struct {
	fileFlags
	platform string
}

func (f *scenarioFiles) add(cmd *cobra.Command) {
	f.fileFlags.add(cmd)
	cmd.Flags().StringVar(&f.platform, "platform", "", "GridPlatform of the files, as NAMESPACE/NAME; default: the only one; none is needed")
}

// open compiles the files. Without a GridPlatform in them one is made up, in the namespace of objects that name none.
func (a *app) openScenarios(ctx context.Context, f *scenarioFiles) (*offline.Platform, []offline.Finding, error) {
	set, err := offline.Load(ctx, a.source(&f.fileFlags), f.namespace)
	if err != nil {
		return nil, nil, err
	}
	if !set.HasPlatform() {
		if set, err = offline.Alone(ctx, set, f.namespace); err != nil {
			return nil, nil, err
		}
	}
	options, err := a.options(&f.fileFlags)
	if err != nil {
		return nil, nil, err
	}
	result, err := offline.Compile(ctx, set, options)
	if err != nil {
		return nil, nil, err
	}
	p, err := f.choose(result.Platforms)
	return p, result.Findings, err
}

func (f *scenarioFiles) choose(all []*offline.Platform) (*offline.Platform, error) {
	var names []string
	for _, p := range all {
		name := p.Object.GetNamespace() + "/" + p.Object.GetName()
		if name == f.platform || f.platform == "" && len(all) == 1 {
			return p, nil
		}
		names = append(names, name)
	}
	if f.platform == "" {
		return nil, usage("the files hold %d platforms; name one with --platform: %s", len(all), strings.Join(names, ", "))
	}
	return nil, usage("--platform %s is not in the files, which have %s", f.platform, strings.Join(names, ", "))
}

func (a *app) scenarioTest() *cobra.Command {
	var f scenarioFiles
	var traceFile, expect, until string
	var all bool
	cmd := &cobra.Command{
		Use:   "test -f DIR --trace FILE [--expect FILE]",
		Short: "Play recorded messages through scenarios, without a cluster",
		Long: `Play a trace through the scenarios in the files, on the trace's own clock, and print the alarms that all evidence leaves: one JSON
object a line. The profiles of the release are there. Scenarios that are off on the platform run too; --all adds those of the release.

A line of the trace is one of
  {"ts":"2026-03-01T08:00:00+08:00","topic":"dizuo/v1/d/FLEET/DEVICE/signal","payload":{"smoke":true}}
  {"ts":"...","context":{"away":true},"scope":"Household","id":"h-17"}     a fact; without scope, of the platform
  {"ts":"...","device":"FLEET/DEVICE","row":{"community":"jinghu","household":"h-17","attributes":{"livesAlone":"true"}}}
  {"ts":"...","case":{"number":"20260301-000001","event":"ResolveOverdue","community":"jinghu"}}     a change of a case
  {"ts":"...","answer":{"device":"FLEET/DEVICE","command":"closeValve","state":"Failed"}}            what became of a command
  {"ts":"...","mode":"Emergency"}                                          a switch of mode (平战)
  {"ts":"..."}                                                             time passes
FLEET is a DeviceFleet of the files, or the name of a profile.

With --expect the lines that come are held against those of a file: "- " is expected and missing, "+ " came and is not expected.

Exit code 0: as expected. 1: it differs, or a scenario or the trace is wrong.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			end, err := optionalTime("--until", until)
			if err != nil {
				return err
			}
			lines, err := a.readTrace(traceFile)
			if err != nil {
				return err
			}
			p, findings, err := a.openScenarios(cmd.Context(), &f)
			if err != nil {
				return err
			}
			wrong := a.tellFindings(findings)
			world, err := a.world(p, all)
			if err != nil {
				return err
			}
			played, err := trace.Play(world, lines, end)
			if err != nil {
				return fmt.Errorf("%s: %w", traceFile, err)
			}
			for _, n := range played.Notes {
				fmt.Fprintf(a.Err, "%s:%d: %s\n", traceFile, n.Line, n.Text)
			}
			if err := a.tellPlayed(played, expect); err != nil || !wrong {
				return err
			}
			return exit{ExitFailed, nil}
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&traceFile, "trace", "", "file with the trace (NDJSON); - for standard input")
	cmd.Flags().StringVar(&expect, "expect", "", "file with the lines that should come")
	cmd.Flags().StringVar(&until, "until", "", "time (RFC 3339) at which the trace's clock ends; default: the last line's")
	cmd.Flags().BoolVar(&all, "all", false, "also the scenarios of the release that run on the platform")
	_ = cmd.MarkFlagRequired("trace")
	return cmd
}

// tellFindings prints what is wrong with scenarios and with what they rest on; the others run.
func (a *app) tellFindings(findings []offline.Finding) (wrong bool) {
	for _, x := range findings {
		switch x.Kind {
		case "Scenario", "DeviceProfile", "DeviceFleet", "Community", "GridPlatform", "":
			fmt.Fprintln(a.Err, x)
			wrong = wrong || x.Kind == "Scenario" || x.Kind == "DeviceProfile" || x.Kind == ""
		}
	}
	return wrong
}

func (a *app) readTrace(name string) ([]trace.Line, error) {
	if name == "-" {
		return trace.Read(bufio.NewReader(a.In), "standard input")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return trace.Read(file, name)
}

func (a *app) world(p *offline.Platform, all bool) (trace.World, error) {
	in, err := p.Playable(all)
	if err != nil {
		return trace.World{}, err
	}
	if len(in.Rules.Scenarios) == 0 {
		return trace.World{}, errors.New("the files hold no scenario that compiles; add one, or say --all for those of the release")
	}
	for _, name := range slices.Sorted(maps.Keys(in.Off)) {
		fmt.Fprintf(a.Err, "# %s is off on the platform, and is played here: %s\n", name, in.Off[name])
	}
	zone, err := time.LoadLocation(in.Zone)
	if err != nil {
		return trace.World{}, fmt.Errorf("time zone of the platform: %w", err)
	}
	return trace.World{Rules: in.Rules, Fleets: in.Fleets, Communities: in.Communities, Zone: zone}, nil
}

// tellPlayed prints what came out, or how it differs from what was expected.
func (a *app) tellPlayed(p trace.Played, expect string) error {
	if expect == "" {
		for _, o := range p.Outputs {
			fmt.Fprintln(a.Out, o.Text())
		}
		return nil
	}
	raw, err := os.ReadFile(expect)
	if err != nil {
		return err
	}
	want, err := trace.ReadExpected(raw, expect)
	if err != nil {
		return err
	}
	different := trace.Difference(want, p.Outputs)
	for _, text := range different {
		fmt.Fprintln(a.Out, text)
	}
	if len(different) > 0 {
		return exit{ExitFailed, fmt.Errorf("%s: %d lines differ", expect, len(different))}
	}
	_, err = io.WriteString(a.Err, fmt.Sprintf("%d lines, all as expected\n", len(want)))
	return err
}

func (a *app) scenarioList() *cobra.Command {
	var f scenarioFiles
	var format string
	cmd := &cobra.Command{
		Use:   "list [-f DIR]",
		Short: "List the scenarios of the release and of the files, which run, and why",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, findings, err := a.openListed(cmd.Context(), &f)
			if err != nil {
				return err
			}
			list := p.Listed()
			wrong := a.tellFindings(findings)
			printed, err := printAs(a.Out, format, list)
			if err == nil && !printed {
				err = table(a.Out, listedRows(list))
			}
			if err == nil && wrong {
				return exit{ExitFailed, nil}
			}
			return err
		},
	}
	f.add(cmd)
	delete(cmd.Flags().Lookup("filename").Annotations, cobra.BashCompOneRequiredFlag)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

// openListed takes the release alone where no files are named.
func (a *app) openListed(ctx context.Context, f *scenarioFiles) (*offline.Platform, []offline.Finding, error) {
	if len(f.paths) > 0 {
		return a.openScenarios(ctx, f)
	}
	set, err := offline.Alone(ctx, &offline.Set{}, f.namespace)
	if err != nil {
		return nil, nil, err
	}
	options, err := a.options(&f.fileFlags)
	if err != nil {
		return nil, nil, err
	}
	result, err := offline.Compile(ctx, set, options)
	if err != nil {
		return nil, nil, err
	}
	return result.Platforms[0], nil, nil
}

func listedRows(list []offline.Listed) [][]string {
	rows := [][]string{{"NAME", "ID", "CLASS", "DATA", "SEVERITY", "RUNS", "WHY"}}
	for _, l := range list {
		runs := "no"
		if l.Runs {
			runs = "yes"
		}
		rows = append(rows, []string{l.Name, l.CatalogueID, l.CaseClass, l.DataClass, l.Severity, runs, l.Why})
	}
	return rows
}
