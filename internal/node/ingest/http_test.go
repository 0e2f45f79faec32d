package ingest

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
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/test/pki"
)

// clouds is a world whose role ingest takes what clouds send: those of the fleets smoke and gas, each under a CA of its own.
type clouds struct {
	*world
	cas map[string]pki.CA
	url string
}

func newClouds(t *testing.T) *clouds {
	t.Helper()
	w := &clouds{newWorld(t), map[string]pki.CA{"smoke": pki.New(t, "smoke"), "gas": pki.New(t, "gas"), "meters": pki.New(t, "meters")}, ""}
	address := free(t)
	w.url = "https://" + address
	w.cfg.Ingest = &contract.IngestConfig{HTTP: &contract.IngestHTTP{Address: address, TLS: w.ca.Files(t, w.ca.Server(t))}}
	w.in = intake.NewStatic(nil)
	w.in.Set(w.bundle())
	w.start()
	await(t, "the door", func() error { return reached(w.client(nil), w.url) })
	return w
}

func reached(c *http.Client, url string) error {
	answer, err := c.Post(url, "", nil) //nolint:noctx // a test
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// bundle lets in the clouds of smoke and gas. The devices of meters speak for themselves.
func (w *clouds) bundle() *intake.Bundle {
	return &intake.Bundle{Lease: contract.Lease{Sequence: 7, Revision: "r", ExpiresAt: time.Now().Add(time.Hour)}, Credentials: map[string]contract.Credentials{
		"smoke":  {Method: "X509", AccessMode: "Platform", Issuers: []string{w.cas["smoke"].PEM}},
		"gas":    {Method: "X509", AccessMode: "Platform", Issuers: []string{w.cas["gas"].PEM}},
		"meters": {Method: "X509", Issuers: []string{w.cas["meters"].PEM}, Devices: map[string]contract.Credential{"d1": {}}},
	}}
}

// change puts another bundle in force.
func (w *clouds) change(change func(b *intake.Bundle, smoke *contract.Credentials)) {
	b := w.bundle()
	smoke := b.Credentials["smoke"]
	change(b, &smoke)
	b.Credentials["smoke"] = smoke
	w.in.Set(b)
}

func (w *clouds) client(cert *tls.Certificate) *http.Client {
	c := &tls.Config{RootCAs: w.ca.Pool(), ServerName: "localhost"}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// cloud is the client of a fleet's cloud.
func (w *clouds) cloud(fleet string) *http.Client {
	cert := w.cas[fleet].Client(w.t, contract.DeviceURI(platform, fleet, contract.PlatformDevice))
	return w.client(&cert)
}

// post sends a message for a fleet and gives the answer's status, and the reason where it is a problem.
func (w *clouds) post(c *http.Client, fleet, key string, body io.Reader) (int, string, http.Header) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+strings.ReplaceAll(contract.IngestPath, "{fleet}", fleet), body)
	if err != nil {
		w.t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // a test
	if answer.StatusCode == http.StatusAccepted {
		return answer.StatusCode, "", answer.Header
	}
	var p struct {
		Type   string
		Status int
	}
	if err := json.NewDecoder(answer.Body).Decode(&p); err != nil || p.Status != answer.StatusCode || answer.Header.Get("Content-Type") != "application/problem+json" {
		w.t.Errorf("%d comes without a problem document: %v %+v", answer.StatusCode, err, p)
	}
	return answer.StatusCode, strings.TrimPrefix(p.Type, "urn:dizuo:reason:"), answer.Header
}

func (w *clouds) expect(c *http.Client, fleet string, status int, reason string) {
	w.t.Helper()
	if got, why, _ := w.post(c, fleet, "", strings.NewReader("x")); got != status || why != reason {
		w.t.Errorf("%d %s, want %d %s", got, why, status, reason)
	}
}

// What a cloud posts lies in the ingest log as if it had published it over MQTT, and the same message sent again lies there once.
func TestWhatACloudPostsIsStored(t *testing.T) {
	t.Parallel()
	w := newClouds(t)
	smoke, gas := w.cloud("smoke"), w.cloud("gas")
	for _, m := range []struct {
		c                *http.Client
		fleet, key, body string
	}{
		{smoke, "smoke", "", "{\"a\": 1}\n"}, {smoke, "smoke", "k-1", "\x00\xff"}, {smoke, "smoke", "k-1", "\x00\xff"}, {smoke, "smoke", "k-2", "\x00\xff"},
		{gas, "gas", "k-1", "other"}, {smoke, "smoke", "", "{\"a\": 1}\n"},
	} {
		if got, why, _ := w.post(m.c, m.fleet, m.key, strings.NewReader(m.body)); got != http.StatusAccepted {
			t.Errorf("%+v: %d %s", m, got, why)
		}
	}
	w.expectStored("dizuo.v1.p.smoke.up", "{\"a\": 1}\n", "\x00\xff", "\x00\xff", "{\"a\": 1}\n")
	w.expectStored("dizuo.v1.p.gas.up", "other")
}

func TestWhoMaySpeakForAFleet(t *testing.T) {
	t.Parallel()
	w := newClouds(t)
	uri := contract.DeviceURI(platform, "smoke", contract.PlatformDevice)
	by := func(ca, uri string) *http.Client {
		cert := w.cas[ca].Client(t, uri)
		return w.client(&cert)
	}
	server := w.cas["smoke"].Server(t)
	for name, c := range map[string]*http.Client{
		"of another fleet":          w.cloud("gas"),
		"of another fleet's CA":     by("gas", uri),
		"of the platform's CA":      func() *http.Client { cert := w.ca.Client(t, uri); return w.client(&cert) }(),
		"of a device of the fleet":  by("smoke", contract.DeviceURI(platform, "smoke", "d1")),
		"of another platform":       by("smoke", contract.DeviceURI("other", "smoke", contract.PlatformDevice)),
		"of a server":               w.client(&server),
		"of the same fleet's child": by("smoke", uri+"/x"),
	} {
		t.Run(name, func(t *testing.T) { w.expect(c, "smoke", http.StatusForbidden, "NotYourFleet") })
	}
	w.expect(w.client(nil), "smoke", http.StatusUnauthorized, "NoCertificate")
	// Fleets that are not there, or have no cloud, look alike.
	for _, fleet := range []string{"nobody", "meters", "a.b", "%2A", "%3E"} {
		w.expect(w.cloud("smoke"), fleet, http.StatusForbidden, "NotYourFleet")
	}
	meters := w.cas["meters"].Client(t, contract.DeviceURI(platform, "meters", contract.PlatformDevice))
	w.expect(w.client(&meters), "meters", http.StatusForbidden, "NotYourFleet")
	if got := w.stored(); len(got) != 0 {
		t.Errorf("the log holds %v", got)
	}
}

// A connection stays open; what it may do does not.
func TestWhoMaySpeakNoMore(t *testing.T) {
	t.Parallel()
	w := newClouds(t)
	c := w.cloud("smoke")
	for name, change := range map[string]func(*intake.Bundle, *contract.Credentials){
		"another CA":   func(_ *intake.Bundle, smoke *contract.Credentials) { smoke.Issuers = []string{w.cas["gas"].PEM} },
		"no CA":        func(_ *intake.Bundle, smoke *contract.Credentials) { smoke.Issuers = nil },
		"suspended":    func(_ *intake.Bundle, smoke *contract.Credentials) { smoke.AccessMode = "" },
		"other mode":   func(_ *intake.Bundle, smoke *contract.Credentials) { smoke.AccessMode = "Device" },
		"other method": func(_ *intake.Bundle, smoke *contract.Credentials) { smoke.Method = "Password" },
	} {
		w.in.Set(w.bundle())
		w.expect(c, "smoke", http.StatusAccepted, "")
		w.change(change)
		if got, why, _ := w.post(c, "smoke", "", strings.NewReader("x")); got != http.StatusForbidden || why != "NotYourFleet" {
			t.Errorf("%s: %d %s", name, got, why)
		}
	}
	// Two CAs during a rotation.
	w.change(func(_ *intake.Bundle, smoke *contract.Credentials) {
		smoke.Issuers = []string{w.cas["gas"].PEM, w.cas["smoke"].PEM}
	})
	w.expect(c, "smoke", http.StatusAccepted, "")
	w.change(func(b *intake.Bundle, _ *contract.Credentials) { b.Lease.ExpiresAt = time.Now().Add(-time.Second) })
	got, why, header := w.post(c, "smoke", "", strings.NewReader("x"))
	if got != http.StatusServiceUnavailable || why != "StaleBundle" || header.Get("Retry-After") != "5" {
		t.Errorf("after the lease: %d %s, Retry-After %q", got, why, header.Get("Retry-After"))
	}
}

// once lets speak until it is asked again.
type once struct{ asked int }

func (o *once) Speaks([]*x509.Certificate, string, time.Time) error {
	if o.asked++; o.asked > 1 {
		return errSpeaker
	}
	return nil
}

// Who loses the right while the body is on its way is refused all the same.
func TestTheRightCountsWhenTheMessageIsStored(t *testing.T) {
	d := newDoor(&once{}, intake.NewStatic(nil), func(context.Context, message) error {
		t.Error("the message is stored")
		return nil
	}, newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if no := d.take(httptest.NewRecorder(), request(t, "x")); no == nil || no.Status != http.StatusForbidden {
		t.Errorf("%+v", no)
	}
}

// A certificate that the fleet's CA made for a server is not that of a cloud, though it bears the right name.
func TestTheCertificateIsAClients(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(contract.DeviceURI(platform, "smoke", contract.PlatformDevice))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(template, parent *x509.Certificate) *x509.Certificate {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	root := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca := sign(root, root)
	c := contract.Credentials{Issuers: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))}}
	for usage, want := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
		leaf := sign(&x509.Certificate{URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{usage}}, ca)
		if err := ofCloud([]*x509.Certificate{leaf}, c, uri.String(), time.Now()); (err == nil) != want {
			t.Errorf("usage %d: %v", usage, err)
		}
		if err := ofCloud([]*x509.Certificate{leaf}, c, uri.String(), time.Now().Add(2*time.Hour)); err == nil {
			t.Errorf("usage %d: taken after its end", usage)
		}
	}
}

