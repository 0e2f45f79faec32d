package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// This file asks the vault whose the rows of a provider's own database are, and who of them consents. The vault may be away: then nothing is
// given out that needs consent.

// errVault says that the vault could not be asked.
var errVault = errors.New("the vault cannot be asked who consents")

// vaultTimeout bounds one question to the vault.
const vaultTimeout = 3 * time.Second

// subjectMap finds the subjects of a provider's keys of persons: the vault.
type subjectMap interface {
	// consenting gives the subject of each key that the vault knows and whose subject has given a consent to every scope, for the
	// purpose, that is neither withdrawn nor over. Without scopes it gives every one that it knows.
	consenting(ctx context.Context, dataset string, keys, scopes []string, purpose string) (map[string]string, error)
}

// vaultClient asks the role vault over mutual TLS.
type vaultClient struct {
	url  string
	http *http.Client
}

// newVaultClient reads certificate and CA at every connection, so that a renewal needs no restart.
func newVaultClient(c contract.VaultClient) *vaultClient {
	return &vaultClient{url: c.URL + contract.MapPath, http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				t, err := process.ClientTLS(c.TLS)
				if err != nil {
					return nil, err
				}
				return (&tls.Dialer{Config: t}).DialContext(ctx, network, address)
			},
			MaxConnsPerHost: 8, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
	}}
}

// consenting implements subjectMap with one question for each contract.MaxMapKeys keys. Keys that can be in no vault are not asked about.
func (v *vaultClient) consenting(ctx context.Context, dataset string, keys, scopes []string, purpose string) (map[string]string, error) {
	out, asked := map[string]string{}, make([]string, 0, len(keys))
	for _, key := range keys {
		if _, twice := out[key]; !twice && key != "" && utf8.ValidString(key) && utf8.RuneCountInString(key) <= contract.MaxIdentityKey {
			asked, out[key] = append(asked, key), ""
		}
	}
	for len(asked) > 0 {
		part := asked[:min(len(asked), contract.MaxMapKeys)]
		asked = asked[len(part):]
		subjects, err := v.ask(ctx, contract.MapRequest{Dataset: dataset, Keys: part, Scopes: scopes, Purpose: purpose})
		if err != nil {
			return nil, errors.Join(errVault, err)
		}
		for i, key := range part {
			if out[key] = subjects[i]; subjects[i] == "" {
				delete(out, key)
			}
		}
	}
	return out, nil
}

// ask puts one question.
func (v *vaultClient) ask(ctx context.Context, q contract.MapRequest) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultTimeout)
	defer cancel()
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(q); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url, &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, fmt.Errorf("vault: %d %s", resp.StatusCode, bytes.TrimSpace(text))
	}
	var a contract.MapAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, contract.MaxMapBodyBytes)).Decode(&a); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	if len(a.Subjects) != len(q.Keys) {
		return nil, fmt.Errorf("vault: %d subjects for %d keys", len(a.Subjects), len(q.Keys))
	}
	return a.Subjects, nil
}

// subjectsOf asks the vault about keys. Without scopes it is for the log alone: then a vault that is away is no reason to give nothing, since
// what is logged in the place of a subject leads the vault to it as well.
func (s *server) subjectsOf(ctx context.Context, dataset string, keys, scopes []string, purpose string) (map[string]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	err := errVault
	if s.subjects != nil {
		var known map[string]string
		if known, err = s.subjects.consenting(ctx, dataset, keys, scopes, purpose); err == nil {
			return known, nil
		}
	}
	if len(scopes) > 0 {
		return nil, fmt.Errorf("subjects of dataset %s: %w", dataset, errors.Join(errVault, err))
	}
	if s.subjects != nil && ctx.Err() == nil {
		s.slog.Warn("rows are logged under keys of their provider: the vault cannot be asked whose they are", "dataset", dataset, "err", err)
	}
	return nil, nil
}

// mapped turns the provider's keys of rows into pseudonyms for the decision log, and leaves out rows whose subject has not consented where
// consent is asked for. A key that the vault does not know is nobody's who could have consented.
func (s *server) mapped(ctx context.Context, dataset string, sel selection, rows []row) ([]row, error) {
	var keys []string
	for _, r := range rows {
		if r.subject != nil {
			keys = append(keys, *r.subject)
		}
	}
	scopes := sel.consents()
	known, err := s.subjectsOf(ctx, dataset, keys, scopes, sel.purpose)
	if err != nil {
		return nil, err
	}
	out, unmapped := rows[:0], 0
	for _, r := range rows {
		if r.subject == nil && len(scopes) > 0 {
			continue
		}
		if r.subject != nil {
			subject, ok := known[*r.subject]
			if !ok && len(scopes) > 0 {
				continue
			}
			if !ok { // so that the log tells persons apart whom the vault does not know
				subject = contract.ForeignSubject(dataset, *r.subject)
				unmapped++
			}
			name := pseudonym(s.keys.subject, subject)
			r.subject = &name
		}
		out = append(out, r)
	}
	s.metrics.unmapped.Add(float64(unmapped))
	return out, nil
}
