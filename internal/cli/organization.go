package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/offline"
)

func (a *app) organizationCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "organization", Short: "Approvers of organisations"}
	approvers := &cobra.Command{Use: "approvers", Short: "Sign and check a change of an organisation's approvers"}
	approvers.AddCommand(a.approversSignCommand(), a.approversVerifyCommand())
	cmd.AddCommand(approvers)
	return cmd
}

// organizationNamed reads the one organisation that the flags choose.
func (a *app) organizationNamed(ctx context.Context, f *fileFlags, name string) (*v1alpha1.Organization, error) {
	set, err := offline.Load(ctx, a.source(f), f.namespace)
	if err != nil {
		return nil, err
	}
	var found []*v1alpha1.Organization
	var names []string
	for _, o := range set.Objects {
		org, ok := o.Object.(*v1alpha1.Organization)
		if !ok {
			continue
		}
		names = append(names, org.Name)
		if name != "" && org.Name != name {
			continue
		}
		if o.Invalid {
			printFindings(a.Err, set.Findings)
			return nil, fmt.Errorf("Organization/%s is not valid", org.Name)
		}
		found = append(found, org)
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("no Organization %s in the files; there are: %s", dash(name), dash(strings.Join(names, ", ")))
	case len(found) > 1:
		return nil, usage("the files hold %d organisations; choose with --name one of %s", len(found), strings.Join(names, ", "))
	case found[0].Namespace == "":
		return nil, usage("Organization/%s: the signature covers its namespace; write metadata.namespace, or give -n", found[0].Name)
	}
	return found[0], nil
}

