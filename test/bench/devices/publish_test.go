package devices

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/bench/figure"
	"github.com/dizuo/dizuo/test/pki"
)

const (
	publishers = 16
	inFlight   = 16
	rounds     = 3
)

// TestBenchPublish measures acknowledged messages of QoS 1 a second, each of 100 bytes, over TLS and under the permissions of each
// device: with three intervals of fsync, of which 1s is what a platform has that names none, and beside mosquitto with the same certificates and an ACL of the same topics. Runs
// alternate; a figure is the median of three. What a PUBACK means differs: ours is sent when the message is in the ingest log, that
// of mosquitto when it was handed to the subscribers there are, and on disk it is by neither unless the interval is "always".
func TestBenchPublish(t *testing.T) {
	needed(t)
	sides := []side{}
	for _, interval := range []string{"2m", "1s", "always"} {
		sides = append(sides, side{"QoS 1 acknowledged, fsync " + interval, func(t *testing.T) measured { return ours(t, interval) }})
	}
	if binary, ok := mosquitto(); ok {
		sides = append(sides, side{"QoS 1 acknowledged, mosquitto without subscriber", func(t *testing.T) measured { return theirs(t, binary, false) }},
			side{"QoS 1 acknowledged, mosquitto that queues", func(t *testing.T) measured { return theirs(t, binary, true) }})
	} else {
		t.Log("no mosquitto here: install it, or name its binary in " + envMosquitto)
	}
	runs := make([][]measured, len(sides))
	for round := range rounds {
		for i, s := range sides {
			t.Run(fmt.Sprintf("%s/%d", s.name, round), func(t *testing.T) { runs[i] = append(runs[i], s.run(t)) })
		}
	}
	median := func(i int, of func(measured) float64) float64 {
		var values []float64
		for _, m := range runs[i] {
			values = append(values, of(m))
		}
		if len(values) < rounds {
			t.Fatalf("%s: %d of %d runs", sides[i].name, len(values), rounds)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	rate := func(m measured) float64 { return m.rate }
	broker := func(m measured) float64 { return m.broker }
	for i, s := range sides {
		record(figure.AtLeast(s.name, median(i, rate), "1/s", 0), figure.AtMost(s.name+": broker", median(i, broker), "us CPU", 0),
			figure.AtMost(s.name+": players", median(i, func(m measured) float64 { return m.players }), "us CPU", 0))
	}
	if len(sides) < 5 {
		return
	}
	record(figure.AtLeast("rate to mosquitto without subscriber, fsync 1s", median(1, rate)/median(3, rate), "x", 0),
		figure.AtLeast("rate to mosquitto that queues, fsync 1s", median(1, rate)/median(4, rate), "x", 0.8),
		figure.AtLeast("rate to mosquitto that queues, fsync 2m", median(0, rate)/median(4, rate), "x", 0.8),
		figure.AtLeast("rate to mosquitto that queues, fsync always", median(2, rate)/median(4, rate), "x", 0),
		figure.AtMost("broker CPU to mosquitto that queues, fsync 1s", median(1, broker)/median(4, broker), "x", 0))
}

type side struct {
	name string
	run  func(t *testing.T) measured
}

// measured is one run of a side.
type measured struct {
	rate float64 // acknowledged messages a second
	// broker and players are processor time for a message, in microseconds: who uses more bounds the rate.
	broker, players float64
}

// measure publishes and holds the broker's processor time against what was acknowledged.
func (s *stack) measure(players []player, pid int) (measured, result) {
	before := cpu(s.t, pid)
	got := s.load(publishing(players)).result()
	if got.Failed > 0 {
		s.t.Fatalf("%d of %d players failed: %s", got.Failed, len(players), got.Why)
	}
	each := func(used time.Duration) float64 { return float64(used.Microseconds()) / float64(got.Total) }
	return measured{got.rate(), each(cpu(s.t, pid) - before), each(got.CPU)}, got
}

// ours measures the broker, and holds what it acknowledged against the ingest log: a publish that is dropped is acknowledged, too.
func ours(t *testing.T, interval string) measured {
	s := newStack(t, interval)
	players := s.passwords(publishers + 1)
	s.publish(&players[publishers])
	out, got := s.measure(players[:publishers], s.broker.Process.Pid)
	if stored := s.stored(); stored < got.Total {
		t.Fatalf("%d were acknowledged and %d are in the ingest log", got.Total, stored)
	}
	return out
}

// stored gives how many messages are in the ingest log.
func (s *stack) stored() int64 {
	s.t.Helper()
	nc, err := process.Connect(context.Background(), contract.NATSConfig{URL: s.cfg.NATS.URL, TLS: s.user(contract.UserGrid)}, contract.UserGrid, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := js.Stream(context.Background(), contract.IngestStream)
	if err != nil {
		s.t.Fatal(err)
	}
	return int64(stream.CachedInfo().State.Msgs)
}

func publishing(players []player) load {
	return load{Kind: "publish", Players: players, Warm: 2 * time.Second, Measure: 6 * time.Second, InFlight: inFlight, Payload: 100}
}

func mosquitto() (binary string, ok bool) {
	if binary = os.Getenv(envMosquitto); binary != "" {
		return binary, true
	}
	binary, err := exec.LookPath("mosquitto")
	return binary, err == nil
}

// theirs measures mosquitto. queues adds a subscriber that is away, for whom it keeps every message: without one it stores nothing.
func theirs(t *testing.T, binary string, queues bool) measured {
	s := &stack{t: t, dir: t.TempDir()}
	s.platform, s.secret = pki.New(t, "platform"), "generated-0123456789ab"
	var players []player
	var acl, passwords strings.Builder
	for i := range publishers {
		p := player{ID: fmt.Sprint("words_d", i), User: fmt.Sprint("words.d", i), Password: s.secret, Topic: fmt.Sprintf("dizuo/v1/d/words/d%d/telemetry", i)}
		players = append(players, p)
		fmt.Fprintf(&passwords, "%s:%s\n", p.User, p.Password)
		fmt.Fprintf(&acl, "user %s\n", p.User)
		for _, up := range []string{"telemetry", "signal", "state", "ack"} {
			fmt.Fprintf(&acl, "topic write dizuo/v1/d/words/d%d/%s\n", i, up)
		}
		for _, down := range []string{"cmd", "desired"} {
			fmt.Fprintf(&acl, "topic read dizuo/v1/d/words/d%d/%s\n", i, down)
		}
	}
	fmt.Fprintf(&passwords, "grid:%s\n", s.secret)
	acl.WriteString("user grid\ntopic read dizuo/v1/d/#\n")
	files, port := s.platform.Files(t, s.platform.Server(t)), freePort(t)
	s.address = fmt.Sprintf("127.0.0.1:%d", port)
	passwordFile := s.file("passwords", []byte(passwords.String()))
	if out, err := exec.Command(filepath.Join(filepath.Dir(binary), "..", "bin", "mosquitto_passwd"), "-U", passwordFile).CombinedOutput(); err != nil {
		t.Skipf("mosquitto_passwd: %v: %s", err, out)
	}
	config := fmt.Sprintf("listener %d 127.0.0.1\ncertfile %s\nkeyfile %s\nallow_anonymous false\npassword_file %s\nacl_file %s\nuser root\n"+
		"max_inflight_messages 0\nmax_queued_messages 0\npersistence %t\npersistence_location %s/\nlog_type error\n",
		port, files.CertFile, files.KeyFile, passwordFile, s.file("acl", []byte(acl.String())), queues, s.dir)
	cmd := exec.Command(binary, "-c", s.file("mosquitto.conf", []byte(config)))
	begin(t, cmd)
	tlsConfig := s.clientTLS()
	s.await("mosquitto", func() error {
		c, err := players[0].connect(s.address, tlsConfig)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	grid := player{ID: "grid", User: "grid", Password: s.secret}
	if queues {
		if err := grid.subscribeAndLeave(s.address, tlsConfig, "dizuo/v1/d/#"); err != nil {
			t.Fatal(err)
		}
	}
	out, got := s.measure(players, cmd.Process.Pid)
	if queues { // mosquitto acknowledges what its ACL drops, too
		if n, err := grid.receives(s.address, tlsConfig, int(got.Total), 60*time.Second); n < int(got.Total) {
			t.Fatalf("%d were acknowledged and %d came to the subscriber: %v", got.Total, n, err)
		}
	}
	return out
}
