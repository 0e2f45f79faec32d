package fleetverify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/fleetverify"
	"github.com/dizuo/dizuo/test/dataplane"
	"github.com/dizuo/dizuo/test/pki"
)

const (
	platform = "henan"
	secret   = "generated-0123456789ab"
)

// counter reads the broker's own count, as the fleet's status has it a while later.
type counter struct {
	w      *dataplane.World
	fleet  string
	engine string
}

func (c counter) Violations(context.Context) (int64, error) { return c.w.Violations(c.fleet), nil }
func (c counter) Engine(context.Context) string             { return c.engine }

// field is a data plane with the fleets smoke (X509) and door (Password).
type field struct {
	t  *testing.T
	w  *dataplane.World
	ca pki.CA
}

func newField(t *testing.T, open bool) field {
	t.Helper()
	hash, err := password.HashGenerated(secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := pki.New(t, "smoke")
	return field{t, dataplane.Start(t, dataplane.Options{Platform: platform, Open: open, Credentials: map[string]contract.Credentials{
		"smoke": {Method: "X509", Issuers: []string{ca.PEM}, Devices: map[string]contract.Credential{"sd-1": {}, "sd-2": {ClientID: "IMEI-866123"}}},
		"door":  {Method: "Password", Devices: map[string]contract.Credential{"d1": {PasswordHash: hash}}},
	}}), ca}
}

func (f field) connection(fleet, method, address string) fleetverify.Connection {
	f.t.Helper()
	c, err := fleetverify.ParseConnection(f.w.Connection(fleet, method, address))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func profile() *fleetverify.Profile {
	low, high := 0.0, 100.0
	return &fleetverify.Profile{Name: "smoke-detector", SchemaVersion: 1, Profile: contract.Profile{Fields: map[string]contract.Field{
		"smoke": {Type: "Boolean", Required: true}, "battery": {Type: "Integer", Unit: "%", Min: &low, Max: &high},
		"density": {Type: "Number", Unit: "%/m", Min: &low, Max: &high}, "mode": {Type: "Enum", Enum: []string{"home", "away"}},
		"name": {Type: "String"}, "since": {Type: "Time"}}}}
}

// x509 are the options of a device by certificate of some CA, password those of one by password, both against the broker at address.
func (f field) x509(by pki.CA, device string) fleetverify.Options {
	f.t.Helper()
	cert := by.Client(f.t, contract.DeviceURI(platform, "smoke", device))
	der, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		f.t.Fatal(err)
	}
	c := f.connection("smoke", "X509", "")
	d, err := fleetverify.NewCertificate(c, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), []byte(by.PEM))
	if err != nil {
		f.t.Fatal(err)
	}
	return f.fast(fleetverify.Options{Connection: c, Device: d, Counter: counter{f.w, "smoke", "NATS"}})
}

func (f field) password(address string) fleetverify.Options {
	f.t.Helper()
	return f.fast(fleetverify.Options{Connection: f.connection("door", "Password", address), Device: fleetverify.Device{Name: "d1", Password: secret},
		Counter: counter{f.w, "door", "NATS"}})
}

// fast are the options with a profile, good samples, and short waits for what must not come.
func (f field) fast(o fleetverify.Options) fleetverify.Options {
	o.Profile, o.Tool, o.AllowSignals = profile(), "test", true
	o.Samples = samples(f.t, `{"smoke":false,"battery":80,"density":3.5,"mode":"home","name":"x","since":"2026-06-01T08:00:00Z","ts":"2026-06-01T08:00:00+08:00","id":"a"}`)
	o.Timeout, o.Quiet, o.Settle, o.Poll = 10*time.Second, 300*time.Millisecond, 20*time.Second, 10*time.Millisecond
	return o
}

