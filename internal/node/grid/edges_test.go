package grid

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/edge/outbox"
	"github.com/dizuo/dizuo/internal/node/edge/uplink"
	"github.com/dizuo/dizuo/internal/node/edge/wire"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// edgeChildEnv holds the configuration of an edge node that a test starts and kills.
const edgeChildEnv = "DIZUO_GRID_TEST_EDGE"

type edgeConfig struct {
	Hub, Dir string
	Port     int
	MaxBytes int64
}

// edgeNode is the data path of an edge node: a broker with MQTT, its outbox and the uplink.
type edgeNode struct {
	outbox *outbox.Outbox
	uplink *uplink.Uplink
	stop   func()
}

// startEdge starts one. The outbox is open before the listener is.
func startEdge(cfg edgeConfig, conn func(*nats.Conn) uplink.Conn) (*edgeNode, error) {
	opts := &server.Options{ServerName: "edge", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: cfg.Dir, SyncAlways: true, NoLog: true, NoSigs: true}
	inside, err := startServer(opts)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", nats.InProcessServer(inside))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := js.CreateOrUpdateStream(ctx, outbox.StreamConfig(cfg.MaxBytes)); err != nil {
		cancel()
		return nil, err
	}
	box, err := outbox.Open(ctx, js, cfg.Dir, quiet())
	if err != nil {
		cancel()
		return nil, err
	}
	box.Hold(math.MaxUint64) // nobody reads it inside
	hub, err := nats.Connect(cfg.Hub, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		cancel()
		return nil, err
	}
	var line uplink.Conn = hub
	if conn != nil {
		line = conn(hub)
	}
	e := &edgeNode{outbox: box, uplink: &uplink.Uplink{Edge: "e1", Outbox: box, Conn: line, Log: quiet(), ReplyWait: 3 * time.Second}}
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = e.uplink.Run(ctx) })
	tasks.Go(func() { _ = box.Tend(ctx) })
	e.stop = func() {
		cancel()
		tasks.Wait()
		hub.Close()
		nc.Close()
		inside.Shutdown()
		inside.WaitForShutdown()
	}
	// MQTT is opened by a door of the test's own, so that no device is in before the outbox is open.
	return e, openMQTT(inside, cfg.Port)
}

func startServer(opts *server.Options) (*server.Server, error) {
	opts.MQTT = server.MQTTOpts{Host: "127.0.0.1", Port: -1}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return nil, errors.New("edge broker does not start")
	}
	return s, nil
}

// openMQTT lets devices in by a port that leads to the server's own, which it does not tell.
func openMQTT(s *server.Server, port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	v, err := s.Varz(nil)
	if err != nil {
		return err
	}
	go (&cable{to: fmt.Sprintf("127.0.0.1:%d", v.MQTT.Port)}).serve(l)
	return nil
}

// cable joins two sockets, and can be cut.
type cable struct {
	to    string
	mu    sync.Mutex
	cutUp bool
	open  map[net.Conn]bool
}

func (c *cable) serve(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		c.mu.Lock()
		if err != nil || c.cutUp {
			_ = near.Close()
			if far != nil {
				_ = far.Close()
			}
			c.mu.Unlock()
			continue
		}
		if c.open == nil {
			c.open = map[net.Conn]bool{}
		}
		c.open[near], c.open[far] = true, true
		c.mu.Unlock()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
				c.mu.Lock()
				delete(c.open, pair[0])
				c.mu.Unlock()
			}()
		}
	}
}

// cut ends what is open and lets nothing through; join lets it through again.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutUp = true
	for x := range c.open {
		_ = x.Close()
	}
}

func (c *cable) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutUp = false
}

// line gives the address of a cable to the hub's broker.
func line(t *testing.T, s *server.Server) (*cable, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := &cable{to: s.Addr().String()}
	go c.serve(l)
	return c, "nats://" + l.Addr().String()
}

// edgeWorld is a hub that knows the edge node e1, which serves the community of the fleet smokes.
func edgeWorld(t *testing.T) *world {
	t.Helper()
	return edgeWorldWith(t, func(f *contract.Fleet) { f.Placement = contract.PlacementEdge })
}

// edgeWorldWith is edgeWorld with another fleet.
func edgeWorldWith(t *testing.T, change func(*contract.Fleet)) *world {
	t.Helper()
	w := newWorldWith(t, func(b *intake.Bundle) {
		b.Edges = map[string]contract.Edge{"e1": {Communities: []string{"jinghu"}}, "e2": {Communities: []string{"other"}}}
		f := b.Fleets["smokes"]
		change(&f)
		b.Fleets["smokes"] = f
	}, func(*service) {})
	w.listens()
	return w
}

