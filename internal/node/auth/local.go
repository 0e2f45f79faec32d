package auth

import (
	"context"
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

// NewLocal makes it for the platform of that name. callout is in AccountAuth, system in AccountSystem of the node's own broker; key
// signs the answers.
func NewLocal(platform string, in *intake.Intake, key nkeys.KeyPair, callout, system *nats.Conn, reg *prometheus.Registry, log *slog.Logger) (*Local, error) {
	issuer, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("auth callout: %w", err)
	}
	s, known := newStats(reg), &admitted{}
	e := &enforcer{platform: platform, in: in, now: time.Now, log: log, stats: s, flush: callout.FlushWithContext, admitted: known, sweep: sweeper{system, known}.Sweep}
	return &Local{enforce: e, responder: responderOf(key, issuer, e, s, log), callout: callout, stats: s}, nil
}

// Run answers and enforces until ctx ends.
func (l *Local) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.enforce.Run(ctx) })
	g.Go(func() error { return l.responder.Serve(ctx, l.callout) })
	return g.Wait()
}

// Applied gives the lease that is fully enforced, and since when its revision is.
func (l *Local) Applied() (sequence int64, revision string, at time.Time) { return l.enforce.Applied() }

// Live says why nobody new comes in, or nil.
func (l *Local) Live() error {
	_, err := l.enforce.live(l.enforce.now())
	return err
}

// Report adds refusals, and why the newest bundle is not fully enforced, to a report.
func (l *Local) Report(r *contract.Report) {
	l.stats.report(r)
	if err := l.enforce.Problem(); err != nil && r.Problem == "" {
		r.Problem = err.Error()
	}
}
