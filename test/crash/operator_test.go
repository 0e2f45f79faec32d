//go:build envtest

package crash

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/dizuo/dizuo/test/apiserver"
)

var errDead = errors.New("the operator was killed")

// operator is one life of the operator's process, on one world. It sees nothing of others.
type operator struct {
	t    *testing.T
	kill context.CancelFunc
	// ended is closed when nothing of it runs any more.
	ended chan struct{}
	// died is closed when it was killed.
	died chan struct{}

	mu     sync.Mutex
	writes []string
	dies   int // after this many writes; 0 is never
	dead   bool
}

// begin starts an operator that is killed after its write number dies: that write reaches the API server, no later one does.
func begin(t *testing.T, w *world, dies int) *operator {
	t.Helper()
	ctx, kill := context.WithCancel(context.Background())
	o := &operator{t: t, kill: kill, dies: dies, ended: make(chan struct{}), died: make(chan struct{})}
	config := rest.CopyConfig(server.Operator())
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return transport{o, w.perturb(next)} }
	mgr, err := apiserver.Manager(ctx, config, w.everywhere()...)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(o.ended)
		if err := mgr.Start(ctx); err != nil && !o.isDead() {
			t.Errorf("operator: %v", err)
		}
	}()
	return o
}

// end stops it, as a process that ends in order.
func (o *operator) end() {
	o.kill()
	<-o.ended
}

func (o *operator) isDead() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dead
}

func (o *operator) written() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.writes)
}

// transport counts what changes the API server's state, and lets nothing through once the operator is dead.
type transport struct {
	o    *operator
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (x transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if x.o.isDead() {
		return nil, errDead
	}
	// Neither a question nor an event changes what the operator works from.
	asks := strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") || strings.HasSuffix(r.URL.Path, "/events")
	if r.Method == http.MethodGet || asks {
		return x.next.RoundTrip(r)
	}
	x.o.mu.Lock()
	defer x.o.mu.Unlock() // one write at a time: what is in flight when it dies is the write that it died after
	if x.o.dead {
		return nil, errDead
	}
	answer, err := x.next.RoundTrip(r)
	if err != nil || answer.StatusCode >= 300 {
		return answer, err
	}
	x.o.writes = append(x.o.writes, fmt.Sprintf("%s %s", r.Method, r.URL.Path))
	if len(x.o.writes) == x.o.dies {
		x.o.dead = true
		close(x.o.died)
		x.o.kill()
		_ = answer.Body.Close()
		return nil, errDead // the answer did not reach it
	}
	return answer, nil
}
