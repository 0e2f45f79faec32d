package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// watchEvery is how often --watch looks.
const watchEvery = 2 * time.Second

type statusFlags struct {
	kube                    kubeFlags
	namespace, format, lang string
	allNamespaces, watch    bool
}

func (a *app) statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a platform stands: one tree that names the first blocker",
		Long: `Show a platform as a tree. What is healthy is one line; what is not is opened, and says what keeps it. Exit code 0 if the
platform and every object of it is Ready, else 3.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), &f) },
	}
	f.kube.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the platform; default: of the context")
	flags.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "platforms of all namespaces")
	flags.BoolVarP(&f.watch, "watch", "w", false, "look again every 2 s until all is Ready")
	flags.StringVarP(&f.format, "output", "o", "", "json or yaml")
	flags.StringVar(&f.lang, "lang", "", "zh or en; default: by LC_ALL and LANG")
	return cmd
}

func (a *app) status(ctx context.Context, f *statusFlags) error {
	words, err := a.words(f.lang)
	if err != nil {
		return err
	}
	c, namespace, err := f.kube.connect()
	if err != nil {
		return err
	}
	namespace = either(f.namespace, namespace)
	if f.allNamespaces {
		namespace = ""
	}
	for last := ""; ; {
		text, ready, err := a.statusOnce(ctx, c, namespace, f.format, words)
		if err != nil {
			return err
		}
		if text != last {
			if _, tty := terminal(a.Out); tty && f.watch {
				text = "\x1b[H\x1b[2J" + text
			}
			if _, err := fmt.Fprint(a.Out, text); err != nil {
				return err
			}
			last = text
		}
		switch {
		case ready:
			return nil
		case !f.watch:
			return exit{ExitNotReady, nil}
		}
		select {
		case <-ctx.Done():
			return exit{ExitNotReady, nil}
		case <-time.After(watchEvery):
		}
	}
}

// statusOnce reads the platforms and gives their trees as text.
func (a *app) statusOnce(ctx context.Context, c client.Client, namespace, format string, words words) (string, bool, error) {
	var list v1alpha1.GridPlatformList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return "", false, err
	}
	if len(list.Items) == 0 {
		return "", false, errors.New(words.say("no platform", either(namespace, "*")))
	}
	var b strings.Builder
	all, ready := []Status{}, true
	for _, p := range list.Items {
		w, err := gatherWorld(ctx, c, p)
		if err != nil {
			return "", false, err
		}
		s := tree(w, a.now(), words)
		all, ready = append(all, s), ready && s.Ready
	}
	if printed, err := printAs(&b, format, all); printed {
		return b.String(), ready, err
	}
	columns, tty := terminal(a.Out)
	p := printer{out: &b, columns: columns, colour: tty && a.env("NO_COLOR") == ""}
	for _, s := range all {
		p.print(s.Tree)
	}
	return b.String(), ready, nil
}

// world is a platform with its objects.
type world struct {
	platform      v1alpha1.GridPlatform
	communities   []v1alpha1.Community
	organizations []v1alpha1.Organization
	profiles      []v1alpha1.DeviceProfile
	fleets        []v1alpha1.DeviceFleet
	edges         []v1alpha1.EdgeNode
	scenarios     []v1alpha1.Scenario
	datasets      []v1alpha1.Dataset
	agreements    []v1alpha1.DataSharingAgreement
	// unreadable names what the caller may not list.
	unreadable []string
}

// gatherWorld lists the objects in the platform's namespace and in its members'.
func gatherWorld(ctx context.Context, c client.Client, p v1alpha1.GridPlatform) (world, error) {
	w := world{platform: p}
	namespaces := []string{p.Namespace}
	for _, m := range p.Spec.Members {
		namespaces = append(namespaces, m.Namespace)
	}
	for _, ns := range namespaces {
		if err := w.list(ctx, c, ns); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) list(ctx context.Context, c client.Client, namespace string) error {
	var communities v1alpha1.CommunityList
	var organizations v1alpha1.OrganizationList
	var profiles v1alpha1.DeviceProfileList
	var fleets v1alpha1.DeviceFleetList
	var edges v1alpha1.EdgeNodeList
	var scenarios v1alpha1.ScenarioList
	var datasets v1alpha1.DatasetList
	var agreements v1alpha1.DataSharingAgreementList
	for _, l := range []client.ObjectList{&communities, &organizations, &profiles, &fleets, &edges, &scenarios, &datasets, &agreements} {
		err := c.List(ctx, l, client.InNamespace(namespace))
		switch {
		case apierrors.IsForbidden(err):
			kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", l), "*v1alpha1."), "List")
			w.unreadable = append(w.unreadable, kind+" "+namespace)
		case err != nil:
			return err
		}
	}
	w.communities = append(w.communities, communities.Items...)
	w.organizations = append(w.organizations, organizations.Items...)
	w.profiles = append(w.profiles, profiles.Items...)
	w.fleets = append(w.fleets, fleets.Items...)
	w.edges = append(w.edges, edges.Items...)
	w.scenarios = append(w.scenarios, scenarios.Items...)
	w.datasets = append(w.datasets, datasets.Items...)
	w.agreements = append(w.agreements, agreements.Items...)
	return nil
}
