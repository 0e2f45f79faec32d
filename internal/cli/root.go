package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes; see `dizuo help exit-codes`.
const (
	ExitOK       = 0
	ExitFailed   = 1
	ExitUsage    = 2
	ExitNotReady = 3
	ExitDenied   = 4
	// ExitConsistentOnly: a decision log is whole in itself, and no witness says that its end was not cut off.
	ExitConsistentOnly = 5
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is what all commands share.
type app struct {
	Streams
	now func() time.Time
	env func(string) string
	// wait returns after a time, or when ctx ends, with its error.
	wait func(ctx context.Context, d time.Duration) error
}

// exit ends a command with a code. A nil err says that the command has already said what there was to say.
type exit struct {
	code int
	err  error
}

// Error implements error.
func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

// Unwrap gives the cause.
func (e exit) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return exit{ExitUsage, fmt.Errorf(format, args...)}
}

// Main runs the command line and gives the exit code. args are without the program's name.
func Main(ctx context.Context, args []string, s Streams) int {
	root := newRoot(&app{Streams: s, now: time.Now, env: os.Getenv, wait: wait})
	root.SetArgs(args)
	return report(root.ExecuteContext(ctx), s.Err)
}

// wait returns after a time, or when ctx ends, with its error.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// noArgs refuses arguments, and says by which flag one is given that is often written as one.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	switch {
	case cmd.Flags().Lookup("filename") != nil:
		hint = "; name files with -f"
	case cmd.Flags().Lookup("namespace") != nil:
		hint = "; name a namespace with -n"
	}
	return usage("%s takes no arguments, got %q%s", cmd.CommandPath(), args[0], hint)
}

// report prints an error, if there is one to print, and gives the exit code.
func report(err error, w io.Writer) int {
	if err == nil {
		return ExitOK
	}
	var e exit
	if !errors.As(err, &e) {
		e = exit{ExitFailed, err}
		for _, prefix := range []string{"unknown command", "unknown flag", "required flag", "accepts ", "requires at least", "if any flags in the group", "at least one of the flags in the group"} {
			if strings.HasPrefix(err.Error(), prefix) {
				e.code = ExitUsage
			}
		}
	}
	if e.err != nil {
		fmt.Fprintln(w, "dizuo: "+e.err.Error())
	}
	return e.code
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "dizuo",
		Short: "The digital base (数字底座) for communities, as code",
		Long: `dizuo checks and explains the YAML of a community platform, signs agreements, makes device credentials,
shows how a platform stands, and speaks to its grid service and gateway.

Without a cluster:  render, lint, explain, plan, access, audit, catalog, agreement, organization, key, fleet, scenario, admit, webhook
With a cluster or a service:  plan, status, cases, consent, deliveries, device, duty, mode, read, subject, token`,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exit{ExitUsage, err} })
	root.AddCommand(
		a.accessCommand(),
		a.admitCommand(),
		a.agreementCommand(),
		a.auditCommand(),
		a.casesCommand(),
		a.catalogCommand(),
		a.consentCommand(),
		a.deliveriesCommand(),
		a.deviceCommand(),
		a.dutyCommand(),
		a.explainCommand(),
		a.fleetCommand(),
		a.keyCommand(),
		a.lintCommand(),
		a.modeCommand(),
		a.organizationCommand(),
		a.planCommand(),
		a.readCommand(),
		a.renderCommand(),
		a.scenarioCommand(),
		a.statusCommand(),
		a.subjectCommand(),
		a.tokenCommand(),
		a.versionCommand(),
		a.webhookCommand(),
		&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodes},
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.RunE = func(*cobra.Command, []string) error { return usage("write completion bash, zsh, fish or powershell") }
			c.Args = nil
		}
	}
	return root
}

const exitCodes = `Exit codes of dizuo:
  0  done; for status: ready
  1  failed; for render, lint, agreement verify and fleet verify: there are problems
  2  wrong use of the command line; for plan: there is a difference; for access diff: access widens
  3  status: not ready
  4  read, access check: refused, with the reasons; cases, consent, deliveries, duty, mode, subject: this person may not
  5  audit verify: internally consistent only`

// writeFile writes a file that holds a secret: mode 0600, and never over another one unless force.
func writeFile(path string, data []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; name another file, or use --force", path)
	}
	if err != nil {
		return err
	}
	if err := f.Chmod(0o600); err != nil { // a file that was there before keeps its mode otherwise
		return errors.Join(err, f.Close())
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
