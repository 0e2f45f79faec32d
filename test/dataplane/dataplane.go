// Package dataplane runs a broker and what answers its auth callout, for tests of what connects to a platform. All of it is real: the
// server, TLS, the role auth, and bundles that are signed as the operator signs them.
package dataplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/auth"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/pki"
)

// Options say what runs.
type Options struct {
	// Platform is the name of the GridPlatform.
	Platform string
	// Credentials of fleets, by name.
	Credentials map[string]contract.Credentials
	// Open answers the callout with everything for everybody, in place of the role auth: a platform that is broken.
	Open bool
	// Host is an address of this machine at which it is reached, beside the loopback interface.
	Host string
	// Shards of the centre's bundle, beside the credentials.
	Shards []contract.Shard
	// Edges open the door for edge nodes, by name.
	Edges map[string]contract.EdgeCredential
}

// World is a running data plane.
type World struct {
	// CA of the platform: devices know the broker by it.
	CA pki.CA
	// Address of the MQTT listener, and the TLS files of the broker.
	Address string
	TLS     contract.TLSFiles

	t       testing.TB
	cfg     contract.NodeConfig
	key     nkeys.KeyPair
	host    string
	broker  *broker.Broker
	metrics *prometheus.Registry
	signer  *seal.Signer
	// sequence of the last lease.
	sequence int64
}

// Start runs a data plane until the test ends. It returns when devices are let in.
func Start(t testing.TB, o Options) *World {
	t.Helper()
	w := &World{t: t, CA: pki.New(t, "platform"), metrics: prometheus.NewRegistry()}
	w.configure(o)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	if w.broker, err = broker.Start(ctx, w.cfg, w.metrics, Logger()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.broker.Stop)
	w.Address = w.broker.MQTTAddress()
	w.broker.Update(o.Credentials)
	w.broker.UpdateEdges(o.Edges)
	for _, c := range []*contract.NATSConfig{w.cfg.NATS, &w.cfg.Auth.Callout, &w.cfg.Auth.System} {
		c.URL = w.clientURL()
	}
	if o.Open {
		w.admitAll(ctx)
		return w
	}
	w.publish(o)
	done := make(chan error, 1)
	go func() { done <- auth.Run(ctx, w.cfg, Logger()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("auth: %v", err)
		}
	})
	w.ready(ctx)
	return w
}

// Logger says nothing unless the tests are run with DIZUO_TEST_LOG.
func Logger() *slog.Logger {
	if os.Getenv("DIZUO_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (w *World) configure(o Options) {
	w.t.Helper()
	key, err := nkeys.CreateAccount()
	if err != nil {
		w.t.Fatal(err)
	}
	platform, host := o.Platform, "127.0.0.1"
	w.key, w.host, w.TLS = key, host, w.CA.Files(w.t, w.CA.Server(w.t))
	if o.Host != "" {
		host, w.host, w.TLS = "0.0.0.0", o.Host, w.CA.Files(w.t, w.CA.ServerAt(w.t, o.Host))
	}
	public, _ := key.PublicKey()
	seed, _ := key.Seed()
	dir := w.t.TempDir()
	w.cfg = contract.NodeConfig{Platform: "city/" + platform, Scope: contract.ScopeCenter, StateDir: filepath.Join(dir, "state"), HealthAddress: "127.0.0.1:0",
		TrustFile: filepath.Join(dir, "trust.pem"),
		Broker: &contract.BrokerConfig{ServerName: "broker-0", StoreDir: filepath.Join(dir, "store"), Host: host, TLS: w.TLS,
			CalloutKeyFile: w.write(filepath.Join(dir, "callout.pub"), public), SyncInterval: "10s",
			Ingest: contract.IngestLog{MaxAgeSeconds: 3600, MaxBytes: 64 << 20}, Replicas: 1,
			Peers:   []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}},
			PeerTLS: w.CA.Files(w.t, w.CA.Peer(w.t, contract.RoleURI(platform, contract.UserBroker)))},
		NATS: &contract.NATSConfig{TLS: w.role(platform, contract.UserAuthBundle)},
		Auth: &contract.AuthConfig{Callout: contract.NATSConfig{TLS: w.role(platform, contract.UserAuth)},
			System: contract.NATSConfig{TLS: w.role(platform, contract.UserAuthSystem)}, CalloutSeedFile: w.write(filepath.Join(dir, "callout.seed"), string(seed))}}
	if o.Edges != nil {
		w.cfg.Broker.Edge = &contract.EdgeListener{TLS: w.TLS}
	}
}

