package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
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

// Case of the grid service, as far as a list shows it.
type Case struct {
	ID             string     `json:"id"`
	Number         string     `json:"number"`
	State          string     `json:"state"`
	Severity       string     `json:"severity"`
	Community      string     `json:"community"`
	Grid           string     `json:"grid,omitempty"`
	Fleet          string     `json:"fleet,omitempty"`
	Device         string     `json:"device,omitempty"`
	Scenario       string     `json:"scenario,omitempty"`
	Title          string     `json:"title"`
	OpenedAt       time.Time  `json:"openedAt"`
	AcknowledgeDue *time.Time `json:"acknowledgeDue,omitempty"`
	OnSiteDue      *time.Time `json:"onSiteDue,omitempty"`
	ResolveDue     *time.Time `json:"resolveDue,omitempty"`
	// AcknowledgeOverdue, OnSiteOverdue and ResolveOverdue say that an SLA time was missed.
	AcknowledgeOverdue bool `json:"acknowledgeOverdue,omitempty"`
	OnSiteOverdue      bool `json:"onSiteOverdue,omitempty"`
	ResolveOverdue     bool `json:"resolveOverdue,omitempty"`
	// History of one case.
	History []CaseStep `json:"history,omitempty"`
}

// CaseStep is a line of a case's history.
type CaseStep struct {
	At     time.Time `json:"at"`
	Action string    `json:"action"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to"`
	Actor  struct {
		Kind         string `json:"kind"`
		Organization string `json:"organization,omitempty"`
		Person       string `json:"person,omitempty"`
		Role         string `json:"role,omitempty"`
	} `json:"actor"`
	Note string `json:"note,omitempty"`
}

type casePage struct {
	Cases []json.RawMessage `json:"cases"`
	Next  string            `json:"next"`
}

func (a *app) casesCommand() *cobra.Command {
	var f gridFlags
	var state, community, severity, format string
	var limit int
	cmd := &cobra.Command{
		Use:   "cases",
		Short: "List cases (事件/工单), show one, act on one",
		Long: `List the cases that a person may see, newest first, over the REST API of the grid service. A person's token speaks for them;
it is signed here if --organization, --subject, --role and --secret or --key are given.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			query := url.Values{}
			for name, v := range map[string]string{"state": state, "community": community, "severity": severity} {
				if v != "" {
					query.Set(name, v)
				}
			}
			list, err := listCases(cmd.Context(), s, query, limit)
			if err != nil {
				return err
			}
			return a.printCases(format, list)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&state, "state", "", "only cases in this state, such as Dispatched; Open for all that are not finished")
	flags.StringVar(&community, "community", "", "only cases of this Community")
	flags.StringVar(&severity, "severity", "", "only cases of this severity")
	flags.IntVar(&limit, "limit", 100, "at most so many")
	flags.StringVarP(&format, "output", "o", "", "json or yaml")
	cmd.AddCommand(a.caseShowCommand(), a.caseActCommand())
	return cmd
}

// listCases follows pages up to the limit.
func listCases(ctx context.Context, s *service, query url.Values, limit int) ([]json.RawMessage, error) {
	list := []json.RawMessage{}
	for len(list) < limit {
		query.Set("limit", strconv.Itoa(min(limit-len(list), 500)))
		var page casePage
		if err := s.call(ctx, http.MethodGet, "/v1/cases", query, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Cases...)
		if page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	return list, nil
}

func (a *app) printCases(format string, list []json.RawMessage) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{{"NUMBER", "STATE", "SEVERITY", "COMMUNITY", "DEVICE", "TITLE", "OPENED", "OVERDUE"}}
	for _, raw := range list {
		var c Case
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		rows = append(rows, []string{
			c.Number, c.State, c.Severity, c.Community, dash(device(c)), c.Title, c.OpenedAt.Local().Format("2006-01-02 15:04:05"), dash(overdue(c)),
		})
	}
	return table(a.Out, rows)
}

func device(c Case) string {
	if c.Fleet == "" {
		return c.Device
	}
	return c.Fleet + "." + c.Device
}

func overdue(c Case) string {
	var out []string
	if c.AcknowledgeOverdue {
		out = append(out, "acknowledge")
	}
	if c.OnSiteOverdue {
		out = append(out, "on site")
	}
	if c.ResolveOverdue {
		out = append(out, "resolve")
	}
	return strings.Join(out, ",")
}

func (a *app) caseShowCommand() *cobra.Command {
	var f gridFlags
	var format string
	cmd := &cobra.Command{
		Use: "show CASE", Short: "Show one case with its history; CASE is its id or number", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			id, err := caseID(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), http.MethodGet, "/v1/cases/"+id, nil, nil, &raw); err != nil {
				return err
			}
			return a.printCase(format, raw)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

func (a *app) caseActCommand() *cobra.Command {
	var f gridFlags
	var action, note, until, format string
	var duties []string
	cmd := &cobra.Command{
		Use:   "act CASE --action Acknowledge",
		Short: "Act on a case: Acknowledge, Arrive, Handle, RequestVerification, Verify, Close, Void and so on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			id, err := caseID(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			body := map[string]any{"action": action}
			if note != "" {
				body["note"] = note
			}
			if len(duties) > 0 {
				body["duties"] = duties
			}
			if until != "" {
				at, err := time.Parse(time.RFC3339, until)
				if err != nil {
					return fmt.Errorf("--until: %q is not a time such as 2026-06-01T18:00:00+08:00", until)
				}
				body["until"] = at
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/cases/"+id+"/actions", nil, body, &raw); err != nil {
				return err
			}
			return a.printCase(format, raw)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&action, "action", "", "what to do")
	cmd.Flags().StringVar(&note, "note", "", "text for colleagues; it is kept apart from the history and may be erased")
	cmd.Flags().StringVar(&until, "until", "", "with Extend: until when, as 2026-06-01T18:00:00+08:00; --note says why")
	cmd.Flags().StringSliceVar(&duties, "duty", nil, "with Dispatch: duties of the organisations to call")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	_ = cmd.MarkFlagRequired("action")
	return cmd
}

// caseID gives the id of a case that a person names by id or number.
func caseID(ctx context.Context, s *service, name string) (string, error) {
	if _, err := uuid.Parse(name); err == nil {
		return name, nil
	}
	list, err := listCases(ctx, s, url.Values{}, 10000)
	if err != nil {
		return "", err
	}
	for _, raw := range list {
		var c Case
		if json.Unmarshal(raw, &c) == nil && c.Number == name {
			return c.ID, nil
		}
	}
	return "", fmt.Errorf("case %s: not among the last %d that this person may see; write its id", name, len(list))
}

func (a *app) printCase(format string, raw json.RawMessage) error {
	if printed, err := printAs(a.Out, format, raw); printed {
		return err
	}
	var c Case
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	place := c.Community
	if c.Grid != "" {
		place += "/" + c.Grid
	}
	fmt.Fprintf(a.Out, "%s  %s  %s  %s  %s\n%s  %s\n", c.Number, c.State, c.Severity, place, c.Title, c.ID, dash(device(c)))
	var rows [][]string
	for _, h := range c.History {
		who := strings.Trim(strings.Join([]string{h.Actor.Kind, h.Actor.Organization, h.Actor.Role, h.Actor.Person}, " "), " ")
		rows = append(rows, []string{"  " + h.At.Local().Format("2006-01-02 15:04:05"), h.Action, dash(h.From) + " -> " + h.To, who, h.Note})
	}
	return table(a.Out, rows)
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