func (a *app) approversSignCommand() *cobra.Command {
	var f fileFlags
	var name, approver, key, from string
	var unlisted bool
	cmd := &cobra.Command{
		Use:   "sign -f FILE --approver A --key FILE",
		Short: "Sign the approvers in a file, as one who is an approver now",
		Long: `Sign the list of approvers that stands in the file, and print the entry for spec.approversSignature. The approver is one of the
list in force, the one before the change; without such a signature the former list stays in force. The time is signed too:
the cluster takes a signature only if it is younger than the one by which the list changed last.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.organizationNamed(cmd.Context(), &f, name)
			if err != nil {
				return err
			}
			if len(o.Spec.Approvers) == 0 {
				return fmt.Errorf("Organization/%s: spec.approvers is empty, and nobody could sign the next list; leave one approver", o.Name)
			}
			k, err := readKey(key)
			if err != nil {
				return err
			}
			signature, err := approval.SignApprovers(k, o, approver, a.now())
			if err != nil {
				return err
			}
			switch wrong, err := a.signsFor(cmd.Context(), &f, from, o, v1alpha1.ApproverSignature{Approver: approver, Signature: signature}); {
			case err != nil:
				return err
			case wrong != "" && from != "" && !unlisted:
				return fmt.Errorf("Organization/%s: %s: %s; nothing was signed. Sign as one of the list in %s, or write --unlisted", o.Name, approver, wrong, from)
			case wrong != "":
				fmt.Fprintf(a.Err, "# warning: %s: %s\n", approver, wrong)
			}
			raw, err := yaml.Marshal(map[string]any{"approversSignature": v1alpha1.ApproverSignature{Approver: approver, Signature: signature}})
			if err == nil {
				_, err = a.Out.Write(raw)
			}
			return err
		},
	}
	addOrganizationFlags(cmd, &f, &name)
	cmd.Flags().StringVar(&from, "from", "", "file with the Organization as it was: a signature that its list does not take is refused")
	cmd.Flags().BoolVar(&unlisted, "unlisted", false, "with --from: sign although the list there does not take it")
	cmd.Flags().StringVar(&approver, "approver", "", "name of the key among the approvers before the change")
	cmd.Flags().StringVar(&key, "key", "", "private key (PEM)")
	for _, flag := range []string{"approver", "key"} {
		_ = cmd.MarkFlagRequired(flag)
	}
	return cmd
}

// signsFor says why the list in the file from does not take a signature of the next list, or that nobody can tell without one.
func (a *app) signsFor(ctx context.Context, f *fileFlags, from string, o *v1alpha1.Organization, by v1alpha1.ApproverSignature) (wrong string, err error) {
	if from == "" {
		return "whether the list in force has this approver with this key was not checked; give the Organization as it was with --from", nil
	}
	old := *f
	old.paths = []string{from}
	was, err := a.organizationNamed(ctx, &old, o.Name)
	if err != nil {
		return "", fmt.Errorf("--from: %w", err)
	}
	next := o.DeepCopy()
	next.Spec.ApproversSignature = &by
	i := slices.IndexFunc(was.Spec.Approvers, func(k v1alpha1.NamedKey) bool { return k.Name == by.Approver })
	if i < 0 {
		return "was not among the approvers before the change; one who was signs it", nil
	}
	if _, err := approval.VerifyApprovers(was.Spec.Approvers[i].PublicKey, next); err != nil {
		return err.Error(), nil
	}
	return "", nil
}

func addOrganizationFlags(cmd *cobra.Command, f *fileFlags, name *string) {
	f.add(cmd)
	cmd.Flags().Lookup("namespace").DefValue = ""
	f.namespace = ""
	cmd.Flags().StringVar(name, "name", "", "organisation, where the files hold several")
}

// ApproversVerdict is what verification says of a change of approvers.
type ApproversVerdict struct {
	Organization string `json:"organization"`
	// Changed is set when the lists differ; only then a signature is needed.
	Changed  bool       `json:"changed"`
	Approver string     `json:"approver,omitempty"`
	SignedAt *time.Time `json:"signedAt,omitempty"`
	// Result is "unchanged", "valid", or why the former list stays.
	Result string `json:"result"`
	Good   bool   `json:"good"`
}

func (a *app) approversVerifyCommand() *cobra.Command {
	var f fileFlags
	var name, from, format string
	cmd := &cobra.Command{
		Use:   "verify -f FILE --from OLD",
		Short: "Check a change of approvers against the list before it",
		Long: `Check that the approvers in the file are those in OLD, or that one of those in OLD signed the list. It needs no cluster and
trusts none. Exit code 1 unless the list would be accepted. That a signature is younger than the last one only the cluster knows.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.organizationNamed(cmd.Context(), &f, name)
			if err != nil {
				return err
			}
			old := f
			old.paths = []string{from}
			was, err := a.organizationNamed(cmd.Context(), &old, o.Name)
			if err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			v := approversVerdict(was, o)
			if printed, err := printAs(a.Out, format, v); err != nil || printed {
				return orFailed(err, v.Good)
			}
			rows := [][]string{{"ORGANIZATION", "APPROVER", "RESULT"}, {v.Organization, dash(v.Approver), v.Result}}
			return orFailed(table(a.Out, rows), v.Good)
		},
	}
	addOrganizationFlags(cmd, &f, &name)
	cmd.Flags().StringVar(&from, "from", "", "file with the Organization as it was")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	_ = cmd.MarkFlagRequired("from")
	return cmd
}

func orFailed(err error, good bool) error {
	if err == nil && !good {
		return exit{ExitFailed, nil}
	}
	return err
}

func approversVerdict(was, o *v1alpha1.Organization) ApproversVerdict {
	v := ApproversVerdict{Organization: o.Namespace + "/" + o.Name, Changed: !approval.SameKeys(was.Spec.Approvers, o.Spec.Approvers)}
	by := o.Spec.ApproversSignature
	switch {
	case !v.Changed:
		v.Result, v.Good = "unchanged", true
		return v
	case len(o.Spec.Approvers) == 0:
		v.Result = "the list is empty, and nobody could sign the next; leave one approver"
		return v
	case by == nil:
		v.Result = "is not signed; one who was an approver before signs it with `dizuo organization approvers sign`"
		return v
	}
	v.Approver = by.Approver
	i := slices.IndexFunc(was.Spec.Approvers, func(k v1alpha1.NamedKey) bool { return k.Name == by.Approver })
	if i < 0 {
		v.Result = "was not among the approvers before the change; one who was signs it"
		return v
	}
	at, err := approval.VerifyApprovers(was.Spec.Approvers[i].PublicKey, o)
	if err != nil {
		v.Result = err.Error()
		return v
	}
	v.Result, v.Good, v.SignedAt = "valid", true, &at
	return v
}