func (w *World) role(platform, user string) contract.TLSFiles {
	return w.CA.Files(w.t, w.CA.Client(w.t, contract.RoleURI(platform, user)))
}

// Role gives the configuration of a role of this platform that connects as a user. Its own section is the caller's to add.
func (w *World) Role(r contract.Role, user string) contract.NodeConfig {
	w.t.Helper()
	return contract.NodeConfig{Platform: w.cfg.Platform, Role: r, Scope: contract.ScopeCenter, StateDir: w.t.TempDir(), TrustFile: w.cfg.TrustFile,
		HealthAddress: "127.0.0.1:0", NATS: &contract.NATSConfig{URL: w.clientURL(), TLS: w.role(w.Platform(), user)}}
}

// Server gives TLS files for a server on this machine, under the platform's CA.
func (w *World) Server() contract.TLSFiles { return w.CA.Files(w.t, w.CA.Server(w.t)) }

// EdgeURL is where edge nodes connect.
func (w *World) EdgeURL() string { return w.at(w.broker.EdgeURL()) }

// clientURL is where roles connect.
func (w *World) clientURL() string { return w.at(w.broker.ClientURL()) }

// at gives the URL of a listener by the address at which it is reached.
func (w *World) at(listener string) string {
	w.t.Helper()
	u := must(url.Parse(listener))(w.t)
	u.Host = net.JoinHostPort(w.host, u.Port())
	return u.String()
}

// TrustFile holds the key by which bundles are verified.
func (w *World) TrustFile() string { return w.cfg.TrustFile }

// JetStream gives the broker's own connection to the account of devices.
func (w *World) JetStream() jetstream.JetStream { return w.broker.JetStream() }

func (w *World) write(file, text string) string {
	w.t.Helper()
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// publish makes the key that signs, and publishes the centre's bundle.
func (w *World) publish(o Options) {
	w.t.Helper()
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		w.t.Fatal(err)
	}
	w.signer = must(seal.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))(w.t)
	w.write(w.cfg.TrustFile, string(must(w.signer.Public())(w.t)))
	shards := slices.Clone(o.Shards)
	for name, c := range o.Credentials {
		shards = append(shards, Shard(w.t, contract.ShardCredentials+name, c, "credentials", name))
	}
	if o.Edges != nil {
		shards = append(shards, Shard(w.t, contract.ShardEdgeCredentials, o.Edges, "edgeCredentials"))
	}
	w.Publish(contract.ScopeCenter, time.Hour, shards...)
}

// Shard makes one whose document stands at a path below "dizuo".
func Shard(t testing.TB, name string, document any, path ...string) contract.Shard {
	t.Helper()
	var doc any
	if err := json.Unmarshal(must(json.Marshal(document))(t), &doc); err != nil {
		t.Fatal(err)
	}
	path = append([]string{"dizuo"}, path...)
	for n := len(path) - 1; n >= 0; n-- {
		doc = map[string]any{path[n]: doc}
	}
	return must(seal.Normalize(contract.Shard{Name: name, Roots: []string{strings.Join(path, "/")}, Data: doc.(map[string]any)}))(t)
}

// Publish signs a bundle and puts it where the roles look: shards, index, then the lease of a scope, which ends after life.
func (w *World) Publish(scope string, life time.Duration, shards ...contract.Shard) {
	w.t.Helper()
	w.sequence++
	Put(w.t, w.broker.JetStream(), w.signer, contract.Lease{Platform: w.cfg.Platform, Scope: scope, Sequence: w.sequence, ExpiresAt: time.Now().Add(life)}, shards...)
}

