package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) agreementCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "agreement", Short: "Digests and signed approvals of data sharing agreements"}
	cmd.AddCommand(a.digestCommand(), a.approveCommand(), a.verifyCommand())
	return cmd
}

// agreementFlags choose agreements in files.
type agreementFlags struct {
	fileFlags
	name string
	all  bool
}

func (f *agreementFlags) add(cmd *cobra.Command) {
	f.fileFlags.add(cmd)
	cmd.Flags().Lookup("namespace").DefValue = ""
	f.namespace = ""
	cmd.Flags().StringVar(&f.name, "name", "", "agreement, where the files hold several")
	cmd.Flags().BoolVar(&f.all, "all", false, "all agreements in the files")
}

// signed is an agreement in the files with its digest.
type signed struct {
	*offline.Object
	agreement *v1alpha1.DataSharingAgreement
	digest    string
}

// agreements reads the agreements that the flags choose. What the API server would refuse is refused here too: its digest
// would be of something that can never be.
func (a *app) agreements(ctx context.Context, f *agreementFlags) ([]signed, *offline.Set, error) {
	set, err := offline.Load(ctx, a.source(&f.fileFlags), f.namespace)
	if err != nil {
		return nil, nil, err
	}
	var chosen []signed
	var names []string
	for _, o := range set.Objects {
		g, ok := o.Object.(*v1alpha1.DataSharingAgreement)
		if !ok {
			continue
		}
		names = append(names, g.Name)
		if f.name == "" || f.name == g.Name {
			chosen = append(chosen, signed{Object: o, agreement: g})
		}
	}
	switch {
	case len(chosen) == 0 && f.name != "":
		return nil, nil, fmt.Errorf("no DataSharingAgreement %s in the files; there are: %s", f.name, dash(strings.Join(names, ", ")))
	case len(chosen) == 0:
		printFindings(a.Err, set.Findings)
		return nil, nil, fmt.Errorf("no DataSharingAgreement in the files")
	case len(chosen) > 1 && !f.all && f.name == "":
		return nil, nil, usage("the files hold %d agreements; choose with --name one of %s, or write --all", len(chosen), strings.Join(names, ", "))
	}
	for i, s := range chosen {
		if chosen[i].digest, err = a.digest(s, set); err != nil {
			return nil, nil, err
		}
	}
	return chosen, set, nil
}

func (a *app) digest(s signed, set *offline.Set) (string, error) {
	if s.agreement.Namespace == "" {
		return "", usage("DataSharingAgreement/%s: the digest covers its namespace; write metadata.namespace, or give -n", s.GetName())
	}
	if s.Invalid {
		for _, f := range set.Findings {
			if f.Kind == s.Kind && f.Name == s.GetName() {
				fmt.Fprintln(a.Err, f)
			}
		}
		return "", fmt.Errorf("DataSharingAgreement/%s is not valid", s.GetName())
	}
	return set.Digest(s.agreement)
}

