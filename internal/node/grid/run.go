package grid

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/reading"
	"github.com/dizuo/dizuo/internal/node/report"
)

// reportEvery is the interval of reports.
const reportEvery = 30 * time.Second

// Run is the whole role grid. It needs the tables that Migrate makes, and ends with ctx or with a fault that a restart may
// mend.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if cfg.Grid == nil || cfg.NATS == nil {
		return errors.New("node configuration: role grid needs the sections grid and nats")
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	in, err := intake.Open(cfg, wants, log)
	if err != nil {
		return err
	}
	pool, err := openPool(ctx, cfg.Grid.Database)
	if err != nil {
		return err
	}
	defer pool.Close()
	health := &process.Health{}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return process.Serve(ctx, cfg.HealthAddress, health, reg) })
	nc, err := process.Connect(ctx, *cfg.NATS, contract.UserGrid, log)
	if err != nil {
		return errors.Join(err, stop(group))
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	s := newService(cfg, pool, in, nc, js, reg, log)
	group.Go(func() error { return in.Run(ctx, js) })
	group.Go(func() error {
		return report.Run(ctx, js, contract.RoleGrid, s.instance, in, s.applied(), reportEvery, s.fill)
	})
	s.start(ctx, group, health)
	return group.Wait()
}

// stop waits for what runs already; its own error is secondary.
func stop(group *errgroup.Group) error {
	group.Go(func() error { return context.Canceled })
	_ = group.Wait()
	return nil
}

// wants says which shards the role reads: no credentials, no grants.
func wants(shard string) bool {
	return shard == contract.ShardDirectory || shard == contract.ShardRules || shard == contract.ShardEdges || strings.HasPrefix(shard, contract.ShardFleet)
}

// service holds the parts of the role.
type service struct {
	cfg      contract.NodeConfig
	instance string
	pool     *pgxpool.Pool
	in       *intake.Intake
	presence *presence
	worker   *worker
	deliver  *deliverer
	sweep    *sweeper
	keep     *keeper
	registry *registry
	retain   *retainer
	gauges   *caseGauges
	api      *api
	acks     *deliveryAcks
	sequence *sequencer
	feed     *feedWatch
	exchange *exchanger
	log      *slog.Logger
}

func newService(cfg contract.NodeConfig, pool *pgxpool.Pool, in *intake.Intake, nc *nats.Conn, js jetstream.JetStream, reg *prometheus.Registry, log *slog.Logger) *service {
	instance, err := os.Hostname()
	if err != nil || instance == "" {
		instance = "grid"
	}
	m, p, exchanged := newMetrics(reg), &presence{}, newExchangeMetrics(reg)
	c := &commander{in: in, metrics: m, log: log, now: time.Now, publish: nc.PublishMsg}
	gauges := &caseGauges{pool: pool, in: in, log: log, working: p.running}
	reg.MustRegister(presenceCollector{p, in, time.Now}, gauges)
	sequence, feed := newSequencer(pool, log), newFeedWatch(pool, log)
	return &service{
		cfg: cfg, instance: instance, pool: pool, in: in, presence: p, log: log, sequence: sequence, feed: feed,
		acks:     &deliveryAcks{pool: pool, nc: nc, metrics: m, log: log, now: time.Now},
		worker:   &worker{pool: pool, nc: nc, js: js, in: in, presence: p, metrics: m, commander: c, log: log, now: time.Now, burst: reading.DeviceBurst, ready: func(error) {}, loose: make(chan *nats.Msg, 4*maxBatch), committed: sequence.nudge},
		deliver:  &deliverer{pool: pool, in: in, publish: nc.PublishMsg, secretDir: cfg.Grid.WebhookSecretDir, plain: cfg.Grid.PlainWebhooks, metrics: m, log: log, now: time.Now},
		sweep:    &sweeper{pool: pool, in: in, metrics: m, log: log, now: time.Now},
		registry: &registry{pool: pool, in: in, log: log},
		keep:     &keeper{pool: pool, in: in, metrics: m, log: log, now: time.Now},
		gauges:   gauges,
		retain:   &retainer{pool: pool, retention: retentionOf(in), profiles: fleetProfiles(in), log: log, now: time.Now},
		exchange: &exchanger{pool: pool, in: in, secretDir: cfg.Grid.WebhookSecretDir, plain: cfg.Grid.PlainWebhooks, metrics: exchanged, log: log, now: time.Now},
		api:      &api{pool: pool, in: in, caFile: cfg.Grid.TLS.CAFile, commander: c, feed: feed, exchanged: exchanged, log: log, now: time.Now},
	}
}

