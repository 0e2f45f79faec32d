package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
)

// Records is what the gateway answers.
type Records struct {
	Records []json.RawMessage `json:"records"`
	// Agreement that was used, and the method of every masked field.
	Agreement string            `json:"agreement"`
	Masked    map[string]string `json:"masked"`
	Revision  string            `json:"revision"`
	// Request is the number in the decision log; of several pages, of the last.
	Request string `json:"request"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

type reading struct {
	person                         tokenFlags
	server, ca                     string
	purpose, agreement, caseNumber string
	personToken, cursor, format    string
	fields                         []string
	limit                          int
	all                            bool
}

func (a *app) readCommand() *cobra.Command {
	var r reading
	cmd := &cobra.Command{
		Use:   "read DATASET --purpose P --server URL --cert FILE --key FILE [--fields A,B]",
		Short: "Read a dataset through the gateway, as an organisation",
		Long: `Read records of a dataset under an agreement. The certificate speaks for the organisation. For personal data a person must be
shown too: --person-token, or --organization, --subject, --role and --platform, by which a token is signed with the same key.
A refusal prints its reasons, and the exit code is 4.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.read(cmd.Context(), args[0], &r)
			var refusal *Refusal
			if errors.As(err, &refusal) && len(refusal.Reasons) > 0 {
				return exit{ExitDenied, err}
			}
			return err
		},
	}
	r.person.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&r.server, "server", "", "address of the gateway")
	flags.StringVar(&r.ca, "ca", "", "CA of the gateway (PEM); default: ca.crt of --secret, else the system's roots")
	flags.StringVar(&r.purpose, "purpose", "", "what for; one of the agreement's purposes")
	flags.StringSliceVar(&r.fields, "fields", nil, "fields; default: all that the agreement gives")
	flags.StringVar(&r.agreement, "agreement", "", "agreement to read under, where several fit")
	flags.StringVar(&r.caseNumber, "case-number", "", "case for which is read")
	flags.StringVar(&r.personToken, "person-token", "", "token of the person who reads")
	flags.IntVar(&r.limit, "limit", 100, "records in a page, at most 1000")
	flags.StringVar(&r.cursor, "cursor", "", "next of the page before")
	flags.BoolVar(&r.all, "all", false, "read every page")
	flags.StringVarP(&r.format, "output", "o", "", "json or yaml")
	for _, name := range []string{"server", "purpose"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsOneRequired("cert", "secret")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	return cmd
}

func (a *app) read(ctx context.Context, dataset string, r *reading) error {
	s, err := a.gateway(ctx, r)
	if err != nil {
		return err
	}
	query := url.Values{"purpose": {r.purpose}, "limit": {strconv.Itoa(r.limit)}}
	for name, v := range map[string]string{"agreement": r.agreement, "caseNumber": r.caseNumber, "cursor": r.cursor, "fields": strings.Join(r.fields, ",")} {
		if v != "" {
			query.Set(name, v)
		}
	}
	var out Records
	for {
		var page Records
		if err := s.call(ctx, http.MethodGet, "/v1/datasets/"+url.PathEscape(dataset)+"/records", query, nil, &page); err != nil {
			return err
		}
		page.Records = append(out.Records, page.Records...)
		out = page
		if !r.all || page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	return a.printRecords(r, out)
}

// gateway reaches the gateway with the organisation's certificate and, if one is shown, the person's token.
func (a *app) gateway(ctx context.Context, r *reading) (*service, error) {
	cert, ca, err := a.clientCertificate(ctx, r)
	if err != nil {
		return nil, err
	}
	s, err := newService(r.server, ca, []tls.Certificate{cert})
	if err != nil {
		return nil, err
	}
	token := r.personToken
	if token == "" && r.person.subject != "" {
		if token, err = a.token(ctx, &r.person, contract.RoleGateway); err != nil {
			return nil, err
		}
	}
	if token != "" {
		s.header.Set("Dizuo-Person", token)
	}
	return s, nil
}

func (a *app) clientCertificate(ctx context.Context, r *reading) (tls.Certificate, []byte, error) {
	ca, err := optionalFile(r.ca)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	if r.person.secret == "" {
		cert, err := tls.LoadX509KeyPair(r.person.cert, r.person.key)
		return cert, ca, err
	}
	data, err := a.secret(ctx, &r.person.kube, r.person.secret)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	if len(ca) == 0 {
		ca = data["ca.crt"]
	}
	cert, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		err = fmt.Errorf("Secret %s: %w", r.person.secret, err)
	}
	return cert, ca, err
}

func (a *app) printRecords(r *reading, out Records) error {
	if printed, err := printAs(a.Out, r.format, out); printed {
		return err
	}
	var records []map[string]any
	columns := map[string]bool{}
	for _, raw := range out.Records {
		record := map[string]any{}
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		if err := d.Decode(&record); err != nil {
			return err
		}
		for name := range record {
			columns[name] = true
		}
		records = append(records, record)
	}
	header := order(sortedKeys(columns), r.fields)
	rows := [][]string{header}
	for _, record := range records {
		row := make([]string, len(header))
		for i, name := range header {
			if v, ok := record[name]; ok && v != nil {
				row[i] = fmt.Sprint(v)
			}
			row[i] = dash(row[i])
		}
		rows = append(rows, row)
	}
	if len(header) > 0 {
		if err := table(a.Out, rows); err != nil {
			return err
		}
	}
	var masks []string
	for _, name := range sortedKeys(out.Masked) {
		masks = append(masks, name+" "+out.Masked[name])
	}
	fmt.Fprintf(a.Err, "# %d records under agreement %s; masked: %s; request %s in the decision log\n", len(records), out.Agreement, dash(strings.Join(masks, ", ")), out.Request)
	if out.Next != "" {
		fmt.Fprintf(a.Err, "# there is more: --all, or --cursor %s\n", out.Next)
	}
	return nil
}

// order puts the fields that were asked for first, in the order in which they were.
func order(names, asked []string) []string {
	var out []string
	for _, name := range asked {
		if slices.Contains(names, name) {
			out = append(out, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
