package grid

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	brokerrole "github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/ingest"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/pki"
)

// carrierMapping reads the push of a carrier's NB-IoT platform: identities and times of its own, the device's frame in base64.
var carrierMapping = &contract.Mapping{
	Device: `"IMEI_" + payload.IMEI`,
	Time:   "payload.timestamp",
	Fields: map[string]string{
		"smoke":   "base64.decode(payload.payload.APPdata).at(0) == 1",
		"density": "base64.decode(payload.payload.APPdata).at(1) / 2",
		"id":      "string(int(payload.upDataSN))",
	},
}

// push is what a carrier's cloud sends for one frame of a device.
func push(imei string, sn int, at time.Time, frame ...byte) string {
	return fmt.Sprintf(`{"messageType":"dataReport","productId":"15001234","IMEI":%q,"upDataSN":%d,"timestamp":%d,"protocol":"lwm2m","payload":{"APPdata":%q}}`,
		imei, sn, at.UnixMilli(), base64.StdEncoding.EncodeToString(frame))
}

// withClouds adds fleets for which a cloud speaks, and one of a form of its own.
func withClouds(b *intake.Bundle) *intake.Bundle {
	row := contract.Device{Community: "jinghu", Grid: "g1"}
	b.Fleets["nb-smoke"] = contract.Fleet{Vendor: "vendor", Profile: "smoke", AccessMode: "Platform", Mapping: carrierMapping,
		Devices: map[string]contract.Device{"IMEI_861": row, "IMEI_862": row}}
	b.Fleets["nb-other"] = contract.Fleet{Vendor: "vendor", Profile: "smoke", AccessMode: "Platform", Mapping: carrierMapping,
		Devices: map[string]contract.Device{"IMEI_999": row}}
	b.Fleets["own-form"] = contract.Fleet{Vendor: "vendor", Profile: "smoke", AccessMode: "Device",
		Mapping: &contract.Mapping{Fields: map[string]string{"smoke": "payload.alarm == 1", "density": "double(topic.size()) * 0.0"}},
		Limits:  contract.Limits{MessagesPerMinute: 3, PayloadBytes: 100},
		Devices: map[string]contract.Device{"o1": row, "o2": row}}
	return b
}

// platformOf is a platform with the real roles broker, ingest and grid, fed by signed bundles, as processes would run them.
type platformOf struct {
	t      *testing.T
	ca     pki.CA
	bundle *intake.Bundle
	clouds map[string]pki.CA
	signer *seal.Signer
	broker *brokerrole.Broker
	config contract.NodeConfig
	door   string
	seq    int64
	pool   *pgxpool.Pool
}

func freeAddress(t *testing.T) string {
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(freePort(t)))
}

func newPlatform(t *testing.T) *platformOf {
	t.Helper()
	db, _ := database(t)
	p := &platformOf{t: t, ca: pki.New(t, "platform"), bundle: withClouds(testBundle("https://127.0.0.1:1", "")), pool: poolOf(t, db), door: freeAddress(t),
		clouds: map[string]pki.CA{"nb-smoke": pki.New(t, "nb-smoke"), "nb-other": pki.New(t, "nb-other")}}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	signer, err3 := seal.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	account, err4 := nkeys.CreateAccount()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	p.signer = signer
	trust, err1 := signer.Public()
	public, err2 := account.PublicKey()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	p.config = contract.NodeConfig{Platform: "henan/henan", Scope: contract.ScopeCenter, TrustFile: file("trust.pem", string(trust)),
		Broker: &contract.BrokerConfig{ServerName: "broker-0", StoreDir: filepath.Join(dir, "store"), Host: "127.0.0.1", TLS: p.ca.Files(t, p.ca.Server(t)),
			CalloutKeyFile: file("callout", public), SyncInterval: "10s", Ingest: contract.IngestLog{MaxAgeSeconds: 3600, MaxBytes: 64 << 20}, Replicas: 1,
			Peers: []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}}, PeerTLS: p.ca.Files(t, p.ca.Peer(t, contract.RoleURI("henan", contract.UserBroker)))}}
	if _, err := fmt.Sscan(port, &p.config.Broker.ClientPort); err != nil {
		t.Fatal(err)
	}
	p.startBroker()
	p.run(ingest.Run, contract.UserIngest, func(c *contract.NodeConfig) {
		c.Ingest = &contract.IngestConfig{HTTP: &contract.IngestHTTP{Address: p.door, TLS: p.ca.Files(t, p.ca.Server(t))}}
	})
	p.run(Run, contract.UserGrid, func(c *contract.NodeConfig) {
		c.Grid = &contract.GridConfig{Address: freeAddress(t), TLS: p.ca.Files(t, p.ca.Server(t)), Database: db, WebhookSecretDir: dir}
	})
	p.publish()
	return p
}

