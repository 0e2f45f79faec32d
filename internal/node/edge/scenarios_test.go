package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

// childEnv holds the configuration of an edge node that a test starts and kills.
const childEnv = "DIZUO_EDGE_TEST_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childEnv); raw != "" {
		var c contract.EdgeConfig
		if err := json.Unmarshal([]byte(raw), &c); err != nil {
			panic(err)
		}
		fmt.Println("ready")
		panic(Run(context.Background(), c, quiet()))
	}
	os.Exit(m.Run())
}

// child runs an edge node in a process of its own until kill.
func child(t *testing.T, c contract.EdgeConfig) (kill func()) {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+string(raw)), os.Stderr
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

// home is a detector of gas and a valve in one household, and a scenario that closes the one when the other calls. It also says to open
// the valve further than the profile allows.
func home() []contract.Shard {
	most, least := 90.0, 0.0
	row := contract.Device{Community: "jinghu", Household: "h1"}
	to := contract.ScenarioCommand{Command: "closeValve", At: "Raised", Target: "Household", Profile: "valve"}
	wide := contract.ScenarioCommand{Command: "turn", At: "Raised", Target: "Household", Profile: "valve", Arguments: map[string]any{"degrees": 91.0}}
	fleet := func(name, profile, device string) contract.Shard {
		return shard(contract.ShardFleet+name, "dizuo/fleets/"+name, map[string]any{"fleets": map[string]any{name: contract.Fleet{Profile: profile, AccessMode: "Device", Placement: "Edge",
			Devices: map[string]contract.Device{device: row}}}})
	}
	rules := shard(contract.ShardRules, "dizuo/profiles", map[string]any{
		"profiles": map[string]contract.Profile{
			"gas": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"alarm": {Type: "Boolean"}}},
			"valve": {HeartbeatSeconds: 3600, Commands: map[string]contract.Command{"closeValve": {Senders: []string{"Scenario"}, ExpiresSeconds: 3600},
				"turn": {Senders: []string{"Scenario"}, ExpiresSeconds: 3600, Arguments: map[string]contract.Field{"degrees": {Type: "Number", Min: &least, Max: &most}}}}}},
		"scenarios": map[string]contract.Scenario{"s11": {Profile: "gas", Trigger: contract.Trigger{When: "msg.alarm == true", Clear: "msg.alarm == false"},
			Commands: []contract.ScenarioCommand{wide, to}}},
	})
	rules.Roots = append(rules.Roots, "dizuo/scenarios")
	return []contract.Shard{rules, fleet("gases", "gas", "g1"), fleet("valves", "valve", "v1")}
}

// valve is a device that closes when told, once for each id, and acknowledges if it may.
type valve struct {
	mqtt.Client
	mu   sync.Mutex
	got  []command.Message
	mute bool
}

func (h *hub) valve(c contract.EdgeConfig) *valve {
	h.t.Helper()
	v := &valve{}
	eventually(h.t, "valve is let in", func() (ok bool) {
		var err error
		v.Client, err = h.device(c, "valves.v1")
		return err == nil
	})
	token := v.Subscribe(contract.DeviceTopic("valves", "v1", contract.ChannelCommand), 0, func(client mqtt.Client, m mqtt.Message) {
		var is command.Message
		if err := json.Unmarshal(m.Payload(), &is); err != nil {
			h.t.Error(err)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.got = append(v.got, is)
		if !v.mute {
			client.Publish(contract.DeviceTopic("valves", "v1", contract.ChannelAck), 1, false, fmt.Sprintf(`{"id":%q,"result":"Done"}`, is.ID))
		}
	})
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		h.t.Fatal(token.Error())
	}
	return v
}

func (v *valve) heard() []command.Message {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]command.Message{}, v.got...)
}

func (h *hub) smell(c contract.EdgeConfig, alarm bool) {
	h.t.Helper()
	var d mqtt.Client
	eventually(h.t, "detector is let in", func() (ok bool) {
		var err error
		d, err = h.device(c, "gases.g1")
		return err == nil
	})
	defer d.Disconnect(100)
	token := d.Publish(contract.DeviceTopic("gases", "g1", contract.ChannelSignal), 1, false, fmt.Sprintf(`{"alarm":%t}`, alarm))
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		h.t.Fatal(token.Error())
	}
}

