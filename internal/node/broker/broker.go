package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// startTimeout bounds the time until the listeners are up: a large ingest log is read back first.
const startTimeout = 5 * time.Minute

// noPeers is the server's code for "no suitable peers for placement": a leader says so until it has heard of itself.
const noPeers jetstream.ErrorCode = 10005

// Broker is a running server with its streams in place.
type Broker struct {
	server  *server.Server
	options *server.Options
	own     *nats.Conn // in AccountDevices
	system  *nats.Conn // in AccountSystem
	js      jetstream.JetStream
	log     *serverLog
	gate    *gate
	pool    *atomic.Pointer[x509.CertPool]
	// platformCA is the file of the platform's CA.
	platformCA string
	// edgePool holds the CAs of edge nodes.
	edgePool *atomic.Pointer[x509.CertPool]
	// gathered says that gather is done.
	gathered atomic.Bool
}

// Start starts the server, creates its streams and only then lets anybody in. It founds the cluster of the platform's brokers or
// joins it, and waits for that. Stop ends it. The error names the field of the configuration, the listener or the stream.
func Start(ctx context.Context, cfg contract.NodeConfig, reg prometheus.Registerer, log *slog.Logger) (*Broker, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
	if err := enter(ctx, *cfg.Broker, log); err != nil {
		return nil, err
	}
	b := &Broker{log: newServerLog(log, reg), gate: &gate{}, pool: &atomic.Pointer[x509.CertPool]{}, edgePool: &atomic.Pointer[x509.CertPool]{}, platformCA: cfg.Broker.TLS.CAFile}
	if cfg.StateDir != "" {
		b.log.remember(tallyIn(cfg.StateDir))
	}
	keys, err := b.configure(cfg)
	if err != nil {
		return nil, err
	}
	if b.server, err = server.NewServer(b.options); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	b.server.SetLoggerV2(b.log, log.Enabled(ctx, slog.LevelDebug), false, false)
	go b.server.Start()
	if err := b.open(ctx, cfg, keys, reg); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

// open brings the server up to where it can let anybody in.
func (b *Broker) open(ctx context.Context, cfg contract.NodeConfig, keys ownSeeds, reg prometheus.Registerer) error {
	if err := b.await(ctx); err != nil {
		return err
	}
	if err := b.accompany(ctx, b.options.Cluster.TLSConfig, b.log.log); err != nil {
		return err
	}
	if err := b.prepare(ctx, *cfg.Broker, keys); err != nil {
		return err
	}
	if err := b.catchUp(ctx, cfg.Broker.ServerName); err != nil {
		return err
	}
	callout, err := b.server.LookupAccount(contract.AccountAuth)
	if err != nil {
		return fmt.Errorf("account %s: %w", contract.AccountAuth, err)
	}
	b.gate.answering = func() bool { return callout.SubscriptionInterest(server.AuthCalloutSubject) }
	b.measure(reg)
	b.gate.open.Store(true)
	return nil
}

// ownSeeds are the keys of the broker's own connections; they never leave the process. ownKeys are their public halves.
type (
	ownSeeds struct{ devices, system nkeys.KeyPair }
	ownKeys  struct{ devices, system string }
)

func makeKeys() (seeds ownSeeds, public ownKeys, err error) {
	for _, k := range []struct {
		seed   *nkeys.KeyPair
		public *string
	}{{&seeds.devices, &public.devices}, {&seeds.system, &public.system}} {
		if *k.seed, err = nkeys.CreateUser(); err == nil {
			*k.public, err = (*k.seed).PublicKey()
		}
		if err != nil {
			return seeds, public, fmt.Errorf("own key: %w", err)
		}
	}
	return seeds, public, nil
}

// configure makes the server's options and the keys of the broker's own connections.
func (b *Broker) configure(cfg contract.NodeConfig) (ownSeeds, error) {
	calloutKey, err := readCalloutKey(cfg.Broker.CalloutKeyFile)
	if err != nil {
		return ownSeeds{}, err
	}
	seeds, public, err := makeKeys()
	if err != nil {
		return ownSeeds{}, err
	}
	clients, err := clientTLS(cfg.Broker.TLS, b.gate)
	if err != nil {
		return ownSeeds{}, err
	}
	devices := deviceTLS(cfg.Broker.TLS, b.gate, b.pool)
	if _, err := devices.GetCertificate(nil); err != nil {
		return ownSeeds{}, fmt.Errorf("broker.tls: %w", err)
	}
	platform := path.Base(cfg.Platform)
	peers, err := peerTLS(cfg.Broker.PeerTLS, contract.RoleURI(platform, contract.UserBroker))
	if err != nil {
		return ownSeeds{}, err
	}
	edges, err := edgeTLS(cfg.Broker.Edge, b.gate, b.edgePool)
	if err != nil {
		return ownSeeds{}, err
	}
	b.options, err = options(platform, *cfg.Broker, calloutKey, public, devices, clients, peers, edges)
	return seeds, err
}

// await waits until the listeners are up.
func (b *Broker) await(ctx context.Context) error {
	deadline := time.Now().Add(startTimeout)
	for {
		select {
		case err := <-b.log.fatal:
			return err
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if b.server.ReadyForConnections(200 * time.Millisecond) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server: not ready within %s", startTimeout)
		}
	}
}

// prepare connects in process, waits for a leader and makes the streams. Leaders change, so it tries again.
func (b *Broker) prepare(ctx context.Context, c contract.BrokerConfig, keys ownSeeds) error {
	var err error
	if b.own, err = b.connect("broker", keys.devices); err != nil {
		return err
	}
	if b.system, err = b.connect("broker-system", keys.system); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.own); err != nil {
		return err
	}
	if err := until(ctx, 20*time.Millisecond, b.led); err != nil {
		return err
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		err := ensureStreams(attempt, b.js, c)
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.Code == 400 && refused.ErrorCode != noPeers { // the configuration is wrong: trying again will not help
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 1.5, RandomizationFactor: 0.2, MaxInterval: 5 * time.Second}),
		backoff.WithMaxElapsedTime(startTimeout), backoff.WithNotify(func(err error, again time.Duration) {
			b.log.log.Warn("streams are not as configured yet", "err", err, "again", again.Round(time.Millisecond))
		}))
	return err
}

