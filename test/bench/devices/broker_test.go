package devices

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/auth"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/bench/figure"
	"github.com/dizuo/dizuo/test/pki"
)

// Environment of the processes that a benchmark starts from its own binary.
const (
	// envRole names the file with the configuration of the role that a process plays.
	envRole = "DIZUO_BENCH_ROLE"
	// envLoad makes a process play devices; it reads a load from its input.
	envLoad = "DIZUO_BENCH_LOAD"
	// envMosquitto names the mosquitto binary; unset takes that of the path.
	envMosquitto = "DIZUO_MOSQUITTO"
)

// figures are those of all benchmarks of the run: one file holds them.
var figures []figure.Figure

// record prints figures and keeps them.
func record(more ...figure.Figure) {
	for _, f := range more {
		fmt.Printf("%-58s %12g %-8s target %g, met: %t\n", f.Name, f.Value, f.Unit, f.Target, f.Met)
	}
	figures = append(figures, more...)
}

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envRole) != "":
		exit(playRole(os.Getenv(envRole)))
	case os.Getenv(envLoad) != "":
		exit(playDevices(os.Stdin, os.Stdout))
	}
	code := m.Run()
	if out := os.Getenv("DIZUO_BENCH_OUT"); out != "" {
		if err := figure.Write(out, figures); err != nil {
			exit(err)
		}
	}
	os.Exit(code)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// needed skips a benchmark that nobody asked for.
func needed(t *testing.T) {
	t.Helper()
	if os.Getenv("DIZUO_BENCH_OUT") == "" {
		t.Skip("make bench-devices runs it")
	}
}

func playRole(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cfg contract.NodeConfig
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if cfg.Role == contract.RoleBroker {
		return broker.Run(context.Background(), cfg, log)
	}
	return auth.Run(context.Background(), cfg, log)
}

// stack is a broker and an auth as processes of their own, to which the test publishes signed bundles as the operator does.
type stack struct {
	t        *testing.T
	dir      string
	platform pki.CA
	fleet    pki.CA // of the fleet certs
	address  string
	broker   *exec.Cmd
	creds    map[string]contract.Credentials
	signer   *seal.Signer
	cfg      contract.NodeConfig
	js       jetstream.JetStream
	sequence int64
	// secret is the password of every device of the fleet words, hash its hash.
	secret, hash string
}

const platformName = "bench"

// newStack starts broker and auth; no device has a row yet. syncInterval is how long a stored message may wait for fsync.
func newStack(t *testing.T, syncInterval string) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), platform: pki.New(t, "platform"), fleet: pki.New(t, "certs"), secret: "generated-0123456789ab"}
	var err error
	if s.hash, err = password.HashGenerated(s.secret, rand.Reader); err != nil {
		t.Fatal(err)
	}
	s.creds = map[string]contract.Credentials{"certs": {Method: "X509", Issuers: []string{s.fleet.PEM}, Devices: map[string]contract.Credential{}},
		"words": {Method: "Password", Devices: map[string]contract.Credential{}}}
	s.configure(syncInterval)
	s.broker = s.role(contract.RoleBroker)
	s.role(contract.RoleAuth)
	var nc *nats.Conn
	s.await("the broker", func() error {
		nc, err = process.Connect(context.Background(), contract.NATSConfig{URL: s.cfg.NATS.URL, TLS: s.user(contract.UserOperator)}, contract.UserOperator, slog.New(slog.DiscardHandler))
		return err
	})
	t.Cleanup(nc.Close)
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stack) configure(syncInterval string) {
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	signer, err3 := seal.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	trust, err4 := signer.Public()
	callout, err5 := nkeys.CreateAccount()
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		s.t.Fatal(err)
	}
	public, _ := callout.PublicKey()
	seed, _ := callout.Seed()
	client, mqtt := freePort(s.t), freePort(s.t)
	url := fmt.Sprintf("tls://127.0.0.1:%d", client)
	s.signer, s.address = signer, fmt.Sprintf("127.0.0.1:%d", mqtt)
	s.cfg = contract.NodeConfig{Platform: "city/" + platformName, Scope: contract.ScopeCenter, HealthAddress: "127.0.0.1:0", TrustFile: s.file("trust.pem", trust),
		Broker: &contract.BrokerConfig{ServerName: "broker-0", StoreDir: filepath.Join(s.dir, "store"), Host: "127.0.0.1", ClientPort: client, MQTTPort: mqtt,
			TLS: s.platform.Files(s.t, s.platform.Server(s.t)), CalloutKeyFile: s.file("callout.pub", []byte(public)), SyncInterval: syncInterval,
			Ingest: contract.IngestLog{MaxAgeSeconds: 3600, MaxBytes: 4 << 30}, Replicas: 1,
			Peers:   []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}},
			PeerTLS: s.platform.Files(s.t, s.platform.Peer(s.t, contract.RoleURI(platformName, contract.UserBroker)))},
		NATS: &contract.NATSConfig{URL: url, TLS: s.user(contract.UserAuthBundle)},
		Auth: &contract.AuthConfig{Callout: contract.NATSConfig{URL: url, TLS: s.user(contract.UserAuth)},
			System: contract.NATSConfig{URL: url, TLS: s.user(contract.UserAuthSystem)}, CalloutSeedFile: s.file("callout.seed", seed)}}
}