func (p *platformOf) startBroker() {
	p.t.Helper()
	b, err := brokerrole.Start(context.Background(), p.config, prometheus.NewRegistry(), quiet())
	if err != nil {
		p.t.Fatal(err)
	}
	p.broker = b
	p.t.Cleanup(b.Stop)
}

// run runs a role until the test ends.
func (p *platformOf) run(role func(context.Context, contract.NodeConfig, *slog.Logger) error, user string, more func(*contract.NodeConfig)) {
	p.t.Helper()
	c := contract.NodeConfig{Platform: p.config.Platform, Scope: p.config.Scope, TrustFile: p.config.TrustFile, StateDir: p.t.TempDir(), HealthAddress: freeAddress(p.t), NATS: p.nats(user)}
	more(&c)
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return role(ctx, c, quiet()) })
	p.t.Cleanup(func() {
		cancel()
		if err := g.Wait(); !errors.Is(err, context.Canceled) {
			p.t.Errorf("%s ended: %v", user, err)
		}
	})
}

func (p *platformOf) nats(user string) *contract.NATSConfig {
	return &contract.NATSConfig{URL: fmt.Sprintf("tls://127.0.0.1:%d", p.config.Broker.ClientPort), TLS: p.ca.Files(p.t, p.ca.Client(p.t, contract.RoleURI("henan", user)))}
}

// publish signs the bundle as it stands and publishes it, as the operator does.
func (p *platformOf) publish() {
	t := p.t
	t.Helper()
	nc, err := process.Connect(t.Context(), *p.nats(contract.UserOperator), contract.UserOperator, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err1 := jetstream.New(nc)
	store, err2 := js.ObjectStore(t.Context(), contract.BundleStore)
	leases, err3 := js.KeyValue(t.Context(), contract.LeaseBucket)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	var index contract.Index
	put := func(name string, roots []string, document any, path ...string) {
		shard, err1 := seal.Normalize(contract.Shard{Name: name, Roots: roots, Data: nested(t, document, path...)})
		digest, err2 := shard.ContentDigest()
		raw, err3 := p.signer.Shard(shard)
		_, err4 := store.PutBytes(t.Context(), contract.ObjectName("shard", digest), raw)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		index.Shards = append(index.Shards, contract.ShardRef{Name: name, Digest: digest})
	}
	put(contract.ShardDirectory, []string{"dizuo/communities", "dizuo/organizations", "dizuo/platform"}, p.bundle.Directory, "dizuo")
	put(contract.ShardRules, []string{"dizuo/profiles", "dizuo/scenarios"}, p.bundle.Rules, "dizuo")
	for name, f := range p.bundle.Fleets {
		put(contract.ShardFleet+name, []string{"dizuo/fleets/" + name}, f, "dizuo", "fleets", name)
		if ca, ok := p.clouds[name]; ok {
			c := contract.Credentials{Namespace: "henan", Method: "X509", AccessMode: f.AccessMode, Issuers: []string{ca.PEM}, Devices: map[string]contract.Credential{}}
			put(contract.ShardCredentials+name, []string{"dizuo/credentials/" + name}, c, "dizuo", "credentials", name)
		}
	}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	p.seq++
	lease, err1 := p.signer.Lease(contract.Lease{Platform: p.config.Platform, Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: p.seq,
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)})
	_, err2 = store.PutBytes(t.Context(), contract.ObjectName("index", index.Revision()), raw)
	_, err3 = leases.PutString(t.Context(), contract.ScopeCenter, lease)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
}

