package process_test

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
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadIsStrict(t *testing.T) {
	for name, c := range map[string]struct{ text, wrong string }{
		"good":             {"platform: henan/henan\nrole: grid\ngrid: {address: ':8443'}\n", ""},
		"a field too much": {"platform: henan/henan\nrole: grid\npassword: x\n", "password"},
		"deeper":           {"role: grid\ngrid: {colour: ':8443'}\n", "colour"},
		"twice":            {"role: grid\nrole: auth\n", "role"},
		"no YAML":          {"role: [", "yaml"},
		"another type":     {"broker: {mqttPort: many}\n", "mqttPort"},
	} {
		path := filepath.Join(t.TempDir(), "node.yaml")
		write(t, path, []byte(c.text))
		got, err := process.Load(path)
		if (err == nil) != (c.wrong == "") || (err != nil && (!strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), path))) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (got.Role != contract.RoleGrid || got.Grid.Address != ":8443") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := process.Load(filepath.Join(t.TempDir(), "not-there")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestHealth(t *testing.T) {
	var h process.Health
	if h.Err() == nil {
		t.Error("ready before anything was checked")
	}
	h.Set("database", nil)
	if err := h.Err(); err != nil {
		t.Error(err)
	}
	h.Set("policy", errors.New("none yet"))
	h.Set("broker", errors.New("away"))
	if err := h.Err(); err == nil || err.Error() != "broker: away; policy: none yet" {
		t.Errorf("got %v", err)
	}
	h.Set("policy", nil)
	h.Set("broker", nil)
	if err := h.Err(); err != nil {
		t.Error(err)
	}
}

// freePort gives an address that the kernel chose and that is free again.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// get asks until somebody answers.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		r, err := http.Get(url)
		if err == nil {
			raw, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			return r.StatusCode, string(raw)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestServe(t *testing.T) {
	addr := freePort(t)
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_test_total"})
	reg.MustRegister(c)
	c.Inc()
	var h process.Health
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- process.Serve(ctx, addr, &h, reg) }()

	if code, _ := get(t, "http://"+addr+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	if code, text := get(t, "http://"+addr+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "starting") {
		t.Errorf("readyz at the start: %d %s", code, text)
	}
	h.Set("policy", nil)
	if code, _ := get(t, "http://"+addr+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz: %d", code)
	}
	if code, text := get(t, "http://"+addr+"/metrics"); code != http.StatusOK || !strings.Contains(text, "dizuo_test_total 1") {
		t.Errorf("metrics: %d %s", code, text)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listens")
	}
}

func TestServeSaysWhatIsWrong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := process.Serve(t.Context(), l.Addr().String(), &process.Health{}, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a taken address: %v", err)
	}
}

// authority issues certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue gives certificate and key as PEM.
func (a *authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func (a *authority) files(t *testing.T, name string) contract.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	f := contract.TLSFiles{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), CAFile: filepath.Join(dir, "ca.crt")}
	cert, key := a.issue(t, name)
	write(t, f.CertFile, cert)
	write(t, f.KeyFile, key)
	write(t, f.CAFile, a.pem)
	return f
}

// A certificate that is renewed under the process is served from the next handshake on; while its files do not fit together
// yet, the old one is.
func TestServerTLSReadsRenewedCertificates(t *testing.T) {
	a := newAuthority(t)
	f := a.files(t, "first")
	config := process.ServerTLS(f)
	if config.MinVersion < tls.VersionTLS12 {
		t.Errorf("minimum version %x", config.MinVersion)
	}
	served := func() string {
		t.Helper()
		c, err := config.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	if got := served(); got != "first" {
		t.Errorf("got %s", got)
	}
	cert, key := a.issue(t, "second")
	write(t, f.CertFile, cert)
	later := time.Now().Add(time.Minute) // a file system's clock may be coarser than the test is fast
	if err := os.Chtimes(f.CertFile, later, later); err != nil {
		t.Fatal(err)
	}
	if got := served(); got != "first" {
		t.Errorf("while the key is missing: got %s", got)
	}
	write(t, f.KeyFile, key)
	if got := served(); got != "second" {
		t.Errorf("renewed: got %s", got)
	}
	if err := os.Remove(f.CertFile); err != nil {
		t.Fatal(err)
	}
	if got := served(); got != "second" {
		t.Errorf("while the file is away: got %s", got)
	}
	if _, err := process.ServerTLS(contract.TLSFiles{CertFile: "/not/there", KeyFile: "/not/there"}).GetCertificate(&tls.ClientHelloInfo{}); err == nil {
		t.Error("no certificate at all was no error")
	}
}

func TestReadPool(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.crt")
	for text, ok := range map[string]bool{string(newAuthority(t).pem): true, "": false, "nothing": false} {
		write(t, path, []byte(text))
		if _, err := process.ReadPool(path); (err == nil) != ok {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := process.ReadPool(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func natsServer(t *testing.T, a *authority, port int) *server.Server {
	t.Helper()
	f := a.files(t, "server")
	config := process.ServerTLS(f)
	pool, err := process.ReadPool(f.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, TLSConfig: config, TLSTimeout: 5})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start")
	}
	return s
}

// Connect waits for a broker that is not there yet, speaks mutual TLS, keeps its own inbox, and comes back with the
// certificate that is in the files then.
func TestConnect(t *testing.T) {
	a := newAuthority(t)
	_, port, err := net.SplitHostPort(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	c := contract.NATSConfig{URL: "tls://127.0.0.1:" + port, TLS: a.files(t, "client")}

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := process.Connect(gone, c, contract.UserGrid, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	first := natsServer(t, a, number)
	nc, err := process.Connect(t.Context(), c, contract.UserGrid, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, contract.InboxPrefix(contract.UserGrid)+".") {
		t.Errorf("inbox %s", inbox)
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	b := newAuthority(t) // everything was issued anew while the broker was away
	cert, key := b.issue(t, "client")
	write(t, c.TLS.CertFile, cert)
	write(t, c.TLS.KeyFile, key)
	write(t, c.TLS.CAFile, b.pem)
	first.Shutdown()
	first.WaitForShutdown()
	natsServer(t, b, number)
	for deadline := time.Now().Add(30 * time.Second); nc.FlushTimeout(time.Second) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("did not come back with the new certificate")
		}
	}
}