func samples(t *testing.T, lines ...string) []fleetverify.Sample {
	t.Helper()
	out, err := fleetverify.ReadSamples("day.ndjson", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// want runs the checks and compares the ids that failed and that were not proven; all others must have passed.
func want(t *testing.T, o fleetverify.Options, failed, unproven []string) *fleetverify.Report {
	t.Helper()
	r, err := fleetverify.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[fleetverify.Result][]string{}
	for _, c := range r.Checks {
		got[c.Result] = append(got[c.Result], c.ID)
		if os.Getenv("DIZUO_TEST_LOG") != "" || c.Result == fleetverify.Failed && !slices.Contains(failed, c.ID) {
			t.Logf("%-10s %s: %s", c.Result, c.ID, c.Evidence.EN)
		}
		if c.Evidence.EN == "" || c.Evidence.ZH == "" || strings.Contains(c.Evidence.EN+c.Evidence.ZH, "%!") {
			t.Errorf("%s: evidence %+v", c.ID, c.Evidence)
		}
	}
	for result, list := range map[fleetverify.Result][]string{fleetverify.Failed: failed, fleetverify.NotProven: unproven} {
		slices.Sort(got[result])
		slices.Sort(list)
		if diff := cmp.Diff(list, got[result]); diff != "" && len(list)+len(got[result]) > 0 {
			t.Errorf("%s (-want +got):\n%s", result, diff)
		}
	}
	return r
}

// of lists the ids of some groups.
func of(method string, groups ...string) (out []string) {
	for _, id := range fleetverify.IDs(method) {
		if group, _, _ := strings.Cut(id, "."); slices.Contains(groups, group) {
			out = append(out, id)
		}
	}
	return out
}

func TestGoodPlatform(t *testing.T) {
	t.Parallel()
	f := newField(t, false)
	t.Run("certificate", func(t *testing.T) {
		f := field{t, f.w, f.ca}
		want(t, f.x509(f.ca, "sd-1"), nil, nil)
		stored := f.w.Stored(contract.DeviceSubject("smoke", "sd-1", contract.ChannelTelemetry))
		if len(stored) != 1 || !strings.Contains(stored[0], `"smoke":false`) || !strings.Contains(stored[0], `"id":"dizuo-verify-`) {
			t.Errorf("the ingest log holds %q", stored)
		}
	})
	t.Run("bound client id", func(t *testing.T) {
		f := field{t, f.w, f.ca}
		o := f.x509(f.ca, "sd-2")
		o.Device.ClientID = "IMEI-866123"
		want(t, o, nil, nil)
	})
	t.Run("password", func(t *testing.T) { want(t, field{t, f.w, f.ca}.password(""), nil, nil) })
	t.Run("without the cluster", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.Counter = nil
		want(t, o, nil, []string{"publish.wrong-topics"})
	})
	t.Run("EMQX does not count", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.Counter = counter{f.w, "door", "EMQX"}
		want(t, o, nil, []string{"publish.wrong-topics"})
	})
	t.Run("dry, no samples, no signals", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.Dry, o.Samples = true, nil
		want(t, o, nil, of("Password", "publish", "payload"))
		if n := f.w.Stored(contract.DeviceSubject("door", "d1", contract.ChannelTelemetry)); len(n) != 3 {
			t.Errorf("%d messages, want those of the three runs before", len(n))
		}
	})
	t.Run("as it runs by default", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.AllowSignals = false
		before := len(f.w.Stored(contract.DeviceSubject("door", "d1", contract.ChannelSignal)))
		want(t, o, nil, []string{"publish.signal", "publish.ack"})
		if n := len(f.w.Stored(contract.DeviceSubject("door", "d1", contract.ChannelSignal))); n != before {
			t.Errorf("%d signals were sent unasked", n-before)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.Device.Password += "x"
		want(t, o, []string{"connect.accepted"}, slices.DeleteFunc(of("Password", "connect", "publish", "subscribe"), func(id string) bool { return id == "connect.accepted" }))
	})
	t.Run("certificate of another fleet's CA", func(t *testing.T) {
		f := field{t, f.w, f.ca}
		want(t, f.x509(pki.New(t, "other"), "sd-1"), []string{"connect.accepted"}, slices.DeleteFunc(of("X509", "connect", "publish", "subscribe"), func(id string) bool { return id == "connect.accepted" }))
	})
}

// TestOpenPlatform runs against a callout that admits everybody to everything.
func TestOpenPlatform(t *testing.T) {
	t.Parallel()
	f := newField(t, true)
	open := []string{"connect.without-credential", "connect.other-client-id", "publish.own-commands", "publish.wrong-topics",
		"subscribe.qos-1", "subscribe.wildcards", "subscribe.other-device", "subscribe.other-fleet", "subscribe.shared", "subscribe.system", "subscribe.community"}
	o := f.password("")
	o.Settle = 500 * time.Millisecond
	want(t, o, append([]string{"connect.wrong-password", "connect.empty-client-id"}, open...), nil)
	// Where the engine may not be read, a count that stands still proves nothing.
	o.Counter = counter{f.w, "door", ""}
	want(t, o, append([]string{"connect.wrong-password", "connect.empty-client-id"}, slices.DeleteFunc(slices.Clone(open), func(id string) bool { return id == "publish.wrong-topics" })...), []string{"publish.wrong-topics"})
}

// TestBadFront runs against what some put before a broker.
func TestBadFront(t *testing.T) {
	t.Parallel()
	f := newField(t, false)
	ended := f.w.CA.ServerUntil(t, time.Now().Add(-time.Minute))
	foreign := pki.New(t, "somebody").Server(t)
	unreached := of("Password", "connect", "publish", "subscribe")
	weak := []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for name, tc := range map[string]struct {
		front            dataplane.Front
		failed, unproven []string
	}{
		"good":                  {dataplane.Front{}, nil, nil},
		"TLS 1.0":               {dataplane.Front{MinVersion: tls.VersionTLS10}, []string{"tls.version-1.0", "tls.version-1.1"}, nil},
		"TLS 1.1":               {dataplane.Front{MinVersion: tls.VersionTLS11}, []string{"tls.version-1.1"}, nil},
		"RC4":                   {dataplane.Front{Ciphers: weak}, []string{"tls.weak-ciphers"}, nil},
		"no TLS 1.2":            {dataplane.Front{MinVersion: tls.VersionTLS13}, []string{"tls.version-1.2", "connect.tls-1.2"}, nil},
		"plaintext":             {dataplane.Front{Plaintext: true}, []string{"tls.plaintext"}, nil},
		"ended certificate":     {dataplane.Front{Certificate: &ended}, []string{"tls.server-validity"}, unreached},
		"certificate of others": {dataplane.Front{Certificate: &foreign}, []string{"tls.server-chain"}, unreached},
	} {
		t.Run(name, func(t *testing.T) {
			f := field{t, f.w, f.ca}
			want(t, f.password(tc.front.Start(t, f.w)), slices.Clone(tc.failed), slices.Clone(tc.unproven))
		})
	}
	t.Run("another name", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.Connection.Host, o.Dial = "broker.example", f.w.Address
		want(t, o, []string{"tls.server-name"}, slices.Clone(unreached))
	})
	t.Run("nobody listens", func(t *testing.T) {
		o := field{t, f.w, f.ca}.password("")
		o.Dial = "127.0.0.1:1"
		want(t, o, nil, of("Password", "tls", "connect", "publish", "subscribe"))
	})
}
