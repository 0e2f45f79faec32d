package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// onCase asks for one case, or does something to it, and prints it as it is then.
func (a *app) onCase(ctx context.Context, f *gridFlags, o *caseOutput, name, method, path string, body any) error {
	w, err := a.caseWords(o)
	if err != nil {
		return err
	}
	s, err := a.grid(ctx, f)
	if err != nil {
		return err
	}
	id, err := caseID(ctx, s, name)
	if err != nil {
		return denied(err)
	}
	var raw json.RawMessage
	if err := s.call(ctx, method, "/v1/cases/"+id+path, nil, body, &raw); err != nil {
		return denied(err)
	}
	return a.printCase(o.format, w, raw)
}

// caseCommand makes a command that does one thing to the case that it is given.
func (a *app) caseCommand(use, short, path string, body func() (any, error)) *cobra.Command {
	var f gridFlags
	var o caseOutput
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.caseNames(&f),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := body()
			if err != nil {
				return err
			}
			return a.onCase(cmd.Context(), &f, &o, args[0], http.MethodPost, path, in)
		},
	}
	f.add(cmd)
	o.add(cmd)
	return cmd
}

// actionBody is what the API takes as an action.
type actionBody struct {
	Action  string     `json:"action"`
	Note    string     `json:"note,omitempty"`
	Duties  []string   `json:"duties,omitempty"`
	Closing []int      `json:"closing,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
}

const noteHelp = "text for colleagues; it is kept apart from the history and may be erased"

func (a *app) caseAckCommand() *cobra.Command {
	in := actionBody{Action: "Acknowledge"}
	cmd := a.caseCommand("ack CASE", "Take a case (接单)", "/actions", func() (any, error) { return in, nil })
	cmd.Flags().StringVar(&in.Note, "note", "", noteHelp)
	return cmd
}

func (a *app) caseCloseCommand() *cobra.Command {
	in := actionBody{Action: "Close"}
	cmd := a.caseCommand("close CASE --done 1,2", "Close a case that is verified (结案), with the steps that are done", "/actions", func() (any, error) { return in, nil })
	cmd.Long = `Close a case that is being verified. Its scenario may have steps to check first: "dizuo cases show" prints them with their numbers. A case is closed
when all of them are done; those that were done before count.`
	cmd.Flags().IntSliceVar(&in.Closing, "done", nil, "numbers of the steps that are done")
	cmd.Flags().StringVar(&in.Note, "note", "", noteHelp)
	return cmd
}

func (a *app) caseReassignCommand() *cobra.Command {
	var in struct {
		Post         string `json:"post,omitempty"`
		Person       string `json:"person,omitempty"`
		Organization string `json:"organization,omitempty"`
		Reason       string `json:"reason"`
	}
	cmd := a.caseCommand("reassign CASE (--post P | --person P | --to O) --reason TEXT", "Give a case to another post, person or organization (改派)", "/reassign", func() (any, error) { return in, nil })
	cmd.Long = `Give a case to another post of its grid or community, person of the own roster, or organization. Who answers for it so far is released and sees it
still; whoever gets it has to take it, with the full time for that. A role of the office may, of an organization that may act on the case.`
	flags := cmd.Flags()
	flags.StringVar(&in.Post, "post", "", "post of the case's micro-grid, grid or community, such as grid-worker")
	flags.StringVar(&in.Person, "person", "", "pseudonym of a person of --organization whom its roster names there")
	flags.StringVar(&in.Organization, "to", "", "Organization whose jurisdiction covers the community (--organization is the one that vouches for you)")
	flags.StringVar(&in.Reason, "reason", "", "why; it is kept apart from the history and may be erased")
	_ = cmd.MarkFlagRequired("reason")
	cmd.MarkFlagsOneRequired("post", "person", "to")
	cmd.MarkFlagsMutuallyExclusive("post", "person", "to")
	return cmd
}

func (a *app) caseActCommand() *cobra.Command {
	var in actionBody
	var until string
	cmd := a.caseCommand("act CASE --action Acknowledge", "Act on a case: Acknowledge, Arrive, Handle, RequestVerification, Verify, Close, Void and so on", "/actions", func() (any, error) {
		if until == "" {
			return in, nil
		}
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return nil, usage("--until: %q is not a time such as 2026-06-01T18:00:00+08:00", until)
		}
		in.Until = &at
		return in, nil
	})
	flags := cmd.Flags()
	flags.StringVar(&in.Action, "action", "", "what to do")
	flags.StringVar(&in.Note, "note", "", noteHelp)
	flags.StringVar(&until, "until", "", "with Extend: until when, as 2026-06-01T18:00:00+08:00; --note says why")
	flags.StringSliceVar(&in.Duties, "duty", nil, "with Dispatch: duties of the organisations to call")
	flags.IntSliceVar(&in.Closing, "done", nil, "with Handle, RequestVerification, Verify and Close: numbers of the closing steps that are done")
	_ = cmd.MarkFlagRequired("action")
	complete(cmd, map[string][]string{"action": {"File", "Decline", "Dispatch", "Acknowledge", "Arrive", "Handle", "Return", "Extend", "Suspend", "Resume", "RequestVerification", "Verify", "Rework", "Close", "Rate", "Void", "Reopen"}})
	return cmd
}