// nested gives a document below a path, as JSON values.
func nested(t *testing.T, document any, path ...string) map[string]any {
	t.Helper()
	raw, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	for i := len(path) - 1; i >= 0; i-- {
		out = map[string]any{path[i]: out}
	}
	return out
}

// cloud posts messages for a fleet with the certificate of a fleet's cloud, and gives the answer's status.
func (p *platformOf) cloud(of string) func(fleet, key, body string) int {
	cert := p.clouds[of].Client(p.t, contract.DeviceURI("henan", of, contract.PlatformDevice))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert}}}
	p.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	return func(fleet, key, body string) int {
		r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "https://"+p.door+strings.ReplaceAll(contract.IngestPath, "{fleet}", fleet), strings.NewReader(body))
		if err != nil {
			p.t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", key)
		answer, err := client.Do(r)
		if err != nil {
			return 0 // the door is not open yet
		}
		defer answer.Body.Close() //nolint:errcheck // a test
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
}

// A carrier's cloud speaks for detectors that know nothing of this platform: its push opens a case, says the same again without a second
// signal, and moves nothing of another fleet. While the broker is away nothing is acknowledged.
func TestACarriersCloudOpensACase(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	smoke, other := p.cloud("nb-smoke"), p.cloud("nb-other")
	eventually(t, "the door takes the push", func() bool { return smoke("nb-smoke", "sn-1", push("861", 1, at, 1, 150)) == http.StatusAccepted })
	eventually(t, "a case", func() bool {
		return number(t, p.pool, "SELECT count(*) FROM grid.cases WHERE state = 'Dispatched'") == 1
	})
	var fleet, device string
	var began time.Time
	if err := p.pool.QueryRow(t.Context(), "SELECT fleet, device, started_at FROM grid.cases").Scan(&fleet, &device, &began); err != nil {
		t.Fatal(err)
	}
	if fleet != "nb-smoke" || device != "IMEI_861" || !began.Equal(at) {
		t.Errorf("case of %s.%s at %s, want that of the push at %s", fleet, device, began, at)
	}
	// The same push again, by its key and without: the mapping names its number.
	if smoke("nb-smoke", "sn-1", push("861", 1, at, 1, 150)) != http.StatusAccepted || smoke("nb-smoke", "sn-1b", push("861", 1, at, 1, 150)) != http.StatusAccepted {
		t.Error("the same again is not taken")
	}
	// What is not that cloud's to say.
	if got := other("nb-smoke", "x", push("862", 2, at, 1, 0)); got != http.StatusForbidden {
		t.Errorf("another fleet's certificate: %d", got)
	}
	for i, body := range []string{push("999", 3, at, 1, 0), push("000", 4, at, 1, 0), push("a.b", 5, at, 1, 0), "garbage", `{"IMEI":861}`} {
		if got := smoke("nb-smoke", fmt.Sprint("bad-", i), body); got != http.StatusAccepted {
			t.Errorf("%s: %d", body, got)
		}
	}
	p.broker.Stop()
	if got := smoke("nb-smoke", "sn-9", push("862", 9, at, 1, 0)); got != http.StatusServiceUnavailable {
		t.Errorf("without the broker: %d", got)
	}
	p.startBroker()
	eventually(t, "the door takes the push again", func() bool { return smoke("nb-smoke", "sn-9", push("862", 9, at, 1, 0)) == http.StatusAccepted })
	eventually(t, "the second case", func() bool {
		return number(t, p.pool, "SELECT count(*) FROM grid.cases WHERE device = 'IMEI_862'") == 1
	})
	if n := number(t, p.pool, "SELECT count(*) FROM grid.cases"); n != 2 {
		t.Errorf("%d cases, want 2", n)
	}
	if n := number(t, p.pool, "SELECT max(signals) FROM grid.cases"); n != 1 {
		t.Errorf("a case has %d signals: a push was counted twice", n)
	}
}

// counted gives how many messages came out so.
func (w *world) counted(result string) float64 {
	return testutil.ToFloat64(w.svc.worker.metrics.messages.WithLabelValues(result))
}

func newCloudWorld(t *testing.T) *world {
	w := newWorld(t)
	withClouds(w.bundle)
	w.stop()
	w.tune = func(s *service) { s.worker.burst = time.Minute }
	w.begin()
	return w
}

