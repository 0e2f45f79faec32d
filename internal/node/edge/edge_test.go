package edge

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/edge/wire"
	"github.com/dizuo/dizuo/test/pki"
)

const (
	testPlatform = "henan/henan"
	testEdge     = "jinghu-1"
	testToken    = "synthetic-token"
	// devicePassword is of the form of a generated one.
	devicePassword = "AAAAAAAAAAAAAAAAAAAAAA"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// hub stands in for the platform: its answers are those of the contract, its effects are lists.
type hub struct {
	t      *testing.T
	ca     pki.CA
	issuer *ecdsa.PrivateKey
	root   *x509.Certificate
	signer *seal.Signer
	nc     *nats.Conn
	url    string

	mu       sync.Mutex
	enrols   int
	life     time.Duration
	objects  map[string][]byte
	lease    string
	sequence int64
	// lasts is how long a lease does.
	lasts  time.Duration
	hashes map[string]string
	// more are the shards beside the credentials.
	more []contract.Shard
	// context is what a node hears that does not know it; nil is nothing.
	context *contract.EdgeContext
	mark    uint64
	inc     string
	got     []contract.EdgeMessage
	reports []contract.Report
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t, ca: pki.New(t, "hub"), signer: pki.Signer(t), objects: map[string][]byte{}, hashes: map[string]string{}, life: time.Hour, lasts: time.Hour}
	cert := h.ca.Server(t)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxPayload: 1 << 20,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT,
			TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the hub's broker does not start")
	}
	if h.nc, err = nats.Connect(s.ClientURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.nc.Close)
	h.url = s.WebsocketURL()
	h.makeIssuer()
	for v, f := range map[contract.EdgeVerb]func(*nats.Msg) any{contract.EdgeEnrol: h.enrol, contract.EdgeHello: h.hello, contract.EdgeUp: h.up} {
		h.serve(v, func(m *nats.Msg) []byte { raw, _ := json.Marshal(f(m)); return raw })
	}
	h.serve(contract.EdgeAsk, func(*nats.Msg) []byte { return []byte(h.lease) })
	h.serve(contract.EdgeGet, func(m *nats.Msg) []byte { return h.objects[string(m.Data)] })
	h.serve(contract.EdgeTell, func(m *nats.Msg) []byte {
		var r contract.Report
		if json.Unmarshal(m.Data, &r) == nil {
			h.reports = append(h.reports, r)
		}
		return nil
	})
	if err := h.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hub) serve(v contract.EdgeVerb, f func(*nats.Msg) []byte) {
	_, err := h.nc.Subscribe(contract.EdgeSubject(testEdge, v), func(m *nats.Msg) {
		h.mu.Lock()
		defer h.mu.Unlock()
		_ = m.Respond(f(m))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// serveRaw answers another edge node with headers.
func (h *hub) serveRaw(edge string, v contract.EdgeVerb, f func(*nats.Msg) *nats.Msg) {
	_, err := h.nc.Subscribe(contract.EdgeSubject(edge, v), func(m *nats.Msg) { _ = m.RespondMsg(f(m)) })
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hub) makeIssuer() {
	var err error
	if h.issuer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		h.t.Fatal(err)
	}
	h.root = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edges"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, h.root, h.root, h.issuer.Public(), h.issuer)
	if err != nil {
		h.t.Fatal(err)
	}
	if h.root, err = x509.ParseCertificate(der); err != nil {
		h.t.Fatal(err)
	}
}

// enrol lets a node wait once, then issues what it asks for.
func (h *hub) enrol(m *nats.Msg) any {
	var req contract.EnrolRequest
	if err := json.Unmarshal(m.Data, &req); err != nil {
		return contract.EnrolReply{State: contract.EnrolRefused, Reason: err.Error()}
	}
	if h.enrols++; h.enrols == 1 {
		return contract.EnrolReply{State: contract.EnrolPending, Reason: "AwaitingApproval"}
	}
	trust, err := h.signer.Public()
	if err != nil {
		return contract.EnrolReply{State: contract.EnrolRefused, Reason: err.Error()}
	}
	return contract.EnrolReply{State: contract.EnrolIssued, Certificate: h.sign(req.CSR), Server: h.sign(req.ServerCSR), BundleTrust: string(trust)}
}

func (h *hub) sign(text string) string {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return ""
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		return ""
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: csr.URIs, DNSNames: csr.DNSNames,
		IPAddresses: csr.IPAddresses, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(h.life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, h.root, csr.PublicKey, h.issuer)
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (h *hub) hello(m *nats.Msg) any {
	var x contract.Hello
	if err := wire.Decode(m, &x); err != nil {
		return contract.HelloReply{Error: err.Error()}
	}
	if h.inc == "" {
		h.inc, h.mark = x.Incarnation, x.Base
	}
	return contract.HelloReply{Mark: h.mark, Now: time.Now().Add(-time.Hour)}
}

func (h *hub) up(m *nats.Msg) any {
	var b contract.EdgeBatch
	if err := wire.Decode(m, &b); err != nil || b.Incarnation != h.inc {
		return contract.EdgeBatchReply{Again: true}
	}
	for _, x := range b.Messages {
		if x.Sequence == h.mark+1 {
			h.got, h.mark = append(h.got, x), x.Sequence
		}
	}
	reply := contract.EdgeBatchReply{Mark: h.mark}
	if b.Known != nil && h.context != nil && b.Known.Modes != h.context.ModesDigest {
		reply.Context = h.context
	}
	return reply
}

// publish puts out a bundle with the devices that it names, "<fleet>.<device>" or of the fleet smokes, and pushes the lease.
func (h *hub) publish(devices ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	fleets := map[string]contract.Credentials{}
	for _, d := range devices {
		if h.hashes[d] == "" { // once: another hash is another credential
			hash, err := password.HashGenerated(devicePassword, rand.Reader)
			if err != nil {
				h.t.Fatal(err)
			}
			h.hashes[d] = hash
		}
		fleet, name := fleetOf(d)
		if _, ok := fleets[fleet]; !ok {
			fleets[fleet] = contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{}}
		}
		fleets[fleet].Devices[name] = contract.Credential{PasswordHash: h.hashes[d]}
	}
	shards := slices.Clone(h.more)
	for fleet, c := range fleets {
		shards = append(shards, shard(contract.ShardCredentials+fleet, "dizuo/credentials/"+fleet, map[string]any{"credentials": map[string]any{fleet: c}}))
	}
	slices.SortFunc(shards, func(a, b contract.Shard) int { return strings.Compare(a.Name, b.Name) })
	var index contract.Index
	var err error
	for _, sh := range shards {
		if sh, err = seal.Normalize(sh); err != nil {
			h.t.Fatal(err)
		}
		digest, err := sh.ContentDigest()
		if err != nil {
			h.t.Fatal(err)
		}
		index.Shards = append(index.Shards, contract.ShardRef{Name: sh.Name, Digest: digest})
		if h.objects[contract.ObjectName("shard", digest)], err = h.signer.Shard(sh); err != nil {
			h.t.Fatal(err)
		}
	}
	if h.objects[contract.ObjectName("index", index.Revision())], err = json.Marshal(index); err != nil {
		h.t.Fatal(err)
	}
	h.sequence++
	now := time.Now().UTC()
	if h.lease, err = h.signer.Lease(contract.Lease{Platform: testPlatform, Scope: contract.ScopeEdge(testEdge), Revision: index.Revision(), Sequence: h.sequence,
		IssuedAt: now, ExpiresAt: now.Add(h.lasts)}); err != nil {
		h.t.Fatal(err)
	}
	if err := h.nc.Publish(contract.EdgeSubject(testEdge, contract.EdgeLease), []byte(h.lease)); err != nil {
		h.t.Fatal(err)
	}
}

func shard(name, root string, document map[string]any) contract.Shard {
	return contract.Shard{Name: name, Roots: []string{root}, Data: map[string]any{"dizuo": document}}
}

// fleetOf gives fleet and name of a device.
func fleetOf(device string) (fleet, name string) {
	fleet, name, ok := strings.Cut(device, ".")
	if !ok {
		return "smokes", device
	}
	return fleet, name
}

func (h *hub) config() contract.EdgeConfig {
	h.t.Helper()
	dir := h.t.TempDir()
	ca, token := filepath.Join(dir, "hub.pem"), filepath.Join(dir, "token")
	files := h.ca.Files(h.t, h.ca.Server(h.t))
	raw, err := os.ReadFile(files.CAFile)
	if err != nil {
		h.t.Fatal(err)
	}
	for file, text := range map[string][]byte{ca: raw, token: []byte(testToken + "\n")} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	return contract.EdgeConfig{Platform: testPlatform, Edge: testEdge, Hub: h.url, HubCAFile: ca, TokenFile: token, StateDir: filepath.Join(dir, "state"),
		StorageBytes: 16 << 20, Host: "127.0.0.1", MQTTPort: port(h.t), Hostnames: []string{"127.0.0.1", "edge.test"}}
}

// ports were given out before. They lie below those that the kernel gives to outgoing connections: between one start of a node and the next, one of
// those could take the node's.
var ports atomic.Int32

// port gives a port of 127.0.0.1 that nobody has and no other test gets.
func port(t *testing.T) int {
	t.Helper()
	for range 1000 {
		n := 20000 + (os.Getpid()*7+int(ports.Add(1)))%10000
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n)); err == nil {
			_ = l.Close()
			return n
		}
	}
	t.Fatal("no port is free")
	return 0
}

