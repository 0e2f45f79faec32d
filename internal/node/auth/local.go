package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// Local is the role auth inside an edge node: the same registry, answers and sweeps as at the centre, over the bundle of the node.
type Local struct {
	enforce   *enforcer
	responder *responder
	callout   *nats.Conn
	stats     *stats
}

// keepEvery is how often it is looked at whether the lease has ended and whom to remember.
const keepEvery = time.Second

// NewLocal makes it for the platform of that name. stateDir holds whom a lease let in; callout is in AccountAuth, system in AccountSystem of the node's own broker; key
// signs the answers.
func NewLocal(platform, stateDir string, in *intake.Intake, key nkeys.KeyPair, callout, system *nats.Conn, reg *prometheus.Registry, log *slog.Logger) (*Local, error) {
	issuer, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("auth callout: %w", err)
	}
	s, known := newStats(reg), &admitted{}
	before, err := openReturning(stateDir)
	if err != nil {
		log.Error("after the end of its lease this node will let nobody in who is not in now", "err", err)
	}
	e := &enforcer{platform: platform, in: in, now: time.Now, log: log, stats: s, flush: callout.FlushWithContext, admitted: known, sweep: sweeper{system, known}.Sweep,
		returning: before}
	return &Local{enforce: e, responder: responderOf(key, issuer, e, s, log), callout: callout, stats: s}, nil
}

// Run answers and enforces until ctx ends.
func (l *Local) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.enforce.Run(ctx) })
	g.Go(func() error { return l.responder.Serve(ctx, l.callout) })
	g.Go(func() error { return l.keep(ctx, keepEvery) })
	return g.Wait()
}

// keep saves whom the lease let in, and says when it has ended and when there is one again.
func (l *Local) keep(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	ended := false
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), l.enforce.returning.save())
		case <-tick.C:
		}
		if err := l.enforce.returning.save(); err != nil {
			l.enforce.log.Warn("whom the lease let in", "err", err)
		}
		lapsed := l.Lapsed()
		switch {
		case lapsed != nil && !ended:
			l.enforce.log.Warn("lease has ended", "err", lapsed)
		case lapsed == nil && ended:
			l.enforce.log.Info("lease is live again")
		}
		ended = lapsed != nil
	}
}

// Applied gives the lease that is fully enforced, and since when its revision is.
func (l *Local) Applied() (sequence int64, revision string, at time.Time) { return l.enforce.Applied() }

// Live says why nobody new comes in, or nil.
func (l *Local) Live() error {
	_, err := l.enforce.live(l.enforce.now())
	return err
}

// Lapsed says that the lease has ended, and what that means, or nil. Before the first lease it is nil, too.
func (l *Local) Lapsed() error {
	_, err := l.enforce.in.Live(l.enforce.now())
	if err == nil || errors.Is(err, intake.ErrNone) {
		return nil
	}
	return fmt.Errorf("%w: devices that were let in before may come back, nobody new may come, and no command of the hub's is passed on", err)
}

// Report adds refusals, that the lease has ended, and why the newest bundle is not fully enforced, to a report.
func (l *Local) Report(r *contract.Report) {
	l.stats.report(r)
	if err := l.enforce.Problem(); err != nil && r.Problem == "" {
		r.Problem = err.Error()
	}
	if err := l.Lapsed(); err != nil && r.Problem == "" {
		r.Problem = err.Error()
	}
}