// Over MQTT at QoS 1 and 0 a cloud's word counts as over HTTPS, and only for rows of its own fleet.
func TestACloudSpeaksForItsOwnFleet(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t)
	at := time.Now().Truncate(time.Millisecond)
	c := mqttClient(t, w.broker, "cloud")
	send := func(topic string, qos byte, payload string) { wait(t, c.Publish(topic, qos, false, payload)) }
	up := func(fleet string) string { return contract.PlatformTopic(fleet, contract.PlatformUp) }
	send(up("nb-smoke"), 1, push("999", 1, at, 1, 0)) // a row of nb-other
	send(up("nb-smoke"), 1, push("000", 2, at, 1, 0))
	send(up("smokes"), 1, `{"IMEI":"s1"}`) // its devices speak for themselves
	send(up("nobody"), 1, push("861", 3, at, 1, 0))
	send(contract.PlatformTopic("nb-smoke", contract.PlatformDown), 1, push("861", 4, at, 1, 0))
	send(up("nb-smoke"), 1, "garbage")
	send(up("nb-smoke"), 1, push("861", 5, at, 0, 200))
	eventually(t, "the marker", func() bool { return w.counted("taken") == 1 })
	if unregistered, malformed := w.counted("unregistered"), w.counted("malformed"); unregistered != 5 || malformed != 1 {
		t.Errorf("%v unregistered, %v malformed; want 5 and 1", unregistered, malformed)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases"); n != 0 {
		t.Errorf("%d cases", n)
	}
	send(up("nb-smoke"), 0, push("861", 6, at, 1, 0))
	eventually(t, "the case by QoS 0", func() bool { return w.cases("Dispatched") == 1 })
	if n := number(t, w.pool, "SELECT count(*) FROM grid.devices_seen WHERE fleet LIKE 'nb-%'"); n != 1 {
		t.Errorf("%d devices of clouds were heard, want 1", n)
	}
}

// A device's own form is mapped, acknowledgements are not; what goes beyond the limits of a fleet is dropped and counted, and the device
// was heard all the same. A mapping is compiled once, not with every bundle.
func TestOwnFormAndLimits(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t)
	c := mqttClient(t, w.broker, "own-form_o1")
	send := func(device string, channel contract.Channel, payload string) {
		wait(t, c.Publish(contract.DeviceTopic("own-form", device, channel), 1, false, payload))
	}
	send("o1", contract.ChannelSignal, `{"alarm":1}`)
	eventually(t, "a case", func() bool { return w.cases("Dispatched") == 1 })
	w.in.Set(&intake.Bundle{Lease: w.bundle.Lease, Directory: w.bundle.Directory, Rules: w.bundle.Rules, Fleets: w.bundle.Fleets})
	send("o1", contract.ChannelAck, `{"alarm":1}`)
	send("o1", contract.ChannelSignal, `{"alarm":1}`)
	eventually(t, "a second signal, and none of the acknowledgement", func() bool { return number(t, w.pool, "SELECT max(signals) FROM grid.cases") == 2 })
	if n := testutil.ToFloat64(w.svc.worker.metrics.compiled); n != 1 {
		t.Errorf("the mapping was compiled %v times", n)
	}
	send("o1", contract.ChannelSignal, `{"alarm":1}`)
	send("o1", contract.ChannelSignal, `{"alarm":1}`)    // the fourth of a minute
	send("o1", contract.ChannelTelemetry, `{"alarm":0}`) // counted by itself
	send("o2", contract.ChannelSignal, `{"alarm":1,"x":"`+strings.Repeat("x", 100)+`"}`)
	eventually(t, "refused", func() bool { return w.counted("limited") == 1 && w.counted("too_large") == 1 })
	eventually(t, "both heard", func() bool {
		return number(t, w.pool, "SELECT count(*) FROM grid.devices_seen WHERE fleet = 'own-form'") == 2
	})
	if n := number(t, w.pool, "SELECT max(signals) FROM grid.cases"); n != 3 {
		t.Errorf("the case has %d signals, want 2", n)
	}
	send("o2", contract.ChannelSignal, `{"alarm":1}`)
	eventually(t, "the neighbour's case", func() bool { return w.cases("Dispatched") == 2 })
}