func (s *stack) file(name string, text []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *stack) user(name string) contract.TLSFiles {
	return s.platform.Files(s.t, s.platform.Client(s.t, contract.RoleURI(platformName, name)))
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// role starts a role as a process.
func (s *stack) role(name contract.Role) *exec.Cmd {
	s.t.Helper()
	cfg := s.cfg
	cfg.Role, cfg.StateDir = name, filepath.Join(s.dir, "state-"+string(name))
	raw, err := json.Marshal(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+s.file(string(name)+".json", raw))
	begin(s.t, cmd)
	return cmd
}

// begin starts a process that ends with the test, and with the test's process.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &said
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), said.String())
		}
	})
}

// await looks until f gives nil.
func (s *stack) await(what string, f func() error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // the interval of a look
		if err = f(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s: %v", what, err)
}

// passwords gives n devices of the fleet words their rows.
func (s *stack) passwords(n int) (out []player) {
	for i := range n {
		name := fmt.Sprint("d", i)
		s.creds["words"].Devices[name] = contract.Credential{PasswordHash: s.hash}
		out = append(out, player{ID: contract.ClientID("words", name), User: contract.DeviceID("words", name), Password: s.secret,
			Topic: contract.DeviceTopic("words", name, contract.ChannelTelemetry)})
	}
	return out
}

// certificates gives n devices of the fleet certs their rows and certificates.
func (s *stack) certificates(n int) (out []player) {
	for i := range n {
		name := fmt.Sprint("d", i)
		s.creds["certs"].Devices[name] = contract.Credential{}
		cert := s.fleet.Client(s.t, contract.DeviceURI(platformName, "certs", name))
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, player{ID: contract.ClientID("certs", name), Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
			Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), Topic: contract.DeviceTopic("certs", name, contract.ChannelTelemetry)})
	}
	return out
}

// publish sends the rows as they stand and waits until a device is let in, where one is given.
func (s *stack) publish(in *player) {
	s.t.Helper()
	s.send(s.prepare())
	if in == nil {
		return
	}
	config := s.clientTLS()
	s.await("the first device", func() error {
		c, err := in.connect(s.address, config)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

func (s *stack) clientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.platform.Pool(), ServerName: "localhost"}
}

// prepared is a bundle that is signed and not yet sent.
type prepared struct {
	objects map[string][]byte
	lease   string
}

// prepare signs the rows as they stand.
func (s *stack) prepare() prepared {
	s.t.Helper()
	out := prepared{objects: map[string][]byte{}}
	var index contract.Index
	for name, c := range s.creds {
		var doc map[string]any
		raw, err := json.Marshal(c)
		if err == nil {
			err = json.Unmarshal(raw, &doc)
		}
		shard, err2 := seal.Normalize(contract.Shard{Name: contract.ShardCredentials + name, Roots: []string{"dizuo/credentials/" + name},
			Data: map[string]any{"dizuo": map[string]any{"credentials": map[string]any{name: doc}}}})
		sealed, err3 := s.signer.Shard(shard)
		digest, err4 := shard.ContentDigest()
		if err := errors.Join(err, err2, err3, err4); err != nil {
			s.t.Fatal(err)
		}
		index.Shards = append(index.Shards, contract.ShardRef{Name: shard.Name, Digest: digest})
		out.objects[contract.ObjectName("shard", digest)] = sealed
	}
	raw, err := json.Marshal(index)
	if err != nil {
		s.t.Fatal(err)
	}
	out.objects[contract.ObjectName("index", index.Revision())] = raw
	s.sequence++
	out.lease, err = s.signer.Lease(contract.Lease{Platform: s.cfg.Platform, Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: s.sequence,
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// send sends a bundle: shards, index, then the lease.
func (s *stack) send(b prepared) {
	s.t.Helper()
	ctx := context.Background()
	s.await("the bundle is sent", func() error { // the streams are made just now, at the start
		store, err := s.js.ObjectStore(ctx, contract.BundleStore)
		if err != nil {
			return err
		}
		for name, raw := range maps.All(b.objects) {
			if _, err := store.PutBytes(ctx, name, raw); err != nil {
				return err
			}
		}
		leases, err := s.js.KeyValue(ctx, contract.LeaseBucket)
		if err != nil {
			return err
		}
		_, err = leases.PutString(ctx, contract.ScopeCenter, b.lease)
		return err
	})
}

// load is started: its clients are in a process of their own, so that their TLS is not counted as the broker's.
func (s *stack) load(l load) *running {
	s.t.Helper()
	l.Address, l.CA = s.address, s.platform.PEM
	return startLoad(s.t, l)
}