func (a *app) digestCommand() *cobra.Command {
	var f agreementFlags
	cmd := &cobra.Command{
		Use: "digest -f FILE", Short: "Print the digest that approvals sign", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, _, err := a.agreements(cmd.Context(), &f)
			if err != nil {
				return err
			}
			for _, s := range list {
				fmt.Fprintf(a.Out, "%s  %s/%s\n", s.digest, s.GetNamespace(), s.GetName())
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) approveCommand() *cobra.Command {
	var f agreementFlags
	var organization, approver, key string
	var write, unlisted bool
	cmd := &cobra.Command{
		Use:   "approve -f FILE --organization O --approver A --key FILE",
		Short: "Sign an agreement for an organisation",
		Long: `Sign the digest of an agreement with an approver's key, and print the entry for spec.approvals, or with -w write it into the
file, which otherwise stays as it is, comments included. What would not be taken is written into no file. The digest covers everything but the approvals, suspended and
revoked, and what the agreement relies on: of its Datasets the source, the columns and the fields that it names, of the
consumer its type and clearance, and its jurisdiction and compounds where they bound the rows, and the namespaces of both
parties. Any other text, there too, voids every approval, so the files must hold the Datasets and the parties. The time is
signed too: the cluster takes none from before a revocation, nor one for a text that the party has replaced since.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, set, err := a.agreements(cmd.Context(), &f)
			if err != nil {
				return err
			}
			k, err := readKey(key)
			if err != nil {
				return err
			}
			entries := make([]v1alpha1.Approval, len(list))
			var refused []error
			for i, s := range list {
				signature, err := approval.Sign(k, organization, approver, s.digest, a.now())
				if err != nil {
					return err
				}
				entries[i] = v1alpha1.Approval{Organization: organization, Approver: approver, Signature: signature}
				if wrong := doubt(set, s, entries[i]); wrong != "" && write && !unlisted {
					refused = append(refused, fmt.Errorf("DataSharingAgreement/%s: %s", s.GetName(), wrong))
				} else if wrong != "" {
					fmt.Fprintf(a.Err, "# warning: %s\n", wrong)
				}
			}
			if len(refused) > 0 {
				return fmt.Errorf("%w\nnothing was written; sign with the key that is listed, or write --unlisted to sign before the key is among the Organization's approvers", errors.Join(refused...))
			}
			for i, s := range list {
				if err := a.handOut(s, entries[i], write); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&organization, "organization", "", "Organization that approves")
	cmd.Flags().StringVar(&approver, "approver", "", "name of the key among the Organization's approvers")
	cmd.Flags().StringVar(&key, "key", "", "private key (PEM)")
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the approval into the file; refused where the files' Organization has not this key for this approver")
	cmd.Flags().BoolVar(&unlisted, "unlisted", false, "with -w: write it although it would not be taken yet, to sign before the key is among the Organization's approvers")
	for _, name := range []string{"organization", "approver", "key"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// doubt says why an approval will not be taken, as far as the files tell, or that they do not; empty where it will.
func doubt(set *offline.Set, s signed, entry v1alpha1.Approval) string {
	for _, o := range set.Objects {
		org, ok := o.Object.(*v1alpha1.Organization)
		if !ok || org.Name != entry.Organization {
			continue
		}
		if wrong := checkApproval(org, entry, s.digest); wrong != "" {
			return "this approval will not be taken: " + wrong
		}
		return ""
	}
	return "Organization " + entry.Organization + " is not in the files, so whether it has this approver cannot be checked; name the file that holds it too"
}

// checkApproval says why an approval is void, or nothing.
func checkApproval(org *v1alpha1.Organization, entry v1alpha1.Approval, digest string) string {
	i := slices.IndexFunc(org.Spec.Approvers, func(k v1alpha1.NamedKey) bool { return k.Name == entry.Approver })
	if i < 0 {
		return entry.Approver + " is not among spec.approvers of Organization " + org.Name
	}
	if _, err := approval.Verify(org.Spec.Approvers[i].PublicKey, entry.Organization, entry.Approver, digest, entry.Signature); err != nil {
		return err.Error()
	}
	return ""
}

func (a *app) handOut(s signed, entry v1alpha1.Approval, write bool) error {
	if !write {
		raw, err := yaml.Marshal([]v1alpha1.Approval{entry})
		if err == nil {
			_, err = a.Out.Write(raw)
		}
		return err
	}
	path := s.Document.File
	if path == "-" {
		return usage("-w needs a file; standard input cannot be written")
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	edited, err := setApproval(raw, s.Document, entry)
	if err != nil {
		return fmt.Errorf("%s: DataSharingAgreement/%s: %w", path, s.GetName(), err)
	}
	if err := os.WriteFile(path, edited, info.Mode().Perm()); err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "%s: DataSharingAgreement/%s: approved by %s/%s, %s\n", path, s.GetName(), entry.Organization, entry.Approver, s.digest)
	return nil
}
