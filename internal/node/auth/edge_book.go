package auth

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// enrolmentShown is how long a node that asks for certificates is told of after it last asked.
	enrolmentShown = 10 * time.Minute
	// edgeBudget bounds in bytes the requests for certificates in the report of auth, which is one message of at most 1 MiB.
	edgeBudget = 768 << 10
	// edgeEntryBytes is what a node costs there beside its requests: name and key.
	edgeEntryBytes = 256
	// edgeRoom is the part of the bucket of reports (64 MiB) that edge nodes may fill together, in bytes: an equal part each.
	edgeRoom = 40 << 20
	// maxEdgeProblem bounds the text in which a node says what is wrong with it.
	maxEdgeProblem = 1 << 10
)

// edgeBook holds what edge nodes ask certificates for, and which of them reported.
type edgeBook struct {
	// path keeps which key was first, over a restart; empty keeps nothing.
	path string

	mu    sync.Mutex
	pages map[string]*edgePage
}

// edgePage is one node's part.
type edgePage struct {
	request contract.EnrolRequest
	asked   time.Time
	first   firstKey
}

// firstKey is the key that a node asked with first under a token. It stays until the token is made anew.
type firstKey struct {
	Key string `json:"key"`
	// Token is the digest of the token's hash; empty for a key that was approved before this was written.
	Token string `json:"token,omitempty"`
}

// openBook reads which keys were first. A file that cannot be read is said, and the keys that are approved still count.
func openBook(stateDir string) (*edgeBook, error) {
	b := &edgeBook{pages: map[string]*edgePage{}}
	if stateDir == "" {
		return b, nil
	}
	b.path = filepath.Join(stateDir, "edge-keys.json")
	raw, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	first := map[string]firstKey{}
	if err == nil {
		err = json.Unmarshal(raw, &first)
	}
	if err != nil {
		return b, fmt.Errorf("first keys of edge nodes: %w", err)
	}
	for name, k := range first {
		b.pages[name] = &edgePage{first: k}
	}
	return b, nil
}

// ask notes a request for certificates under a key. It is false if another key was first: that one stays until the token is made anew,
// or until it is approved no more. An approved key is always heard, to renew.
func (b *edgeBook) ask(edge string, c contract.EdgeCredential, key string, req contract.EnrolRequest, now time.Time) (bool, error) {
	approved := slices.Contains(c.KeyDigests, key)
	token := ""
	if c.TokenHash != "" {
		token = contract.Digest([]byte(c.TokenHash))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.page(edge)
	switch known := p.first.Key != ""; {
	case known && p.first.Key == key:
	case approved && known && !slices.Contains(c.KeyDigests, p.first.Key):
		return true, nil // another key waits for approval: the present one keeps what it has, and asks later
	case approved:
		p.first = firstKey{Key: key, Token: p.first.Token}
	case token != "" && (!known || token != p.first.Token):
		p.first = firstKey{Key: key, Token: token}
	default:
		return false, nil
	}
	p.request, p.asked = req, now
	return true, b.keep()
}

// heard notes that there is a report of the node.
func (b *edgeBook) heard(edge string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.page(edge)
}

// page gives a node's part. The caller holds the lock.
func (b *edgeBook) page(edge string) *edgePage {
	p := b.pages[edge]
	if p == nil {
		p = &edgePage{}
		b.pages[edge] = p
	}
	return p
}

// follow drops nodes that are registered no more, and requests that were made under a token that has been made anew since: nobody may
// approve a key that the old token brought. It gives the nodes that it dropped.
func (b *edgeBook) follow(edges map[string]*edgeEntry) (gone []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, p := range b.pages {
		e := edges[name]
		switch {
		case e == nil:
			delete(b.pages, name)
			gone = append(gone, name)
		case e.TokenHash != "" && p.first.Token != contract.Digest([]byte(e.TokenHash)) && !slices.Contains(e.KeyDigests, p.first.Key):
			p.asked = time.Time{}
		}
	}
	return gone
}

// keep writes the first keys, where they changed. The caller holds the lock.
func (b *edgeBook) keep() error {
	if b.path == "" {
		return nil
	}
	first := map[string]firstKey{}
	for name, p := range b.pages {
		if p.first.Key != "" {
			first[name] = p.first
		}
	}
	raw, err := json.Marshal(first)
	if err != nil {
		return err
	}
	if was, err := os.ReadFile(b.path); err == nil && string(was) == string(raw) {
		return nil
	}
	if err := os.WriteFile(b.path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("first keys of edge nodes: %w", err)
	}
	return os.Rename(b.path+".new", b.path)
}

// report adds what nodes ask certificates for to the report of auth. Where not all fits, those with the longest requests wait.
func (b *edgeBook) report(r *contract.Report, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := func(name string) int {
		return len(b.pages[name].request.CSR) + len(b.pages[name].request.ServerCSR) + edgeEntryBytes
	}
	var asking []string
	for name, p := range b.pages {
		if !p.asked.IsZero() && now.Sub(p.asked) < enrolmentShown {
			asking = append(asking, name)
		}
	}
	slices.SortFunc(asking, func(a, b string) int { return cmp.Or(cmp.Compare(size(a), size(b)), strings.Compare(a, b)) })
	left := edgeBudget
	for _, name := range asking {
		if left -= size(name); left < 0 {
			return
		}
		if r.Edges == nil {
			r.Edges = map[string]contract.EdgeReport{}
		}
		request := b.pages[name].request
		r.Edges[name] = contract.EdgeReport{Enrolment: &request, KeyDigest: b.pages[name].first.Key}
	}
}

// readEdgeReport reads a node's report and leaves of it what a node may say: its own state, under its own name. What takes more than
// room, in bytes, goes without its counts.
func readEdgeReport(edge string, raw []byte, room int) ([]byte, error) {
	if len(raw) > contract.MaxEdgeReport {
		return nil, edgeTooLarge
	}
	var r contract.Report
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, edgeRefusal("BadRequest: not the JSON of a report")
	}
	if r.Role != contract.RoleEdge {
		return nil, edgeRefusal(fmt.Sprintf("BadRequest: role %.16q; write %q", r.Role, contract.RoleEdge))
	}
	r.Instance = edge
	r.Problem = strings.ToValidUTF8(r.Problem[:min(len(r.Problem), maxEdgeProblem)], "")
	r.Edges, r.Broker, r.Dispatch, r.Decisions, r.OpenCases, r.ScenarioCases = nil, nil, nil, nil, nil, nil
	out, err := json.Marshal(r)
	if err != nil || len(out) <= room {
		return out, err
	}
	r.Fleets, r.Communities = nil, nil
	if out, err = json.Marshal(r); err == nil && len(out) > room {
		return nil, edgeTooLarge
	}
	return out, err
}
