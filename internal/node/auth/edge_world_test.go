package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// edgeWorld is a world with a door for edge nodes: north and south have certificates, west has a token.
type edgeWorld struct {
	*world
	root   ca
	certs  map[string]tls.Certificate
	signer *seal.Signer
	// taps hear everything in an account, by account.
	taps map[string]*tap
}

const westToken = "generated-token-of-west"

func newEdgeWorld(t testing.TB) *edgeWorld {
	t.Helper()
	w := &edgeWorld{world: newWorld(t), root: newCA(t, "edges"), certs: map[string]tls.Certificate{}, taps: map[string]*tap{}}
	w.cfg.Broker.Edge = &contract.EdgeListener{TLS: w.cfg.Broker.TLS}
	w.signer = newSigner(t)
	w.cfg.TrustFile = write(t, w.dir, "trust.pem", string(must(w.signer.Public())(t)))
	if err := os.MkdirAll(w.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	hash, err := password.HashGenerated(westToken, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.edges = map[string]contract.EdgeCredential{"west": {TokenHash: hash, Issuers: []string{w.root.pem}}}
	for _, name := range []string{"north", "south"} {
		cert := w.root.client(t, contract.EdgeURI(platform, name))
		w.certs[name] = cert
		w.edges[name] = contract.EdgeCredential{Issuers: []string{w.root.pem}, KeyDigests: []string{keyOf(cert)}}
	}
	return w
}

func newSigner(t testing.TB) *seal.Signer {
	t.Helper()
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	signer, err3 := seal.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return signer
}

func keyOf(cert tls.Certificate) string { return contract.Digest(cert.Leaf.RawSubjectPublicKeyInfo) }

// open runs broker and auth until the test ends.
func (w *edgeWorld) open() *edgeWorld {
	w.start()
	return w
}

// openTapped also places a tap in every account before auth begins.
func (w *edgeWorld) openTapped() *edgeWorld {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.startBroker(ctx)
	b := w.bundle()
	w.in = intake.NewStatic(b)
	w.broker.Update(b.Credentials)
	w.broker.UpdateEdges(b.EdgeCredentials)
	for _, account := range []string{contract.AccountDevices, contract.AccountEdge, contract.AccountAuth, contract.AccountSystem} {
		w.taps[account] = w.tap(account)
	}
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

// tap hears every message of an account.
type tap struct {
	nc   *nats.Conn
	end  chan struct{}
	mu   sync.Mutex
	seen []*nats.Msg
}

// tapEnd is what a tap sends to itself behind all that came before.
const tapEnd = "tap.end"

// heard gives what came since the last call and fits.
func (p *tap) heard(t testing.TB, fits func(m *nats.Msg) bool) []string {
	t.Helper()
	if err := p.nc.Publish(tapEnd, nil); err != nil {
		t.Fatal(err)
	}
	<-p.end
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, m := range p.seen {
		if fits(m) {
			out = append(out, m.Subject)
		}
	}
	p.seen = nil
	return out
}

// tap lets a client into an account that may do everything there. It answers the auth callout for it, with the platform's key, under the
// name of a node that may stay.
func (w *edgeWorld) tap(account string) *tap {
	w.t.Helper()
	seed, err := os.ReadFile(w.cfg.Auth.CalloutSeedFile)
	if err != nil {
		w.t.Fatal(err)
	}
	key := must(nkeys.FromSeed(bytes.TrimSpace(seed)))(w.t)
	answers := w.user(contract.UserAuth)
	sub := must(answers.Subscribe(server.AuthCalloutSubject, func(m *nats.Msg) {
		rc, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			return
		}
		uc := jwt.NewUserClaims(rc.UserNkey)
		uc.Audience = account
		uc.Name = Identity{Edge: "south", Stamp: edgeStamp("south", "key", keyOf(w.certs["south"]), sha256.Sum256(w.root.cert.RawSubjectPublicKeyInfo))}.User()
		answer := jwt.NewAuthorizationResponseClaims(rc.UserNkey)
		answer.Audience = rc.Server.ID
		answer.Jwt, _ = uc.Encode(key)
		token, _ := answer.Encode(key)
		_ = m.Respond([]byte(token))
	}))(w.t)
	if err := answers.Flush(); err != nil {
		w.t.Fatal(err)
	}
	nc := must(nats.Connect(w.broker.EdgeURL(), nats.Secure(w.tls(device{})), nats.UserInfo("tap", "tap")))(w.t)
	w.t.Cleanup(nc.Close)
	p := &tap{nc: nc, end: make(chan struct{}, 1)}
	must(nc.Subscribe(">", func(m *nats.Msg) {
		if m.Subject == tapEnd {
			p.end <- struct{}{}
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen = append(p.seen, m)
	}))(w.t)
	if err := errors.Join(nc.Flush(), sub.Unsubscribe(), answers.Flush()); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// refusals counts the permission violations that the server tells a client of.
type refusals struct {
	mu sync.Mutex
	n  int
	// last one.
	last error
}

func (r *refusals) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// node connects as an edge node with a certificate.
func (w *edgeWorld) node(name string, cert tls.Certificate, more ...nats.Option) (*nats.Conn, *refusals, error) {
	r := &refusals{}
	nc, err := nats.Connect(w.broker.EdgeURL(), append([]nats.Option{nats.Secure(w.tls(device{cert: &cert})), nats.MaxReconnects(0),
		nats.CustomInboxPrefix(contract.InboxPrefix(name)), nats.Timeout(15 * time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				r.mu.Lock()
				r.n, r.last = r.n+1, err
				r.mu.Unlock()
			}
		})}, more...)...)
	if err == nil {
		w.t.Cleanup(nc.Close)
	}
	return nc, r, err
}

// mustNode is node for one that must come in.
func (w *edgeWorld) mustNode(name string) (*nats.Conn, *refusals) {
	w.t.Helper()
	nc, r, err := w.node(name, w.certs[name])
	if err != nil {
		w.t.Fatalf("edge node %s: %v", name, err)
	}
	return nc, r
}

// byToken connects with a token.
func (w *edgeWorld) byToken(name, token string) (*nats.Conn, *refusals, error) {
	r := &refusals{}
	nc, err := nats.Connect(w.broker.EdgeURL(), nats.Secure(w.tls(device{})), nats.MaxReconnects(0), nats.UserInfo(name, token),
		nats.CustomInboxPrefix(contract.InboxPrefix(name)), nats.Timeout(15*time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				r.mu.Lock()
				r.n++
				r.mu.Unlock()
			}
		}))
	if err == nil {
		w.t.Cleanup(nc.Close)
	}
	return nc, r, err
}

