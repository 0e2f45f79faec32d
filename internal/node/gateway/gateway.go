// Package gateway is the role that organisations read datasets through: it finds out who asks, decides with OPA under the
// agreements of the signed bundle, reads PostgreSQL with masks and row scope pushed into the query, and logs every decision
// before the answer leaves.
//
//	server.go identity.go -> records.go -> policy.go store.go (may it?) -> sql.go database.go (what?) -> decisionlog (said so)
//
// It fails closed: without a live bundle, without a decision, without a log, nothing is given out.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/report"
)

// reportEvery is how often the gateway reports when nothing changes.
const reportEvery = 15 * time.Second

// Run plays the role gateway until ctx ends or a part of it fails for good.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if cfg.Gateway == nil || cfg.NATS == nil {
		return errors.New("node configuration: role gateway needs gateway and nats")
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	s, err := newServer(ctx, *cfg.Gateway, instance, reg, log)
	if err != nil {
		return err
	}
	defer s.close()
	in, err := intake.Open(cfg, wanted, log)
	if err != nil {
		return err
	}
	s.auditing.keep(in, cfg.Gateway.LogDir, cfg.TrustFile, log)
	health := &process.Health{}
	health.Set("bundle", errors.New("no policy yet"))

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return process.Serve(ctx, cfg.HealthAddress, health, reg) })
	g.Go(func() error { return s.follow(ctx, in, health) })
	g.Go(func() error { return s.watch(ctx, health) })
	g.Go(func() error { return s.measureDatasets(ctx) })
	g.Go(func() error { return s.audit(ctx) })
	g.Go(func() error { return s.shared.run(ctx, s.now) })
	g.Go(func() error { return process.ServeHTTP(ctx, s.http(*cfg.Gateway)) })
	g.Go(func() error {
		nc, err := process.Connect(ctx, *cfg.NATS, "gateway."+instance, log)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return in.Run(ctx, js) })
		g.Go(func() error {
			return report.Run(ctx, js, contract.RoleGateway, instance, in, s.applied, reportEvery, s.report)
		})
		return g.Wait()
	})
	return g.Wait()
}

// wanted selects the shards that the gateway reads: no fleets, no credentials.
func wanted(shard string) bool {
	return shard == contract.ShardDirectory || shard == contract.ShardAccess || strings.HasPrefix(shard, contract.ShardGrants)
}

// newServer opens the decision log and prepares the database.
func newServer(ctx context.Context, c contract.GatewayConfig, instance string, reg prometheus.Registerer, log *slog.Logger) (*server, error) {
	keys, err := readKeys(c.PseudonymKeyFile)
	if err != nil {
		return nil, err
	}
	m, q := newMetrics(reg), newQuota()
	if err := q.load(c.LogDir); err != nil {
		return nil, err
	}
	l, err := decisionlog.Open(decisionlog.Options{
		Dir: c.LogDir, Instance: instance, Since: time.Now().Add(-quotaMemory), Replay: q.replay, Synced: m.synced, Log: log,
	})
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, c.Database)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	a, err := openAuditing(ctx, c, l, log)
	if err != nil {
		db.close()
		_ = l.Close()
		return nil, err
	}
	if a.ship != nil {
		reg.MustRegister(a.ship)
	}
	var glass *emergencies
	var shared *sharedQuota
	if c.AuditDatabase != nil {
		pool, err := openAudit(ctx, *c.AuditDatabase)
		if err != nil {
			a.close()
			db.close()
			_ = l.Close()
			return nil, err
		}
		glass, shared = &emergencies{pool}, newSharedQuota(pool, log)
	}
	var subjects subjectMap
	if c.Vault != nil {
		subjects = newVaultClient(*c.Vault)
	}
	return &server{
		subjects: subjects, lists: semaphore.NewWeighted(listsAtOnce), auditing: a, roots: &rootsFile{path: c.TLS.CAFile}, db: db, sources: newSources(c.SourceDir), log: l, keys: keys, quota: q, shared: shared, tables: newTableCache(), quality: newQualities(reg), certificate: newCertificate(reg, c.TLS.CertFile),
		metrics: m, slog: log, now: time.Now, limits: newLimits(), crowds: newCrowds(), issuers: newIssuers(), strangers: rate.Sometimes{First: refusedAtOnce, Interval: refusedEvery}, emergencies: glass,
	}, nil
}

func (s *server) close() {
	s.shared.close(s.now())
	s.emergencies.close()
	s.auditing.close()
	s.db.close()
	s.sources.close()
	if v, ok := s.subjects.(*vaultClient); ok {
		v.http.CloseIdleConnections()
	}
	if err := s.log.Close(); err != nil {
		s.slog.Error("close decision log", "err", err)
	}
}

// http gives the HTTPS server. Any client certificate may begin a connection, and so may none; each request then finds out for whom
// it speaks, because the answer changes with the bundle.
func (s *server) http(c contract.GatewayConfig) *http.Server {
	t := process.ServerTLS(c.TLS)
	t.ClientAuth = tls.RequestClientCert
	return &http.Server{
		Addr: c.Address, Handler: s.handler(), TLSConfig: t, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.slog.Handler(), slog.LevelDebug),
	}
}

// follow applies every bundle that comes.
func (s *server) follow(ctx context.Context, in *intake.Intake, health *process.Health) error {
	bundles := in.Subscribe()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-bundles:
			began := time.Now()
			if err := s.apply(ctx, b); err != nil {
				s.slog.Error("bundle not applied: the one before stays in force", "revision", b.Lease.Revision, "sequence", b.Lease.Sequence, "err", err)
				health.Set("bundle", err)
				text := err.Error()
				s.problem.Store(&text)
				continue
			}
			health.Set("bundle", nil)
			s.problem.Store(nil)
			s.slog.Info("bundle applied", "revision", b.Lease.Revision, "sequence", b.Lease.Sequence, "took", time.Since(began))
		}
	}
}

// watch keeps the checks of readiness: database, decision log, lease and server certificate.
func (s *server) watch(ctx context.Context, health *process.Health) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		probe, cancel := context.WithTimeout(ctx, 2*time.Second)
		health.Set("database", s.db.ping(probe))
		cancel()
		health.Set("log", s.log.Err())
		var stale error
		if _, p := s.live(s.now()); p != nil {
			stale = p
		}
		health.Set("lease", stale)
		health.Set("certificate", s.certificate.check(s.now()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
