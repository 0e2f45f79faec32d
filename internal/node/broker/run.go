package broker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
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

const (
	reportEvery = 30 * time.Second
	// reportGathering is for the first broker while it gathers: the others are stopped on its word.
	reportGathering = 2 * time.Second
	storeEvery      = time.Second
)

// Run is the role broker: it serves until ctx ends, then closes its stores. It needs cfg.Broker. It is ready once the
// listeners are up and the streams are there; it needs no bundle for that, or the first bundle could never reach it.
func Run(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error {
	if err := name(cfg.Broker); err != nil {
		return err
	}
	in, err := intake.Open(cfg, func(shard string) bool {
		return strings.HasPrefix(shard, contract.ShardCredentials) || shard == contract.ShardEdgeCredentials
	}, log)
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	health := &process.Health{}
	health.Set("server", fmt.Errorf("starting"))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return process.Serve(ctx, cfg.HealthAddress, health, reg, process.Page{Path: ClusterPath, Handler: tellStanding(cfg.Broker.StoreDir, health.Err)})
	})
	g.Go(func() error {
		b, err := Start(ctx, cfg, reg, log)
		if err != nil {
			return err
		}
		defer b.Stop()
		health.Check("server", b.Err)
		log.Info("broker serves", "mqtt", b.MQTTAddress(), "clients", b.ClientURL())
		return b.serve(ctx, cfg, in)
	})
	return g.Wait()
}

// name gives the broker the name of its pod, if it has none.
func name(c *contract.BrokerConfig) error {
	if c == nil || c.ServerName != "" {
		return nil
	}
	host, err := os.Hostname()
	c.ServerName = host
	return err
}

// serve follows bundles and reports until ctx ends or the server fails.
func (b *Broker) serve(ctx context.Context, cfg contract.NodeConfig, in *intake.Intake) error {
	var applied applied
	every := reportEvery
	if cfg.Broker.Replicas < len(cfg.Broker.Peers) {
		every = reportGathering
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.Run(ctx, b.js) })
	g.Go(func() error { return b.replicate(ctx, *cfg.Broker) })
	g.Go(func() error { return b.untilStoreEnds(ctx, storeEvery) })
	g.Go(func() error {
		bundles := in.Subscribe()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-b.log.fatal:
				return err
			case bundle := <-bundles:
				if applied.is(bundle.Lease.Revision) {
					applied.renew(bundle.Lease)
					continue
				}
				b.Update(bundle.Credentials)
				b.UpdateEdges(bundle.EdgeCredentials)
				applied.set(bundle.Lease, time.Now())
			}
		}
	})
	g.Go(func() error {
		return report.Run(ctx, b.js, contract.RoleBroker, cfg.Broker.ServerName, in, applied.get, every, b.log.report, b.tellCluster)
	})
	return g.Wait()
}

// untilStoreEnds gives an error once JetStream, or a stream, has ended: what is on the disk is safe, and only a new start opens it. So a pod whose disk was
// full comes back by itself when there is room again.
func (b *Broker) untilStoreEnds(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := b.Err(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// applied is the lease that the broker enforces.
type applied struct {
	mu       sync.Mutex
	sequence int64
	revision string
	at       time.Time
}

func (a *applied) is(revision string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.revision == revision
}

func (a *applied) renew(l contract.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sequence = l.Sequence
}

func (a *applied) set(l contract.Lease, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sequence, a.revision, a.at = l.Sequence, l.Revision, now.UTC()
}

func (a *applied) get() (int64, string, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sequence, a.revision, a.at
}

// ingestCollector reads the size of the ingest log when it is scraped.
type ingestCollector struct{ js jetstream.JetStream }

var (
	ingestMessages = prometheus.NewDesc("dizuo_broker_ingest_messages", "Messages in the ingest log.", nil, nil)
	ingestBytes    = prometheus.NewDesc("dizuo_broker_ingest_bytes", "Bytes in the ingest log.", nil, nil)
	ingestLimit    = prometheus.NewDesc("dizuo_broker_ingest_limit_bytes", "Bytes at which the ingest log takes no more.", nil, nil)
	ingestSequence = prometheus.NewDesc("dizuo_broker_ingest_sequence_total", "Sequence of the last message: all that were ever acknowledged.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *ingestCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ingestMessages, ingestBytes, ingestLimit, ingestSequence} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Without an answer within 2 s the figures are left out.
func (c *ingestCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s, err := c.js.Stream(ctx, contract.IngestStream)
	if err != nil {
		return
	}
	info := s.CachedInfo()
	ch <- prometheus.MustNewConstMetric(ingestMessages, prometheus.GaugeValue, float64(info.State.Msgs))
	ch <- prometheus.MustNewConstMetric(ingestBytes, prometheus.GaugeValue, float64(info.State.Bytes))
	ch <- prometheus.MustNewConstMetric(ingestLimit, prometheus.GaugeValue, float64(info.Config.MaxBytes))
	ch <- prometheus.MustNewConstMetric(ingestSequence, prometheus.CounterValue, float64(info.State.LastSeq))
}
