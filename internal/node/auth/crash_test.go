package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestMain plays a role in a child process when a test asks for one, so that it can be killed and measured.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DIZUO_TEST_CHILD"); dir != "" {
		if err := child(dir, os.Getenv("DIZUO_TEST_ROLE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(founded.dir)
	os.Exit(code)
}

// setup is what a child reads.
type setup struct {
	Config      contract.NodeConfig
	Credentials map[string]contract.Credentials
}

func child(dir, role string) error {
	var s setup
	raw, err := os.ReadFile(filepath.Join(dir, "setup.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	ctx := context.Background()
	if role == "broker" {
		b, err := broker.Start(ctx, s.Config, prometheus.NewRegistry(), logger())
		if err != nil {
			return err
		}
		b.Update(s.Credentials)
		fmt.Println(b.ClientURL(), b.MQTTAddress())
		select {}
	}
	bundle := &intake.Bundle{Credentials: s.Credentials, Lease: contract.Lease{Sequence: 1, Revision: "r", ExpiresAt: time.Now().Add(time.Hour)}}
	fmt.Println("auth", "starts")
	return run(ctx, s.Config, intake.NewStatic(bundle), func(ctx context.Context, _ jetstream.JetStream) error { <-ctx.Done(); return ctx.Err() }, logger())
}

// spawn starts a role as a process of its own and gives the two words that it prints.
func (w *world) spawn(role string) (*exec.Cmd, string, string) {
	w.t.Helper()
	raw, err := json.Marshal(setup{w.cfg, w.creds})
	if err != nil {
		w.t.Fatal(err)
	}
	write(w.t, w.dir, "setup.json", string(raw))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DIZUO_TEST_CHILD="+w.dir, "DIZUO_TEST_ROLE="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var one, two string
	if _, err := fmt.Fscan(out, &one, &two); err != nil {
		w.t.Fatalf("%s did not start: %v", role, err)
	}
	return cmd, one, two
}

// spawnAll starts broker and auth, and keeps the ports for the next start.
func (w *world) spawnAll() (brokerProcess, authProcess *exec.Cmd, mqttAddress string) {
	w.t.Helper()
	b, url, address := w.spawn("broker")
	for _, c := range []*contract.NATSConfig{w.cfg.NATS, &w.cfg.Auth.Callout, &w.cfg.Auth.System} {
		c.URL = url
	}
	w.cfg.Broker.ClientPort, w.cfg.Broker.MQTTPort = port(w.t, strings.TrimPrefix(url, "tls://")), port(w.t, address)
	a, _, _ := w.spawn("auth")
	return b, a, address
}

func port(t testing.TB, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKilledBrokerKeepsWhatItAcknowledged publishes at QoS 1 while the broker is killed again and again, and compares what
// was acknowledged with what is in the ingest log. auth is one process throughout: it finds the broker again by itself.
func TestKilledBrokerKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cmd, _, address := w.spawnAll()

	acked := map[string]bool{}
	var mu sync.Mutex
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	stop := make(chan struct{})
	var devices sync.WaitGroup
	for name, d := range map[string]device{"smoke s1": w.x509("smoke", "s1"), "smoke s2": w.x509("smoke", "s2"), "door d1": withPassword("door", "d1", door1)} {
		fleet, id, _ := strings.Cut(name, " ")
		devices.Go(func() {
			for n := 0; ; {
				s, err := w.dial(address, d)
				for err == nil {
					select {
					case <-stop:
						_ = s.conn.Close()
						return
					default:
					}
					n++
					payload := fmt.Sprintf("%s %d", name, n)
					if err = s.publish(contract.DeviceTopic(fleet, id, contract.ChannelTelemetry), payload, uint16(n%60000+1)); err == nil {
						mu.Lock()
						acked[payload] = true
						mu.Unlock()
					}
				}
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond): // the broker is away
				}
			}
		})
	}
	kills, seed := rounds(t), uint64(time.Now().UnixNano())
	t.Logf("%d kills, seed %d", kills, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		// Some kills come while the devices are coming back, most in full flow.
		before, more := count(), 1+random.IntN(600)
		await(t, "more acknowledgements", func() error {
			if count() < before+more {
				return fmt.Errorf("%d so far", count()-before)
			}
			return nil
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		cmd, _, _ = w.spawn("broker")
	}
	before := count()
	await(t, "acknowledgements after the last kill", func() error {
		if count() == before {
			return fmt.Errorf("none")
		}
		return nil
	})
	close(stop)
	devices.Wait()

	stored := w.ingested(t)
	lost := 0
	for payload := range acked {
		if !stored[payload] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged messages are not in the ingest log", lost, len(acked))
	}
	t.Logf("%d kills, %d acknowledged, %d stored, %d lost", kills, len(acked), len(stored), lost)
}

// rounds gives how often to kill: a few times, or as DIZUO_KILLS says.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("DIZUO_KILLS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("DIZUO_KILLS: %v", err)
	}
	return n
}

// ingested reads the whole ingest log as the grid service does.
func (w *world) ingested(t *testing.T) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	js := must(jetstream.New(w.user(contract.UserGrid)))(t)
	consumer := must(js.CreateOrUpdateConsumer(ctx, contract.IngestStream, jetstream.ConsumerConfig{Durable: contract.IngestConsumer,
		FilterSubject: contract.IngestFilter, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1}))(t)
	stored := map[string]bool{}
	for left := must(consumer.Info(ctx))(t).NumPending; left > 0; {
		batch := must(consumer.Fetch(500, jetstream.FetchMaxWait(2*time.Second)))(t)
		for m := range batch.Messages() {
			stored[string(m.Data())] = true
			left--
			_ = m.Ack()
		}
		if err := batch.Error(); err != nil {
			t.Fatal(err)
		}
	}
	return stored
}
