package auth

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
)

const platform = "henan"

// ca is a certificate authority made for one test.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

// issue gives a key and a certificate signed by parent, or self-signed when parent is nil.
func issue(t testing.TB, parent *ca, template x509.Certificate) (tls.Certificate, ca) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer, issuer := key, &template
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, ca{cert, key, text}
}

func newCA(t testing.TB, name string) ca {
	_, c := issue(t, nil, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature})
	return c
}

func (c ca) client(t testing.TB, uri string) tls.Certificate {
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := issue(t, &c, x509.Certificate{URIs: []*url.URL{u}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return cert
}

func (c ca) server(t testing.TB) tls.Certificate {
	cert, _ := issue(t, &c, x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return cert
}

// peer gives the certificate of the role broker, for both sides of a route.
func (c ca) peer(t testing.TB) tls.Certificate {
	u, err := url.Parse(contract.RoleURI(platform, contract.UserBroker))
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := issue(t, &c, x509.Certificate{DNSNames: []string{"localhost"}, URIs: []*url.URL{u},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	return cert
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func writeTLS(t testing.TB, dir, name string, cert tls.Certificate, c ca) contract.TLSFiles {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return contract.TLSFiles{
		CertFile: write(t, dir, name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))),
		KeyFile:  write(t, dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		CAFile:   write(t, dir, name+".ca", c.pem)}
}

// world is a platform of one broker and one auth, with three fleets: smoke and other by certificate, door by password.
type world struct {
	t     testing.TB
	dir   string
	cfg   contract.NodeConfig
	ca    ca            // of the platform
	cas   map[string]ca // of fleets
	creds map[string]contract.Credentials
	edges map[string]contract.EdgeCredential
	seq   int64
	// organizations of the directory.
	organizations map[string]contract.Organization

	in     *intake.Intake
	broker *broker.Broker
	reg    *prometheus.Registry
	// enforced is set by start: the lease that auth enforces.
	enforced func() (int64, string, time.Time)
}

const (
	door1, door2 = "generated-0123456789ab", "chosen by a vendor"
)

// doors are the hashes of both. The second takes long to make, so all worlds share it.
var doors = sync.OnceValues(func() ([2]string, error) {
	hash1, err1 := password.HashGenerated(door1, rand.Reader)
	hash2, err2 := password.HashChosen(door2, rand.Reader)
	return [2]string{hash1, hash2}, errors.Join(err1, err2)
})

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, ca: newCA(t, "platform"), cas: map[string]ca{"smoke": newCA(t, "smoke"), "other": newCA(t, "other")}}
	hashes, err1 := doors()
	key, err2 := nkeys.CreateAccount()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	w.creds = map[string]contract.Credentials{
		"smoke": {Method: "X509", Issuers: []string{w.cas["smoke"].pem}, Devices: map[string]contract.Credential{
			"s1": {}, "s2": {}, "s3": {ClientID: "IMEI-866123"}}},
		"other": {Method: "X509", Issuers: []string{w.cas["other"].pem}, Devices: map[string]contract.Credential{"o1": {}}},
		"door":  {Method: "Password", Devices: map[string]contract.Credential{"d1": {PasswordHash: hashes[0]}, "d2": {PasswordHash: hashes[1]}}},
	}
	public, _ := key.PublicKey()
	seed, _ := key.Seed()
	w.cfg = contract.NodeConfig{Platform: "city/" + platform, Scope: contract.ScopeCenter, StateDir: filepath.Join(dir, "state"),
		HealthAddress: "127.0.0.1:0",
		Broker: &contract.BrokerConfig{ServerName: "broker-0", StoreDir: filepath.Join(dir, "store"), Host: "127.0.0.1",
			TLS: writeTLS(t, dir, "server", w.ca.server(t), w.ca), CalloutKeyFile: write(t, dir, "callout.pub", public+"\n"),
			SyncInterval: "10s", Ingest: contract.IngestLog{MaxAgeSeconds: 3600, MaxBytes: 64 << 20}, Replicas: 1,
			Peers: []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}}, PeerTLS: writeTLS(t, dir, "peer", w.ca.peer(t), w.ca)},
		NATS: &contract.NATSConfig{TLS: w.role(contract.UserAuthBundle)},
		Auth: &contract.AuthConfig{Callout: contract.NATSConfig{TLS: w.role(contract.UserAuth)},
			System: contract.NATSConfig{TLS: w.role(contract.UserAuthSystem)}, CalloutSeedFile: write(t, dir, "callout.seed", string(seed)+"\n")}}
	return w
}

func (w *world) role(user string) contract.TLSFiles {
	return writeTLS(w.t, w.dir, user, w.ca.client(w.t, contract.RoleURI(platform, user)), w.ca)
}

// bundle gives the credentials as they stand as a bundle of its own revision.
func (w *world) bundle() *intake.Bundle {
	w.seq++
	copied := map[string]contract.Credentials{}
	for name, c := range w.creds {
		devices := map[string]contract.Credential{}
		for d, v := range c.Devices {
			devices[d] = v
		}
		c.Devices = devices
		copied[name] = c
	}
	return &intake.Bundle{Credentials: copied, EdgeCredentials: maps.Clone(w.edges), Directory: contract.Directory{Organizations: maps.Clone(w.organizations)}, Lease: contract.Lease{Platform: w.cfg.Platform, Scope: contract.ScopeCenter,
		Revision: fmt.Sprintf("sha256:%d", w.seq), Sequence: w.seq, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}}
}

// free gives an address of the loopback interface that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	return l.Addr().String()
}

