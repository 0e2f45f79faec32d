package grid

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// exchangeTimeout bounds one call of another system.
	exchangeTimeout = 10 * time.Second
	// largestAnswer bounds what is read of an answer in bytes.
	largestAnswer = 4 << 20
)

// otherSystem calls the interface of an integration. What it offers is what the platform offers under /v1/exchange/{system}.
type otherSystem struct {
	base, token string
	http        *http.Client
}

// open makes a client of a system. Credentials are read anew for each turn: a rotation needs no restart.
func (w *exchanger) open(x exchange) (*otherSystem, error) {
	d := &deliverer{plain: w.plain}
	base, err := d.target(x.URL)
	if err != nil {
		return nil, errors.New("url must be https, with a host and without a user")
	}
	client, err := d.client(contract.Webhook{CABundle: x.CABundle})
	if err != nil {
		return nil, errors.New("caBundle holds no PEM certificate")
	}
	read := func(kind string) []byte {
		raw, _ := os.ReadFile(filepath.Join(w.secretDir, filepath.Base(contract.IntegrationFile(x.name, kind)))) // one that is not there is not shown
		return raw
	}
	cert, key, token := read(contract.IntegrationCertificate), read(contract.IntegrationKey), strings.TrimSpace(string(read(contract.IntegrationToken)))
	if len(cert) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, errors.New("the client certificate and its key do not fit")
		}
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if len(cert) == 0 && token == "" {
		return nil, errors.New("the credentials of the integration are not there")
	}
	return &otherSystem{strings.TrimRight(base, "/"), token, client}, nil
}

func (o *otherSystem) close() { o.http.CloseIdleConnections() }

// errAnswer is an answer of the other system that is not 2xx. What it wrote is not kept: it may have content of a case.
type errAnswer struct{ status int }

// answeredWith begins the text of an errAnswer.
const answeredWith = "the system answered "

// Error names the status.
func (e errAnswer) Error() string { return answeredWith + strconv.Itoa(e.status) }

// statusOf gives the status of an answer; 0 where there was none.
func statusOf(err error) int {
	var a errAnswer
	if errors.As(err, &a) {
		return a.status
	}
	return 0
}

// ofTheCase says whether a failed call is about the case that was sent: what it says conflicts, is meant for another version, or is not valid there. All
// else is about the system, its address, or who calls it, and would be the same of any case.
func ofTheCase(err error) bool {
	return slices.Contains([]int{http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity, http.StatusPreconditionRequired}, statusOf(err))
}

// answeredAtAll says whether the system answered a call with what may be of that one alone: it is there, lets us in, and has room.
func answeredAtAll(err error) bool {
	status := statusOf(err)
	return status >= 400 && status < 500 && !slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}, status)
}

// call makes one call and decodes a 2xx answer into out. The error never has content of a case or a credential.
func (o *otherSystem) call(ctx context.Context, method, path string, body, out any, headers ...string) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("document: %w", err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, r)
	if err != nil {
		return errors.New("the address of the system cannot be called")
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if o.token != "" {
		req.Header.Set("Authorization", "Bearer "+o.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := o.http.Do(req)
	if err != nil {
		var named *url.Error
		if errors.As(err, &named) {
			err = named.Err // without the address, which has the id of the case
		}
		return fmt.Errorf("the system cannot be reached: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer+1))
	switch {
	case err != nil:
		return errors.New("the answer of the system broke off")
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return errAnswer{resp.StatusCode}
	case len(raw) > largestAnswer:
		return fmt.Errorf("the answer of the system is larger than %d bytes", largestAnswer)
	case json.Unmarshal(raw, out) != nil:
		return errors.New("the answer of the system is no JSON of the exchange")
	}
	return nil
}

// put sends a case. theirs is the version of theirs that it is meant for, 0 where they are not known to have it.
func (o *otherSystem) put(ctx context.Context, e ExchangedCase, key string, theirs int64) (answer ExchangedCase, err error) {
	condition := []string{"If-None-Match", "*"}
	if theirs > 0 {
		condition = []string{"If-Match", `"` + strconv.FormatInt(theirs, 10) + `"`}
	}
	err = o.call(ctx, http.MethodPut, "/cases/"+url.PathEscape(e.ID), e, &answer, append(condition, "Idempotency-Key", key)...)
	if err == nil && answer.Version < 1 {
		err = errors.New("the answer of the system has no version of the case")
	}
	return answer, err
}

// get reads a case as they have it now.
func (o *otherSystem) get(ctx context.Context, id string) (answer ExchangedCase, err error) {
	err = o.call(ctx, http.MethodGet, "/cases/"+url.PathEscape(id), nil, &answer)
	return answer, err
}

// changes reads what changed there after a cursor; an empty one is the beginning.
func (o *otherSystem) changes(ctx context.Context, after string) (page ExchangedChanges, err error) {
	path := "/changes"
	if after != "" {
		path += "?after=" + url.QueryEscape(after)
	}
	err = o.call(ctx, http.MethodGet, path, nil, &page)
	return page, err
}

// list reads ids and states of the cases of the exchange that changed there since a time.
func (o *otherSystem) list(ctx context.Context, since time.Time, cursor string) (page ExchangedList, err error) {
	query := url.Values{"since": {since.UTC().Format(time.RFC3339)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	err = o.call(ctx, http.MethodGet, "/cases?"+query.Encode(), nil, &page)
	return page, err
}
