// Package uplink brings an edge node's outbox to the hub: in order, one batch in flight, each until the hub says that it is committed.
//
//	Hello -> mark -> batch behind mark -> its mark -> ...
//
// What is lost on the way is sent again: the hub ignores what it has. No window of time is involved, so it makes no difference
// whether the line was cut for a second or for a week.
package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/edge/wire"
)

const (
	// replyWait bounds the wait for an answer: as long as the hub's broker keeps the way back.
	replyWait = 30 * time.Second
	// lookEvery is how often an outbox that was at its end is looked at.
	lookEvery = 200 * time.Millisecond
	// idleEvery is how often the hub hears that there is nothing: it waits for that before it takes silence for silence.
	idleEvery = 10 * time.Second
)

// Outbox is where messages come from; see package outbox.
type Outbox interface {
	Hello(ctx context.Context) (contract.Hello, error)
	Heard(mark uint64) error
	Next(ctx context.Context, mark uint64) (contract.EdgeBatch, error)
	Committed(b contract.EdgeBatch, mark uint64)
}

// Context hears what the hub knows of the node's places.
type Context interface {
	// Known gives nil for nothing to be asked.
	Known() *contract.EdgeKnown
	// Learn takes what an answer says.
	Learn(contract.EdgeContext)
}

// Conn is the connection to the hub.
type Conn interface {
	RequestMsgWithContext(ctx context.Context, m *nats.Msg) (*nats.Msg, error)
}

// Uplink sends one outbox.
type Uplink struct {
	// Edge is the node's name.
	Edge   string
	Outbox Outbox
	Conn   Conn
	Log    *slog.Logger
	// Context is what the node knows beside its outbox; nil asks the hub for nothing.
	Context Context
	// Back says that the line came back, which ends a pause; nil says nothing.
	Back <-chan struct{}
	// ReplyWait is replyWait if zero.
	ReplyWait time.Duration

	skew      atomic.Int64 // milliseconds
	connected atomic.Bool
}

// Skew says how far this node's clock is ahead of the hub's, as of the last Hello.
func (u *Uplink) Skew() time.Duration { return time.Duration(u.skew.Load()) * time.Millisecond }

// Connected says whether the hub takes what is sent.
func (u *Uplink) Connected() bool { return u.connected.Load() }

// Run sends until ctx ends, whatever the line does.
func (u *Uplink) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = 200*time.Millisecond, 15*time.Second, 0.5
	var said string
	for {
		err := u.session(ctx, pause.Reset)
		u.connected.Store(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errAgain) && err.Error() != said { // a line that is cut for a week says so once
			u.Log.Warn("hub does not take the outbox", "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-u.Back:
		case <-time.After(pause.NextBackOff()):
		}
	}
}

var errAgain = errors.New("the hub asks for a new session")

// session says Hello and sends batches until one goes wrong. good is called after each that did not.
func (u *Uplink) session(ctx context.Context, good func()) error {
	mark, err := u.hello(ctx)
	if err != nil {
		return err
	}
	u.connected.Store(true)
	var idle time.Time
	for {
		b, err := u.Outbox.Next(ctx, mark)
		if err != nil {
			return err
		}
		if len(b.Messages)+len(b.Lost) == 0 && time.Since(idle) < idleEvery {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(lookEvery):
			}
			continue
		}
		if u.Context != nil {
			b.Known = u.Context.Known()
		}
		r, err := ask[contract.EdgeBatchReply](ctx, u, contract.EdgeUp, b)
		if err != nil {
			return err
		}
		switch {
		case r.Again:
			return errAgain
		case r.Mark < mark:
			return fmt.Errorf("hub committed up to %d, and %d before that: %w", r.Mark, mark, errAgain)
		}
		u.Outbox.Committed(b, r.Mark)
		if r.Error != "" {
			return errors.New("hub: " + r.Error)
		}
		mark, idle = r.Mark, time.Now()
		if r.Context != nil && u.Context != nil {
			if u.Context.Learn(*r.Context); r.Context.More {
				idle = time.Time{} // asks again at once
			}
		}
		good()
	}
}

// hello gives the mark to go on behind.
func (u *Uplink) hello(ctx context.Context) (uint64, error) {
	h, err := u.Outbox.Hello(ctx)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	r, err := ask[contract.HelloReply](ctx, u, contract.EdgeHello, h)
	if err != nil {
		return 0, err
	}
	if r.Error != "" {
		return 0, errors.New("hub: " + r.Error)
	}
	if !r.Now.IsZero() {
		here := sent.Add(time.Since(sent) / 2) // the answer was made about half way
		u.skew.Store(here.Sub(r.Now).Milliseconds())
	}
	return r.Mark, u.Outbox.Heard(r.Mark)
}

// ask sends a request of the node and waits for the answer.
func ask[T any](ctx context.Context, u *Uplink, verb contract.EdgeVerb, body any) (T, error) {
	var out T
	m, err := wire.Encode(contract.EdgeSubject(u.Edge, verb), body)
	if err != nil {
		return out, err
	}
	wait := u.ReplyWait
	if wait == 0 {
		wait = replyWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer, err := u.Conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		return out, fmt.Errorf("hub: %s: %w", verb, err)
	}
	if err := json.Unmarshal(answer.Data, &out); err != nil {
		return out, fmt.Errorf("hub: answer to %s: %w", verb, err)
	}
	return out, nil
}
