package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/ingest/exhook"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/pki"
)

const platform = "henan"

// world is a platform's NATS broker, the role ingest, and what stands for EMQX: an MQTT broker with persistent sessions and shared
// subscriptions, and a client that makes EMQX's ExHook calls. EMQX itself is not run by any test.
type world struct {
	t      *testing.T
	ca     pki.CA
	broker contract.NodeConfig
	cfg    contract.NodeConfig
	emqx   *mochi.Server
	nats   *broker.Broker
	// in is nil without the door for clouds.
	in *intake.Intake
}

// idle feeds nothing: tests set bundles.
func idle(ctx context.Context, _ jetstream.JetStream) error {
	<-ctx.Done()
	return ctx.Err()
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	return l.Addr().String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: pki.New(t, "platform")}
	w.startEMQX()
	dir := t.TempDir()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := account.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	callout := filepath.Join(dir, "callout")
	if err := os.WriteFile(callout, []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free(t))
	client := 0
	if _, err := fmt.Sscan(port, &client); err != nil {
		t.Fatal(err)
	}
	w.broker = contract.NodeConfig{Platform: "city/" + platform, Scope: contract.ScopeCenter, Broker: &contract.BrokerConfig{ServerName: "broker-0",
		StoreDir: filepath.Join(dir, "store"), Host: "127.0.0.1", ClientPort: client, TLS: w.ca.Files(t, w.ca.Server(t)), CalloutKeyFile: callout, SyncInterval: "10s",
		Ingest: contract.IngestLog{MaxAgeSeconds: 3600, MaxBytes: 64 << 20}, Replicas: 1, Peers: []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}},
		PeerTLS: w.ca.Files(t, w.ca.Peer(t, contract.RoleURI(platform, contract.UserBroker)))}}
	w.startNATS()
	w.cfg = contract.NodeConfig{Platform: "city/" + platform, Role: contract.RoleIngest, HealthAddress: free(t),
		NATS: &contract.NATSConfig{URL: "tls://" + net.JoinHostPort("127.0.0.1", port), TLS: w.role(contract.UserIngest)},
		Ingest: &contract.IngestConfig{Hook: &contract.IngestHook{Address: free(t), TLS: w.ca.Files(t, w.ca.Server(t)),
			MQTT: contract.NATSConfig{URL: "ssl://" + w.address(), TLS: w.role(contract.UserIngest)}}}}
	return w
}

func (w *world) role(user string) contract.TLSFiles {
	return w.ca.Files(w.t, w.ca.Client(w.t, contract.RoleURI(platform, user)))
}

func (w *world) address() string {
	l, _ := w.emqx.Listeners.Get("roles")
	return l.Address()
}

