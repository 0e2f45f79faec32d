package broker

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// localBytes bounds each stream of a local broker beside the outbox.
	localBytes = 16 << 20
	// localPayload bounds a message there: what a device may send, and some room.
	localPayload = 128 << 10
)

// LocalConfig is a broker inside an edge node.
type LocalConfig struct {
	StoreDir string
	// Host and MQTTPort take devices; an empty host listens on every address, port 0 lets the kernel choose.
	Host     string
	MQTTPort int
	// TLS is the server certificate.
	TLS contract.TLSFiles
	// Outbox is the stream in which a message lies before its PUBACK.
	Outbox jetstream.StreamConfig
}

// Local is a broker inside an edge node: devices over MQTT, as at the centre, and no other listener. Its own parts connect in process.
type Local struct {
	server  *server.Server
	options *server.Options
	log     *serverLog
	gate    *gate
	pool    *atomic.Pointer[x509.CertPool]
	// Devices, Auth and System are connections in the accounts of these names.
	Devices, Auth, System *nats.Conn
	// CalloutKey signs the answers to the auth callout.
	CalloutKey nkeys.KeyPair
}

// StartLocal starts it with its streams in place and nobody let in: that is Open.
func StartLocal(ctx context.Context, cfg LocalConfig, reg prometheus.Registerer, log *slog.Logger) (*Local, error) {
	b := &Local{log: newServerLog(log, reg), gate: &gate{}, pool: &atomic.Pointer[x509.CertPool]{}}
	b.log.remember(tallyIn(cfg.StoreDir))
	var err error
	if b.CalloutKey, err = nkeys.CreateAccount(); err != nil {
		return nil, fmt.Errorf("callout key: %w", err)
	}
	users, err := b.configure(cfg)
	if err != nil {
		return nil, err
	}
	if b.server, err = server.NewServer(b.options); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	b.server.SetLoggerV2(b.log, log.Enabled(ctx, slog.LevelDebug), false, false)
	go b.server.Start()
	if err := b.open(ctx, cfg, users); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

// localAccounts are the accounts in which the node's own parts have a connection.
var localAccounts = []string{contract.AccountDevices, contract.AccountAuth, contract.AccountSystem}

// configure makes the server's options and a key for each account.
func (b *Local) configure(cfg LocalConfig) (map[string]nkeys.KeyPair, error) {
	raw, err := json.Marshal(map[string]any{
		"server_name": "edge", "max_payload": localPayload, "system_account": contract.AccountSystem,
		"accounts": map[string]any{contract.AccountSystem: map[string]any{}, contract.AccountAuth: map[string]any{},
			contract.AccountDevices: map[string]any{"jetstream": "enabled"}},
		"jetstream": map[string]any{"store_dir": cfg.StoreDir, "max_file_store": maxStore, "max_memory_store": memoryStore, "sync_interval": "always"},
		"mqtt": map[string]any{"host": hostOr(cfg.Host), "port": portOr(cfg.MQTTPort), "consumer_inactive_threshold": "1h",
			"reject_qos2_publish": true, "downgrade_qos2_subscribe": true},
	})
	if err != nil {
		return nil, err
	}
	o := &server.Options{NoSigs: true, NoLog: true, DontListen: true}
	if err := o.ProcessConfigString(string(raw)); err != nil {
		return nil, fmt.Errorf("server options: %w", err)
	}
	o.PingInterval, o.AuthTimeout, o.MQTT.AuthTimeout = pingInterval, authTimeout, authTimeout
	devices := deviceTLS(cfg.TLS, b.gate, b.pool)
	if _, err := devices.GetCertificate(nil); err != nil {
		return nil, err
	}
	o.MQTT.TLSConfig, o.MQTT.TLSTimeout = devices, tlsTimeout
	issuer, err := b.CalloutKey.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("callout key: %w", err)
	}
	users, bypass := map[string]nkeys.KeyPair{}, []string{}
	for _, a := range o.Accounts {
		key, err := nkeys.CreateUser()
		if err != nil {
			return nil, fmt.Errorf("own key: %w", err)
		}
		public, err := key.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("own key: %w", err)
		}
		users[a.Name], bypass = key, append(bypass, public)
		o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: public, Account: a, AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeInProcess: {}}})
	}
	o.AuthCallout = &server.AuthCallout{Issuer: issuer, Account: contract.AccountAuth, AuthUsers: bypass}
	b.options = o
	return users, nil
}

// open connects the node's own parts and makes the streams.
func (b *Local) open(ctx context.Context, cfg LocalConfig, users map[string]nkeys.KeyPair) error {
	if err := (&Broker{server: b.server, log: b.log}).await(ctx); err != nil {
		return err
	}
	conns := map[string]**nats.Conn{contract.AccountDevices: &b.Devices, contract.AccountAuth: &b.Auth, contract.AccountSystem: &b.System}
	for _, name := range localAccounts {
		nc, err := (&Broker{server: b.server}).connect("edge-"+name, users[name])
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		*conns[name] = nc
	}
	js, err := jetstream.New(b.Devices)
	if err != nil {
		return err
	}
	for n, s := range mqttStreams(contract.BrokerConfig{}) {
		if s.MaxBytes = min(s.MaxBytes, localBytes); n == 0 {
			s = cfg.Outbox
		}
		if _, err := js.CreateOrUpdateStream(ctx, s); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	callout, err := b.server.LookupAccount(contract.AccountAuth)
	if err != nil {
		return fmt.Errorf("account %s: %w", contract.AccountAuth, err)
	}
	b.gate.answering = func() bool { return callout.SubscriptionInterest(server.AuthCalloutSubject) }
	return nil
}

// Open lets devices in.
func (b *Local) Open() { b.gate.open.Store(true) }

// Shut lets nobody in any more and cuts off who is: nothing further is acknowledged.
func (b *Local) Shut() error {
	b.gate.open.Store(false)
	for {
		page, err := b.server.Connz(&server.ConnzOptions{Account: contract.AccountDevices, Limit: 1024})
		if err != nil {
			return fmt.Errorf("list connections: %w", err)
		}
		cut := 0
		for _, c := range page.Conns {
			if c.MQTTClient != "" && b.server.DisconnectClientByID(c.Cid) == nil {
				cut++
			}
		}
		if cut == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // they leave the list a moment later
	}
}

// Update takes the credentials of a new bundle.
func (b *Local) Update(credentials map[string]contract.Credentials) {
	b.pool.Store(fleetPool(credentials))
	b.log.bind(credentials)
}

// Err says why the broker cannot keep what devices send, or nil.
func (b *Local) Err() error { return storeErr(b.server, b.System) }

// Failed gives what the server ended with.
func (b *Local) Failed() <-chan error { return b.log.fatal }

// Report adds violations to a report.
func (b *Local) Report(r *contract.Report) { b.log.report(r) }

// MQTTAddress is where devices connect, as host:port.
func (b *Local) MQTTAddress() string {
	return net.JoinHostPort(b.options.MQTT.Host, strconv.Itoa(b.options.MQTT.Port))
}

// Stop ends the server and waits until its stores are closed.
func (b *Local) Stop() {
	for _, nc := range []*nats.Conn{b.Devices, b.Auth, b.System} {
		if nc != nil {
			nc.Close()
		}
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
}
