package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

const (
	// askEvery is how often the lease is asked for, though each is pushed: one that was pushed while the line was cut is not pushed again.
	askEvery = 2 * time.Minute
	// feedWait bounds the wait for an answer.
	feedWait = 20 * time.Second
)

// feed brings leases and bundles from the hub, of the node's own scope alone.
type feed struct {
	edge string
	nc   *nats.Conn
	// back says that the line came back.
	back <-chan struct{}
}

// Objects implements intake.Feed.
func (f feed) Objects(context.Context) (intake.Objects, error) { return f, nil }

// GetBytes fetches an object by name.
func (f feed) GetBytes(ctx context.Context, name string, _ ...jetstream.GetObjectOpt) ([]byte, error) {
	return f.request(ctx, contract.EdgeGet, []byte(name))
}

func (f feed) request(ctx context.Context, verb contract.EdgeVerb, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, feedWait)
	defer cancel()
	m, err := f.nc.RequestWithContext(ctx, contract.EdgeSubject(f.edge, verb), body)
	if err != nil {
		return nil, fmt.Errorf("hub: %s: %w", verb, err)
	}
	if reason := m.Header.Get(contract.EdgeErrorHeader); reason != "" {
		return nil, errors.New("hub: " + string(verb) + ": " + reason)
	}
	return m.Data, nil
}

// Leases gives what is pushed, and what is asked for at the start, when the line comes back, and now and then. It breaks where asking
// fails: the intake then says so and begins anew.
func (f feed) Leases(ctx context.Context, scope string) (<-chan string, error) {
	if scope != contract.ScopeEdge(f.edge) {
		return nil, fmt.Errorf("lease of scope %q: this is edge node %s", scope, f.edge)
	}
	pushed := make(chan *nats.Msg, 8)
	sub, err := f.nc.ChanSubscribe(contract.EdgeSubject(f.edge, contract.EdgeLease), pushed)
	if err != nil {
		return nil, fmt.Errorf("hub: lease: %w", err)
	}
	out := make(chan string)
	go func() {
		defer close(out)
		defer func() { _ = sub.Unsubscribe() }()
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		last := ""
		for ask := f.nc.IsConnected(); ; { // with the line cut, back says when
			var jws string
			if ask {
				raw, err := f.request(ctx, contract.EdgeAsk, nil)
				if err != nil {
					return
				}
				jws, ask = string(raw), false
			} else {
				select {
				case <-ctx.Done():
					return
				case m := <-pushed:
					jws = string(m.Data)
				case <-f.back:
					ask = true
				case <-tick.C:
					ask = true
				}
			}
			if jws == "" || jws == last {
				continue
			}
			select {
			case out <- jws:
				last = jws
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