// listens waits until a session answers edge nodes. One that begins behind another waits for the lock, and counts as ready meanwhile.
func (w *world) listens() {
	w.t.Helper()
	nc, _ := connect(w.t, w.broker.ClientURL())
	defer nc.Close()
	eventually(w.t, "the session listens to edge nodes", func() bool {
		_, err := nc.Request(contract.EdgeSubject("nobody", contract.EdgeHello), []byte("{}"), time.Second)
		return err == nil
	})
}

// edgeDevice connects to an edge node, or gives nil where it does not let anybody in.
func edgeDevice(port int, id string) mqtt.Client {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", port)).SetClientID(id).SetCleanSession(true).SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		return nil
	}
	return c
}

// publish sends one signal and says whether it was acknowledged.
func publish(c mqtt.Client, device string, n int) bool {
	token := c.Publish(contract.DeviceTopic("smokes", device, contract.ChannelSignal), 1, false, fmt.Sprintf(`{"smoke":true,"density":%d}`, n%100))
	return token.WaitTimeout(5*time.Second) && token.Error() == nil
}

func (w *world) signals() int64 {
	return number(w.t, w.pool, "SELECT coalesce(sum(signals), 0) FROM grid.cases")
}

func (w *world) edgeMark() int64 {
	return number(w.t, w.pool, "SELECT coalesce(max(sequence), 0) FROM grid.edge_position WHERE edge = 'e1'")
}

// deaf loses answers of the hub: what it did is done, and the node does not know.
type deaf struct {
	uplink.Conn
	mu sync.Mutex
	r  *rand.Rand
}

func (d *deaf) RequestMsgWithContext(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	answer, err := d.Conn.RequestMsgWithContext(ctx, m)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.r.IntN(3) == 0 {
		return nil, errors.New("the answer was lost")
	}
	return answer, err
}

// TestEverythingAcknowledgedAtAnEdgeIsCountedOnce cuts the line, loses answers and changes the working replica while devices publish.
func TestEverythingAcknowledgedAtAnEdgeIsCountedOnce(t *testing.T) {
	t.Parallel()
	w := edgeWorld(t)
	cable, hub := line(t, w.broker)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	port := freePort(t)
	e, err := startEdge(edgeConfig{Hub: hub, Dir: t.TempDir(), Port: port, MaxBytes: 64 << 20},
		func(nc *nats.Conn) uplink.Conn { return &deaf{Conn: nc, r: rand.New(rand.NewPCG(seed, 2))} })
	if err != nil {
		t.Fatal(err)
	}
	defer e.stop()
	client, devices, acked := edgeDevice(port, "many"), testDevices(), map[string]int64{}
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		switch round % 4 {
		case 0:
			cable.cut()
		case 1, 3:
			cable.join()
		case 2: // another replica takes the lock
			w.stop()
			w.begin()
		}
		for n := range 150 {
			name := devices[r.IntN(len(devices))]
			if publish(client, name, n) {
				acked[name]++
			}
		}
	}
	cable.join()
	w.settled(acked, 0)
}

// settled waits until everything acknowledged, but what is lost, is counted, and compares device by device.
func (w *world) settled(acked map[string]int64, lost int64) {
	w.t.Helper()
	var total int64
	for _, n := range acked {
		total += n
	}
	eventually(w.t, "everything acknowledged is counted", func() bool { return w.signals()+lost >= total })
	if got := w.signals(); got != total-lost {
		w.t.Errorf("%d signals for %d acknowledged messages, of which %d are lost", got, total, lost)
	}
	if lost > 0 {
		return
	}
	for name, n := range acked {
		if got := number(w.t, w.pool, "SELECT coalesce(sum(signals), 0) FROM grid.cases WHERE device = $1", name); got != n {
			w.t.Errorf("%s: %d signals, %d acknowledged", name, got, n)
		}
	}
	w.t.Logf("%d acknowledged, %d lost", total, lost)
}

// edgeChild is the edge node that is killed.
func edgeChild() {
	var cfg edgeConfig
	must(json.Unmarshal([]byte(os.Getenv(edgeChildEnv)), &cfg))
	_, err := startEdge(cfg, nil)
	must(err)
	fmt.Println("ready")
	select {}
}

// child starts an edge node in a process of its own.
func (cfg edgeConfig) child(t *testing.T) (kill func()) {
	t.Helper()
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), edgeChildEnv+"="+string(raw))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() { once.Do(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) }
	t.Cleanup(kill)
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("edge node does not start")
	}
	return kill
}

