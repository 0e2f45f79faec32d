package devices

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/bench/figure"
	"github.com/dizuo/dizuo/test/pki"
)

const (
	publishers = 16
	inFlight   = 16
	rounds     = 3
)

// TestBenchPublish measures acknowledged messages of QoS 1 a second, each of 100 bytes, over TLS and under the permissions of each
// device: with three intervals of fsync, and beside mosquitto with the same certificates and an ACL of the same topics. Runs
// alternate; a figure is the median of three. What a PUBACK means differs: ours is sent when the message is in the ingest log, that
// of mosquitto when it was handed to the subscribers there are, and on disk it is by neither unless the interval is "always".
func TestBenchPublish(t *testing.T) {
	needed(t)
	sides := []side{}
	for _, interval := range []string{"2m", "10s", "always"} {
		sides = append(sides, side{"QoS 1 acknowledged, fsync " + interval, func(t *testing.T) float64 { return ours(t, interval) }})
	}
	if binary, ok := mosquitto(); ok {
		sides = append(sides, side{"QoS 1 acknowledged, mosquitto without subscriber", func(t *testing.T) float64 { return theirs(t, binary, false) }},
			side{"QoS 1 acknowledged, mosquitto that queues", func(t *testing.T) float64 { return theirs(t, binary, true) }})
	} else {
		t.Log("no mosquitto here: install it, or name its binary in " + envMosquitto)
	}
	rates := make([][]float64, len(sides))
	for round := range rounds {
		for i, s := range sides {
			t.Run(fmt.Sprintf("%s/%d", s.name, round), func(t *testing.T) { rates[i] = append(rates[i], s.run(t)) })
		}
	}
	median := func(i int) float64 {
		if len(rates[i]) == 0 {
			return 0
		}
		slices.Sort(rates[i])
		return rates[i][len(rates[i])/2]
	}
	for i, s := range sides {
		record(figure.AtLeast(s.name, median(i), "1/s", 0))
	}
	if len(sides) > 3 && median(3) > 0 && median(4) > 0 {
		record(figure.AtLeast("ratio to mosquitto without subscriber, fsync 2m", median(0)/median(3), "x", 0),
			figure.AtLeast("ratio to mosquitto that queues, fsync 2m", median(0)/median(4), "x", 0.8),
			figure.AtLeast("ratio to mosquitto that queues, fsync always", median(2)/median(4), "x", 0))
	}
}

type side struct {
	name string
	run  func(t *testing.T) float64
}

func ours(t *testing.T, interval string) float64 {
	s := newStack(t, interval)
	players := s.passwords(publishers + 1)
	s.publish(&players[publishers])
	return s.load(publishing(players[:publishers])).result().rate()
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
func theirs(t *testing.T, binary string, queues bool) float64 {
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
	begin(t, exec.Command(binary, "-c", s.file("mosquitto.conf", []byte(config))))
	tlsConfig := s.clientTLS()
	s.await("mosquitto", func() error {
		c, err := players[0].connect(s.address, tlsConfig)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if queues {
		grid := player{ID: "grid", User: "grid", Password: s.secret}
		if err := grid.subscribeAndLeave(s.address, tlsConfig, "dizuo/v1/d/#"); err != nil {
			t.Fatal(err)
		}
	}
	return s.load(publishing(players)).result().rate()
}
