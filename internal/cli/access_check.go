package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/access/check"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/policies"
)

// accessCheck is what `access check` was asked.
type accessCheck struct {
	files                                    fileFlags
	kube                                     kubeFlags
	cluster                                  bool
	platform, organization, dataset, purpose string
	agreement, community, role, at, number   string
	class, severity, place                   string
	breakGlass, language, format             string
	fields, by, sum, where                   []string
	count                                    bool
}

func (a *app) accessCheckCommand() *cobra.Command {
	var c accessCheck
	cmd := &cobra.Command{
		Use:   "check -f PATH|--cluster --as ORG --dataset D --purpose P [--fields A,B]",
		Short: "Say whether an organisation may read a dataset, and by which rules and agreement",
		Long: `Compile the files, or what stands in the cluster, and ask the very policy that the gateway runs. It prints the decision, the rules
that made it with the titles of their METADATA, the agreement, masks and rows. Nothing is read and nothing is logged: quotas, consents of
persons and whether a case is open are the gateway's to see. Exit code 0: allowed, 4: denied.

  --case 20270104-000123 --case-class fire-alarm --case-severity Critical --case-community C   what the gateway would find of the case
  --by A,B --sum C --where A:In:x,y    counts and sums, as GET /v1/datasets/D/aggregate asks; --count for one figure`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.accessCheck(cmd.Context(), &c) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&c.files.paths, "filename", "f", nil, "file or folder with YAML or JSON; - for standard input; may be repeated")
	flags.BoolVarP(&c.files.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringVarP(&c.files.namespace, "namespace", "n", "default", "namespace of objects that name none; with --cluster: of the platform")
	c.kube.add(cmd)
	flags.BoolVar(&c.cluster, "cluster", false, "ask about what stands in the cluster")
	flags.StringVar(&c.platform, "platform", "", "GridPlatform, as namespace/name, where there are several")
	flags.StringVar(&c.organization, "as", "", "Organization that reads")
	flags.StringVar(&c.dataset, "dataset", "", "Dataset that is read")
	flags.StringVar(&c.purpose, "purpose", "", "what for")
	flags.StringSliceVar(&c.fields, "fields", nil, "fields; default: all that the agreement gives")
	flags.StringVar(&c.agreement, "agreement", "", "agreement to read under, where several fit")
	flags.StringVar(&c.community, "community", "", "also ask whether rows of this Community are within it")
	flags.StringVar(&c.role, "role", "", "role of the person who reads; default: no person is shown")
	flags.StringVar(&c.at, "at", "", "time of the request, such as 2026-05-01T09:00:00+08:00; default: now")
	flags.StringVar(&c.number, "case", "", "number of the case for which is read; one of the platform's form, such as 20270104-000123, is a case of the platform, which the gateway looks up")
	flags.StringVar(&c.class, "case-class", "", "with --case: an open case of the platform, of this class")
	flags.StringVar(&c.severity, "case-severity", "", "with --case-class: its severity, Critical, High, Medium or Low")
	flags.StringVar(&c.place, "case-community", "", "with --case-class: the Community where it happened; default: that of --community")
	flags.StringSliceVar(&c.by, "by", nil, "ask for counts and sums, grouped by these fields")
	flags.StringSliceVar(&c.sum, "sum", nil, "ask for counts, and sums of these fields")
	flags.BoolVar(&c.count, "count", false, "ask for counts; without --by: for one figure")
	flags.StringArrayVar(&c.where, "where", nil, "with --by, --sum or --count: condition on a field that may be grouped by, field:In:value,value; may be repeated")
	flags.StringVar(&c.breakGlass, "break-glass", "", "reason of an emergency")
	flags.StringVar(&c.language, "lang", check.English, "language of the answer: en or zh")
	flags.StringVarP(&c.format, "output", "o", "", "json or yaml")
	for _, name := range []string{"as", "dataset", "purpose"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsOneRequired("filename", "cluster")
	cmd.MarkFlagsMutuallyExclusive("filename", "cluster")
	return cmd
}

func (a *app) accessCheck(ctx context.Context, c *accessCheck) error {
	if c.language != check.English && c.language != check.Chinese {
		return usage("--lang %q: write en or zh", c.language)
	}
	now := a.now()
	if c.at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, c.at); err != nil {
			return usage("--at %q: write a time such as 2026-05-01T09:00:00+08:00", c.at)
		}
	}
	if err := c.checkFlags(); err != nil {
		return err
	}
	p, err := a.accessPlatform(ctx, c, now)
	if err != nil {
		return err
	}
	w := worldOf(p)
	q, err := c.question(w, now)
	if err != nil {
		return err
	}
	if note := c.caseNote(); note != "" {
		fmt.Fprintln(a.Err, note)
	}
	answer, err := check.Ask(ctx, w, q)
	if err != nil {
		return err
	}
	printed, err := printAs(a.Out, c.format, answer)
	if err != nil {
		return err
	}
	if !printed {
		fmt.Fprint(a.Out, answer.Text(c.language))
	}
	if !answer.Allow {
		return exit{ExitDenied, nil}
	}
	return nil
}

