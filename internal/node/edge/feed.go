package edge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	// part of the object that is being fetched.
	part *part
}

// Objects implements intake.Feed.
func (f feed) Objects(context.Context) (intake.Objects, error) { return f, nil }

// GetBytes fetches an object by name, part by part. Where it fails on the way, the next call goes on behind what came; an object that came
// wrong is fetched anew.
func (f feed) GetBytes(ctx context.Context, name string, _ ...jetstream.GetObjectOpt) ([]byte, error) {
	for p := f.part.of(name); ; {
		m := nats.NewMsg(contract.EdgeSubject(f.edge, contract.EdgeGet))
		m.Data = []byte(name)
		m.Header.Set(contract.EdgeNextHeader, strconv.FormatUint(p.next, 10))
		got, err := f.request(ctx, m)
		if err != nil {
			return nil, err
		}
		whole, err := p.add(got)
		if err != nil {
			*p = part{}
			return nil, fmt.Errorf("hub: object %s: %w", name, err)
		}
		if whole {
			data := p.data
			*p = part{}
			return data, nil
		}
	}
}

// request asks the hub. What it says against it is an error.
func (f feed) request(ctx context.Context, ask *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, feedWait)
	defer cancel()
	m, err := f.nc.RequestMsgWithContext(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("hub: %s: %w", ask.Subject, err)
	}
	if reason := m.Header.Get(contract.EdgeErrorHeader); reason != "" {
		return nil, errors.New("hub: " + ask.Subject + ": " + reason)
	}
	return m, nil
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
				m, err := f.request(ctx, nats.NewMsg(contract.EdgeSubject(f.edge, contract.EdgeAsk)))
				if err != nil {
					return
				}
				jws, ask = string(m.Data), false
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
