package cli

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// Consent as the vault answers.
type Consent struct {
	ID                 string     `json:"id"`
	Subject            string     `json:"subject"`
	Scope              string     `json:"scope"`
	Purposes           []string   `json:"purposes"`
	GivenAt            time.Time  `json:"givenAt"`
	WithdrawnAt        *time.Time `json:"withdrawnAt,omitempty"`
	ExpiresAt          *time.Time `json:"expiresAt,omitempty"`
	Guardian           string     `json:"guardian,omitempty"`
	Evidence           string     `json:"evidence,omitempty"`
	GivenTo            string     `json:"givenTo,omitempty"`
	RecordedBy         string     `json:"recordedBy,omitempty"`
	WithdrawalEvidence string     `json:"withdrawalEvidence,omitempty"`
}

func (a *app) consentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "consent", Short: "Write consents (同意) down, withdraw and list them", Long: `Consents are kept by the vault; the gateway looks at them with every read. A person of a committee, a street or town, or the data office
writes them down, in the role ConsentRecorder or PrivacyOfficer.`, Args: noArgs}
	cmd.AddCommand(a.consentGiveCommand(), a.consentWithdrawCommand(), a.consentListCommand())
	return cmd
}

func (a *app) consentGiveCommand() *cobra.Command {
	var f vaultFlags
	var scope, guardian, evidence, given, expires, format string
	var purposes []string
	cmd := &cobra.Command{
		Use:   "give SUBJECT --scope S --purpose P --evidence REF --server URL",
		Short: "Write a consent down; it is in force with the next read",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, p := range purposes {
				if !slices.Contains(v1alpha1.Purposes(), v1alpha1.Purpose(p)) {
					return usage("--purpose %s: there is no such purpose, so it would cover nothing; write one of those of agreements", p)
				}
			}
			body := map[string]any{"scope": scope, "purposes": purposes, "evidence": evidence}
			for name, v := range map[string]string{"guardian": guardian, "givenAt": given, "expiresAt": expires} {
				if v != "" {
					body[name] = v
				}
			}
			s, subject, err := a.vaultSubject(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			body["subject"] = subject
			var c Consent
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/consents", nil, body, &c); err != nil {
				return denied(err)
			}
			return a.printConsents(format, []Consent{c})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&scope, "scope", "", "scope of the dataset's consent, or agreement. and the uid of the agreement whose legal basis is the consent")
	flags.StringSliceVar(&purposes, "purpose", nil, "purposes that it covers, and no other")
	flags.StringVar(&evidence, "evidence", "", "where what proves it lies, such as the number of a form")
	flags.StringVar(&guardian, "guardian", "", "subject of the guardian who gave it")
	flags.StringVar(&given, "given", "", "when it was given, such as 2026-05-01T09:00:00+08:00; default: now")
	flags.StringVar(&expires, "expires", "", "when it ends by itself")
	flags.StringVarP(&format, "output", "o", "", "json or yaml")
	for _, name := range []string{"scope", "purpose", "evidence"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (a *app) consentWithdrawCommand() *cobra.Command {
	var f vaultFlags
	var evidence, format string
	var only bool
	cmd := &cobra.Command{
		Use: "withdraw CONSENT --evidence REF --server URL", Short: "Withdraw a consent, by its id, from now on", Args: cobra.ExactArgs(1),
		Long: `Withdraw a consent from now on, and with it whatever else stands of the same person and scope for one of its purposes: all that ended is
printed. Another purpose that one of them covered is no more covered either; "dizuo consent give" writes down what still holds.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.vault(cmd.Context(), &f)
			if err != nil {
				return err
			}
			var out struct {
				Consent
				Along []Consent `json:"along"`
			}
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/consents/"+url.PathEscape(args[0])+"/withdraw", nil, map[string]any{"evidence": evidence, "only": only}, &out); err != nil {
				return denied(err)
			}
			return a.printConsents(format, append([]Consent{out.Consent}, out.Along...))
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&evidence, "evidence", "", "where what proves the withdrawal lies")
	cmd.Flags().BoolVar(&only, "only", false, "leave others of the same scope in force, as where one was written down twice")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	_ = cmd.MarkFlagRequired("evidence")
	return cmd
}

func (a *app) consentListCommand() *cobra.Command {
	var f vaultFlags
	var format string
	cmd := &cobra.Command{
		Use: "list SUBJECT --server URL", Short: "List the consents of a subject", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, subject, err := a.vaultSubject(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			var out struct {
				Consents []Consent `json:"consents"`
			}
			if err := s.call(cmd.Context(), http.MethodGet, "/v1/consents", url.Values{"subject": {subject}}, nil, &out); err != nil {
				return denied(err)
			}
			return a.printConsents(format, out.Consents)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

func (a *app) printConsents(format string, list []Consent) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{{"CONSENT", "SCOPE", "PURPOSES", "GIVEN", "EXPIRES", "WITHDRAWN", "TO", "EVIDENCE"}}
	for _, c := range list {
		rows = append(rows, []string{c.ID, c.Scope, strings.Join(c.Purposes, ","), day(&c.GivenAt), day(c.ExpiresAt), day(c.WithdrawnAt), dash(c.GivenTo), c.Evidence})
	}
	return table(a.Out, rows)
}

// day prints a time for people, or a dash.
func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return clock(*t)
}

// vaultFlags say how the vault is reached and as whom, and who a command is about.
type vaultFlags struct {
	gridFlags
	source, keyFile, reason string
}

// addVault adds the flags that say how the vault is reached and as whom.
func (f *vaultFlags) addVault(cmd *cobra.Command) {
	f.gridFlags.add(cmd)
	cmd.Flags().Lookup("server").Usage = "address of the vault, such as https://dizuo-vault.NAMESPACE.svc:8443"
	_ = cmd.MarkFlagRequired("server")
}

func (f *vaultFlags) add(cmd *cobra.Command) {
	f.addVault(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.source, "source", "", "in place of SUBJECT: dataset or register that knows the person, such as resident-id")
	flags.StringVar(&f.keyFile, "key-file", "", "with --source: file with the person's key there; - reads it from the input. It is no flag, so that it stays out of the shell's history")
	flags.StringVar(&f.reason, "reason", "SubjectRequest", "why it is asked: SubjectRequest, GuardianRequest, CourtOrder, Supervision or PurposeEnded; it is logged")
	cmd.MarkFlagsRequiredTogether("source", "key-file")
}

// vault reaches the vault with a person's token.
func (a *app) vault(ctx context.Context, f *vaultFlags) (*service, error) {
	ca, err := a.gridCA(ctx, &f.gridFlags)
	if err != nil {
		return nil, err
	}
	token, err := a.personToken(ctx, &f.gridFlags, contract.RoleVault)
	if err != nil {
		return nil, err
	}
	s, err := newService(f.server, ca, nil)
	if err != nil {
		return nil, err
	}
	s.header.Set("Authorization", "Bearer "+token)
	return s, nil
}

// vaultSubject reaches the vault and finds who a command is about.
func (a *app) vaultSubject(ctx context.Context, f *vaultFlags, args []string) (*service, string, error) {
	if (len(args) == 1) == (f.source != "") {
		return nil, "", usage("name the person by SUBJECT, or by --source and --key-file")
	}
	s, err := a.vault(ctx, f)
	if err != nil || len(args) == 1 {
		return s, strings.Join(args, ""), err
	}
	key, err := a.personKey(f.keyFile)
	if err != nil {
		return nil, "", err
	}
	var found struct {
		Subject string `json:"subject"`
	}
	err = s.call(ctx, http.MethodPost, "/v1/subjects/lookup", nil, map[string]string{"source": f.source, "key": key, "reason": f.reason}, &found)
	return s, found.Subject, denied(err)
}
