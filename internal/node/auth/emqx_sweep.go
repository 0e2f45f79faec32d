package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// Connections of EMQX are listed and cut over its management API.
// https://docs.emqx.com/en/emqx/v5.8/admin/api.html, clients

const (
	// attrUser is the client attribute that carries Identity.User.
	attrUser = "user"
	// emqxPage and emqxKick bound a page of the list and one call to cut. EMQX allows 10,000 a page.
	emqxPage, emqxKick = 10000, 1000
	// emqxSettles is how long a connection may be admitted and not listed yet: EMQX's patience for an answer, and as much again to
	// register the session.
	emqxSettles = 2 * emqxTimeout
	// apiTimeout bounds one call.
	apiTimeout = 30 * time.Second
	// ingestPatience is how long the role ingest may be silent.
	ingestPatience = 5 * contract.IngestBeat
)

// hearIngest gives what says whether the role ingest was heard lately. It listens for as long as the connection lives.
func hearIngest(nc *nats.Conn, now func() time.Time) (func(time.Time) bool, error) {
	var last atomic.Int64
	if _, err := nc.Subscribe(contract.SubjectIngest, func(*nats.Msg) { last.Store(now().UnixNano()) }); err != nil {
		return nil, fmt.Errorf("hear the role ingest: %w", err)
	}
	return func(at time.Time) bool { return at.Sub(time.Unix(0, last.Load())) < ingestPatience }, nil
}

// ledger remembers what was admitted to EMQX in the last emqxSettles. Of what a process before it admitted it knows nothing, so until
// it is that old anybody may be on the way.
type ledger struct {
	born    time.Time
	mu      sync.Mutex
	entries []entry
}

type entry struct {
	user, clientID string
	at             time.Time
}

func (l *ledger) add(user, clientID string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(now)
	l.entries = append(l.entries, entry{user, clientID, now})
}

// prune drops what is old. The caller holds the lock.
func (l *ledger) prune(now time.Time) {
	first := slices.IndexFunc(l.entries, func(e entry) bool { return now.Sub(e.at) < emqxSettles })
	if first < 0 {
		first = len(l.entries)
	}
	l.entries = slices.Delete(l.entries, 0, first)
}

// unsettled gives how long it takes until no connection that may not stay can be on its way; zero if there is none.
func (l *ledger) unsettled(stays func(user, clientID string) bool, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(now)
	wait = max(0, emqxSettles-now.Sub(l.born))
	for _, e := range l.entries {
		if !stays(e.user, e.clientID) {
			wait = max(wait, emqxSettles-now.Sub(e.at))
		}
	}
	return wait
}

// emqxSweeper lists and cuts connections of EMQX.
type emqxSweeper struct {
	api    contract.EMQXAPI
	recent *ledger
	now    func() time.Time
}

// Sweep cuts whom the newest bundle names as gone, and every other connection that may not stay, and looks again, until a look
// finds none and none can be on its way: between the answer and the registration of a session EMQX neither lists nor cuts it. Names
// come first because a list of many pages, taken while devices come and go, may miss some.
func (s emqxSweeper) Sweep(ctx context.Context, stays func(user, clientID string) bool, gone []string) (cut int, err error) {
	call, err := s.caller()
	if err != nil {
		return 0, err
	}
	defer call.client.CloseIdleConnections()
	for range maxSweeps {
		wait := s.recent.unsettled(stays, s.now())
		if err := call.allNodes(ctx, s.api.Nodes); err != nil {
			return cut, err
		}
		if err := call.kick(ctx, gone); err != nil {
			return cut, err
		}
		found, err := call.look(ctx, stays)
		if err != nil {
			return cut, err
		}
		if err := call.kick(ctx, found); err != nil {
			return cut, err
		}
		cut += len(found)
		if len(found) == 0 && wait == 0 {
			return cut, nil
		}
		if len(found) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return cut, ctx.Err()
		case <-time.After(wait):
		}
	}
	return cut, fmt.Errorf("connections to cut kept coming back to EMQX in %d sweeps", maxSweeps)
}

