package gateway

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// refusedEvery is how often refusals that a line was not written for are written together.
const refusedEvery = 10 * time.Second

// auditing is what makes the decision log worth something to others: checkpoints, the platform's store, the parts of the policy, and
// lines of what was refused before a decision.
type auditing struct {
	anchor   *anchor
	ship     *shipper
	parts    *parts
	refusals *refusedCounts
}

func openAuditing(ctx context.Context, c contract.GatewayConfig, log *decisionlog.Log, out *slog.Logger) (*auditing, error) {
	a := &auditing{refusals: newRefusedCounts()}
	var err error
	if a.anchor, err = openAnchor(c.AuditKeyFile, c.LogDir, log, out); err != nil || c.AuditDatabase == nil {
		return a, err
	}
	pool, err := openAudit(ctx, *c.AuditDatabase)
	if err != nil {
		return nil, err
	}
	checkpointed := func() int64 { return 0 } // without checkpoints nothing is removed
	if a.anchor != nil {
		checkpointed = a.anchor.checkpointed
	}
	a.ship = &shipper{pool: pool, log: log, dir: c.LogDir, max: c.MaxUnshippedBytes, checkpointed: checkpointed, now: time.Now, out: out, shipped: map[string]bool{},
		checkpointKey: a.anchor.public()}
	a.ship.recall(log.End().Instance)
	return a, nil
}

// keep tells where bundles come from, whose parts are kept, and by which keys they are verified.
func (a *auditing) keep(in *intake.Intake, dir, trustFile string, out *slog.Logger) {
	a.parts = &parts{dir: filepath.Join(dir, audit.PolicyDir), in: in, log: out}
	if a.ship != nil {
		a.parts.settled = a.ship.settled
		a.ship.trustFile = trustFile
	}
}

func (a *auditing) close() {
	if a.ship != nil {
		a.ship.pool.Close()
	}
}

// run does what has to be done in the background until ctx ends.
func (s *server) audit(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if s.auditing.anchor != nil {
		g.Go(func() error {
			return s.auditing.anchor.run(ctx, func() (contract.Directory, bool) {
				p := s.policy.Load()
				if p == nil {
					return contract.Directory{}, false
				}
				return p.bundle.Directory, true
			})
		})
	}
	if s.auditing.ship != nil {
		g.Go(func() error { return s.auditing.ship.run(ctx) })
	}
	g.Go(func() error {
		tick := time.NewTicker(refusedEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				for reason, n := range s.auditing.refusals.rest() {
					s.logRefused(reason, n)
				}
			}
		}
	})
	return g.Wait()
}

// report says how the decision log stands.
func (a *auditing) report(log *decisionlog.Log) *contract.AuditReport {
	end := log.End()
	out := &contract.AuditReport{Instance: end.Instance, Sequence: end.Sequence, Hash: end.Hash}
	if err := log.Err(); err != nil {
		out.Broken = err.Error()
	}
	if a.anchor != nil {
		a.anchor.report(out)
	}
	if a.ship != nil {
		out.UnshippedBytes = a.ship.unshipped.Load()
	}
	return out
}
