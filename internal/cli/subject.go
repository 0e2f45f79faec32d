package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// denied gives a refusal of a service the exit code of one.
func denied(err error) error {
	var r *Refusal
	if errors.As(err, &r) && (r.Status == http.StatusForbidden || r.Status == http.StatusUnauthorized) {
		return exit{ExitDenied, err}
	}
	return err
}

// personKey reads what a source knows a person by.
func (a *app) personKey(file string) (string, error) {
	var raw []byte
	var err error
	if file == "-" {
		raw, err = io.ReadAll(io.LimitReader(a.In, 4096))
	} else {
		raw, err = os.ReadFile(file)
	}
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(raw))
	if key == "" {
		return "", usage("--key-file %s is empty; write the person's key into it", file)
	}
	return key, nil
}

func (a *app) subjectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "subject", Short: "What a resident may ask: who read my record, put it right, erase it",
		Long: `A resident asks the committee, the street or town, or the data office; its privacy officer asks the vault. Each act is a line of the log
that the resident sees, too. People are named by a random id (SUBJECT), or by what a source knows them by (--source, --key-file).`, Args: noArgs,
	}
	cmd.AddCommand(a.subjectRegisterCommand(), a.subjectLookupCommand(), a.subjectAccessCommand(), a.subjectCorrectCommand(), a.subjectEraseCommand(), a.subjectLinkCommand(), a.subjectTasksCommand(), a.subjectDoneCommand(), a.subjectLogCommand())
	return cmd
}

func (a *app) subjectRegisterCommand() *cobra.Command {
	var f vaultFlags
	var division, until string
	var guardians []string
	cmd := &cobra.Command{
		Use: "register [SUBJECT] --source S --key-file FILE --division CODE --server URL", Short: "Give a person a subject, or add an identity or a guardian to one", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.source == "" {
				return usage("--source and --key-file say who it is; give them")
			}
			key, err := a.personKey(f.keyFile)
			if err != nil {
				return err
			}
			body := map[string]any{"subject": strings.Join(args, ""), "division": division, "identities": []any{map[string]string{"source": f.source, "key": key}}}
			var list []any
			for _, g := range guardians {
				kind, subject, ok := strings.Cut(g, "=")
				if !ok {
					return usage("--guardian %q: write KIND=SUBJECT, such as Parent=0f3c...", g)
				}
				one := map[string]string{"kind": kind, "subject": subject}
				if until != "" {
					one["until"] = until
				}
				list = append(list, one)
			}
			if list != nil {
				body["guardians"] = list
			}
			s, err := a.vault(cmd.Context(), &f)
			if err != nil {
				return err
			}
			var out struct {
				Subject string `json:"subject"`
			}
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/subjects", nil, body, &out); err != nil {
				return denied(err)
			}
			_, err = fmt.Fprintln(a.Out, out.Subject)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&division, "division", "", "where the person lives, as a division code; for a new subject")
	cmd.Flags().StringSliceVar(&guardians, "guardian", nil, "who speaks for the person, as KIND=SUBJECT: Parent, Guardian or Authorised")
	cmd.Flags().StringVar(&until, "until", "", "when those of --guardian speak for the person no more, such as the day on which a child comes of age (RFC 3339)")
	return cmd
}

func (a *app) subjectLookupCommand() *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use: "lookup --source S --key-file FILE --server URL", Short: "Find a subject, and whom they speak for", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.source == "" {
				return usage("--source and --key-file say who it is; give them")
			}
			key, err := a.personKey(f.keyFile)
			if err != nil {
				return err
			}
			s, err := a.vault(cmd.Context(), &f)
			if err != nil {
				return err
			}
			var out struct {
				Subject string            `json:"subject"`
				Wards   map[string]string `json:"wards"`
			}
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/subjects/lookup", nil, map[string]string{"source": f.source, "key": key, "reason": f.reason}, &out); err != nil {
				return denied(err)
			}
			rows := [][]string{{"SUBJECT", "RELATION"}, {out.Subject, "-"}}
			for _, ward := range sortedKeys(out.Wards) {
				rows = append(rows, []string{ward, out.Wards[ward] + " of"})
			}
			return table(a.Out, rows)
		},
	}
	f.add(cmd)
	return cmd
}

// access as the vault answers.
type subjectReads struct {
	Subject string `json:"subject"`
	Reads   []struct {
		At           time.Time         `json:"at"`
		Organization string            `json:"organization"`
		Name         string            `json:"name,omitempty"`
		Role         string            `json:"role,omitempty"`
		Purpose      string            `json:"purpose,omitempty"`
		Dataset      string            `json:"dataset,omitempty"`
		Agreement    string            `json:"agreement,omitempty"`
		Fields       []string          `json:"fields,omitempty"`
		Masked       map[string]string `json:"masked,omitempty"`
		BreakGlass   bool              `json:"breakGlass,omitempty"`
		Act          string            `json:"act,omitempty"`
		Request      string            `json:"request"`
		Log          string            `json:"log"`
		Unknown      bool              `json:"unknown,omitempty"`
	} `json:"reads"`
	More    bool                 `json:"more,omitempty"`
	Through map[string]time.Time `json:"through"`
}

