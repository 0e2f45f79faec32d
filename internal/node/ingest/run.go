package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/report"
)

// The ways by which a message comes, as labels.
const (
	viaHook    = "hook"
	viaSession = "session"
	viaHTTP    = "http"
)

// reportEvery is the interval of reports.
const reportEvery = 30 * time.Second

type metrics struct{ messages *prometheus.CounterVec }

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_ingest_messages_total",
		Help: "Messages that EMQX took from devices or a cloud sent, by way (hook; session where a call had failed; http) and result (stored, failed, refused, dropped, too_large, limited)."}, []string{"via", "result"})}
	reg.MustRegister(m.messages)
	return m
}

// Run is the role ingest until ctx ends. It needs cfg.Ingest with at least one way in, and cfg.NATS. With EMQX it is ready while it
// holds its session there: the hook's address is a Service, so no call reaches an instance before. Without, once it has a bundle.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if cfg.Ingest == nil || cfg.NATS == nil || cfg.Ingest.Hook == nil && cfg.Ingest.HTTP == nil {
		return fmt.Errorf("role ingest: fields nats and ingest of the configuration are required, and hook or http in the latter")
	}
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("instance name: %w", err)
	}
	var in *intake.Intake
	if cfg.Ingest.HTTP != nil {
		if in, err = intake.Open(cfg, wants, log); err != nil {
			return err
		}
	}
	r := &role{cfg: cfg, instance: instance, in: in, log: log}
	if in != nil {
		r.feed = in.Run
	}
	return r.run(ctx)
}

// wants says which shards the role reads: the credentials, for the certificates of clouds.
func wants(shard string) bool { return strings.HasPrefix(shard, contract.ShardCredentials) }

// role holds what the parts share.
type role struct {
	cfg      contract.NodeConfig
	instance string
	// in is nil without the door for clouds; feed brings bundles into it.
	in   *intake.Intake
	feed func(context.Context, jetstream.JetStream) error
	log  *slog.Logger

	reg     *prometheus.Registry
	metrics *metrics
	health  process.Health
}

func (r *role) run(ctx context.Context) error {
	r.reg = prometheus.NewRegistry()
	r.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.metrics = newMetrics(r.reg)
	r.health.Set("broker", errors.New("not connected yet"))
	if r.cfg.Ingest.Hook != nil {
		r.health.Set("session", errors.New("not connected yet"))
	} else { // with EMQX what connected devices send goes on whether clouds can be let in or not
		r.health.Check("bundle", func() error {
			if r.in.Current() == nil {
				return intake.ErrNone
			}
			return nil
		})
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return process.Serve(ctx, r.cfg.HealthAddress, &r.health, r.reg) })
	g.Go(func() error {
		nc, err := process.Connect(ctx, *r.cfg.NATS, contract.UserIngest, r.log)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		r.health.Set("broker", nil)
		g, ctx := errgroup.WithContext(ctx)
		if c := r.cfg.Ingest.Hook; c != nil {
			g.Go(func() error { return r.forEMQX(ctx, *c, log{nc, js}) })
		}
		if c := r.cfg.Ingest.HTTP; c != nil {
			g.Go(func() error { return r.forClouds(ctx, *c, log{nc, js}) })
		}
		return g.Wait()
	})
	return g.Wait()
}

// forEMQX keeps what EMQX takes from devices.
func (r *role) forEMQX(ctx context.Context, c contract.IngestHook, l log) error {
	h := &hook{store: l.store, log: r.log, metrics: r.metrics}
	s := &session{store: l.store, log: r.log, metrics: r.metrics}
	g, ctx := errgroup.WithContext(ctx)
	if err := s.open(ctx, c.MQTT, r.instance); err != nil {
		return err
	}
	r.health.Check("session", s.Err)
	r.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dizuo_ingest_session_held",
		Help: "1 while the role holds its session in EMQX, without which no device is let in."}, func() float64 {
		if s.Err() != nil {
			return 0
		}
		return 1
	}))
	g.Go(func() error { return h.serve(ctx, c, path.Base(r.cfg.Platform)) })
	g.Go(func() error { return s.run(ctx) })
	g.Go(func() error {
		return commands(ctx, l.nc, func(topic string, payload []byte) { s.client.Publish(topic, 0, false, payload) })
	})
	g.Go(func() error { return beat(ctx, l.nc, r.health.Err) })
	return g.Wait()
}

// forClouds keeps what clouds send, and tells which bundle says who they are.
func (r *role) forClouds(ctx context.Context, c contract.IngestHTTP, l log) error {
	r.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dizuo_ingest_bundle_live",
		Help: "1 while a bundle is in force that says which clouds may speak, without which none is let in."}, func() float64 {
		if _, err := r.in.Live(time.Now()); err != nil {
			return 0
		}
		return 1
	}))
	d := newDoor(speakers{path.Base(r.cfg.Platform), r.in}, r.in, l.store, r.metrics, r.log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.feed(ctx, l.js) })
	g.Go(func() error { return d.serve(ctx, c) })
	g.Go(func() error {
		return report.Run(ctx, l.js, contract.RoleIngest, r.instance, r.in, applied(r.in), reportEvery)
	})
	return g.Wait()
}

// applied tells since when the bundle is enforced. Every request reads the current one, so it is as soon as the intake holds it.
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
