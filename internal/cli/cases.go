package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// gridFlags say how the grid service is reached, and as whom.
type gridFlags struct {
	tokenFlags
	server, ca, token, tokenFile, namespace string
}

func (f *gridFlags) add(cmd *cobra.Command) {
	f.tokenFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "", "address of the grid service; default: as status.endpoints.grid of the GridPlatform says")
	flags.StringVar(&f.ca, "ca", "", "CA of the service (PEM); default: ca.crt of --secret, else the system's roots")
	flags.StringVar(&f.token, "token", "", "person's token; default: $DIZUO_TOKEN, else one signed here with --organization, --subject, --role and --secret or --key")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the token")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the GridPlatform, in place of --platform")
}

func (a *app) casesCommand() *cobra.Command {
	cmd := a.caseListCommand("cases")
	cmd.Short = "List cases (事件/工单), show one, act on one, watch them, count them"
	cmd.Long = `List the cases that a person may see, newest first, over the REST API of the grid service. A person's token speaks for them;
it is signed here if --organization, --subject, --role and --secret or --key are given.`
	cmd.AddCommand(a.caseListCommand("list"), a.caseShowCommand(), a.caseAckCommand(), a.caseCloseCommand(), a.caseReassignCommand(), a.caseActCommand(), a.caseWatchCommand(), a.caseStatsCommand(), a.oneTableCommand())
	return cmd
}

// grid reaches the grid service.
func (a *app) grid(ctx context.Context, f *gridFlags) (*service, error) {
	if f.server == "" || f.platform == "" && f.namespace != "" {
		if err := a.endpoint(ctx, f); err != nil {
			return nil, err
		}
	}
	ca, err := a.gridCA(ctx, f)
	if err != nil {
		return nil, err
	}
	token, err := a.personToken(ctx, f, contract.RoleGrid)
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

// endpoint looks the service up in the status of the platform.
func (a *app) endpoint(ctx context.Context, f *gridFlags) error {
	c, namespace, err := f.kube.connect()
	if err != nil {
		return fmt.Errorf("%w; name the service with --server", err)
	}
	p, err := onePlatform(ctx, c, f.platform, either(f.namespace, namespace))
	if err != nil {
		return err
	}
	f.platform = p.Namespace + "/" + p.Name
	if f.server != "" {
		return nil
	}
	if p.Status.Endpoints == nil || p.Status.Endpoints.Grid == "" {
		return fmt.Errorf("GridPlatform %s has no status.endpoints.grid yet; name the service with --server", f.platform)
	}
	f.server = p.Status.Endpoints.Grid
	return nil
}

// onePlatform reads the platform that is named (namespace/name), or the one of a namespace.
func onePlatform(ctx context.Context, c client.Client, ref, namespace string) (*v1alpha1.GridPlatform, error) {
	if ref != "" {
		at, err := namespaced("--platform", ref)
		if err != nil {
			return nil, err
		}
		var p v1alpha1.GridPlatform
		return &p, c.Get(ctx, at, &p)
	}
	var list v1alpha1.GridPlatformList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	if len(list.Items) != 1 {
		return nil, usage("namespace %s holds %d GridPlatforms; choose with -n or --platform namespace/name", namespace, len(list.Items))
	}
	return &list.Items[0], nil
}

func (a *app) gridCA(ctx context.Context, f *gridFlags) ([]byte, error) {
	if f.ca != "" || f.secret == "" {
		return optionalFile(f.ca)
	}
	data, err := a.secret(ctx, &f.kube, f.secret)
	if err != nil {
		return nil, err
	}
	return data["ca.crt"], nil
}

// personToken gives the token of a person for one role of the platform.
func (a *app) personToken(ctx context.Context, f *gridFlags, role contract.Role) (string, error) {
	switch {
	case f.token != "":
		return f.token, nil
	case f.tokenFile != "":
		raw, err := os.ReadFile(f.tokenFile)
		return strings.TrimSpace(string(raw)), err
	case f.key != "" || f.secret != "":
		return a.token(ctx, &f.tokenFlags, role)
	case a.env("DIZUO_TOKEN") != "":
		return a.env("DIZUO_TOKEN"), nil
	}
	return "", usage("a person's token is needed: give --token, or --organization, --subject, --role, --platform and --secret or --key to sign one")
}