// start runs an edge node until stop.
func (h *hub) start(c contract.EdgeConfig) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, quiet()) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				h.t.Errorf("edge node: %v", err)
			}
		})
	}
	h.t.Cleanup(stop)
	return stop
}

// device connects with the node's own server certificate verified.
func (h *hub) device(c contract.EdgeConfig, name string) (mqtt.Client, error) {
	roots := x509.NewCertPool()
	roots.AddCert(h.root)
	fleet, name := fleetOf(name)
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(fmt.Sprintf("ssl://127.0.0.1:%d", c.MQTTPort)).SetClientID(contract.ClientID(fleet, name)).
		SetUsername(contract.DeviceID(fleet, name)).SetPassword(devicePassword).SetAutoReconnect(false).SetTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	token := client.Connect()
	if !token.WaitTimeout(10 * time.Second) {
		return nil, errors.New("no answer")
	}
	return client, token.Error()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// TestEdgeNode enrols, takes its bundle, lets in whom it names, keeps what they send while the hub is away, over a restart, and brings it.
func TestEdgeNode(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.publish("d1", "d2")
	c := h.config()
	stop := h.start(c)
	var d1 mqtt.Client
	eventually(t, "device is let in", func() (ok bool) {
		var err error
		d1, err = h.device(c, "d1")
		return err == nil
	})
	if _, err := h.device(c, "stranger"); err == nil {
		t.Error("a device that the bundle does not name was let in")
	}
	send := func(d mqtt.Client, n int) {
		t.Helper()
		token := d.Publish(contract.DeviceTopic("smokes", "d1", contract.ChannelSignal), 1, false, fmt.Sprintf(`{"n":%d}`, n))
		if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatalf("message %d: %v", n, token.Error())
		}
	}
	for n := range 5 {
		send(d1, n)
	}
	count := func() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.got) }
	eventually(t, "messages at the hub", func() bool { return count() == 5 })
	stop()
	// The hub is away: the node has its certificates, its bundle and its outbox, and needs nobody.
	away := c
	away.Hub = "wss://127.0.0.1:1"
	stop = h.start(away)
	eventually(t, "device is let in without the hub", func() bool {
		var err error
		d1, err = h.device(c, "d1")
		return err == nil
	})
	for n := 5; n < 12; n++ {
		send(d1, n)
	}
	stop()
	h.start(c)
	eventually(t, "all messages at the hub", func() bool { return count() == 12 })
	h.mu.Lock()
	for n, m := range h.got {
		if string(m.Payload) != fmt.Sprintf(`{"n":%d}`, n) || m.Fleet != "smokes" || m.Device != "d1" || m.Channel != contract.ChannelSignal {
			t.Errorf("message %d: %+v", n, m)
		}
	}
	h.mu.Unlock()
	eventually(t, "report", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		r := h.reports[len(h.reports)-1]
		return r.Role == contract.RoleEdge && r.Sequence == 1 && r.Outbox != nil && r.Outbox.Architecture != ""
	})
	// d1 goes from the bundle: its connection is cut and it comes in no more.
	eventually(t, "device after the restart", func() bool {
		var err error
		d1, err = h.device(c, "d1")
		return err == nil
	})
	h.publish("d2")
	eventually(t, "device that was revoked is cut", func() bool { return !d1.IsConnected() })
	if _, err := h.device(c, "d1"); err == nil {
		t.Error("a device that was revoked was let in")
	}
}