// Put is Publish over a connection that may write bundles. The lease is issued now, for these shards.
func Put(t testing.TB, js jetstream.JetStream, signer *seal.Signer, lease contract.Lease, shards ...contract.Shard) {
	t.Helper()
	ctx := context.Background()
	store := must(js.ObjectStore(ctx, contract.BundleStore))(t)
	var index contract.Index
	for _, shard := range shards {
		digest := must(shard.ContentDigest())(t)
		index.Shards = append(index.Shards, contract.ShardRef{Name: shard.Name, Digest: digest})
		must(store.PutBytes(ctx, contract.ObjectName("shard", digest), must(signer.Shard(shard))(t)))(t)
	}
	must(store.PutBytes(ctx, contract.ObjectName("index", index.Revision()), must(json.Marshal(index))(t)))(t)
	lease.Revision, lease.IssuedAt = index.Revision(), time.Now()
	leases := must(js.KeyValue(ctx, contract.LeaseBucket))(t)
	must(leases.PutString(ctx, lease.Scope, must(signer.Lease(lease))(t)))(t)
}

// ready waits for auth's report, which it writes when it enforces the first bundle.
func (w *World) ready(ctx context.Context) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	reports := must(w.broker.JetStream().KeyValue(ctx, contract.ReportBucket))(w.t)
	watch := must(reports.Watch(ctx, string(contract.RoleAuth)+".>", jetstream.IncludeHistory()))(w.t)
	defer watch.Stop()
	for {
		select {
		case entry := <-watch.Updates():
			var r contract.Report
			if entry != nil && json.Unmarshal(entry.Value(), &r) == nil && r.Sequence > 0 {
				return
			}
		case <-ctx.Done():
			w.t.Fatal("auth enforces no bundle")
		}
	}
}

// admitAll lets everybody in, by any name, with every permission in the account of devices.
func (w *World) admitAll(ctx context.Context) {
	w.t.Helper()
	nc := must(process.Connect(ctx, w.cfg.Auth.Callout, contract.UserAuth, Logger()))(w.t)
	w.t.Cleanup(nc.Close)
	answer := func(m *nats.Msg) {
		asked, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			w.t.Error(err)
			return
		}
		user := jwt.NewUserClaims(asked.UserNkey)
		user.Name, user.Audience, user.Expires = "anybody", contract.AccountDevices, time.Now().Add(time.Hour).Unix()
		token, err1 := user.Encode(w.key)
		reply := jwt.NewAuthorizationResponseClaims(asked.UserNkey)
		reply.Audience, reply.Jwt = asked.Server.ID, token
		signed, err2 := reply.Encode(w.key)
		if err := errors.Join(err1, err2, m.Respond([]byte(signed))); err != nil {
			w.t.Error(err)
		}
	}
	must(nc.Subscribe(server.AuthCalloutSubject, answer))(w.t)
	if err := nc.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

// Violations gives how many publishes of a fleet the broker has dropped.
func (w *World) Violations(fleet string) int64 {
	w.t.Helper()
	families := must(w.metrics.Gather())(w.t)
	var n float64
	for _, f := range families {
		if f.GetName() != "dizuo_broker_violations_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			of := map[string]string{}
			for _, l := range m.GetLabel() {
				of[l.GetName()] = l.GetValue()
			}
			if of["fleet"] == fleet && of["kind"] == "publish" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int64(n)
}

// Stored gives the payloads in the ingest log of a device's channel, oldest first.
func (w *World) Stored(subject string) []string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stream := must(w.broker.JetStream().Stream(ctx, contract.IngestStream))(w.t)
	var out []string
	for seq := stream.CachedInfo().State.FirstSeq; ; {
		m, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(contract.IngestPrefix+subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out
		}
		if err != nil {
			w.t.Fatal(err)
		}
		out, seq = append(out, string(m.Data)), m.Sequence+1
	}
}

// Platform gives the name of the platform.
func (w *World) Platform() string { return path.Base(w.cfg.Platform) }

// Connection gives the content of the Secret <fleet>-connection, for an address; empty is the broker's own.
func (w *World) Connection(fleet, method, address string) map[string][]byte {
	w.t.Helper()
	if address == "" {
		address = w.Address
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		w.t.Fatal(err)
	}
	data := map[string][]byte{"ca.crt": []byte(w.CA.PEM), "host": []byte("localhost"), "port": []byte(port), "method": []byte(method),
		"topicPrefix": []byte("dizuo/v1/d/" + fleet + "/"), "clientID": []byte(fleet + "_<device>")}
	if method == "Password" {
		data["username"] = []byte(fleet + ".<device>")
	} else {
		data["uriPrefix"] = []byte(contract.DeviceURI(w.Platform(), fleet, ""))
	}
	return data
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(fmt.Errorf("data plane: %w", err))
		}
		return v
	}
}