// cut publishes a bundle for an edge node: shards of one document each, the index, and the lease. It gives the names of the objects, the
// index first.
func (w *edgeWorld) cut(edge string, documents ...string) []string {
	w.t.Helper()
	ctx := context.Background()
	js := w.broker.JetStream()
	store := must(js.ObjectStore(ctx, contract.BundleStore))(w.t)
	var index contract.Index
	objects := []string{""}
	for _, text := range documents {
		shard := must(seal.Normalize(contract.Shard{Name: contract.ShardFleet + text, Roots: []string{"dizuo/fleets/" + text},
			Data: map[string]any{"dizuo": map[string]any{"fleets": map[string]any{text: map[string]any{"profile": text}}}}}))(w.t)
		digest := must(shard.ContentDigest())(w.t)
		index.Shards = append(index.Shards, contract.ShardRef{Name: shard.Name, Digest: digest})
		objects = append(objects, contract.ObjectName("shard", digest))
		must(store.PutBytes(ctx, contract.ObjectName("shard", digest), must(w.signer.Shard(shard))(w.t)))(w.t)
	}
	objects[0] = contract.ObjectName("index", index.Revision())
	must(store.PutBytes(ctx, objects[0], must(json.Marshal(index))(w.t)))(w.t)
	w.lease(edge, w.signer, index.Revision())
	return objects
}

// lease puts a lease for an edge node into the bucket and gives it.
func (w *edgeWorld) lease(edge string, by *seal.Signer, revision string) string {
	w.t.Helper()
	w.seq++
	jws := must(by.Lease(contract.Lease{Platform: w.cfg.Platform, Scope: contract.ScopeEdge(edge), Revision: revision, Sequence: w.seq,
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}))(w.t)
	leases := must(w.broker.JetStream().KeyValue(context.Background(), contract.LeaseBucket))(w.t)
	must(leases.PutString(context.Background(), contract.ScopeEdge(edge), jws))(w.t)
	return jws
}

// ask sends a request of a node and gives body and error of the answer.
func ask(t testing.TB, nc *nats.Conn, edge string, verb contract.EdgeVerb, body []byte) (string, string) {
	t.Helper()
	m, err := nc.Request(contract.EdgeSubject(edge, verb), body, 10*time.Second)
	if err != nil {
		t.Fatalf("%s of %s: %v", verb, edge, err)
	}
	return string(m.Data), m.Header.Get(contract.EdgeErrorHeader)
}

// webSocket is a bare WebSocket client (RFC 6455), so that a test can send what no library would.
type webSocket struct {
	conn net.Conn
	in   *bufio.Reader
}

// upgrade opens one on a path of the edge nodes' listener.
func (w *edgeWorld) upgrade(path string, d device) (*webSocket, error) {
	address := strings.TrimPrefix(w.broker.EdgeURL(), "wss://")
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: w.tls(d)}).Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	s := &webSocket{conn: conn, in: bufio.NewReader(conn)}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n", path)
	r, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("HTTP status %d", r.StatusCode)
	}
	return s, nil
}

// send writes a masked frame.
func (s *webSocket) send(text string) error {
	frame := []byte{0x82, 0x80 | 127}
	frame = binary.BigEndian.AppendUint64(frame, uint64(len(text)))
	frame = append(frame, 0, 0, 0, 0) // a mask of zeros changes nothing
	_, err := s.conn.Write(append(frame, text...))
	return err
}

// read gives the payload of the next data frame, or io.EOF when the server closes.
func (s *webSocket) read() (string, error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(s.in, head[:]); err != nil {
			return "", err
		}
		n := uint64(head[1] & 0x7F)
		switch n {
		case 126:
			var b [2]byte
			if _, err := io.ReadFull(s.in, b[:]); err != nil {
				return "", err
			}
			n = uint64(binary.BigEndian.Uint16(b[:]))
		case 127:
			var b [8]byte
			if _, err := io.ReadFull(s.in, b[:]); err != nil {
				return "", err
			}
			n = binary.BigEndian.Uint64(b[:])
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(s.in, body); err != nil {
			return "", err
		}
		switch head[0] & 0x0F {
		case 8:
			return "", io.EOF
		case 9, 10:
			continue
		}
		return string(body), nil
	}
}

// until reads until a frame holds text or the line ends, and gives all that was read.
func (s *webSocket) until(text string) (string, error) {
	var all strings.Builder
	for !strings.Contains(all.String(), text) {
		part, err := s.read()
		if err != nil {
			return all.String(), err
		}
		all.WriteString(part)
	}
	return all.String(), nil
}
