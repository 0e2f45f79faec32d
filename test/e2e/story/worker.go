package story

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// work puts a grid worker on the roster, who takes the case, has it verified and closes it.
func (t *teller) work(ctx context.Context) error {
	if err := t.emptyRoster(ctx); err != nil {
		return err
	}
	list, err := t.cases(ctx, worker, "GridWorker")
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return fmt.Errorf("grid worker %s is on no roster and sees %d cases; want none", worker, len(list))
	}
	t.print.Seen(0, "%s is on no roster and sees no case", worker)
	if err := t.putRoster(ctx, map[string]string{"person": worker, "role": "GridWorker", "grid": "grid-1"}); err != nil {
		return err
	}
	t.print.Seen(0, "a community worker of %s puts %s on the roster of grid-1", committee, worker)
	for _, a := range []struct{ action, state string }{{"Acknowledge", "Handling"}, {"RequestVerification", "Verifying"}, {"Verify", "Verifying"}, {"Close", "Closed"}} {
		args := append([]string{"cases", "act", t.caseID, "--action", a.action}, t.committee(worker, "GridWorker")...)
		if a.action == "Close" {
			args = append(args, "--done", "1,2") // the closing steps of S10
		}
		out, err := t.run(ctx, t.Dizuo, args...)
		if err != nil {
			return err
		}
		head, _, _ := strings.Cut(out, "\n")
		if !strings.Contains(head, "  "+a.state+"  ") {
			return fmt.Errorf("after %s the case is %q, want %s", a.action, head, a.state)
		}
		if a.action == "Close" {
			t.print.Output(out, 0)
		}
	}
	t.print.Seen(0, "case %s is closed by the person who was there", t.caseNumber)
	return nil
}

func (t *teller) emptyRoster(ctx context.Context) error { return t.putRoster(ctx) }

// putRoster replaces the committee's roster of the community.
func (t *teller) putRoster(ctx context.Context, entries ...map[string]string) error {
	token, err := t.quiet(ctx, nil, t.Dizuo, "token", "--for", "grid", "--platform", namespace+"/"+platform, "--secret", namespace+"/"+committee+"-grid-tls",
		"--organization", committee, "--subject", officeWorker, "--role", "CommunityWorker")
	if err != nil {
		return err
	}
	if entries == nil {
		entries = []map[string]string{}
	}
	body, err := json.Marshal(map[string]any{"community": community, "entries": entries})
	if err != nil {
		return err
	}
	client, err := t.client(ctx, committee+"-grid-tls")
	if err != nil {
		return err
	}
	t.print.Shell(`curl --cacert ca.crt -X PUT ` + t.grid.URL() + `/v1/roster -H "Authorization: Bearer $(dizuo token --for grid --organization ` +
		committee + ` --subject ` + officeWorker + ` --role CommunityWorker ...)" -d ` + quote([]string{string(body)}))
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, t.grid.URL()+"/v1/roster", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("PUT /v1/roster: %s: %s", answer.Status, text)
	}
	return nil
}

// client speaks to the platform's services with the certificate in a Secret of its namespace.
func (t *teller) client(ctx context.Context, secret string) (*http.Client, error) {
	data, err := t.secret(ctx, namespace, secret)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", secret, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data["ca.crt"]) {
		return nil, errors.New("secret " + secret + ": ca.crt holds no certificate")
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}, nil
}