func (a *app) subjectAccessCommand() *cobra.Command {
	var f vaultFlags
	var from, to, format, receipt string
	cmd := &cobra.Command{
		Use: "access SUBJECT [--receipt FILE] --server URL", Short: "Who read what of a person: when, which organisation, in which role, what for, under which agreement", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, subject, err := a.vaultSubject(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			query := url.Values{"reason": {f.reason}}
			for name, v := range map[string]string{"from": from, "to": to} {
				if v != "" {
					query.Set(name, v)
				}
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), http.MethodGet, "/v1/subjects/"+url.PathEscape(subject)+"/access", query, nil, &raw); err != nil {
				return denied(err)
			}
			if err := keepReceipt(receipt, raw); err != nil {
				return err
			}
			return a.printReads(format, raw)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&receipt, "receipt", "", "file for the same answer, signed")
	cmd.Flags().StringVar(&from, "from", "", "from when on, such as 2026-05-01T00:00:00+08:00; default: all that is kept")
	cmd.Flags().StringVar(&to, "to", "", "until when; default: now")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

// keepReceipt writes the signed receipt of a vault's answer (its field jws) to a file, if one is named, for its owner alone.
func keepReceipt(file string, answer json.RawMessage) error {
	if file == "" {
		return nil
	}
	var signed struct{ JWS string }
	if err := json.Unmarshal(answer, &signed); err != nil {
		return err
	}
	if signed.JWS == "" {
		return errors.New("the vault gave no receipt: it is of an older release")
	}
	return os.WriteFile(file, []byte(signed.JWS+"\n"), 0o600)
}

func (a *app) printReads(format string, raw json.RawMessage) error {
	if printed, err := printAs(a.Out, format, raw); printed {
		return err
	}
	var out subjectReads
	if err := json.Unmarshal(raw, &out); err != nil {
		return err
	}
	rows := [][]string{{"WHEN", "WHO", "ROLE", "WHAT FOR", "DATASET", "FIELDS", "AGREEMENT", "LOG"}}
	for _, r := range out.Reads {
		var fields []string
		for _, name := range r.Fields {
			if m := r.Masked[name]; m != "" {
				name += "(" + m + ")"
			}
			fields = append(fields, name)
		}
		who, what := either(r.Name, r.Organization), r.Purpose
		if r.Unknown {
			who = "(erased by age)"
		}
		if r.Act != "" {
			what = strings.TrimSpace(r.Act + " " + r.Purpose)
		}
		if r.BreakGlass {
			what += " (break-glass)"
		}
		rows = append(rows, []string{clock(r.At), dash(who), dash(r.Role), dash(what), dash(r.Dataset), dash(strings.Join(fields, ",")), dash(r.Agreement), r.Log})
	}
	if err := table(a.Out, rows); err != nil {
		return err
	}
	for _, chain := range sortedKeys(out.Through) {
		fmt.Fprintf(a.Err, "# the log of %s is here until %s\n", chain, clock(out.Through[chain]))
	}
	if out.More {
		fmt.Fprintln(a.Err, "# there are older ones: ask again with --to")
	}
	return nil
}

func (a *app) subjectCorrectCommand() *cobra.Command {
	var f vaultFlags
	var dataset, statement, receipt string
	var fields []string
	cmd := &cobra.Command{
		Use: "correct SUBJECT --dataset D --fields A,B --statement-file FILE [--receipt FILE] --server URL", Short: "Ask the one writer of a dataset to put something right", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.personKey(statement)
			if err != nil {
				return err
			}
			s, subject, err := a.vaultSubject(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			body := map[string]any{"dataset": dataset, "fields": fields, "statement": text, "reason": f.reason}
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/subjects/"+url.PathEscape(subject)+"/correct", nil, body, &raw); err != nil {
				return denied(err)
			}
			var out struct{ Dataset, Organization, Task string }
			if err := errors.Join(json.Unmarshal(raw, &out), keepReceipt(receipt, raw)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "task %s: %s, the one writer of %s, is asked\n", out.Task, out.Organization, out.Dataset)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&dataset, "dataset", "", "dataset in which something is wrong")
	cmd.Flags().StringVar(&receipt, "receipt", "", "file for the signed receipt")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "fields that are wrong")
	cmd.Flags().StringVar(&statement, "statement-file", "", "file that says what is wrong and what is right; - reads it from the input")
	for _, name := range []string{"dataset", "fields", "statement-file"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (a *app) subjectEraseCommand() *cobra.Command {
	var f vaultFlags
	var receipt string
	var yes bool
	cmd := &cobra.Command{
		Use: "erase SUBJECT --yes [--receipt FILE] --server URL", Short: "Erase a person for good, with a signed receipt", Args: cobra.MaximumNArgs(1),
		Long: `Destroy the key and the identities of a subject, withdraw its consents, delete its rows in the platform's own datasets, and ask the writers of
all others. It cannot be undone. The receipt (JWS, ES256, certificate in x5c) says what was done and what stays, and why.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usage("an erasure cannot be undone: add --yes")
			}
			s, subject, err := a.vaultSubject(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/subjects/"+url.PathEscape(subject)+"/erase", nil, map[string]string{"reason": f.reason}, &raw); err != nil {
				return denied(err)
			}
			var out struct {
				Receipt struct {
					ID        string `json:"id"`
					Destroyed struct {
						Keys, Identities, Relations int64
						Rows                        map[string]int64
					} `json:"destroyed"`
					ConsentsWithdrawn int64
					Asked             []struct{ Dataset, Organization, Task string }
					Kept              []struct{ What, Why string }
				} `json:"receipt"`
			}
			if err := errors.Join(json.Unmarshal(raw, &out), keepReceipt(receipt, raw)); err != nil {
				return err
			}
			r := out.Receipt
			fmt.Fprintf(a.Out, "erased: receipt %s\n  destroyed: %d key, %d identities, %d relations; %d consents withdrawn\n", r.ID, r.Destroyed.Keys, r.Destroyed.Identities, r.Destroyed.Relations, r.ConsentsWithdrawn)
			for _, d := range sortedKeys(r.Destroyed.Rows) {
				fmt.Fprintf(a.Out, "  deleted: %d rows of %s\n", r.Destroyed.Rows[d], d)
			}
			for _, t := range r.Asked {
				fmt.Fprintf(a.Out, "  asked: %s to erase in %s (task %s)\n", t.Organization, t.Dataset, t.Task)
			}
			for _, k := range r.Kept {
				fmt.Fprintf(a.Out, "  kept: %s. %s\n", k.What, k.Why)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&receipt, "receipt", "", "file for the signed receipt")
	cmd.Flags().BoolVar(&yes, "yes", false, "it cannot be undone")
	return cmd
}

func (a *app) subjectTasksCommand() *cobra.Command {
	var f vaultFlags
	var format string
	cmd := &cobra.Command{
		Use: "tasks --server URL", Short: "What the own organisation, as the one writer, is asked to put right or to erase", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.vault(cmd.Context(), &f)
			if err != nil {
				return err
			}
			var out struct {
				Tasks []struct {
					ID        string    `json:"id"`
					Kind      string    `json:"kind"`
					Dataset   string    `json:"dataset"`
					Subject   string    `json:"subject"`
					Fields    []string  `json:"fields,omitempty"`
					CreatedAt time.Time `json:"createdAt"`
					Text      string    `json:"text,omitempty"`
				} `json:"tasks"`
			}
			if err := s.call(cmd.Context(), http.MethodGet, "/v1/tasks", nil, nil, &out); err != nil {
				return denied(err)
			}
			if printed, err := printAs(a.Out, format, out.Tasks); printed {
				return err
			}
			rows := [][]string{{"TASK", "KIND", "DATASET", "SUBJECT", "FIELDS", "SINCE", "TEXT"}}
			for _, t := range out.Tasks {
				rows = append(rows, []string{t.ID, t.Kind, t.Dataset, t.Subject, dash(strings.Join(t.Fields, ",")), day(&t.CreatedAt), dash(strings.Join(strings.Fields(t.Text), " "))})
			}
			return table(a.Out, rows)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

func (a *app) subjectDoneCommand() *cobra.Command {
	var f vaultFlags
	var outcome string
	cmd := &cobra.Command{
		Use: "done TASK --outcome Done|NotThere|Refused --server URL", Short: "Say that a task is done", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.vault(cmd.Context(), &f)
			if err != nil {
				return err
			}
			return denied(s.call(cmd.Context(), http.MethodPost, "/v1/tasks/"+url.PathEscape(args[0])+"/done", nil, map[string]string{"outcome": outcome}, nil))
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&outcome, "outcome", "Done", "Done, NotThere or Refused")
	return cmd
}

func (a *app) subjectLogCommand() *cobra.Command {
	var f vaultFlags
	var out string
	cmd := &cobra.Command{
		Use: "log --out DIR --server URL", Short: "Take the vault's own log out, as files that audit verify checks", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.vault(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o700); err != nil {
				return err
			}
			var lines []string
			for more := true; more; {
				var page struct {
					Lines []string `json:"lines"`
				}
				query := url.Values{"after": {strconv.Itoa(len(lines))}}
				if err := s.call(cmd.Context(), http.MethodGet, "/v1/lines", query, nil, &page); err != nil {
					return denied(err)
				}
				lines = append(lines, page.Lines...)
				more = len(page.Lines) == 1000
			}
			if err := os.WriteFile(filepath.Join(out, decisionlog.FileName(1)), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "%d lines in %s\n", len(lines), out)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&out, "out", "", "folder for the files")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}
