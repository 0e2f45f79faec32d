package cases

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dizuo/dizuo/test/stack"
)

// Parts of a hundred requests that a receiver treats badly.
const (
	refused = 5 // answered 503
	cut     = 5 // taken, and the connection is cut before the answer
	hung    = 1 // never answered
)

// delivery is a message by its id.
type delivery struct {
	subject, kind, body string
	attempts, taken     int
}

// receiver takes webhooks and keeps what came.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	byID map[string]*delivery
	bad  []string
	r    *rand.Rand
	// good makes it take everything.
	good bool
}

func newReceiver(t *testing.T, seed uint64) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(stack.WebhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{byID: map[string]*delivery{}, r: rand.New(rand.NewPCG(seed, 2))}
	over := make(chan struct{})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		if err != nil {
			return // its sender was killed
		}
		if err := verifier.Verify(raw, req.Header); err != nil {
			r.complain("%v", err)
			return
		}
		switch does := r.take(req.Header.Get("webhook-id"), raw); {
		case does < hung:
			select {
			case <-req.Context().Done():
			case <-over:
			}
		case does < hung+cut:
			panic(http.ErrAbortHandler)
		case does < hung+cut+refused:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(func() { close(over); r.Server.Close() })
	return r
}

func (r *receiver) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = append(r.bad, fmt.Sprintf(format, args...))
}

// take writes down a message and says how it is treated.
func (r *receiver) take(id string, raw []byte) (does int) {
	var e event.Event
	if err := json.Unmarshal(raw, &e); err != nil || e.ID() != id {
		r.complain("message %s holds event %s: %v", id, e.ID(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.byID[id]
	if d == nil {
		d = &delivery{subject: e.Subject(), kind: e.Type(), body: string(raw)}
		r.byID[id] = d
	}
	if d.body != string(raw) {
		r.bad = append(r.bad, "message "+id+" is not what it was")
	}
	if does = r.r.IntN(100); r.good {
		does = 100
	}
	if d.attempts++; does >= hung+cut+refused {
		d.taken++
	}
	return does
}

// bestBehaviour ends the bad treatment, so that what is left comes within some pauses.
func (r *receiver) bestBehaviour() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.good = true
}

// said gives the ids of messages about each case, by type; only those taken.
func (r *receiver) said() (taken map[string]map[string]int, attempts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken = map[string]map[string]int{}
	for _, d := range r.byID {
		attempts += d.attempts
		if taken[d.subject] == nil {
			taken[d.subject] = map[string]int{}
		}
		taken[d.subject][d.kind]++
		if d.taken == 0 {
			taken[d.subject]["not taken yet"]++
		}
	}
	return taken, attempts
}

// complaints gives what was wrong with messages.
func (r *receiver) complaints() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bad...)
}

// longest is how long a message that failed may wait, by the pause of its attempts, and one that was claimed by a process that was killed.
const longest = 5 * time.Minute