// TestLeaseEndsWhileTheHubIsAway: the node starts with a lease that has ended, lets a device in that was in before, and takes what it
// sends; a device that was not is refused.
func TestLeaseEndsWhileTheHubIsAway(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.publish("d1", "d2")
	c := h.config()
	stop := h.start(c)
	eventually(t, "device is let in under the lease", func() bool { _, err := h.device(c, "d1"); return err == nil })
	h.lasts = 5 * time.Second
	h.publish("d1", "d2")
	ends := time.Now().Add(h.lasts)
	eventually(t, "report of the short lease", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.reports) > 0 && h.reports[len(h.reports)-1].Sequence == h.sequence
	})
	stop()
	eventually(t, "the lease ends", func() bool { return time.Now().After(ends) })
	away := c
	away.Hub = "wss://127.0.0.1:1"
	stop = h.start(away)
	var d1 mqtt.Client
	eventually(t, "device that was in before is let in again", func() bool {
		var err error
		d1, err = h.device(c, "d1")
		return err == nil
	})
	if _, err := h.device(c, "d2"); err == nil {
		t.Error("a device that was never in was let in after the lease")
	}
	token := d1.Publish(contract.DeviceTopic("smokes", "d1", contract.ChannelSignal), 1, false, `{"n":1}`)
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	stop()
	h.start(c)
	eventually(t, "report says that the lease has ended, and the message comes", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.got) == 1 && strings.Contains(h.reports[len(h.reports)-1].Problem, "expired")
	})
	h.lasts = time.Hour
	h.publish("d1", "d2")
	eventually(t, "new device under the new lease", func() bool { _, err := h.device(c, "d2"); return err == nil })
}