func (w *world) startEMQX() {
	w.t.Helper()
	w.emqx = mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err := w.emqx.AddHook(new(auth.AllowHook), nil); err != nil {
		w.t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{w.ca.Server(w.t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: w.ca.Pool()}
	if err := w.emqx.AddListener(listeners.NewTCP(listeners.Config{ID: "roles", Address: "127.0.0.1:0", TLSConfig: c})); err != nil {
		w.t.Fatal(err)
	}
	if err := w.emqx.Serve(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.emqx.Close() })
}

func (w *world) startNATS() {
	w.t.Helper()
	b, err := broker.Start(context.Background(), w.broker, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.nats = b
	w.t.Cleanup(b.Stop)
}

// start runs the role until stop is called.
func (w *world) start() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r := &role{cfg: w.cfg, instance: "dizuo-ingest-0", in: w.in, feed: idle, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	go func() { ended <- r.run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				w.t.Errorf("the role ended with %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// hook connects as EMQX does, by a certificate of a user.
func (w *world) hook(user string) exhook.HookProviderClient {
	w.t.Helper()
	c := &tls.Config{RootCAs: w.ca.Pool(), ServerName: "localhost"}
	if user != "" {
		c.Certificates = []tls.Certificate{w.ca.Client(w.t, contract.RoleURI(platform, user))}
	}
	conn, err := grpc.NewClient(w.cfg.Ingest.Hook.Address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return exhook.NewHookProviderClient(conn)
}

// loaded waits until the role asks for its hook.
func (w *world) loaded() exhook.HookProviderClient {
	w.t.Helper()
	h := w.hook(contract.UserEMQX)
	await(w.t, "the hook", func() error {
		answer, err := h.OnProviderLoaded(w.t.Context(), &exhook.ProviderLoadedRequest{Meta: &exhook.RequestMeta{Node: "emqx@1"}})
		if err != nil {
			return err
		}
		if len(answer.Hooks) != 1 || answer.Hooks[0].Name != "message.publish" {
			return fmt.Errorf("hooks %v", answer.Hooks)
		}
		for _, topic := range answer.Hooks[0].Topics {
			if strings.HasSuffix(topic, "cmd") || strings.HasSuffix(topic, "desired") || strings.HasSuffix(topic, "#") {
				return fmt.Errorf("the role would be called for %s", topic)
			}
		}
		return nil
	})
	return h
}

// published does what EMQX 5.8 does with a message: it calls; on an answer that says so it ends its way, otherwise and on an error
// it routes it. It is acknowledged either way. It reports whether it was routed.
func (w *world) published(h exhook.HookProviderClient, id, topic string, qos uint32, payload string) (routed bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	answer, err := h.OnMessagePublish(ctx, &exhook.MessagePublishRequest{Message: &exhook.Message{Id: id, Topic: topic, Qos: qos, Payload: []byte(payload)}})
	if err == nil && answer.Message.Headers["allow_publish"] == "false" && answer.Type == exhook.ValuedResponse_STOP_AND_RETURN {
		return false
	}
	if err := w.emqx.Publish(topic, []byte(payload), false, byte(qos)); err != nil {
		w.t.Fatal(err)
	}
	return true
}

// stored gives the payloads in the ingest log, by subject.
func (w *world) stored() map[string][]string {
	w.t.Helper()
	out := map[string][]string{}
	s, err := w.nats.JetStream().Stream(w.t.Context(), contract.IngestStream)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := s.Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for seq := info.State.FirstSeq; info.State.Msgs > 0 && seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(w.t.Context(), seq)
		if err != nil {
			w.t.Fatal(err)
		}
		if m.Header.Get(qosHeader) != "1" {
			w.t.Errorf("%s has %s %q, want 1 as from the MQTT listener of NATS", m.Subject, qosHeader, m.Header.Get(qosHeader))
		}
		out[m.Subject] = append(out[m.Subject], string(m.Data))
	}
	return out
}

func (w *world) expectStored(subject string, want ...string) {
	w.t.Helper()
	await(w.t, "the ingest log", func() error {
		if got := w.stored()[contract.IngestPrefix+subject]; fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s holds %q, want %q", subject, got, want)
		}
		return nil
	})
}

func (w *world) ready() {
	w.t.Helper()
	await(w.t, "the session", func() error {
		cl, ok := w.emqx.Clients.Get(contract.IngestClientID("dizuo-ingest-0"))
		if !ok || cl.Closed() || len(cl.State.Subscriptions.GetAll()) != 5 {
			return errors.New("not held")
		}
		return nil
	})
}

func (w *world) user(name string) *nats.Conn {
	w.t.Helper()
	nc, err := process.Connect(w.t.Context(), contract.NATSConfig{URL: w.cfg.NATS.URL, TLS: w.role(name)}, name, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

func TestWhatEMQXAcknowledgesIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.ready()
	h := w.loaded()
	loose := make(chan *nats.Msg, 8)
	sub, err := w.user(contract.UserGrid).ChanSubscribe("dizuo.v1.d.>", loose)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // a test
	for i := range 3 {
		if w.published(h, fmt.Sprintf("id-%d", i), "dizuo/v1/d/smoke/s1/signal", 1, fmt.Sprint(i)) {
			t.Error("a message that was stored is routed on")
		}
	}
	w.expectStored("dizuo.v1.d.smoke.s1.signal", "0", "1", "2")
	// The very same message once more is one message; a device that says the same again says it again.
	w.published(h, "id-2", "dizuo/v1/d/smoke/s1/signal", 1, "2")
	w.published(h, "id-3", "dizuo/v1/d/smoke/s1/signal", 1, "2")
	w.expectStored("dizuo.v1.d.smoke.s1.signal", "0", "1", "2", "2")
	// QoS 0 is in no log: who listens hears it, marked as such. The grid service may not have subscribed yet, so say it again.
	await(t, "QoS 0", func() error {
		w.published(h, "", "dizuo/v1/d/smoke/s1/telemetry", 0, "loose")
		select {
		case m := <-loose:
			if m.Subject != "dizuo.v1.d.smoke.s1.telemetry" || m.Header.Get(qosHeader) != "0" {
				t.Errorf("heard %s with %s %q", m.Subject, qosHeader, m.Header.Get(qosHeader))
			}
			return nil
		case <-time.After(50 * time.Millisecond):
			return errors.New("not heard")
		}
	})
	// What no device can publish to is neither stored nor routed.
	for _, topic := range []string{"dizuo/v1/d/smoke/s1.x/signal", "dizuo/v1/d/smoke/*/signal", "dizuo/v1/d/smoke/>", "$MQTT/msgs/x", "dizuo/v1/d/smoke/s1/signal/more"} {
		if w.published(h, topic, topic, 1, "no") {
			t.Errorf("%s is routed", topic)
		}
	}
	if got := w.stored(); len(got) != 1 {
		t.Errorf("the log holds %v", got)
	}
}

// While NATS is away every call fails: EMQX routes and acknowledges, and the session keeps it. Nothing of it is lost, and nothing
// is there twice, also when the role dies meanwhile.
func TestTheSessionHoldsWhatCannotBeStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.ready()
	h := w.loaded()
	w.published(h, "a", "dizuo/v1/d/smoke/s1/signal", 1, "before")
	w.nats.Stop()
	var want []string
	for i := range 5 {
		if !w.published(h, fmt.Sprintf("b-%d", i), "dizuo/v1/d/smoke/s1/state", 1, fmt.Sprint(i)) {
			t.Error("a message that was not stored is not routed")
		}
		want = append(want, fmt.Sprint(i))
	}
	stop()
	for i := range 5 { // nobody is there to be called
		if err := w.emqx.Publish("dizuo/v1/d/smoke/s1/state", fmt.Append(nil, "away-", i), false, 1); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint("away-", i))
	}
	w.startNATS()
	w.start()
	w.ready()
	await(t, "the session is worked off", func() error {
		got := w.stored()[contract.IngestPrefix+"dizuo.v1.d.smoke.s1.state"]
		if fmt.Sprint(sorted(got)) != fmt.Sprint(sorted(want)) {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
	w.expectStored("dizuo.v1.d.smoke.s1.signal", "before")
	await(t, "everything is confirmed", func() error {
		if cl, ok := w.emqx.Clients.Get(contract.IngestClientID("dizuo-ingest-0")); !ok || cl.State.Inflight.Len() > 0 {
			return errors.New("EMQX still holds messages")
		}
		return nil
	})
}

func sorted(list []string) []string {
	out := append([]string(nil), list...)
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// one is a message as the client library hands it over.
type one struct {
	paho.Message
	qos byte
}

func (m one) Qos() byte { return m.qos }

// A reader that waits reads no ping and loses the connection. So what was promised nobody is dropped first, and what EMQX sends of
// QoS 1 before one is confirmed always finds room.
func TestTheReaderNeverWaits(t *testing.T) {
	s := &session{metrics: newMetrics(prometheus.NewRegistry()), made: make(chan *connection, 1)}
	s.begin(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 * window {
			s.hear(one{qos: 0})
		}
		for range window {
			s.hear(one{qos: 1})
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the reader waits")
	}
	// What waited for one connection ends with it: EMQX sends it again.
	first := s.now
	s.begin(t.Context())
	s.hear(one{qos: 1})
	if first.ctx.Err() == nil || len(s.now.queue) != 1 || s.now.nonce == first.nonce {
		t.Errorf("a new connection has %d messages waiting", len(s.now.queue))
	}
}

func TestCommandsReachDevicesOnEMQX(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.ready()
	heard := make(chan paho.Message, 8)
	device := paho.NewClient(paho.NewClientOptions().AddBroker("ssl://" + w.address()).SetClientID("smoke_s1").SetTLSConfig(&tls.Config{
		RootCAs: w.ca.Pool(), Certificates: []tls.Certificate{w.ca.Client(t, "spiffe://x/y")}, ServerName: "localhost"}))
	if err := wait(device.Connect()); err != nil {
		t.Fatal(err)
	}
	if err := wait(device.Subscribe("dizuo/v1/d/smoke/s1/cmd", 0, func(_ paho.Client, m paho.Message) { heard <- m })); err != nil {
		t.Fatal(err)
	}
	defer device.Disconnect(0)
	grid := w.user(contract.UserGrid)
	await(t, "a command", func() error {
		if err := grid.Publish("dizuo.v1.d.smoke.s1.cmd", []byte("close")); err != nil {
			return err
		}
		select {
		case m := <-heard:
			if string(m.Payload()) != "close" {
				t.Errorf("heard %q", m.Payload())
			}
			return nil
		case <-time.After(100 * time.Millisecond):
			return errors.New("not heard")
		}
	})
}

// auth hears the role while it holds its session, and not before.
func TestTheRoleIsHeardWhileItHoldsItsSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var beats atomic.Int64
	sub, err := w.user(contract.UserAuthBundle).Subscribe(contract.SubjectIngest, func(*nats.Msg) { beats.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // a test
	right := w.cfg.Ingest.Hook.MQTT.URL
	w.cfg.Ingest.Hook.MQTT.URL = "ssl://" + free(t)
	stop := w.start()
	w.loaded()
	<-time.After(2 * contract.IngestBeat) // long enough for a beat, were there one
	if beats.Load() > 0 {
		t.Error("the role is heard though nothing holds what EMQX acknowledges")
	}
	stop()
	w.cfg.Ingest.Hook.MQTT.URL = right
	w.start()
	await(t, "a beat", func() error {
		if beats.Load() == 0 {
			return errors.New("none")
		}
		return nil
	})
}

// Only EMQX is answered, and the role may do in NATS what it is for.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.ready()
	w.loaded()
	for _, user := range []string{"", contract.UserGrid, contract.UserIngest} {
		if _, err := w.hook(user).OnMessagePublish(t.Context(), &exhook.MessagePublishRequest{Message: &exhook.Message{Topic: "dizuo/v1/d/smoke/s1/signal", Qos: 1}}); err == nil {
			t.Errorf("%q is answered as if it were EMQX", user)
		}
	}
	refused := make(chan error, 16)
	nc := w.user(contract.UserIngest)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	for _, subject := range []string{"dizuo.v1.d.smoke.s1.cmd", "dizuo.v1.c.x.y.z.signal", "$MQTT.msgs.dizuo.v1.d.smoke.s1.cmd", "$JS.API.STREAM.PURGE.$MQTT_msgs", "$KV.dizuo-leases.center", "$MQTT.sess.x",
		"dizuo.v1.p.smoke.down", "$MQTT.msgs.dizuo.v1.p.smoke.down", "$KV.dizuo-reports.grid.x", "$O.dizuo-bundles.C.x"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", subject, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("the role ingest may publish to %s", subject)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := js.Stream(ctx, contract.IngestStream); err == nil {
		t.Error("the role ingest reads the ingest log")
	}
}