// While the broker is away nothing is acknowledged; what was sent again with its key lies there once.
func TestWithoutTheBrokerNothingIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := newClouds(t)
	c := w.cloud("smoke")
	w.nats.Stop()
	got, why, header := w.post(c, "smoke", "k", strings.NewReader("x"))
	if got != http.StatusServiceUnavailable || why != "Unavailable" || header.Get("Retry-After") == "" {
		t.Errorf("%d %s, Retry-After %q", got, why, header.Get("Retry-After"))
	}
	w.startNATS()
	if got := w.stored(); len(got) != 0 {
		t.Errorf("the log holds %v", got)
	}
	await(t, "the broker is back", func() error {
		if got, why, _ := w.post(c, "smoke", "k", strings.NewReader("x")); got != http.StatusAccepted {
			return fmt.Errorf("%d %s", got, why)
		}
		return nil
	})
	w.expect(c, "smoke", http.StatusAccepted, "")
	if got, _, _ := w.post(c, "smoke", "k", strings.NewReader("x")); got != http.StatusAccepted {
		t.Errorf("again: %d", got)
	}
	w.expectStored("dizuo.v1.p.smoke.up", "x", "x")
}

// A role that lost only its credentials at the broker is not connected; what the log refuses is not acknowledged either.
func TestWhatTheLogRefusesIsNotAcknowledged(t *testing.T) {
	d := newDoor(everybody{}, intake.NewStatic(nil), func(context.Context, message) error { return errors.New("maximum bytes exceeded") },
		newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if no := d.take(nil, request(t, "x")); no == nil || no.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", no)
	}
	d.room.TryAcquire(bodies)
	if no := d.take(nil, request(t, "x")); no == nil || no.Status != http.StatusServiceUnavailable || no.retryAfter == 0 {
		t.Errorf("without room: %+v", no)
	}
}