// TestNothingWaitsForTheLine: a request that is made while the line is cut is not sent later.
func TestNothingWaitsForTheLine(t *testing.T) {
	ca := pki.New(t, "hub")
	cert := ca.Server(t)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the hub's broker does not start")
	}
	nc, err := connect(t.Context(), contract.NATSConfig{URL: s.WebsocketURL(), TLS: ca.Files(t, ca.Client(t, contract.EdgeURI("henan", testEdge)))}, testEdge, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
	eventually(t, "line is cut", func() bool { return !nc.IsConnected() })
	if err := nc.Publish(contract.EdgeSubject(testEdge, contract.EdgeTell), []byte("{}")); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("said while the line is cut: %v, want %v", err, nats.ErrReconnectBufExceeded)
	}
}

// TestEnrolmentRefused ends the node with the reason.
func TestEnrolmentRefused(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	c := h.config()
	no := func(context.Context, string, []byte) (*nats.Msg, error) {
		raw, err := json.Marshal(contract.EnrolReply{State: contract.EnrolRefused, Reason: "KeyMismatch"})
		return &nats.Msg{Data: raw}, err
	}
	err := enrol(t.Context(), c, requests(no), func(*x509.Certificate) bool { return true }, time.Millisecond, quiet())
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "KeyMismatch") {
		t.Errorf("%v", err)
	}
	if enrolled(c) {
		t.Error("certificates were written")
	}
}

type requests func(ctx context.Context, subject string, data []byte) (*nats.Msg, error)

func (r requests) RequestWithContext(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	return r(ctx, subject, data)
}

