package exchangesim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is the interface of the system over a store. Another server over the same store is the system after a restart.
type Server struct {
	*Store
	// Token that callers show; empty takes anybody.
	Token string
	// Failures is the share of calls that fail, 0 to 1: before anything is done, or after, so that the answer is lost.
	Failures float64
	// Echo puts what the other side wrote into the feed, as if people here had done it.
	Echo bool
	// NoKeys forgets the answers to keys, as many systems do.
	NoKeys bool

	chance sync.Mutex
	Rand   *rand.Rand
}

func (s *Server) fails() bool {
	if s.Failures == 0 {
		return false
	}
	s.chance.Lock()
	defer s.chance.Unlock()
	return s.Rand.Float64() < s.Failures
}

// Handler gives the interface.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /cases/{id}", s.put1)
	mux.HandleFunc("GET /cases/{id}", s.get1)
	mux.HandleFunc("GET /cases", s.list)
	mux.HandleFunc("GET /changes", s.changes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if s.fails() { // nothing was done
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if s.fails() { // it is done, and nobody hears
			mux.ServeHTTP(deaf{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	})
}

// deaf drops an answer.
type deaf struct{ header http.Header }

func (d deaf) Header() http.Header         { return d.header }
func (d deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d deaf) WriteHeader(int)             {}

func (s *Server) put1(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var in Case
	if err != nil || json.Unmarshal(raw, &in) != nil || in.ID != r.PathValue("id") || in.State == "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if a, ok := s.answers[key]; ok && key != "" && !s.NoKeys {
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body)
		return
	}
	was, there := s.cases[in.ID]
	match, none := strings.Trim(r.Header.Get("If-Match"), `"`), r.Header.Get("If-None-Match")
	if there && none == "*" || match != "" && (!there || match != strconv.FormatInt(was.Version, 10)) {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	c := Case{ID: in.ID, Version: 1, Origin: in.Origin, Seen: in.Version, State: in.State, Class: in.Class, Severity: in.Severity, Title: in.Title, Division: in.Division, Grid: in.Grid}
	if there {
		c.Version = was.Version + 1
	}
	s.written++
	s.Store.put(c, true)
	body, err := json.Marshal(s.cases[in.ID])
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	s.answers[key] = answer{http.StatusOK, body}
	_, _ = w.Write(body)
}

func (s *Server) get1(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.cases[r.PathValue("id")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	write(w, c)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	const page = 50
	since, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	type short struct {
		ID      string `json:"id"`
		Version int64  `json:"version"`
		State   string `json:"state"`
	}
	out := struct {
		Cases []short `json:"cases"`
		Next  string  `json:"next,omitempty"`
	}{Cases: []short{}}
	for _, id := range s.ids() {
		c := s.cases[id]
		if id <= r.URL.Query().Get("cursor") || c.UpdatedAt.Before(since) {
			continue
		}
		if len(out.Cases) == page {
			out.Next = out.Cases[page-1].ID
			break
		}
		out.Cases = append(out.Cases, short{id, c.Version, c.State})
	}
	write(w, out)
}

// changes gives cases as they are now, in the order in which they changed. Without echo, what the other side wrote last is left out.
func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	const page = 20
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil && r.URL.Query().Get("after") != "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := struct {
		Changes []*Case `json:"changes"`
		Next    string  `json:"next"`
	}{[]*Case{}, strconv.FormatInt(after, 10)}
	for _, f := range s.feed[min(int(after), len(s.feed)):] {
		if len(out.Changes) == page {
			break
		}
		if c, there := s.cases[f.ID]; there && (s.Echo || !f.Told) {
			out.Changes = append(out.Changes, c)
		}
		out.Next = strconv.FormatInt(f.N, 10)
	}
	write(w, out)
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Push sends what changed here to the other side, at base, until all is sent or a call fails. What the other side refuses is left as it is.
func (s *Server) Push(ctx context.Context, client *http.Client, base string) error {
	for {
		s.mu.Lock()
		var next *change
		var c Case
		for i := range s.feed {
			f := s.feed[i]
			if f.N <= s.pushed {
				continue
			}
			if known, there := s.cases[f.ID]; there && (s.Echo || !f.Told) {
				next, c = &f, *known
				break
			}
			s.pushed = f.N
		}
		s.mu.Unlock()
		if next == nil {
			return nil
		}
		status, err := s.send(ctx, client, base, c)
		if err != nil || status >= 500 {
			return fmt.Errorf("push: %d %w", status, err)
		}
		s.mu.Lock()
		s.pushed = next.N
		if status >= 300 {
			s.dropped++
		}
		s.mu.Unlock()
	}
}

func (s *Server) send(ctx context.Context, client *http.Client, base string, c Case) (int, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("document: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, base+"/cases/"+url.PathEscape(c.ID), bytes.NewReader(raw))
	if err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}