// TestKilledEdge kills an edge node again and again while devices publish.
func TestKilledEdge(t *testing.T) {
	t.Parallel()
	w := edgeWorld(t)
	cable, hub := line(t, w.broker)
	cfg := edgeConfig{Hub: hub, Dir: t.TempDir(), Port: freePort(t), MaxBytes: 64 << 20}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	devices, acked := testDevices(), map[string]int64{}
	rounds := 10
	if testing.Short() {
		rounds = 4
	}
	unknown := int64(0)
	for round := range rounds {
		kill := cfg.child(t)
		if round%3 == 0 {
			cable.cut()
		} else {
			cable.join()
		}
		client := edgeDevice(cfg.Port, "many")
		time.AfterFunc(time.Duration(200+r.IntN(800))*time.Millisecond, kill)
		for n := 0; ; n++ {
			name := devices[r.IntN(len(devices))]
			if !publish(client, name, n) {
				unknown++ // the last one may be stored, or not: nobody heard
				break
			}
			acked[name]++
		}
		kill()
	}
	cable.join()
	cfg.child(t)
	var total int64
	for _, n := range acked {
		total += n
	}
	eventually(t, "everything acknowledged is counted", func() bool {
		return w.signals() >= total && readState(t, cfg.Dir).Mark == uint64(w.edgeMark())
	})
	if got := w.signals(); got < total || got > total+unknown {
		t.Errorf("%d signals, want %d and at most %d that nobody heard of", got, total, unknown)
	}
	for name, n := range acked {
		got := number(t, w.pool, "SELECT coalesce(sum(signals), 0) FROM grid.cases WHERE device = $1", name)
		if got < n || got > n+unknown {
			t.Errorf("%s: %d signals, %d acknowledged", name, got, n)
		}
	}
	if n := number(t, w.pool, "SELECT coalesce(max(lost), 0) FROM grid.edge_position"); n != 0 {
		t.Errorf("%d declared lost", n)
	}
	t.Logf("%d kills, %d acknowledged, %d unknown", rounds, total, unknown)
}

type boxState struct {
	Incarnation      string
	Sent, Seen, Mark uint64
	Lost             int64
}

func readState(t *testing.T, dir string) (s boxState) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "outbox.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// blocks gives the files of messages of the outbox, the last one last.
func blocks(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", contract.IngestStream, "msgs", "*.blk"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no blocks: %v", err)
	}
	slices.Sort(found)
	return found
}

// damage is what happens to a store whose machine died.
var damage = map[string]func(t *testing.T, block string){
	"end torn by a byte":      func(t *testing.T, block string) { tear(t, block, 1) },
	"end torn by a record":    func(t *testing.T, block string) { tear(t, block, 130) },
	"end torn by many":        func(t *testing.T, block string) { tear(t, block, 700) },
	"byte flipped in between": func(t *testing.T, block string) { flip(t, block) },
	"blocks gone":             func(t *testing.T, block string) { tear(t, block, 1<<30) },
}

func tear(t *testing.T, block string, n int64) {
	t.Helper()
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, max(0, info.Size()-n)); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, block string) {
	t.Helper()
	raw, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 0x20
	if err := os.WriteFile(block, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedOutbox damages the store of a dead edge node, with and without the hub having heard what is in it. What comes after must
// count in full though the server gives sequences out anew; what is lost must be said.
func TestDamagedOutbox(t *testing.T) {
	t.Parallel()
	for name, hurt := range damage {
		for _, heard := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, heard %v", name, heard), func(t *testing.T) {
				t.Parallel()
				w := edgeWorld(t)
				cable, hub := line(t, w.broker)
				if !heard {
					cable.cut()
				}
				cfg := edgeConfig{Hub: hub, Dir: t.TempDir(), Port: freePort(t), MaxBytes: 64 << 20}
				kill := cfg.child(t)
				client, acked := edgeDevice(cfg.Port, "many"), map[string]int64{}
				for n := range 20 {
					if !publish(client, "s1", n) {
						t.Fatal("not acknowledged")
					}
					acked["s1"]++
				}
				eventually(t, "state on record", func() bool {
					return readState(t, cfg.Dir).Seen >= 20 && (!heard || w.edgeMark() == 20)
				})
				kill()
				hurt(t, blocks(t, cfg.Dir)[len(blocks(t, cfg.Dir))-1])
				cable.join()
				cfg.child(t)
				client = edgeDevice(cfg.Port, "many")
				for n := range 15 {
					if !publish(client, "s2", n) {
						t.Fatal("not acknowledged")
					}
					acked["s2"]++
				}
				eventually(t, "what came after is counted in full", func() bool {
					return number(t, w.pool, "SELECT coalesce(sum(signals), 0) FROM grid.cases WHERE device = 's2'") == 15
				})
				lost := number(t, w.pool, "SELECT lost FROM grid.edge_position WHERE edge = 'e1'")
				if heard && lost != 0 || !heard && lost == 0 {
					t.Errorf("%d declared lost", lost)
				}
				w.settled(acked, lost)
				t.Logf("%d of 20 lost", lost)
			})
		}
	}
}