// publish puts the credentials in force and waits until auth enforces them, sweep and all. It gives the time that took.
func (w *world) publish() time.Duration {
	w.t.Helper()
	b, began := w.bundle(), time.Now()
	w.broker.Update(b.Credentials)
	w.broker.UpdateEdges(b.EdgeCredentials)
	w.in.Set(b)
	await(w.t, "bundle to be enforced", func() error {
		if seq, _, _ := w.enforced(); seq != b.Lease.Sequence {
			return fmt.Errorf("sequence %d is enforced, want %d", seq, b.Lease.Sequence)
		}
		return nil
	})
	return time.Since(began)
}

// logger says nothing unless the tests are run with DIZUO_TEST_LOG.
func logger() *slog.Logger {
	if os.Getenv("DIZUO_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start runs broker and auth in this process until the test ends.
func (w *world) start() *world {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.startBroker(ctx)
	b := w.bundle()
	w.in = intake.NewStatic(b)
	w.broker.Update(b.Credentials)
	w.broker.UpdateEdges(b.EdgeCredentials)
	done := w.startAuth(ctx)
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("auth: %v", err)
		}
		w.broker.Stop()
	})
	await(w.t, "first bundle", func() error {
		if seq, _, _ := w.enforced(); seq == 0 {
			return errors.New("nothing enforced")
		}
		return nil
	})
	return w
}

// founded is the store of a broker that has served nobody. Every world begins with a copy: to found a cluster of one takes longer than
// most tests, and is what the tests of broker are about.
var founded struct {
	once sync.Once
	dir  string
}

func (w *world) found(ctx context.Context) error {
	store, err := w.cfg.Broker.StoreDir, error(nil)
	founded.once.Do(func() {
		var b *broker.Broker
		if b, err = broker.Start(ctx, w.cfg, prometheus.NewRegistry(), logger()); err != nil {
			return
		}
		b.Stop()
		if founded.dir, err = os.MkdirTemp("", "dizuo-founded"); err == nil {
			err = errors.Join(os.CopyFS(founded.dir, os.DirFS(store)), os.RemoveAll(store))
		}
	})
	if err != nil {
		return err
	}
	return os.CopyFS(store, os.DirFS(founded.dir))
}

func (w *world) startBroker(ctx context.Context) {
	w.t.Helper()
	if err := w.found(ctx); err != nil {
		w.t.Fatal(err)
	}
	var err error
	w.reg = prometheus.NewRegistry()
	if w.broker, err = broker.Start(ctx, w.cfg, w.reg, logger()); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range []*contract.NATSConfig{w.cfg.NATS, &w.cfg.Auth.Callout, &w.cfg.Auth.System} {
		c.URL = w.broker.ClientURL()
	}
}

// startAuth runs auth as Run does, short of the health server, so that the test sees what is enforced.
func (w *world) startAuth(ctx context.Context) <-chan error {
	w.t.Helper()
	c, err := connect(ctx, w.cfg, logger())
	if err != nil {
		w.t.Fatal(err)
	}
	var mu sync.Mutex
	last := contract.Report{}
	kv, err := w.broker.JetStream().KeyValue(ctx, contract.ReportBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	host, _ := os.Hostname()
	w.enforced = func() (int64, string, time.Time) {
		entry, err := kv.Get(ctx, contract.ReportKey(contract.RoleAuth, host))
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			_ = json.Unmarshal(entry.Value(), &last)
		}
		return last.Sequence, last.Revision, last.EffectiveAt
	}
	done := make(chan error, 1)
	go func() {
		defer c.close()
		done <- serve(ctx, w.cfg, c, w.in, func(ctx context.Context, _ jetstream.JetStream) error { <-ctx.Done(); return ctx.Err() },
			newStats(prometheus.NewRegistry()), &process.Health{}, logger())
	}()
	return done
}

// await waits until f gives nil; before each look it does what prods say.
func await(t testing.TB, what string, f func() error, prods ...func()) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, prod := range prods {
			prod()
		}
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("waited for %s: %v", what, err)
}

// device is a client that connects to the broker as a test wants it.
type device struct {
	clientID, username, password string
	cert                         *tls.Certificate
}

func (w *world) x509(fleet, name string) device {
	return w.x509By(w.cas[fleet], fleet, name)
}

func (w *world) x509By(by ca, fleet, name string) device {
	cert := by.client(w.t, contract.DeviceURI(platform, fleet, name))
	return device{clientID: contract.ClientID(fleet, name), cert: &cert}
}

