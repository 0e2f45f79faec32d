package grid

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// childEnv holds the configuration of a child process that TestKilledAtAnyTime starts and kills.
const childEnv = "DIZUO_GRID_TEST_CHILD"

type childConfig struct {
	Database contract.DatabaseConfig
	NATS     string
}

// child is the process that is killed: the worker of the service, on the real database and broker.
func child() {
	var cfg childConfig
	must(json.Unmarshal([]byte(os.Getenv(childEnv)), &cfg))
	ctx := context.Background()
	pool, err := openPool(ctx, cfg.Database)
	must(err)
	nc, err := nats.Connect(cfg.NATS)
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	s := newService(contract.NodeConfig{Grid: &contract.GridConfig{}}, pool, intake.NewStatic(testBundle("https://127.0.0.1:1", "")), nc, js, prometheus.NewRegistry(), quiet())
	said := false
	s.worker.ready = func(err error) {
		if err == nil && !said {
			said = true
			fmt.Println("ready")
		}
	}
	must(s.worker.run(ctx))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestKilledAtAnyTime kills the service again and again while devices publish, and compares what was acknowledged with what
// is stored: one case for each device, one signal for each acknowledged message, one message to each responder.
func TestKilledAtAnyTime(t *testing.T) {
	t.Parallel()
	cfg, _ := database(t)
	pool, b := poolOf(t, cfg), broker(t)
	raw, err := json.Marshal(childConfig{cfg, b.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 25
	if testing.Short() {
		rounds = 8
	}
	devices := testDevices()
	acked := map[string]int64{}
	client := mqttClient(t, b, "many")
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if round%3 != 0 { // every third is killed wherever it is, also while it starts
			bufio.NewScanner(out).Scan()
		}
		stop := time.Now().Add(time.Duration(r.IntN(250)) * time.Millisecond)
		for first := true; first || time.Now().Before(stop); first = false {
			name := devices[r.IntN(len(devices))]
			wait(t, client.Publish(contract.DeviceTopic("smokes", name, contract.ChannelSignal), 1, false, `{"smoke":true}`))
			acked[name]++ // PUBACK
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	last := exec.Command(os.Args[0])
	last.Env = append(os.Environ(), childEnv+"="+string(raw))
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = last.Process.Kill(); _ = last.Wait() }()
	var total int64
	for _, n := range acked {
		total += n
	}
	eventually(t, "everything acknowledged is worked off", func() bool {
		return number(t, pool, "SELECT coalesce(sum(signals), 0) FROM grid.cases") >= total
	})
	for name, n := range acked {
		if got := number(t, pool, "SELECT coalesce(sum(signals), 0) FROM grid.cases WHERE device = $1", name); got != n {
			t.Errorf("%s: %d signals in cases, %d acknowledged", name, got, n)
		}
	}
	cases := number(t, pool, "SELECT count(*) FROM grid.cases")
	if cases != int64(len(acked)) {
		t.Errorf("%d cases for %d devices", cases, len(acked))
	}
	if n := number(t, pool, "SELECT count(*) FROM grid.dispatch_outbox"); n != cases {
		t.Errorf("%d messages for %d cases", n, cases)
	}
	t.Logf("%d kills, %d acknowledged messages, %d cases", rounds, total, cases)
}
