// Package edge is the edge node: a broker for the devices of its communities that works while the line to the platform is cut.
//
//	config.go   the configuration, and where files lie
//	enrol.go    key, certificate requests, renewal
//	disk.go     room for the outbox
//	feed.go     leases and bundles from the hub; part.go an object in parts
//	run.go      the parts together
//	outbox      what the hub has not committed yet
//	uplink      brings it there
//	wire        the form of it
//	local       scenarios on what devices say, and the commands of their alarms
//
// A PUBACK of an edge node means what it means at the centre, and more: the message is on disk, synced. It reaches the hub once, in the
// order in which it came, however often line and machine fail; what a damaged disk lost is said to the hub as a range.
package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/auth"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/edge/local"
	"github.com/dizuo/dizuo/internal/node/edge/outbox"
	"github.com/dizuo/dizuo/internal/node/edge/uplink"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/report"
)

const (
	reportEvery = 30 * time.Second
	lookEvery   = 200 * time.Millisecond
)

// Run is the whole edge node: it enrols if it has no certificate, then serves devices until ctx ends, with or without the hub.
func Run(ctx context.Context, c contract.EdgeConfig, log *slog.Logger) error {
	if err := check(c); err != nil {
		return err
	}
	f := files{c.StateDir}
	if err := os.MkdirAll(f.store(), 0o700); err != nil {
		return fmt.Errorf("stateDir: %w", err)
	}
	if err := f.roomFor(c.StorageBytes, free, log); err != nil {
		return err
	}
	if !enrolled(c) {
		if err := first(ctx, c, log); err != nil {
			return err
		}
	}
	n, err := start(ctx, c, log)
	if err != nil {
		return err
	}
	defer n.broker.Stop()
	return n.serve(ctx)
}

// node holds the parts.
type node struct {
	cfg    contract.EdgeConfig
	files  files
	in     *intake.Intake
	broker *broker.Local
	auth   *auth.Local
	outbox *outbox.Outbox
	disk   disk
	// scenarios give the commands of alarms, with or without the hub.
	scenarios *local.Scenarios
	// up is the way to the hub; nil before there is one.
	up  atomic.Pointer[uplink.Uplink]
	reg *prometheus.Registry
	log *slog.Logger
}

// start brings the node to where it can let devices in.
func start(ctx context.Context, c contract.EdgeConfig, log *slog.Logger) (*node, error) {
	n := &node{cfg: c, files: files{c.StateDir}, reg: prometheus.NewRegistry(), log: log}
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	n.in, err = intake.Open(contract.NodeConfig{Platform: c.Platform, Role: contract.RoleEdge, Scope: contract.ScopeEdge(c.Edge), StateDir: c.StateDir, TrustFile: n.files.trust()},
		wants, log)
	if err != nil {
		return nil, err
	}
	n.broker, err = broker.StartLocal(ctx, broker.LocalConfig{StoreDir: n.files.store(), Host: c.Host, MQTTPort: c.MQTTPort, TLS: n.files.server(),
		Outbox: outbox.StreamConfig(c.StorageBytes)}, n.reg, log)
	if err != nil {
		return nil, err
	}
	if err := n.prepare(ctx); err != nil {
		n.broker.Stop()
		return nil, err
	}
	return n, nil
}

func (n *node) prepare(ctx context.Context) error {
	js, err := jetstream.New(n.broker.Devices)
	if err != nil {
		return err
	}
	if n.outbox, err = outbox.Open(ctx, js, n.cfg.StateDir, n.log); err != nil {
		return err
	}
	n.scenarios = local.New(n.cfg.Edge, n.cfg.StateDir, n.in, n.outbox, n.broker.Devices.Publish,
		func() bool { up := n.up.Load(); return up != nil && up.Connected() }, n.reg, n.log)
	n.auth, err = auth.NewLocal(path.Base(n.cfg.Platform), n.cfg.StateDir, n.in, n.broker.CalloutKey, n.broker.Auth, n.broker.System, n.reg, n.log)
	return err
}

// wants says which shards the node reads: who its devices are and where they hang, and the scenarios on them.
func wants(shard string) bool {
	return shard == contract.ShardRules || strings.HasPrefix(shard, contract.ShardFleet) || strings.HasPrefix(shard, contract.ShardCredentials)
}