func withPassword(fleet, name, pass string) device {
	return device{clientID: contract.ClientID(fleet, name), username: contract.DeviceID(fleet, name), password: pass}
}

func (w *world) tls(d device) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.cert)
	c := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if d.cert != nil {
		c.Certificates = []tls.Certificate{*d.cert}
	}
	return c
}

// session is a bare MQTT 3.1.1 connection: every packet that comes back is seen by the test.
type session struct {
	conn net.Conn
	in   *bufio.Reader
}

// errRefused is a CONNACK other than 0.
type errRefused byte

func (e errRefused) Error() string { return fmt.Sprintf("CONNACK return code %d", byte(e)) }

// dial connects and gives the session, errRefused, or an error of the line.
func (w *world) dial(address string, d device) (*session, error) {
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: w.tls(d)}).Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	flags := byte(0x02) // clean session
	body := field(d.clientID)
	if d.username != "" {
		flags |= 0xC0
		body = append(append(body, field(d.username)...), field(d.password)...)
	}
	s := &session{conn: conn, in: bufio.NewReader(conn)}
	if err := s.send(0x10, append(append(field("MQTT"), 4, flags, 0, 60), body...)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	kind, answer, err := s.read()
	switch {
	case err != nil:
		return nil, errors.Join(err, conn.Close())
	case kind != 0x20 || len(answer) != 2:
		return nil, errors.Join(fmt.Errorf("packet %x instead of CONNACK", kind), conn.Close())
	case answer[1] != 0:
		_ = conn.Close()
		return nil, errRefused(answer[1])
	}
	return s, nil
}

func field(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func (s *session) send(kind byte, body []byte) error {
	_, err := s.conn.Write(append(binary.AppendUvarint([]byte{kind}, uint64(len(body))), body...))
	return err
}

func (s *session) read() (kind byte, body []byte, err error) {
	if kind, err = s.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(s.in)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(s.in, body)
	return kind & 0xF0, body, err
}

// publish sends at QoS 1 and waits for the PUBACK.
func (s *session) publish(topic, payload string, id uint16) error {
	if err := s.send(0x32, append(append(field(topic), byte(id>>8), byte(id)), payload...)); err != nil {
		return err
	}
	for {
		kind, body, err := s.read()
		if err != nil {
			return err
		}
		if kind == 0x40 && binary.BigEndian.Uint16(body) == id {
			return nil
		}
	}
}

// subscribe asks for a topic and gives the code of the SUBACK: the QoS granted, or 0x80.
func (s *session) subscribe(topic string, qos byte, id uint16) (byte, error) {
	if err := s.send(0x82, append(append([]byte{byte(id >> 8), byte(id)}, field(topic)...), qos)); err != nil {
		return 0, err
	}
	for {
		kind, body, err := s.read()
		if err != nil {
			return 0, err
		}
		if kind == 0x90 && binary.BigEndian.Uint16(body) == id {
			return body[2], nil
		}
	}
}

// alive reports whether the connection answers a ping.
func (s *session) alive() error {
	if err := s.send(0xC0, nil); err != nil {
		return err
	}
	for {
		kind, _, err := s.read()
		if err != nil || kind == 0xD0 {
			return err
		}
	}
}

func (w *world) connect(d device) *session {
	w.t.Helper()
	s, err := w.dial(w.broker.MQTTAddress(), d)
	if err != nil {
		w.t.Fatalf("connect %s: %v", d.clientID, err)
	}
	w.t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// stored gives the last payload in the ingest log on a device's channel, or "" if there is none.
func (w *world) stored(subject string) string {
	w.t.Helper()
	s, err := w.broker.JetStream().Stream(context.Background(), contract.IngestStream)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(context.Background(), contract.IngestPrefix+subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(m.Data)
}

// user connects as one of the platform's own users.
func (w *world) user(name string) *nats.Conn {
	w.t.Helper()
	nc, err := process.Connect(context.Background(), contract.NATSConfig{URL: w.cfg.NATS.URL, TLS: w.role(name)}, name, logger())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

// mosquitto runs a stock client, such as mosquitto_pub, and gives what it printed.
func (w *world) mosquitto(command string, d device, args ...string) (string, error) {
	w.t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		if os.Getenv("CI") == "true" {
			w.t.Fatalf("%s: %v; install mosquitto-clients", command, err)
		}
		w.t.Skipf("%s: %v", command, err)
	}
	host, port, _ := strings.Cut(w.broker.MQTTAddress(), ":")
	all := []string{"-h", host, "-p", port, "-V", "mqttv311", "--cafile", w.cfg.Broker.TLS.CAFile, "-i", d.clientID}
	if d.cert != nil {
		files := writeTLS(w.t, w.t.TempDir(), "device", *d.cert, w.ca)
		all = append(all, "--cert", files.CertFile, "--key", files.KeyFile)
	}
	if d.username != "" {
		all = append(all, "-u", d.username, "-P", d.password)
	}
	out, err := exec.Command(command, append(all, args...)...).CombinedOutput()
	return string(out), err
}
