package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// serverCert writes a self-signed certificate for 127.0.0.1 and localhost, with a URI unless that is empty, and gives its files.
func serverCert(t *testing.T, dir string, serial int64, uri string) contract.TLSFiles {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "platform"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err2 := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	raw, err3 := x509.MarshalPKCS8PrivateKey(key)
	files := contract.TLSFiles{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), CAFile: filepath.Join(dir, "ca.crt")}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	err4 := os.WriteFile(files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600)
	err5 := os.WriteFile(files.CAFile, cert, 0o600)
	err6 := os.WriteFile(files.CertFile, cert, 0o600)
	// Two writes within the clock's resolution would look like none.
	stamp := time.Now().Add(time.Duration(serial) * time.Second)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, os.Chtimes(files.CertFile, stamp, stamp)); err != nil {
		t.Fatal(err)
	}
	return files
}

func config(t *testing.T) contract.NodeConfig {
	t.Helper()
	dir := t.TempDir()
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := key.PublicKey()
	file := filepath.Join(dir, "callout.pub")
	if err := os.WriteFile(file, []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	return contract.NodeConfig{Platform: "city/henan", Scope: contract.ScopeCenter, Broker: &contract.BrokerConfig{ServerName: "broker-0",
		StoreDir: filepath.Join(dir, "store"), Host: "127.0.0.1", TLS: serverCert(t, dir, 1, ""), CalloutKeyFile: file, SyncInterval: "always",
		Ingest: contract.IngestLog{MaxAgeSeconds: 3600, MaxBytes: 8 << 20}, Replicas: 1,
		// One route must be named; a lone broker has nobody there.
		Peers:   []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}},
		PeerTLS: serverCert(t, filepath.Join(dir, "peer"), 1, contract.RoleURI("henan", contract.UserBroker))}}
}

