package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
)

func (a *app) auditReplay() *cobra.Command {
	var opa string
	cmd := &cobra.Command{
		Use:   "replay FILE.tar.gz",
		Short: "Make every decision of an archive again, with stock opa, and compare",
		Long: `Takes the signed parts of the policy that each decision names, checks their signature and digest, and has opa
decide again on the very input that was logged. Exit code 0: every decision is the same. 1: one is not, or cannot be made again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fsys, archive, done, err := openLog(args[0])
			defer done()
			if err != nil {
				return err
			}
			if !archive {
				return usage("%s is a folder; name an archive of `dizuo audit export`", args[0])
			}
			sets, err := audit.Replays(fsys)
			if err != nil {
				return err
			}
			same, own, bad := 0, 0, 0
			for _, set := range sets {
				if set.Missing != "" {
					bad += len(set.Lines)
					fmt.Fprintf(a.Out, "%d decisions cannot be made again: %s\n", len(set.Lines), set.Missing)
					continue
				}
				answers, err := evaluate(cmd.Context(), opa, fsys, set)
				if err != nil {
					return err
				}
				for i, l := range set.Lines {
					err := audit.Same(answers[i], l.Said.Decision)
					switch {
					case err == nil:
						same++
					case audit.Own(l.Said.Decision):
						own++
					default:
						bad++
						fmt.Fprintf(a.Out, "chain %s line %d, request %s: %v\n", l.Instance, l.Sequence, l.Request, err)
					}
				}
			}
			fmt.Fprintf(a.Out, "%d decisions are the same, %d refused by the gateway beside the policy, %d not\n", same, own, bad)
			if bad > 0 {
				return exit{code: ExitFailed}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&opa, "opa", "opa", "the opa program")
	return cmd
}

// evaluate has opa decide on all requests of a set at once.
func evaluate(ctx context.Context, opa string, fsys fs.FS, set *audit.Replay) ([]json.RawMessage, error) {
	dir, err := os.MkdirTemp("", "dizuo-replay-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	args := []string{"eval", "--format", "json", "--stdin-input"}
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
	raw, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, opa, append(args, audit.ReplayQuery)...) //nolint:gosec // the program that the auditor named
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(raw), &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s eval: %w: %s%s", opa, err, stderr.Bytes(), out)
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
