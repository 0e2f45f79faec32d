package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/offline"
)

// Verdict is what verification says of one party of an agreement.
type Verdict struct {
	Agreement    string `json:"agreement"`
	Digest       string `json:"digest"`
	Organization string `json:"organization"`
	Approver     string `json:"approver,omitempty"`
	// Result is "valid", "missing", or why the approval is void.
	Result string `json:"result"`
	// Good is set when the party has approved this very text.
	Good bool `json:"good"`
}

func (a *app) verifyCommand() *cobra.Command {
	f := agreementFlags{}
	var format string
	cmd := &cobra.Command{
		Use:   "verify -f PATH",
		Short: "Check every approval against the organisations in the files",
		Long: `Check each approval against the approvers' keys of the Organizations in the files, and that every party has approved: the
consumer, the provider of each dataset and, where the platform names one, the data office. It needs no cluster and trusts
none. Exit code 1 unless every agreement is fully approved. Guardrails and validity are the matter of lint.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.all = true
			list, set, err := a.agreements(cmd.Context(), &f)
			if err != nil {
				return err
			}
			verdicts := []Verdict{}
			for _, s := range list {
				verdicts = append(verdicts, verify(set, s)...)
			}
			if err := a.printVerdicts(format, verdicts); err != nil {
				return err
			}
			if slices.ContainsFunc(verdicts, func(v Verdict) bool { return !v.Good }) {
				return exit{ExitFailed, nil}
			}
			return nil
		},
	}
	f.add(cmd)
	_ = cmd.Flags().MarkHidden("all")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

func (a *app) printVerdicts(format string, list []Verdict) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{{"AGREEMENT", "ORGANIZATION", "APPROVER", "RESULT"}}
	for _, v := range list {
		rows = append(rows, []string{v.Agreement, v.Organization, dash(v.Approver), v.Result})
	}
	return table(a.Out, rows)
}

// verify judges every approval of an agreement, and names the parties that have not approved.
func verify(set *offline.Set, s signed) []Verdict {
	organizations, datasets, offices := parties(set, s.GetNamespace())
	needed := map[string]bool{s.agreement.Spec.Consumer.Name: true}
	var out []Verdict
	say := func(organization, approver, result string, good bool) {
		out = append(out, Verdict{
			Agreement: s.GetNamespace() + "/" + s.GetName(), Digest: s.digest, Organization: organization, Approver: approver, Result: result, Good: good,
		})
	}
	for _, d := range s.agreement.Spec.Datasets {
		needed[datasets[d.Name].Spec.Provider.Name] = true // they are there: the digest was made with them
	}
	for _, office := range offices {
		needed[office] = true
	}
	approved := map[string]bool{}
	for _, entry := range s.agreement.Spec.Approvals {
		org := organizations[entry.Organization]
		wrong := ""
		switch {
		case !needed[entry.Organization]:
			wrong = "is no party of the agreement; remove the approval"
		case org == nil:
			wrong = "Organization is not in the files; name the file that holds it too"
		default:
			wrong = checkApproval(org, entry, s.digest)
			for name := range needed {
				if other := organizations[name]; wrong == "" && other != nil && name != org.Name && approval.HasKey(other.Spec.Approvers, keyOf(org, entry)) {
					wrong = "the key stands among the approvers of " + name + " too, and two parties do not sign with one key; sign with another"
				}
			}
		}
		approved[entry.Organization] = approved[entry.Organization] || wrong == ""
		say(entry.Organization, entry.Approver, either(wrong, "valid"), wrong == "")
	}
	for _, name := range sortedKeys(needed) {
		if !approved[name] {
			say(name, "", "missing; an approver signs with `dizuo agreement approve`", false)
		}
	}
	return out
}

// keyOf gives the key by which an approval was signed.
func keyOf(org *v1alpha1.Organization, entry v1alpha1.Approval) string {
	for _, k := range org.Spec.Approvers {
		if k.Name == entry.Approver {
			return k.PublicKey
		}
	}
	return ""
}

// parties gives organisations and datasets by name, and the data offices of the platforms that may apply. Files of several
// platforms are told apart by namespace where they can be.
func parties(set *offline.Set, namespace string) (map[string]*v1alpha1.Organization, map[string]*v1alpha1.Dataset, []string) {
	organizations, datasets := map[string]*v1alpha1.Organization{}, map[string]*v1alpha1.Dataset{}
	var offices []string
	for _, o := range set.Objects {
		if o.Invalid {
			continue
		}
		switch typed := o.Object.(type) {
		case *v1alpha1.Organization:
			if organizations[typed.Name] == nil || typed.Namespace == namespace {
				organizations[typed.Name] = typed
			}
		case *v1alpha1.Dataset:
			if datasets[typed.Name] == nil || typed.Namespace == namespace {
				datasets[typed.Name] = typed
			}
		case *v1alpha1.GridPlatform:
			member := slices.ContainsFunc(typed.Spec.Members, func(m v1alpha1.Member) bool { return m.Namespace == namespace })
			if typed.Spec.DataOffice != nil && (typed.Namespace == namespace || member) {
				offices = append(offices, typed.Spec.DataOffice.Name)
			}
		}
	}
	return organizations, datasets, offices
}