// TestRenewalKeepsTheKeyAndWaitsForANewerCertificate: the hub gives the old one until the new one is issued.
func TestRenewalKeepsTheKeyAndWaitsForANewerCertificate(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	c := h.config()
	every := func(*x509.Certificate) bool { return true }
	if err := enrol(t.Context(), c, h.nc, every, time.Millisecond, quiet()); err != nil {
		t.Fatal(err)
	}
	fingerprint, err := Fingerprint(c.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(files{c.StateDir}.client("").CertFile)
	if err != nil {
		t.Fatal(err)
	}
	old, err := leaf(before)
	if err != nil {
		t.Fatal(err)
	}
	if at := renewAt(old); at.After(old.NotAfter) || at.Before(old.NotBefore.Add(old.NotAfter.Sub(old.NotBefore)/2)) {
		t.Errorf("renewal at %s of %s to %s", at, old.NotBefore, old.NotAfter)
	}
	asked := 0
	err = enrol(t.Context(), c, requests(func(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
		if asked++; asked == 3 {
			h.mu.Lock()
			h.life = 2 * time.Hour
			h.mu.Unlock()
		}
		return h.nc.RequestWithContext(ctx, subject, data)
	}), func(next *x509.Certificate) bool { return next.NotAfter.After(old.NotAfter.Add(time.Minute)) }, time.Millisecond, quiet())
	if err != nil || asked != 3 {
		t.Fatalf("%v after %d requests", err, asked)
	}
	after, err := os.ReadFile(files{c.StateDir}.client("").CertFile)
	if err != nil || bytes.Equal(before, after) {
		t.Errorf("certificate not replaced: %v", err)
	}
	if again, err := Fingerprint(c.StateDir); err != nil || again != fingerprint {
		t.Errorf("key is another: %s, %s, %v", fingerprint, again, err)
	}
}

// TestForeignCertificateIsNotKept: a certificate over another key is of no use and would lock the node out.
func TestForeignCertificateIsNotKept(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	c, other := h.config(), h.config()
	theirs, err := request(other)
	if err != nil {
		t.Fatal(err)
	}
	own, err := request(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]contract.EnrolReply{
		"client": {Certificate: h.sign(theirs.CSR), Server: h.sign(own.ServerCSR)},
		"server": {Certificate: h.sign(own.CSR), Server: h.sign(theirs.ServerCSR)},
		"none":   {Certificate: h.sign(own.CSR)},
	} {
		if err := write(c, r); err == nil || enrolled(c) {
			t.Errorf("%s: %v, enrolled %v", name, err, enrolled(c))
		}
	}
}

// gauge is a disk with so much free.
type gauge struct {
	mu   sync.Mutex
	free int64
	log  []string
	err  error
}

func (g *gauge) Err() error                 { g.mu.Lock(); defer g.mu.Unlock(); return g.err }
func (g *gauge) fail(err error)             { g.mu.Lock(); defer g.mu.Unlock(); g.err = err }
func (g *gauge) read(string) (int64, error) { g.mu.Lock(); defer g.mu.Unlock(); return g.free, nil }
func (g *gauge) set(n int64)                { g.mu.Lock(); defer g.mu.Unlock(); g.free = n }
func (g *gauge) Open()                      { g.mu.Lock(); defer g.mu.Unlock(); g.log = append(g.log, "open") }
func (g *gauge) Shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log = append(g.log, "shut")
	return nil
}
func (g *gauge) said(want string) func() bool {
	return func() bool { g.mu.Lock(); defer g.mu.Unlock(); return strings.Join(g.log, " ") == want }
}

// TestFullDiskShutsTheDoor before JetStream ends itself, gives up the ballast, and opens again only well above.
func TestFullDiskShutsTheDoor(t *testing.T) {
	f, g := files{t.TempDir()}, &gauge{free: 1 << 30}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var d disk
	watch := func() { done <- d.watch(ctx, f, g, g.read, time.Millisecond, quiet()) }
	go watch()
	eventually(t, "open", g.said("open"))
	there := func() bool { info, err := os.Stat(f.ballast()); return err == nil && info.Size() == ballastBytes }
	eventually(t, "ballast", there)
	g.set(shutBelow - 1)
	eventually(t, "shut", g.said("open shut"))
	eventually(t, "ballast given up", func() bool { return !there() })
	if d.Err() == nil {
		t.Error("nothing is said of the disk")
	}
	g.set(openAbove - 1)
	time.Sleep(20 * time.Millisecond) // many looks
	if !g.said("open shut")() {
		t.Errorf("opened too early: %v", g.log)
	}
	g.set(openAbove)
	eventually(t, "open again", g.said("open shut open"))
	if d.Err() != nil || there() {
		t.Errorf("%v; ballast %t", d.Err(), there())
	}
	g.set(openAbove + ballastBytes)
	eventually(t, "ballast taken once there is room for it, too", there)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	g.set(shutBelow - 1) // a start on a full disk
	ctx = t.Context()
	go watch()
	eventually(t, "nobody is let in", func() bool { return d.Err() != nil && !there() })
	ended := errors.New("the store has ended")
	g.fail(ended)
	if err := <-done; !errors.Is(err, ended) {
		t.Errorf("%v: it goes on without a store", err)
	}
}