// TestGasAlarmClosesTheValveWithoutTheHub: the line is cut, the lease has ended, the process is killed between the command and the ack, and
// then its file is torn. The valve hears one command, under one id.
func TestGasAlarmClosesTheValveWithoutTheHub(t *testing.T) {
	h := newHub(t)
	h.more = home()
	h.publish("gases.g1", "valves.v1")
	c := h.config()
	stop := h.start(c)
	h.valve(c).Disconnect(0)
	h.smell(c, false) // both were in under the lease
	h.mu.Lock()
	h.lasts = time.Second
	h.mu.Unlock()
	h.publish("gases.g1", "valves.v1")
	ends := time.Now().Add(h.lasts)
	eventually(t, "report of the short lease", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.reports) > 0 && h.reports[len(h.reports)-1].Sequence == h.sequence
	})
	stop()
	eventually(t, "the lease ends", func() bool { return time.Now().After(ends) })
	c.Hub = "wss://127.0.0.1:1"

	kill := child(t, c)
	v := h.valve(c)
	v.mute = true
	h.smell(c, true)
	began := time.Now()
	eventually(t, "the valve is told", func() bool { return len(v.heard()) > 0 })
	t.Logf("from PUBACK to command: %s at most", time.Since(began))
	first := v.heard()[0]
	if first.Command != "closeValve" || !first.ExpiresAt.After(time.Now()) {
		t.Errorf("%+v", first)
	}
	kill()

	kill = child(t, c)
	v = h.valve(c)
	eventually(t, "the valve is told again after the kill", func() bool { return len(v.heard()) > 0 })
	if got := v.heard()[0]; got.ID != first.ID {
		t.Errorf("%s after the kill, want %s", got.ID, first.ID)
	}
	kill()

	file := filepath.Join(c.StateDir, "scenarios.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	stop = h.start(c)
	v = h.valve(c)
	h.smell(c, true) // joins the alarm of before, which the outbox still holds
	h.smell(c, false)
	h.smell(c, true) // another alarm
	eventually(t, "another command", func() bool {
		for _, m := range v.heard() {
			if m.ID != first.ID {
				return true
			}
		}
		return false
	})
	other := map[string]bool{}
	for _, m := range v.heard() {
		if m.Command != "closeValve" {
			t.Errorf("%+v left", m)
		}
		if m.ID != first.ID {
			other[m.ID.String()] = true
		}
	}
	if len(other) != 1 {
		t.Errorf("%d commands of the second alarm, want 1", len(other))
	}
	stop()
}

// TestTheNodeHearsTheModeOfTheHub: a scenario that runs in an emergency only closes the valve once the hub has told of one, and goes on to when the line
// is cut and the process begins anew.
func TestTheNodeHearsTheModeOfTheHub(t *testing.T) {
	h := newHub(t)
	h.more = home()
	scenarios := h.more[0].Data["dizuo"].(map[string]any)["scenarios"].(map[string]contract.Scenario)
	s := scenarios["s11"]
	s.Off, s.Variants = true, map[string]contract.Variant{"Emergency/": {}}
	scenarios["s11"] = s
	h.publish("gases.g1", "valves.v1")
	c := h.config()
	stop := h.start(c)
	v := h.valve(c)
	h.smell(c, true)
	h.smell(c, false)
	h.mu.Lock()
	h.context = &contract.EdgeContext{ModesDigest: "a", Modes: []contract.ModeSwitch{{Mode: contract.ModeEmergency, Since: time.Now().Add(-time.Hour), ExpiresAt: time.Now().Add(time.Hour)}}}
	h.mu.Unlock()
	closes := func(what string) {
		t.Helper()
		was := len(v.heard())
		eventually(t, what, func() bool {
			h.smell(c, false)
			h.smell(c, true)
			return len(v.heard()) > was
		})
	}
	closes("the valve is told in the emergency")
	stop()
	c.Hub = "wss://127.0.0.1:1"
	stop = h.start(c)
	v = h.valve(c)
	closes("the valve is told behind a cut line")
	stop()
}
