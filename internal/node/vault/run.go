package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/report"
)

// reportEvery is how often the vault reports when nothing changes.
const reportEvery = 15 * time.Second

// service is what every request needs.
type service struct {
	pool *pgxpool.Pool
	keys keys
	// caFile holds the platform's CA, under which organisations' certificates stand.
	caFile string
	sign   signer
	// live gives the bundle in force, or why there is none.
	live func(now time.Time) (*intake.Bundle, error)
	now  func() time.Time
	log  *slog.Logger
	// lookups bounds, by organisation, how fast people are looked up: nobody goes through a list of identity numbers.
	lookups sync.Map
	// links bounds, by organisation, how fast keys are linked.
	links sync.Map
}

// A lookup a second and organisation, and a few dozen at once, are enough for a counter of an office.
const (
	lookupsPerSecond = 1
	lookupsAtOnce    = 60
)

// mayLookUp takes one lookup from an organisation's allowance.
func (s *service) mayLookUp(organization string, at time.Time) bool {
	l, _ := s.lookups.LoadOrStore(organization, rate.NewLimiter(lookupsPerSecond, lookupsAtOnce))
	return l.(*rate.Limiter).AllowN(at, 1)
}

// Run plays the role vault until ctx ends or a part of it fails for good.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if cfg.Vault == nil || cfg.NATS == nil {
		return errors.New("node configuration: role vault needs vault and nats")
	}
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	in, err := intake.Open(cfg, wanted, log)
	if err != nil {
		return err
	}
	s, err := newService(ctx, *cfg.Vault, in.Live, log)
	if err != nil {
		return err
	}
	defer s.pool.Close()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	health := &process.Health{}
	health.Set("bundle", errors.New("no policy yet"))

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return process.Serve(ctx, cfg.HealthAddress, health, reg) })
	g.Go(func() error { return s.watch(ctx, health) })
	g.Go(func() error { return s.retain(ctx) })
	if cfg.Vault.MapAddress != "" {
		g.Go(func() error { return s.serveMapping(ctx, *cfg.Vault, path.Base(cfg.Platform)) })
	}
	g.Go(func() error {
		return process.ServeHTTP(ctx, &http.Server{
			Addr: cfg.Vault.Address, Handler: s.handler(), TLSConfig: process.ServerTLS(cfg.Vault.TLS), MaxHeaderBytes: 64 << 10,
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		})
	})
	g.Go(func() error {
		nc, err := process.Connect(ctx, *cfg.NATS, "vault."+instance, log)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return fmt.Errorf("JetStream: %w", err)
		}
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return in.Run(ctx, js) })
		g.Go(func() error {
			return report.Run(ctx, js, contract.RoleVault, instance, in, applied(in), reportEvery, func(*contract.Report) {})
		})
		return g.Wait()
	})
	return g.Wait()
}

// wanted selects the shards that the vault reads: who is who, and which datasets there are. It needs no grants.
func wanted(shard string) bool {
	return shard == contract.ShardDirectory || shard == contract.ShardAccess
}

func newService(ctx context.Context, c contract.VaultConfig, live func(time.Time) (*intake.Bundle, error), log *slog.Logger) (*service, error) {
	k, err := readKeys(c.KeyFile, c.PseudonymKeyFile)
	if err != nil {
		return nil, err
	}
	pool, err := openDatabase(ctx, c.Database, nil)
	if err != nil {
		return nil, err
	}
	return &service{pool: pool, keys: k, caFile: c.TLS.CAFile, sign: signer{c.Receipts}, live: live, now: time.Now, log: log}, nil
}

// watch keeps the checks of readiness: database and bundle.
func (s *service) watch(ctx context.Context, health *process.Health) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		probe, cancel := context.WithTimeout(ctx, 2*time.Second)
		health.Set("database", s.pool.Ping(probe))
		cancel()
		_, err := s.live(s.now())
		health.Set("bundle", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// applied tells since when the bundle is enforced: every request reads the current one.
func applied(in *intake.Intake) report.Applied {
	var revision string
	var since time.Time
	return func() (int64, string, time.Time) {
		b := in.Current()
		if b == nil {
			return 0, "", time.Time{}
		}
		if b.Lease.Revision != revision {
			revision, since = b.Lease.Revision, time.Now().UTC()
		}
		return b.Lease.Sequence, revision, since
	}
}
