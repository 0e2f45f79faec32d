package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
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

// Broker is a running server with its streams in place.
type Broker struct {
	server  *server.Server
	options *server.Options
	own     *nats.Conn
	js      jetstream.JetStream
	log     *serverLog
	gate    *gate
	pool    *atomic.Pointer[x509.CertPool]
}

// Start starts the server, creates its streams and only then lets anybody in. Stop ends it. The error names the field of the
// configuration, the listener or the stream.
func Start(ctx context.Context, cfg contract.NodeConfig, reg prometheus.Registerer, log *slog.Logger) (*Broker, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
	b := &Broker{log: newServerLog(log, reg), gate: &gate{}, pool: &atomic.Pointer[x509.CertPool]{}}
	if cfg.StateDir != "" {
		b.log.remember(tallyIn(cfg.StateDir))
	}
	key, err := b.configure(cfg)
	if err != nil {
		return nil, err
	}
	if b.server, err = server.NewServer(b.options); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	b.server.SetLoggerV2(b.log, log.Enabled(ctx, slog.LevelDebug), false, false)
	go b.server.Start()
	if err := b.await(ctx); err != nil {
		b.Stop()
		return nil, err
	}
	if err := b.prepare(ctx, *cfg.Broker, key); err != nil {
		b.Stop()
		return nil, err
	}
	callout, err := b.server.LookupAccount(contract.AccountAuth)
	if err != nil {
		b.Stop()
		return nil, fmt.Errorf("account %s: %w", contract.AccountAuth, err)
	}
	b.gate.answering = func() bool { return callout.SubscriptionInterest(server.AuthCalloutSubject) }
	b.measure(reg)
	b.gate.open.Store(true)
	return b, nil
}

// configure makes the server's options and the key of the broker's own connection.
func (b *Broker) configure(cfg contract.NodeConfig) (nkeys.KeyPair, error) {
	calloutKey, err := readCalloutKey(cfg.Broker.CalloutKeyFile)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("own key: %w", err)
	}
	ownKey, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("own key: %w", err)
	}
	clients, err := clientTLS(cfg.Broker.TLS, b.gate)
	if err != nil {
		return nil, err
	}
	devices := deviceTLS(cfg.Broker.TLS, b.gate, b.pool)
	if _, err := devices.GetCertificate(nil); err != nil {
		return nil, fmt.Errorf("broker.tls: %w", err)
	}
	b.options, err = options(path.Base(cfg.Platform), *cfg.Broker, calloutKey, ownKey, devices, clients)
	return key, err
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

// prepare connects in process and makes the streams. In a cluster there is no leader for a while, so it tries again.
func (b *Broker) prepare(ctx context.Context, c contract.BrokerConfig, key nkeys.KeyPair) error {
	public, err := key.PublicKey()
	if err != nil {
		return err
	}
	b.own, err = nats.Connect("", nats.InProcessServer(b.server), nats.Name("broker"), nats.MaxReconnects(-1),
		nats.CustomInboxPrefix(contract.InboxPrefix("broker")), nats.Nkey(public, key.Sign))
	if err != nil {
		return fmt.Errorf("own connection: %w", err)
	}
	if b.js, err = jetstream.New(b.own); err != nil {
		return err
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		err := ensureStreams(attempt, b.js, c)
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.Code == 400 { // the configuration is wrong: trying again will not help
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(startTimeout), backoff.WithNotify(func(err error, again time.Duration) {
		b.log.log.Warn("streams are not as configured yet", "err", err, "again", again.Round(time.Millisecond))
	}))
	return err
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
	b.pool.Store(fleetPool(credentials))
	b.log.bind(credentials)
}

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
	if b.own != nil {
		b.own.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