// serve runs the parts until ctx ends or one fails.
func (n *node) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if n.cfg.HealthAddress != "" {
		health := &process.Health{}
		health.Check("broker", n.broker.Err)
		health.Check("bundle", n.auth.Live)
		health.Check("disk", n.disk.Err)
		g.Go(func() error { return process.Serve(ctx, n.cfg.HealthAddress, health, n.reg) })
	}
	g.Go(func() error { return n.auth.Run(ctx) })
	g.Go(func() error { return n.outbox.Tend(ctx) })
	g.Go(func() error { return n.scenarios.Run(ctx) })
	g.Go(func() error { return n.disk.watch(ctx, n.files, n.broker, free, diskEvery, n.log) })
	g.Go(func() error { return n.follow(ctx) })
	g.Go(func() error { return n.reach(ctx) })
	n.log.Info("edge node serves", "mqtt", n.broker.MQTTAddress())
	return g.Wait()
}

// follow takes the credentials of each bundle to the listener.
func (n *node) follow(ctx context.Context) error {
	bundles := n.in.Subscribe()
	revision := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-n.broker.Failed():
			return err
		case b := <-bundles:
			if b.Lease.Revision != revision {
				n.broker.Update(b.Credentials)
				revision = b.Lease.Revision
			}
		}
	}
}

// connect opens the connection to the hub. What is said while the line is cut fails at once: by default it would wait in memory, up to
// 8 MiB, and the requests of days would then use up the node's pace at the hub before the ones that count.
func connect(ctx context.Context, c contract.NATSConfig, name string, log *slog.Logger) (*nats.Conn, error) {
	return process.Connect(ctx, c, name, log, nats.ReconnectBufSize(-1))
}

// reach does all that needs the hub. It waits for the hub as long as it takes.
func (n *node) reach(ctx context.Context) error {
	nc, err := connect(ctx, contract.NATSConfig{URL: n.cfg.Hub, TLS: n.files.client(n.cfg.HubCAFile)}, n.cfg.Edge, n.log)
	if err != nil {
		return err
	}
	defer nc.Close()
	back, upBack := make(chan struct{}, 1), make(chan struct{}, 1)
	nc.SetReconnectHandler(func(*nats.Conn) {
		n.log.Info("hub connected again")
		for _, waits := range []chan struct{}{back, upBack} {
			select {
			case waits <- struct{}{}:
			default:
			}
		}
	})
	if _, err := nc.Subscribe(contract.EdgeSubject(n.cfg.Edge, contract.EdgeCommand), n.pass); err != nil {
		return err
	}
	up := &uplink.Uplink{Edge: n.cfg.Edge, Outbox: n.outbox, Conn: nc, Log: n.log, Back: upBack, Context: n.scenarios}
	n.up.Store(up)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return up.Run(ctx) })
	g.Go(func() error { return n.in.Follow(ctx, feed{n.cfg.Edge, nc, back, &part{}}) })
	g.Go(func() error { return n.tell(ctx, nc, up) })
	g.Go(func() error { return renew(ctx, n.cfg, nc, n.log) })
	return g.Wait()
}

// tell reports to the hub: now and then, and at once when a newer lease is enforced, for somebody waits to hear that.
func (n *node) tell(ctx context.Context, nc *nats.Conn, up *uplink.Uplink) error {
	tick, look := time.NewTicker(reportEvery), time.NewTicker(lookEvery)
	defer tick.Stop()
	defer look.Stop()
	for {
		r := n.report(ctx, up)
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		ask, cancel := context.WithTimeout(ctx, feedWait)
		if _, err := nc.RequestWithContext(ask, contract.EdgeSubject(n.cfg.Edge, contract.EdgeTell), raw); err != nil {
			n.log.Debug("report not taken", "err", err)
		}
		cancel()
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				waiting = false
			case <-look.C:
				sequence, _, _ := n.auth.Applied()
				waiting = sequence == r.Sequence
			}
		}
	}
}

func (n *node) report(ctx context.Context, up *uplink.Uplink) contract.Report {
	r := contract.Report{Role: contract.RoleEdge, Instance: n.cfg.Edge, At: time.Now().UTC(), Version: report.Version()}
	r.Sequence, r.Revision, r.EffectiveAt = n.auth.Applied()
	if err := n.in.Problem(); err != nil {
		r.Problem = err.Error()
	}
	n.auth.Report(&r)
	n.broker.Report(&r)
	box, err := n.outbox.Count(ctx)
	if err != nil && r.Problem == "" {
		r.Problem = err.Error()
	}
	box.SkewMillis, box.Architecture = up.Skew().Milliseconds(), runtime.GOOS+"/"+runtime.GOARCH
	box.DiskFull = n.disk.Err() != nil
	r.Outbox = &box
	return r
}