// emqxCaller calls the API with one reading of its key.
type emqxCaller struct {
	client      *http.Client
	url         string
	key, secret string
}

func (s emqxSweeper) caller() (emqxCaller, error) {
	c := emqxCaller{url: s.api.URL}
	for file, into := range map[string]*string{s.api.KeyFile: &c.key, s.api.SecretFile: &c.secret} {
		raw, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("auth.emqx.api: %w", err)
		}
		*into = strings.TrimSpace(string(raw))
	}
	pool, err := process.ReadPool(s.api.CAFile)
	if err != nil {
		return c, fmt.Errorf("auth.emqx.api: %w", err)
	}
	c.client = &http.Client{Timeout: apiTimeout, Transport: &http.Transport{TLSClientConfig: process.TrustTLS(pool)}}
	return c, nil
}

// allNodes fails unless as many nodes of EMQX run as should: what another holds is not known, and it can neither be listed nor cut.
func (c emqxCaller) allNodes(ctx context.Context, want int) error {
	var nodes []struct {
		Status string `json:"node_status"`
	}
	if err := c.do(ctx, http.MethodGet, "/api/v5/nodes", nil, http.StatusOK, &nodes); err != nil {
		return fmt.Errorf("list nodes of EMQX: %w", err)
	}
	running := 0
	for _, n := range nodes {
		if n.Status == "running" {
			running++
		}
	}
	if running < want {
		return fmt.Errorf("%d of %d nodes of EMQX run: which connections the others hold is not known", running, want)
	}
	return nil
}

// look gives the client ids that may not stay.
func (c emqxCaller) look(ctx context.Context, stays func(user, clientID string) bool) (gone []string, err error) {
	for page := 1; ; page++ {
		var list struct {
			Data []struct {
				ClientID string            `json:"clientid"`
				Attrs    map[string]string `json:"client_attrs"`
			} `json:"data"`
			Meta struct {
				HasNext bool `json:"hasnext"`
			} `json:"meta"`
		}
		path := fmt.Sprintf("/api/v5/clients?fields=clientid,client_attrs&limit=%d&page=%d", emqxPage, page)
		if err := c.do(ctx, http.MethodGet, path, nil, http.StatusOK, &list); err != nil {
			return nil, fmt.Errorf("list connections of EMQX: %w", err)
		}
		for _, d := range list.Data {
			if user := d.Attrs[attrUser]; user != userIngest && !stays(user, d.ClientID) {
				gone = append(gone, d.ClientID)
			}
		}
		if !list.Meta.HasNext {
			return gone, nil
		}
	}
}

// kick cuts connections and ends their sessions. One that is gone already is no error.
func (c emqxCaller) kick(ctx context.Context, clientIDs []string) error {
	for ids := range slices.Chunk(clientIDs, emqxKick) {
		if err := c.do(ctx, http.MethodPost, "/api/v5/clients/kickout/bulk", ids, http.StatusNoContent, nil); err != nil {
			return fmt.Errorf("cut connections of EMQX: %w", err)
		}
	}
	return nil
}

func (c emqxCaller) do(ctx context.Context, method, path string, body any, want int, into any) error {
	var raw []byte
	if body != nil {
		raw, _ = json.Marshal(body) // strings always marshal
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.SetBasicAuth(c.key, c.secret)
	req.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to the end or given up
	if response.StatusCode != want {
		return errors.New("EMQX answered " + response.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// both sweeps here and there: devices may be left on the broker that they were on before the engine changed.
func both(a, b sweep) sweep {
	return func(ctx context.Context, stays func(user, clientID string) bool, gone []string) (int, error) {
		n, first := a(ctx, stays, gone)
		m, second := b(ctx, stays, gone)
		return n + m, errors.Join(first, second)
	}
}
