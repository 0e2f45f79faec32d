package auth

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/report"
)

const (
	reportEvery = 30 * time.Second
	// leaseCheck is how often readiness looks at the lease.
	leaseCheck = 2 * time.Second
)

// Run is the role auth: it answers the auth callout and enforces bundles until ctx ends. It needs cfg.Auth and cfg.NATS.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if cfg.Auth == nil || cfg.NATS == nil {
		return fmt.Errorf("role auth: fields auth and nats of the configuration are required")
	}
	in, err := intake.Open(cfg, func(shard string) bool {
		return strings.HasPrefix(shard, contract.ShardCredentials) || shard == contract.ShardEdgeCredentials || shard == contract.ShardDirectory
	}, log)
	if err != nil {
		return err
	}
	return run(ctx, cfg, in, in.Run, log)
}

// run is Run with the intake given; feed brings bundles into it.
func run(ctx context.Context, cfg contract.NodeConfig, in *intake.Intake, feed func(context.Context, jetstream.JetStream) error, log *slog.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s := newStats(reg)
	health := &process.Health{}
	health.Set("broker", fmt.Errorf("not connected yet"))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return process.Serve(ctx, cfg.HealthAddress, health, reg) })
	g.Go(func() error {
		c, err := connect(ctx, cfg, log)
		if err != nil {
			return err
		}
		defer c.close()
		health.Set("broker", nil)
		return serve(ctx, cfg, c, in, feed, s, health, log)
	})
	return g.Wait()
}

// conns are the three connections of the role, each with the rights of one task.
type conns struct{ callout, system, bundle *nats.Conn }

func (c conns) close() {
	for _, nc := range []*nats.Conn{c.callout, c.system, c.bundle} {
		if nc != nil {
			nc.Close()
		}
	}
}

func connect(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) (c conns, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	// The name of a connection is its user: reply subjects are made from it, and each user may use its own only.
	if c.callout, err = process.Connect(ctx, cfg.Auth.Callout, contract.UserAuth, log); err != nil {
		return c, err
	}
	if c.system, err = process.Connect(ctx, cfg.Auth.System, contract.UserAuthSystem, log); err != nil {
		return c, err
	}
	c.bundle, err = process.Connect(ctx, *cfg.NATS, contract.UserAuthBundle, log)
	return c, err
}

func serve(ctx context.Context, cfg contract.NodeConfig, c conns, in *intake.Intake, feed func(context.Context, jetstream.JetStream) error, s *stats, health *process.Health, log *slog.Logger) error {
	js, err := jetstream.New(c.bundle)
	if err != nil {
		return err
	}
	known := &admitted{}
	readCA := func() (string, error) {
		raw, err := os.ReadFile(cfg.NATS.TLS.CAFile)
		return string(raw), err
	}
	e := &enforcer{platform: path.Base(cfg.Platform), ca: readCA, in: in, now: time.Now, log: log, stats: s, admitted: known,
		flush: c.callout.FlushWithContext, sweep: sweeper{c.system, known}.Sweep}
	recent := &ledger{born: time.Now()}
	if q := cfg.Auth.EMQX; q != nil {
		e.sweep = both(e.sweep, emqxSweeper{q.API, recent, e.now}.Sweep)
	}
	r, err := newResponder(cfg.Auth.CalloutSeedFile, e, s, log)
	if err != nil {
		return err
	}
	r.enrolled = &enrolled{js: js, now: time.Now}
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("instance name: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return feed(ctx, js) })
	g.Go(func() error { return e.Run(ctx) })
	g.Go(func() error { return r.Serve(ctx, c.callout) })
	if q := cfg.Auth.EMQX; q != nil {
		held, err := hearIngest(c.bundle, e.now)
		if err != nil {
			return err
		}
		platform := path.Base(cfg.Platform)
		server := &emqx{responder: r, ingest: contract.RoleURI(platform, contract.UserIngest), caFile: q.TLS.CAFile, held: held, recent: recent, log: log}
		g.Go(func() error { return server.serve(ctx, *q, platform) })
	}
	nodes := newDesk(cfg, c.bundle, js, e, log)
	g.Go(func() error { return nodes.run(ctx) })
	g.Go(func() error { return watchLease(ctx, e, health, log) })
	g.Go(func() error {
		return report.Run(ctx, js, contract.RoleAuth, instance, in, e.Applied, reportEvery, s.report, nodes.report, func(r *contract.Report) {
			if err := e.Problem(); err != nil && r.Problem == "" {
				r.Problem = err.Error()
			}
		})
	})
	return g.Wait()
}

// watchLease keeps readiness in step with the lease: without a live one no device is admitted, and that must be seen.
func watchLease(ctx context.Context, e *enforcer, health *process.Health, log *slog.Logger) error {
	tick := time.NewTicker(leaseCheck)
	defer tick.Stop()
	known := false
	var failed bool
	for {
		_, err := e.live(e.now())
		health.Set("bundle", err)
		if !known || failed != (err != nil) {
			known, failed = true, err != nil
			if failed {
				log.Warn("no live bundle, refusing new connections", "err", err)
			} else {
				log.Info("bundle live, admitting devices")
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