// TestFullOutboxAcknowledgesNothing fills an outbox behind a cut line.
func TestFullOutboxAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	w := edgeWorld(t)
	cable, hub := line(t, w.broker)
	cable.cut()
	port := freePort(t)
	e, err := startEdge(edgeConfig{Hub: hub, Dir: t.TempDir(), Port: port, MaxBytes: 256 << 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.stop()
	client, acked := edgeDevice(port, "many"), map[string]int64{}
	token := func(n int) bool {
		payload := fmt.Sprintf(`{"smoke":true,"density":1,"pad":%q}`, strings.Repeat("x", 4000+n))
		got := client.Publish(contract.DeviceTopic("smokes", "s1", contract.ChannelSignal), 1, false, payload)
		return got.WaitTimeout(2*time.Second) && got.Error() == nil
	}
	n := 0
	for ; token(n); n++ {
		if acked["s1"]++; n > 1000 {
			t.Fatal("it never fills")
		}
	}
	if out, err := e.outbox.Count(t.Context()); err != nil || !out.Full || out.Messages != acked["s1"] || out.Oldest.IsZero() {
		t.Errorf("%+v, %v; %d acknowledged", out, err, acked["s1"])
	}
	cable.join()
	w.settled(acked, 0)
	eventually(t, "it takes messages again", func() bool {
		if client = edgeDevice(port, "many"); client == nil {
			return false
		}
		out, err := e.outbox.Count(t.Context())
		return err == nil && !out.Full && out.Messages == 0
	})
	if !token(0) {
		t.Error("not acknowledged after the outbox was emptied")
	}
}

// ask speaks to the hub as an edge node.
func ask[T any](t *testing.T, nc *nats.Conn, edge string, verb contract.EdgeVerb, body any) (out T) {
	t.Helper()
	m, err := wire.Encode(contract.EdgeSubject(edge, verb), body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := nc.RequestMsg(m, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got.Data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func signal(sequence uint64, device string) contract.EdgeMessage {
	return contract.EdgeMessage{Sequence: sequence, At: time.Now().UnixMilli(), Fleet: "smokes", Device: device, Channel: contract.ChannelSignal, Payload: []byte(`{"smoke":true}`)}
}

// TestNoWindowOfTime: an answer is lost, and the batch comes again after a year, with a former one, to another replica whose streams hold
// nothing of it. It counts once, for what the hub has committed is part of what it did, and no memory with an end.
func TestNoWindowOfTime(t *testing.T) {
	w := edgeWorld(t)
	nc, _ := connect(t, w.broker.ClientURL())
	defer nc.Close()
	batch := func(from, to uint64) contract.EdgeBatch {
		b := contract.EdgeBatch{Incarnation: "a"}
		for n := from; n <= to; n++ {
			b.Messages = append(b.Messages, signal(n, "s1"))
		}
		return b
	}
	old := batch(1, 20)
	if r := ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"}); r.Error != "" {
		t.Fatal(r.Error)
	}
	if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, old); r.Mark != 20 {
		t.Fatalf("%+v", r)
	}
	w.stop()
	later := time.Now().Add(365 * 24 * time.Hour)
	w.tune = func(s *service) { s.worker.now = func() time.Time { return later } }
	w.begin()
	w.listens()
	if r := ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a", Last: 25}); r.Mark != 20 || r.Now.Before(later) {
		t.Fatalf("%+v", r)
	}
	for range 2 {
		if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, old); r.Mark != 20 || r.Error != "" {
			t.Errorf("%+v", r)
		}
	}
	again := batch(15, 25)
	if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, again); r.Mark != 25 {
		t.Errorf("%+v", r)
	}
	if n := w.signals(); n != 25 {
		t.Errorf("%d signals for 25 messages", n)
	}
	if n := testutil.ToFloat64(w.svc.worker.metrics.edgeMessages.WithLabelValues("e1", "repeated")); n != 20+20+6 {
		t.Errorf("%v repeated, want 46", n)
	}
}