// A cloud that sends slowly holds its own fleet's room and no other's; what a body is said to have is all that is held for it.
func TestASlowCloudShutsNoOtherOut(t *testing.T) {
	d := newDoor(everybody{}, intake.NewStatic(nil), func(context.Context, message) error { return nil }, newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	open := make(chan struct{})
	var slow sync.WaitGroup
	for range bodiesOfFleet / maxBody {
		reader, writer := io.Pipe()
		r := request(t, "")
		r.Body, r.ContentLength = reader, -1
		slow.Go(func() {
			if no := d.take(nil, r); no != nil {
				t.Errorf("slow: %+v", no)
			}
		})
		_, _ = writer.Write([]byte("x")) // it is being read, so it has its room
		go func() { <-open; _ = writer.Close() }()
	}
	if no := d.take(nil, request(t, "x")); no == nil || no.Status != http.StatusServiceUnavailable {
		t.Errorf("one more of the slow fleet: %+v", no)
	}
	other := request(t, "x")
	other.SetPathValue("fleet", "gas")
	if no := d.take(nil, other); no != nil {
		t.Errorf("another fleet: %+v", no)
	}
	close(open)
	slow.Wait()
	if !d.room.TryAcquire(bodies) || !d.rooms["smoke"].TryAcquire(bodiesOfFleet) {
		t.Error("room was not given back")
	}
}

// everybody may speak.
type everybody struct{}

func (everybody) Speaks([]*x509.Certificate, string, time.Time) error { return nil }

func request(t *testing.T, body string) *http.Request {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.SetPathValue("fleet", "smoke")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	return r
}

func TestLimitsOfAFleet(t *testing.T) {
	t.Parallel()
	w := newClouds(t)
	c := w.cloud("smoke")
	w.change(func(_ *intake.Bundle, smoke *contract.Credentials) {
		smoke.Limits = contract.Limits{PayloadBytes: 100, MessagesPerMinute: 4}
	})
	large := bytes.Repeat([]byte("x"), 101)
	for name, body := range map[string]io.Reader{"told": bytes.NewReader(large), "not told": io.MultiReader(bytes.NewReader(large))} {
		if got, why, _ := w.post(c, "smoke", "", body); got != http.StatusRequestEntityTooLarge || why != "TooLarge" {
			t.Errorf("%s: %d %s", name, got, why)
		}
	}
	for range 2 { // two of four went to what was too large
		if got, why, _ := w.post(c, "smoke", "", bytes.NewReader(large[:100])); got != http.StatusAccepted {
			t.Errorf("%d %s", got, why)
		}
	}
	got, why, header := w.post(c, "smoke", "", strings.NewReader("x"))
	if got != http.StatusTooManyRequests || why != "Limited" || header.Get("Retry-After") == "" {
		t.Errorf("%d %s, Retry-After %q", got, why, header.Get("Retry-After"))
	}
	w.expect(w.cloud("gas"), "gas", http.StatusAccepted, "")
	// Nobody could tell whose message it is.
	w.change(func(_ *intake.Bundle, smoke *contract.Credentials) {
		smoke.Devices = map[string]contract.Credential{"d1": {Via: "smoke._platform"}}
	})
	w.expect(c, "smoke", http.StatusConflict, "NoMapping")
	for _, key := range []string{strings.Repeat("k", 256), "with space", "\u00fc"} {
		if got, why, _ := w.post(w.cloud("gas"), "gas", key, strings.NewReader("x")); got != http.StatusBadRequest || why != "BadRequest" {
			t.Errorf("key %.10q: %d %s", key, got, why)
		}
	}
}

// The role tells which bundle says who may speak.
func TestTheDoorReportsWhatItEnforces(t *testing.T) {
	t.Parallel()
	w := newClouds(t)
	await(t, "a report", func() error {
		kv, err := w.nats.JetStream().KeyValue(t.Context(), contract.ReportBucket)
		if err != nil {
			return err
		}
		entry, err := kv.Get(t.Context(), contract.ReportKey(contract.RoleIngest, "dizuo-ingest-0"))
		if err != nil {
			return err
		}
		var r contract.Report
		if err := json.Unmarshal(entry.Value(), &r); err != nil || r.Sequence != 7 || r.Role != contract.RoleIngest {
			return fmt.Errorf("%+v %w", r, err)
		}
		return nil
	})
	// And may read bundles by its rights at the broker.
	js, err := jetstream.New(w.user(contract.UserIngest))
	if err != nil {
		t.Fatal(err)
	}
	leases, err := js.KeyValue(t.Context(), contract.LeaseBucket)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := leases.Watch(t.Context(), contract.ScopeCenter)
	if err != nil {
		t.Fatal(err)
	}
	if entry := <-watch.Updates(); entry != nil {
		t.Errorf("a lease of nobody: %v", entry)
	}
}