// accessPlatform compiles files or the cluster's objects, and gives the platform that is meant.
func (a *app) accessPlatform(ctx context.Context, c *accessCheck, now time.Time) (*offline.Platform, error) {
	var set *offline.Set
	var err error
	if c.cluster {
		set, err = a.live(ctx, &c.kube, &offline.Set{Objects: []*offline.Object{{Kind: "Namespace",
			Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: either(strings.Split(c.platform, "/")[0], c.files.namespace)}}}}})
	} else {
		set, err = offline.Load(ctx, a.source(&c.files), c.files.namespace)
	}
	if err != nil {
		return nil, err
	}
	options, err := a.options(&c.files)
	if err != nil {
		return nil, err
	}
	options.Now = now
	result, err := offline.Compile(ctx, set, options)
	if err != nil {
		return nil, err
	}
	printFindings(a.Err, result.Findings)
	var found []*offline.Platform
	for _, p := range result.Platforms {
		if c.platform == "" || c.platform == p.Object.GetNamespace()+"/"+p.Object.GetName() {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return nil, usage("there are %d GridPlatforms that may be meant; choose with --platform namespace/name", len(found))
	}
	return found[0], nil
}

// worldOf collects what the members of a platform compile to, as the bundle would hold it.
func worldOf(p *offline.Platform) check.World {
	w := check.World{
		Modules: policies.Access(), Asleep: map[string]check.Sleeping{},
		Access:    contract.Access{Datasets: map[string]contract.Dataset{}, Grants: map[string]map[string]map[string]contract.Grant{}},
		Directory: contract.Directory{Platform: p.Plan.Document, Communities: map[string]contract.Community{}, Organizations: map[string]contract.Organization{}},
	}
	for _, m := range p.Members {
		name := m.GetName()
		switch plan := m.Plan.(type) {
		case compile.CommunityPlan:
			if !m.Fatal {
				w.Directory.Communities[name] = plan.Document
			}
		case compile.OrganizationPlan:
			if !m.Fatal {
				w.Directory.Organizations[name] = plan.Document
			}
		case compile.DatasetPlan:
			if !m.Fatal {
				w.Access.Datasets[name] = plan.Document
			}
		case compile.AgreementPlan:
			if m.Fatal || len(plan.Grants) == 0 {
				w.Asleep[name] = sleeping(m, plan)
				continue
			}
			for dataset, g := range plan.Grants {
				if w.Access.Grants[dataset] == nil {
					w.Access.Grants[dataset] = map[string]map[string]contract.Grant{}
				}
				if w.Access.Grants[dataset][plan.Consumer] == nil {
					w.Access.Grants[dataset][plan.Consumer] = map[string]contract.Grant{}
				}
				w.Access.Grants[dataset][plan.Consumer][name] = g
			}
		}
	}
	return w
}

// sleeping says why an agreement grants nothing.
func sleeping(m *offline.Member, plan compile.AgreementPlan) check.Sleeping {
	out := check.Sleeping{Phase: string(plan.Phase), Pending: plan.Pending}
	out.Wrong = m.Fatal && (len(plan.Pending) == 0 || plan.Phase == v1alpha1.AgreementDraft && !plan.Sound)
	if o, ok := m.Object.Object.(*v1alpha1.DataSharingAgreement); ok {
		out.Consumer = o.Spec.Consumer.Name
		for _, d := range o.Spec.Datasets {
			out.Datasets = append(out.Datasets, d.Name)
		}
	}
	return out
}
