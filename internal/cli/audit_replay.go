package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/policies"
)

// notPublicKeys says what a file holds in place of public keys; empty where it holds nothing else.
func notPublicKeys(raw []byte) string {
	block, rest := pem.Decode(raw)
	if block == nil {
		return "holds no PEM"
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return "holds a " + block.Type
		}
	}
	return ""
}

func (a *app) auditReplay() *cobra.Command {
	var opa, bundleKeys string
	cmd := &cobra.Command{
		Use:   "replay FILE.tar.gz --bundle-keys FILE",
		Short: "Make every decision of an archive again, with stock opa, and compare",
		Long: `Takes the signed parts of the policy that each decision names, checks lease, index, signature and digest against the
keys that you bring, and has opa decide again on the very input that was logged. opa gets no network, clock or environment.

Exit code 0: all that was given is given by the policy. 1: something is not, or cannot be made again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if bundleKeys == "" {
				return usage("--bundle-keys is missing: name the PEM file with the keys by which the platform signs policy, former ones too. " +
					"Take them from the platform's publication, as fixed at its acceptance (docs/audit.md), and not from the archive: who made that may have signed it")
			}
			raw, err := os.ReadFile(bundleKeys)
			if err != nil {
				return err
			}
			if wrong := notPublicKeys(raw); wrong != "" {
				return fmt.Errorf("--bundle-keys %s: %s; give the PEM file with the public keys (BEGIN PUBLIC KEY) by which the platform signs policy, from its publication", bundleKeys, wrong)
			}
			keys, err := seal.NewTrust(raw)
			if err != nil {
				return fmt.Errorf("--bundle-keys %s: %w", bundleKeys, err)
			}
			fsys, archive, done, err := openLog(args[0])
			defer done()
			if err != nil {
				return err
			}
			if !archive {
				return usage("%s is a folder; name an archive of `dizuo audit export`", args[0])
			}
			found, err := audit.Replays(fsys, keys, a.now())
			if err != nil {
				return err
			}
			r := replaying{app: a, opa: opa, fsys: fsys}
			for _, p := range found.Problems {
				fmt.Fprintln(a.Out, "PROBLEM "+p)
			}
			for _, set := range found.Sets {
				r.set(cmd.Context(), set)
			}
			r.summary(found)
			if r.differ+r.cannot+len(found.Problems) > 0 {
				return exit{code: ExitFailed}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&opa, "opa", "opa", "the opa program")
	cmd.Flags().StringVar(&bundleKeys, "bundle-keys", "", "PEM file with the keys by which the platform signs policy, former ones too, from its publication and not from the archive")
	return cmd
}

// replaying counts how the decisions of an archive compare.
type replaying struct {
	*app
	opa                          string
	fsys                         fs.FS
	same, unsaid, differ, cannot int
}

// set compares the decisions that the same parts made.
func (r *replaying) set(ctx context.Context, set *audit.Replay) {
	missing, answers := set.Missing, []json.RawMessage(nil)
	if missing == "" {
		var err error
		if answers, err = evaluate(ctx, r.opa, r.fsys, set); err != nil {
			missing = err.Error()
		}
	}
	if missing != "" {
		r.cannot += len(set.Lines)
		fmt.Fprintf(r.Out, "%d decisions cannot be made again (%s): %s\n", len(set.Lines), places(set.Lines), missing)
		return
	}
	for i, l := range set.Lines {
		switch err := audit.Same(answers[i], l.Said.Decision); {
		case err == nil:
			r.same++
		case audit.Refuses(*l.Said.Decision):
			r.unsaid++
			fmt.Fprintf(r.Out, "chain %s line %d, request %s: refused, and the log does not say that it was beside the policy: %v\n", l.Instance, l.Sequence, l.Request, err)
		default:
			r.differ++
			fmt.Fprintf(r.Out, "chain %s line %d, request %s: %v\n", l.Instance, l.Sequence, l.Request, err)
		}
	}
}

func (r *replaying) summary(found audit.Replayed) {
	ours := policies.Access()
	for _, digest := range slices.Sorted(maps.Keys(found.Texts)) {
		if !maps.Equal(found.Texts[digest], ours) {
			fmt.Fprintf(r.Out, "note: the policy in policy/%s is another text than that of this program: read it\n", audit.PartName(digest))
		}
	}
	gateway := 0
	for _, reason := range slices.Sorted(maps.Keys(found.Gateway)) {
		gateway += found.Gateway[reason]
		fmt.Fprintf(r.Out, "%d decided by the gateway: refused, %s\n", found.Gateway[reason], reason)
	}
	if found.Others > 0 {
		fmt.Fprintf(r.Out, "%d decisions are of other agreements\n", found.Others)
	}
	fmt.Fprintf(r.Out, "%d decisions are the same, %d refused by the gateway beside the policy, %d refused without saying so, %d differ, %d cannot be made again\n",
		r.same, gateway, r.unsaid, r.differ, r.cannot)
}

// places names the first lines of a list.
func places(lines []decisionlog.Line) string {
	var out []string
	for _, l := range lines[:min(len(lines), 10)] {
		out = append(out, fmt.Sprintf("chain %s line %d", l.Instance, l.Sequence))
	}
	if more := len(lines) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// evaluate has opa decide on all requests of a set at once.
func evaluate(ctx context.Context, opa string, fsys fs.FS, set *audit.Replay) ([]json.RawMessage, error) {
	dir, err := os.MkdirTemp("", "dizuo-replay-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	raw, err := json.Marshal(policies.Capabilities())
	if err != nil {
		return nil, err
	}
	capabilities := filepath.Join(dir, "capabilities.json")
	if err := os.WriteFile(capabilities, raw, 0o600); err != nil {
		return nil, err
	}
	args := []string{"eval", "--format", "json", "--stdin-input", "--capabilities", capabilities}
	for _, part := range set.Parts {
		raw, err := fs.ReadFile(fsys, part)
		if err != nil {
			return nil, err
		}
		name := filepath.Join(dir, filepath.Base(part))
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--bundle", name)
	}
	var input struct {
		Requests []*contract.DecisionInput `json:"requests"`
	}
	for _, l := range set.Lines {
		input.Requests = append(input.Requests, l.Said.Input)
	}
	if raw, err = json.Marshal(input); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, opa, append(args, audit.ReplayQuery)...) //nolint:gosec // the program that the auditor named
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(raw), &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s eval: %w: %.1000s", opa, err, bytes.TrimSpace(append(stderr.Bytes(), out...)))
	}
	var answer struct {
		Result []struct {
			Expressions []struct {
				Value []json.RawMessage `json:"value"`
			} `json:"expressions"`
		} `json:"result"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("%s eval: %w", opa, err)
	}
	if len(answer.Result) != 1 || len(answer.Result[0].Expressions) != 1 || len(answer.Result[0].Expressions[0].Value) != len(set.Lines) {
		return nil, fmt.Errorf("%s eval: it does not answer every one of %d requests", opa, len(set.Lines))
	}
	return answer.Result[0].Expressions[0].Value, nil
}