func start(t *testing.T, cfg contract.NodeConfig) *Broker {
	t.Helper()
	b, err := Start(context.Background(), cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

func stream(t *testing.T, b *Broker, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := b.JetStream().Stream(context.Background(), name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s.CachedInfo().Config
}

func TestStreamsAreThereBeforeAnybody(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	b := start(t, cfg)
	log := stream(t, b, contract.IngestStream)
	if log.Retention != jetstream.LimitsPolicy || log.Discard != jetstream.DiscardNew || log.MaxAge != time.Hour || log.MaxBytes != 8<<20 || log.Storage != jetstream.FileStorage {
		t.Errorf("ingest log %+v", log)
	}
	for _, name := range []string{"$MQTT_sess", "$MQTT_rmsgs", "$MQTT_qos2in", "$MQTT_out", leaseStream, reportStream, bundleStream} {
		if c := stream(t, b, name); c.MaxBytes <= 0 {
			t.Errorf("%s has no bound", name)
		}
	}
	if c := stream(t, b, reportStream); c.MaxAge != reportLife {
		t.Errorf("reports stay %s, want %s", c.MaxAge, reportLife)
	}
}

// The bound of the ingest log may go up and down by any amount, and going down costs no message.
func TestIngestLogIsResized(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Broker.Ingest.MaxBytes = 8 << 30
	b := start(t, cfg)
	if _, err := b.JetStream().Publish(context.Background(), "$MQTT.msgs.dizuo.v1.d.f.d.signal", make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	for _, bytes := range []int64{64 << 10, 1 << 40, 16 << 20} {
		b.Stop()
		cfg.Broker.Ingest.MaxBytes = bytes
		b = start(t, cfg)
		if c := stream(t, b, contract.IngestStream); c.MaxBytes != bytes {
			t.Errorf("bound %d, want %d", c.MaxBytes, bytes)
		}
		if s, err := b.JetStream().Stream(context.Background(), contract.IngestStream); err != nil || s.CachedInfo().State.Msgs != 1 {
			t.Errorf("at %d bytes the message is gone: %v", bytes, err)
		}
	}
}

func TestChangedConfigurationTakesEffect(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	b := start(t, cfg)
	js := b.JetStream()
	// As a server left alone would have made it.
	if err := js.DeleteStream(context.Background(), contract.IngestStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: contract.IngestStream, Subjects: []string{"$MQTT.msgs.>"}, Retention: jetstream.InterestPolicy}); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	cfg.Broker.Ingest.MaxAgeSeconds = 7200
	log := stream(t, start(t, cfg), contract.IngestStream)
	if log.Retention != jetstream.LimitsPolicy || log.Discard != jetstream.DiscardNew || log.MaxAge != 2*time.Hour {
		t.Errorf("ingest log after a restart: %+v", log)
	}
}

func TestOnlyDEVHasJetStream(t *testing.T) {
	t.Parallel()
	b := start(t, config(t))
	for name, want := range map[string]bool{contract.AccountDevices: true, contract.AccountEdge: false, contract.AccountAuth: false, contract.AccountSystem: false} {
		account, err := b.server.LookupAccount(name)
		if err != nil {
			t.Fatal(err)
		}
		if account.JetStreamEnabled() != want {
			t.Errorf("account %s: JetStream %v, want %v", name, !want, want)
		}
	}
}

func TestListenersShutWithoutAuth(t *testing.T) {
	t.Parallel()
	b := start(t, config(t))
	conn, err := tls.Dial("tcp", b.MQTTAddress(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only the handshake counts
	if err == nil {
		_ = conn.Close()
		t.Error("a device got through the handshake though no auth listens")
	}
	b.gate.answering = func() bool { return true }
	conn, err = tls.Dial("tcp", b.MQTTAddress(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	b.gate.open.Store(false)
	for _, address := range []string{b.MQTTAddress()} {
		if conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // see above
			_ = conn.Close()
			t.Errorf("%s is open while the broker starts", address)
		}
	}
}

func TestServerCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	b := start(t, cfg)
	b.gate.answering = func() bool { return true }
	serial := func() string {
		var asked []byte
		conn, err := tls.Dial("tcp", b.MQTTAddress(), &tls.Config{InsecureSkipVerify: true, //nolint:gosec // the serial is compared
			GetClientCertificate: func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				for _, ca := range i.AcceptableCAs {
					asked = append(asked, ca...)
				}
				return &tls.Certificate{}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // a test
		if len(asked) != 0 {
			t.Errorf("the broker names CAs to strangers: %q", asked)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if got := serial(); got != "1" {
		t.Fatalf("serial %s", got)
	}
	serverCert(t, filepath.Dir(cfg.Broker.TLS.CertFile), 2, "")
	if got := serial(); got != "2" {
		t.Errorf("serial %s after renewal, want 2", got)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*contract.NodeConfig)
		want   string
	}{
		"no broker":      {func(c *contract.NodeConfig) { c.Broker = nil }, "field broker"},
		"platform":       {func(c *contract.NodeConfig) { c.Platform = "henan" }, "<namespace>/<name>"},
		"unbounded log":  {func(c *contract.NodeConfig) { c.Broker.Ingest.MaxBytes = 0 }, "broker.ingest"},
		"replicas":       {func(c *contract.NodeConfig) { c.Broker.Replicas = 2 }, "write 1 or 3"},
		"sync interval":  {func(c *contract.NodeConfig) { c.Broker.SyncInterval = "often" }, "broker.syncInterval"},
		"not a peer":     {func(c *contract.NodeConfig) { c.Broker.ServerName = "broker-9" }, "broker.peers"},
		"too many":       {func(c *contract.NodeConfig) { c.Broker.Replicas = 3 }, "broker.replicas"},
		"peer":           {func(c *contract.NodeConfig) { c.Broker.PeerTLS.CAFile = "/nonexistent" }, "broker.peerTLS"},
		"callout key":    {func(c *contract.NodeConfig) { c.Broker.CalloutKeyFile = c.Broker.TLS.CAFile }, "begins with A"},
		"no certificate": {func(c *contract.NodeConfig) { c.Broker.TLS.CertFile = "/nonexistent" }, "broker.tls"},
	} {
		cfg := config(t)
		tc.change(&cfg)
		b, err := Start(context.Background(), cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err == nil {
			b.Stop()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want it to say %q", name, err, tc.want)
		}
	}
}

func TestViolationsAreCountedByFleet(t *testing.T) {
	l := newServerLog(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	at := time.Unix(1_800_000_000, 0)
	l.now = func() time.Time { return at }
	l.bind(map[string]contract.Credentials{"meter": {Devices: map[string]contract.Credential{"m1": {ClientID: "IMEI 86\"6"}, "m2": {}}}})
	line := func(client, what string) { l.Errorf("10.0.0.7:41234 - mid:17 - " + client + " - " + what) }
	line(`"smoke_s1"`, `Publish Violation - Subject "dizuo.v1.d.other.o1.signal"`)
	line(`"smoke_s_2"`, `Publish Violation - Subject "x"`)
	line(`"IMEI 86\"6"`, `Publish Violation - Subject "x"`)
	line(`"smoke_s1"`, `Subscription Violation - Subject "x", SID y`)
	line(`"no fleet"`, `Publish Violation - Subject "x"`)
	l.Errorf("10.0.0.7:41234 - cid:17 - \"v1:go:grid\" - Publish Violation - Subject \"x\"")              // a role, not a device
	l.Errorf("10.0.0.7:41234 - mid:17 - \"smoke_s1\" - Something with Publish Violation - Subject \"x\"") // text of a client
	var r contract.Report
	l.report(&r)
	want := fmt.Sprint(map[string]contract.FleetReport{"smoke": {Violations: 2, LastViolationAt: at.UTC()}, "meter": {Violations: 1, LastViolationAt: at.UTC()}})
	if got := fmt.Sprint(r.Fleets); got != want {
		t.Errorf("report %s, want %s", got, want)
	}
}

// A broker whose disk fails goes on without JetStream, and acknowledges nothing: that must be seen.
func TestABrokerWithoutItsStoreIsNotReady(t *testing.T) {
	t.Parallel()
	b := start(t, config(t))
	health := &process.Health{}
	health.Check("server", b.Err)
	if err := health.Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.server.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	if health.Err() == nil {
		t.Error("the broker is ready without JetStream")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.untilStoreEnds(ctx, time.Millisecond); !errors.Is(err, errStoreEnded) {
		t.Errorf("the role goes on without JetStream: %v", err)
	}
}
