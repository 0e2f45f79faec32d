package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// The two ways by which a message comes, as labels.
const (
	viaHook    = "hook"
	viaSession = "session"
)

type metrics struct{ messages *prometheus.CounterVec }

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_ingest_messages_total",
		Help: "Messages that EMQX took from devices, by way (hook; session where a call had failed) and result (stored, failed, refused, dropped)."}, []string{"via", "result"})}
	reg.MustRegister(m.messages)
	return m
}

// Run is the role ingest until ctx ends. It needs cfg.Ingest and cfg.NATS. It is ready while it holds its session in EMQX: the
// hook's address is a Service, so no call reaches an instance before.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if cfg.Ingest == nil || cfg.NATS == nil {
		return fmt.Errorf("role ingest: fields ingest and nats of the configuration are required")
	}
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("instance name: %w", err)
	}
	return run(ctx, cfg, instance, log)
}

func run(ctx context.Context, cfg contract.NodeConfig, instance string, logger *slog.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m, health := newMetrics(reg), &process.Health{}
	for _, check := range []string{"broker", "session"} {
		health.Set(check, errors.New("not connected yet"))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return process.Serve(ctx, cfg.HealthAddress, health, reg) })
	g.Go(func() error {
		nc, err := process.Connect(ctx, *cfg.NATS, contract.UserIngest, logger)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		health.Set("broker", nil)
		l := log{nc, js}
		h := &hook{store: l.store, log: logger, metrics: m}
		s := &session{store: l.store, log: logger, metrics: m}
		g, ctx := errgroup.WithContext(ctx)
		if err := s.open(ctx, cfg.Ingest.MQTT, instance); err != nil {
			return err
		}
		health.Check("session", s.Err)
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dizuo_ingest_session_held",
			Help: "1 while the role holds its session in EMQX, without which no device is let in."}, func() float64 {
			if s.Err() != nil {
				return 0
			}
			return 1
		}))
		g.Go(func() error { return h.serve(ctx, *cfg.Ingest, path.Base(cfg.Platform)) })
		g.Go(func() error { return s.run(ctx) })
		g.Go(func() error {
			return commands(ctx, nc, func(topic string, payload []byte) { s.client.Publish(topic, 0, false, payload) })
		})
		g.Go(func() error { return beat(ctx, nc, health.Err) })
		return g.Wait()
	})
	return g.Wait()
}