// TestHubFollowsAnOutbox speaks to the hub by hand: what is known is ignored, a gap stops, a declared one does not, an outbox that was
// replaced does not come back, and a node speaks for its own communities alone.
func TestHubFollowsAnOutbox(t *testing.T) {
	t.Parallel()
	w := edgeWorld(t)
	nc, _ := connect(t, w.broker.ClientURL())
	defer nc.Close()
	hello := func(edge, incarnation string, base uint64) contract.HelloReply {
		return ask[contract.HelloReply](t, nc, edge, contract.EdgeHello, contract.Hello{Incarnation: incarnation, Base: base})
	}
	up := func(edge string, b contract.EdgeBatch) contract.EdgeBatchReply {
		return ask[contract.EdgeBatchReply](t, nc, edge, contract.EdgeUp, b)
	}
	if r := hello("nobody", "a", 0); r.Error == "" {
		t.Error("a node that is not in the bundle was heard")
	}
	if r := up("e1", contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{signal(1, "s1")}}); !r.Again {
		t.Errorf("batch before hello: %+v", r)
	}
	if r := hello("e1", "a", 7); r.Mark != 7 || r.Error != "" || r.Now.IsZero() {
		t.Fatalf("hello: %+v", r)
	}
	steps := []struct {
		what string
		b    contract.EdgeBatch
		mark uint64
		bad  bool
	}{
		{"in order", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(8, "s1"), signal(9, "s1")}}, 9, false},
		{"again", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(8, "s1"), signal(9, "s1"), signal(10, "s1")}}, 10, false},
		{"gap", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(11, "s1"), signal(13, "s1")}}, 11, true},
		{"gap declared in part", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(14, "s1")}, Lost: []contract.LostRange{{From: 12, To: 12}}}, 12, true},
		{"gap declared", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(15, "s1")}, Lost: []contract.LostRange{{From: 12, To: 14}}}, 15, false},
		{"declared, then sent", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(16, "s1")}, Lost: []contract.LostRange{{From: 16, To: 17}}}, 17, false},
		{"end lost", contract.EdgeBatch{Lost: []contract.LostRange{{From: 18, To: 20}}}, 20, false},
		{"backwards", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(21, "s1"), signal(20, "s1"), signal(22, "s1")}}, 22, false},
		{"too far", contract.EdgeBatch{Messages: []contract.EdgeMessage{signal(1<<63, "s1")}, Lost: []contract.LostRange{{From: 30, To: 1 << 63}}}, 22, true},
	}
	for _, s := range steps {
		s.b.Incarnation = "a"
		if r := up("e1", s.b); r.Mark != s.mark || (r.Error != "") != s.bad || r.Again {
			t.Errorf("%s: %+v, want mark %d", s.what, r, s.mark)
		}
	}
	// 8 9 10 11 15 16 21 22
	if n := w.signals(); n != 8 {
		t.Errorf("%d signals, want 8", n)
	}
	if n := number(t, w.pool, "SELECT lost FROM grid.edge_position WHERE edge = 'e1'"); n != 3+1+3 {
		t.Errorf("%d lost, want 7", n)
	}
	if r := hello("e1", "b", 0); r.Mark != 0 || r.Error != "" {
		t.Errorf("new outbox: %+v", r)
	}
	if r := hello("e1", "a", 7); r.Error == "" {
		t.Errorf("the former outbox came back: %+v", r)
	}
	if r := up("e1", contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{signal(23, "s1")}}); !r.Again {
		t.Errorf("batch of the former outbox: %+v", r)
	}
	w.stop()
	w.begin()
	w.listens()
	if r := hello("e1", "a", 7); r.Error == "" {
		t.Errorf("the former outbox came back after a restart: %+v", r)
	}
	// e2 serves another community than the one where s2 hangs.
	if r := hello("e2", "x", 0); r.Error != "" {
		t.Fatalf("%+v", r)
	}
	before := w.signals()
	if r := up("e2", contract.EdgeBatch{Incarnation: "x", Messages: []contract.EdgeMessage{signal(1, "s2"), {Sequence: 2, Payload: []byte("{}")}}}); r.Mark != 2 || r.Error != "" {
		t.Errorf("violation: %+v, want that it goes on", r)
	}
	if n := w.signals(); n != before {
		t.Error("a node spoke for a device of another community")
	}
	if n := testutil.ToFloat64(w.svc.worker.metrics.edgeMessages.WithLabelValues("e2", "violation")); n != 2 {
		t.Errorf("%v violations, want 2", n)
	}
}
