package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/pkg/client/grid"
)

// service is a REST service of the platform.
type service struct {
	base   *url.URL
	client *http.Client
	header http.Header
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// newService reaches a service at an https address. ca is PEM; empty trusts the system's roots.
func newService(server string, ca []byte, certificates []tls.Certificate) (*service, error) {
	base, err := url.Parse(server)
	if err != nil || base.Host == "" || base.Scheme != "https" {
		return nil, usage("--server %q: write an address such as https://host:8443", server)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: certificates}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("--ca holds no certificate; write a PEM file")
		}
	}
	transport := &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	client := &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes nowhere else
	}
	return &service{base, client, http.Header{}}, nil
}

// Refusal is an answer that says no, as RFC 9457 has it.
type Refusal struct {
	Status  int      `json:"status"`
	Title   string   `json:"title"`
	Detail  string   `json:"detail,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
	Request string   `json:"request,omitempty"`
	Errors  []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors,omitempty"`
	// RetryAfter is how long to wait before asking again, as the answer's header says in seconds; 0 where it does not.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (r *Refusal) Error() string {
	parts := []string{fmt.Sprintf("%d %s", r.Status, r.Title)}
	if r.Detail != "" && r.Detail != r.Title {
		parts = append(parts, r.Detail)
	}
	for _, e := range r.Errors {
		parts = append(parts, strings.TrimSpace(e.Location+" "+e.Message))
	}
	if len(r.Reasons) > 0 {
		parts = append(parts, "reasons: "+strings.Join(r.Reasons, ", "))
	}
	if r.Request != "" {
		parts = append(parts, "request "+r.Request+" in the decision log")
	}
	return strings.Join(parts, "; ")
}

// call makes a request; in and out are JSON and may be nil; an out of *[]byte gets the answer as it came. An answer of 300 or more is a *Refusal.
func (s *service) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	target := s.base.JoinPath(path)
	target.RawQuery = query.Encode()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := s.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte: // as it came
		*out = raw
		return nil
	}
	return json.Unmarshal(raw, out)
}

// fromOutside adds to the error of a name that only the cluster knows how to get there.
func fromOutside(err error) error {
	var unknown *net.DNSError
	if !errors.As(err, &unknown) || !unknown.IsNotFound {
		return err
	}
	name, namespace, _ := strings.Cut(strings.TrimSuffix(unknown.Name, ".svc"), ".")
	if !strings.HasSuffix(unknown.Name, ".svc") || namespace == "" {
		return err
	}
	return fmt.Errorf("%w; %s is a name inside the cluster: from outside run `kubectl -n %s port-forward svc/%s 8443` and write --server https://localhost:8443", err, unknown.Name, namespace, name)
}

// Do sends a request with the header of the service; an answer of 300 or more is a *Refusal. With it a service carries the generated client.
func (s *service) Do(request *http.Request) (*http.Response, error) {
	for name, values := range s.header {
		request.Header[name] = values
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, fromOutside(err)
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	refusal := &Refusal{}
	if json.Unmarshal(raw, refusal) != nil || refusal.Title == "" {
		refusal = &Refusal{Title: http.StatusText(answer.StatusCode)}
	}
	refusal.Status = answer.StatusCode
	if seconds, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 32); err == nil {
		refusal.RetryAfter = time.Duration(seconds) * time.Second
	}
	return nil, refusal
}

// grid gives the generated client of the grid service over the connection: what is refused comes as a *Refusal.
func (s *service) grid() (*grid.ClientWithResponses, error) {
	return grid.NewClientWithResponses(s.base.String(), grid.WithHTTPClient(s))
}

// given is a parameter that was given; nil for one that was not.
func given[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

// optionalFile reads a file, or nothing for an empty name.
func optionalFile(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}