// start runs the parts in the group.
func (s *service) start(ctx context.Context, group *errgroup.Group, health *process.Health) {
	health.Set("ingest", errors.New("no session yet"))
	s.worker.ready = func(err error) { health.Set("ingest", err) }
	group.Go(func() error { return s.worker.run(ctx) })
	group.Go(func() error { return s.deliver.run(ctx) })
	group.Go(func() error { return s.sweep.run(ctx) })
	group.Go(func() error { return s.acks.run(ctx) })
	group.Go(func() error { return s.sequence.run(ctx) })
	group.Go(func() error { return s.feed.run(ctx) })
	group.Go(func() error { return s.keep.run(ctx) })
	group.Go(func() error { return s.registry.run(ctx) })
	group.Go(func() error { return s.retain.run(ctx) })
	group.Go(func() error { return s.gauges.run(ctx) })
	group.Go(func() error { return s.exchange.run(ctx) })
	group.Go(func() error {
		serving := process.ServerTLS(s.cfg.Grid.TLS)
		serving.ClientAuth = tls.RequestClientCert // whom a certificate names is judged for every request
		return process.ServeHTTP(ctx, &http.Server{
			Addr: s.cfg.Grid.Address, Handler: newAPI(s.api), TLSConfig: serving,
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		})
	})
}

// applied tells since when the bundle is enforced. Every request and every batch reads the current one, so a bundle is in
// force as soon as the intake holds it.
func (s *service) applied() report.Applied {
	var revision string
	var since time.Time
	return func() (int64, string, time.Time) {
		b := s.in.Current()
		if b == nil {
			return 0, "", time.Time{}
		}
		if b.Lease.Revision != revision {
			revision, since = b.Lease.Revision, time.Now().UTC()
		}
		return b.Lease.Sequence, revision, since
	}
}

// fill adds presence, open cases and deliveries to a report.
func (s *service) fill(r *contract.Report) {
	b := s.in.Current()
	if b == nil {
		return
	}
	s.presence.report(b, time.Now(), r)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // a report that waits for a database is no report
	defer cancel()
	if err := s.fillCases(ctx, r); err != nil {
		s.log.Warn("report", "err", err)
	}
	if err := s.fillDispatch(ctx, b, r); err != nil {
		s.log.Warn("report", "err", err)
	}
	if err := s.fillExchange(ctx, b, r); err != nil {
		s.log.Warn("report", "err", err)
	}
	if err := s.fillMode(ctx, time.Now(), r); err != nil {
		s.log.Warn("report", "err", err)
	}
}

// fillCases counts open cases. The names of scenarios need no bound: a case has one from a bundle only, and nobody else writes it.
func (s *service) fillCases(ctx context.Context, r *contract.Report) error {
	rows, err := s.pool.Query(ctx, "SELECT c.community, c.scenario, count(*), count(*) FILTER (WHERE "+missedTime+") FROM grid.cases c WHERE c.open GROUP BY 1, 2")
	if err != nil {
		return fmt.Errorf("open cases: %w", err)
	}
	counts, scenarios, overdue := map[string]int64{}, map[string]int64{}, int64(0)
	var community, scenario string
	var n, late int64
	if _, err := pgx.ForEachRow(rows, []any{&community, &scenario, &n, &late}, func() error {
		counts[community] += n
		overdue += late
		if scenario != "" { // people and other systems open cases too
			scenarios[scenario] += n
		}
		return nil
	}); err != nil {
		return fmt.Errorf("open cases: %w", err)
	}
	r.OpenCases, r.ScenarioCases, r.OverdueCases = counts, scenarios, overdue
	return nil
}

func (s *service) fillDispatch(ctx context.Context, b *intake.Bundle, r *contract.Report) error {
	rows, err := s.pool.Query(ctx, `SELECT organization, count(*) FILTER (WHERE delivered_at IS NOT NULL),
			count(*) FILTER (WHERE delivered_at IS NULL AND dead_at IS NULL), count(*) FILTER (WHERE delivered_at IS NULL AND dead_at IS NOT NULL),
			coalesce((array_agg(last_error ORDER BY created_at DESC) FILTER (WHERE delivered_at IS NULL AND last_error <> ''))[1], '')
		FROM grid.dispatch_outbox GROUP BY organization`)
	if err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	out := map[string]contract.DispatchReport{}
	for rows.Next() {
		var name string
		var d contract.DispatchReport
		if err := rows.Scan(&name, &d.Delivered, &d.Pending, &d.Failed, &d.LastError); err != nil {
			return fmt.Errorf("deliveries: %w", err)
		}
		if _, ok := b.Directory.Organizations[name]; ok {
			out[name] = d
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	r.Dispatch = out
	return nil
}