// led reports whether the cluster has a leader: nobody answers a question about streams before.
func (b *Broker) led() (bool, error) {
	select {
	case err := <-b.log.fatal:
		return false, err
	default:
	}
	info, err := b.server.Jsz(nil)
	return err == nil && info.Meta != nil && info.Meta.Leader != "", nil
}

// connect opens a connection of the broker's own, which needs no TLS: it does not leave the process.
func (b *Broker) connect(name string, key nkeys.KeyPair) (*nats.Conn, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", nats.InProcessServer(b.server), nats.Name(name), nats.MaxReconnects(-1),
		nats.CustomInboxPrefix(contract.InboxPrefix(name)), nats.Nkey(public, key.Sign))
	if err != nil {
		return nil, fmt.Errorf("own connection: %w", err)
	}
	return nc, nil
}

// measure registers what the server knows of itself.
func (b *Broker) measure(reg prometheus.Registerer) {
	for _, name := range []string{contract.AccountDevices, contract.AccountEdge, contract.AccountAuth, contract.AccountSystem} {
		account, err := b.server.LookupAccount(name)
		if err != nil {
			continue
		}
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dizuo_broker_connections",
			Help: "Open connections by account.", ConstLabels: prometheus.Labels{"account": name}},
			func() float64 { return float64(account.NumLocalConnections()) }))
	}
	reg.MustRegister(&ingestCollector{js: b.js})
}

// Update takes the credentials of a new bundle: fleets' CAs, and client ids that name a fleet.
func (b *Broker) Update(credentials map[string]contract.Credentials) {
	pool := fleetPool(credentials)
	if raw, err := os.ReadFile(b.platformCA); err == nil { // organisations come under the platform's own CA; auth says whom it lets in, and what cannot be read lets in none
		pool.AppendCertsFromPEM(raw)
	}
	b.pool.Store(pool)
	b.log.bind(credentials)
}

var errStoreEnded = errors.New("the store has ended, what is in it is safe: look for a full or failing disk; a new start opens it again")

// Err says why the broker cannot keep what devices send, or nil. Where the disk fails or is full the server ends JetStream, or a stream, by
// itself, and goes on without it.
func (b *Broker) Err() error { return storeErr(b.server, b.system) }

// JetStream gives access through the broker's own connection.
func (b *Broker) JetStream() jetstream.JetStream { return b.js }

// ClientURL is where the platform's roles connect.
func (b *Broker) ClientURL() string { return "tls://" + b.server.Addr().String() }

// MQTTAddress is where devices connect, as host:port.
func (b *Broker) MQTTAddress() string {
	return net.JoinHostPort(b.options.MQTT.Host, strconv.Itoa(b.options.MQTT.Port))
}

// Stop ends the server and waits until its stores are closed.
func (b *Broker) Stop() {
	for _, own := range []*nats.Conn{b.own, b.system} {
		if own != nil {
			own.Close()
		}
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