// TestRoomForTheOutbox is asked for once: later what waits must get out.
func TestRoomForTheOutbox(t *testing.T) {
	f := files{t.TempDir()}
	has := func(n int64) func(string) (int64, error) { return func(string) (int64, error) { return n, nil } }
	if err := f.roomFor(1<<30, has(1<<30), quiet()); err == nil {
		t.Error("a disk with no room for the rest was taken")
	}
	if err := os.WriteFile(f.ballast(), make([]byte, ballastBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.roomFor(1<<30, has(1<<30+reserve-ballastBytes), quiet()); err != nil {
		t.Errorf("what the node itself has on the disk counts: %v", err)
	}
	if err := os.WriteFile(f.outbox(), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.roomFor(1<<30, has(0), quiet()); err != nil {
		t.Errorf("a node with an outbox does not start: %v", err)
	}
	if _, err := os.Stat(f.ballast()); err == nil {
		t.Error("the ballast is kept")
	}
}

// TestExampleIsTaken: what config/edge ships fits together.
func TestExampleIsTaken(t *testing.T) {
	c, err := Load("../../../config/edge/edge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../../../config/edge/dizuo-edge.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"StateDirectory=" + filepath.Base(c.StateDir), "LoadCredential=" + filepath.Base(c.TokenFile) + ":", "edge run --config /etc/dizuo/edge.yaml"} {
		if !strings.Contains(string(unit), line) {
			t.Errorf("dizuo-edge.service has no %q", line)
		}
	}
}

func TestConfigurationSaysWhatIsWrong(t *testing.T) {
	good := contract.EdgeConfig{Platform: "a/b", Edge: "e", Hub: "wss://h:1", StateDir: "/x", StorageBytes: 1 << 30, Hostnames: []string{"h"}}
	if err := check(good); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*contract.EdgeConfig){
		"platform": func(c *contract.EdgeConfig) { c.Platform = "b" }, "edge": func(c *contract.EdgeConfig) { c.Edge = "A_b" },
		"hub": func(c *contract.EdgeConfig) { c.Hub = "ws://h:1" }, "stateDir": func(c *contract.EdgeConfig) { c.StateDir = "" },
		"storageBytes": func(c *contract.EdgeConfig) { c.StorageBytes = 0 }, "hostnames": func(c *contract.EdgeConfig) { c.Hostnames = nil },
	} {
		c := good
		spoil(&c)
		if err := check(c); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestKeysFollowEachOther: the platform's signing key is followed by another while the node is away, twice. It learns the present one from
// those that it knows, forgets the former, stands up again without the hub, and takes no key that none before it names.
func TestKeysFollowEachOther(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.publish("d1")
	c := h.config()
	stop := h.start(c)
	lets := func(device string) func() bool {
		return func() bool { _, err := h.device(c, device); return err == nil }
	}
	eventually(t, "device is let in", lets("d1"))
	stop()
	for range 2 {
		h.turn(pki.Signer(t), true)
	}
	h.publish("d1", "d2")
	stop = h.start(c)
	eventually(t, "device of the bundle that the newest key signed", lets("d2"))
	keys := func() string { raw, _ := os.ReadFile(files{c.StateDir}.trust()); return string(raw) }
	present, err := h.signer.Public()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "only the present key is trusted", func() bool { return keys() == string(present) })
	stop()
	away := c
	away.Hub = "wss://127.0.0.1:1"
	stop = h.start(away)
	eventually(t, "device is let in from the disk", lets("d2"))
	stop()
	h.turn(pki.Signer(t), false) // a key that none before it names: of a hub that lies, or of a platform that lost its own
	h.publish("d3")
	h.start(c)
	eventually(t, "the node says what to do", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return strings.Contains(h.reports[len(h.reports)-1].Problem, "enrol this node anew")
	})
	if lets("d3")() || !lets("d2")() || keys() != string(present) {
		t.Error("a key without a succession is taken, or the last good bundle is lost")
	}
}

// turn lets another key sign; named says that the former signs for it.
func (h *hub) turn(next *seal.Signer, named bool) {
	h.t.Helper()
	public, err := next.Public()
	if err != nil {
		h.t.Fatal(err)
	}
	line, err := h.signer.Succession(testPlatform, public, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.signer = next; named {
		h.objects[contract.ObjectSuccessions] = append(h.objects[contract.ObjectSuccessions], line+"\n"...)
	}
}
