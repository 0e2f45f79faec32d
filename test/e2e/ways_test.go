//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/e2e/story"
)

const waysSpace = "ways"

// ways is a platform with devices that do not connect to it themselves.
type ways struct{ hand }

// TestWaysIn: a gateway speaks for door sensors, a carrier's cloud posts what a detector sent through it, and a detector at an edge node is
// heard through that. Each opens its case, once; and none of them may do more. The fire brigade hears of its two over MQTT, and acknowledges them.
func TestWaysIn(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	w := ways{hand{t, local(t), t.TempDir()}}
	file := filepath.Join(w.Root, "test", "e2e", "testdata", "ways.yaml")
	w.kubectl(ctx, "apply", "-f", file)
	t.Cleanup(func() {
		w.kubectl(context.WithoutCancel(ctx), "delete", "--ignore-not-found", "edgenode,devicefleet,scenario,community", "--all", "-n", waysSpace)
		w.kubectl(context.WithoutCancel(ctx), "delete", "--ignore-not-found", "namespace", waysSpace)
	})
	w.kubectl(ctx, "wait", "--timeout=180s", "--for=condition=Ready", "-n", waysSpace, "gridplatform,devicefleet,organization", "--all")
	for fleet, more := range map[string][]string{"gateways": {"--device", "gw-1"}, "nb-smoke": {"--platform-client"}, "at-edge": {"--device", "e-1"}} {
		w.run(ctx, w.Dizuo, append([]string{"fleet", "enroll", "--secret", waysSpace + "/" + fleet + "-ca", "--fleet", fleet, "--platform", waysSpace, "--out", filepath.Join(w.dir, fleet)}, more...)...)
	}
	w.secret(ctx, "gateways-connection", "ca.crt", "broker-ca.crt")

	cases := w.brigade(ctx)
	w.gateway(ctx)
	w.cloud(ctx)
	w.edge(ctx)
	// Nobody holds a post there, so what does not go to the fire brigade is filed and waits for somebody to be sent.
	w.stored(ctx, "a case of each", "SELECT string_agg(fleet || '.' || device || ' ' || state || ' ' || signals, ', ' ORDER BY fleet, device) FROM grid.cases",
		"at-edge.e-1 Dispatched 1, doors.door-1 Filed 1, nb-smoke.861234567890123 Dispatched 1")
	w.eventually("a message of each of its cases", func() error {
		if n := cases(); n != 2 {
			return fmt.Errorf("messages of %d cases, want 2", n)
		}
		return nil
	})
	w.stored(ctx, "every message acknowledged", "SELECT organization, method, bool_and(delivered_at IS NOT NULL), count(*) FROM grid.dispatch_outbox GROUP BY 1, 2", "brigade|MQTT|t|2")
}

// stored waits until the platform's database answers a query as wanted.
func (w ways) stored(ctx context.Context, what, query, want string) {
	w.Helper()
	w.eventually(what, func() error {
		out := w.kubectl(ctx, "exec", "-n", waysSpace, "dizuo-postgres-0", "--", "psql", "-X", "-At", "-U", "dizuo", "-d", "dizuo", "-c", query)
		if strings.TrimSpace(out) != want {
			return fmt.Errorf("%s, want %s", out, want)
		}
		return nil
	})
}

// brigade takes the fire brigade's cases over MQTT, acknowledges every message, and gives of how many cases there were some.
func (w ways) brigade(ctx context.Context) (cases func() int) {
	w.Helper()
	pair, err := tls.X509KeyPair(w.secretValue(ctx, waysSpace, "brigade-desk-tls", "tls.crt"), w.secretValue(ctx, waysSpace, "brigade-desk-tls", "tls.key"))
	w.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.secretValue(ctx, waysSpace, "brigade-desk-tls", "ca.crt"))
	broker, err := story.OpenForward(ctx, w.Kubectl, waysSpace, "dizuo-broker", "8883")
	w.must(err)
	w.Cleanup(broker.Close)
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://localhost:" + broker.Port).SetClientID(contract.OrganizationClientID("brigade", "desk")).
		SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}).SetConnectTimeout(20 * time.Second))
	sure := func(token mqtt.Token) mqtt.Token {
		w.Helper()
		if !token.WaitTimeout(20 * time.Second) {
			w.Fatal("the broker does not answer the fire brigade")
		}
		return token
	}
	w.must(sure(client.Connect()).Error())
	w.Cleanup(func() { client.Disconnect(250) })
	devices := contract.DeviceTopic("+", "+", contract.ChannelSignal)
	if code := sure(client.Subscribe(devices, 0, nil)).(*mqtt.SubscribeToken).Result()[devices]; code != 0x80 {
		w.Errorf("an organisation may listen to devices: %#x", code)
	}
	var mu sync.Mutex
	heard := map[string]bool{}
	w.must(sure(client.Subscribe("dizuo/v1/o/brigade/cases", 0, func(_ mqtt.Client, m mqtt.Message) {
		var event struct{ ID, Type, Subject string }
		if err := json.Unmarshal(m.Payload(), &event); err != nil || event.Type != "io.dizuo.case.dispatched.v1" {
			w.Errorf("message %s: %v", m.Payload(), err)
		}
		mu.Lock()
		heard[event.Subject] = true
		mu.Unlock()
		client.Publish("dizuo/v1/o/brigade/acks", 1, false, fmt.Sprintf(`{"id":%q}`, event.ID)) // the database tells whether it came
	})).Error())
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(heard)
	}
}

// gateway speaks for a door, and tries to speak for a device that is not behind it.
func (w ways) gateway(ctx context.Context) {
	w.Helper()
	broker, err := story.OpenForward(ctx, w.Kubectl, waysSpace, "dizuo-broker", "8883")
	w.must(err)
	defer broker.Close()
	for _, topic := range []string{contract.DeviceTopic("doors", "door-1", contract.ChannelSignal), contract.DeviceTopic("at-edge", "e-1", contract.ChannelSignal)} {
		w.run(ctx, "mosquitto_pub", w.device(broker.Port, "gateways", "gw-1", "broker-ca.crt", topic, `{"event":"opened","smoke":true}`)...)
	}
	if out, err := exec.CommandContext(ctx, "mosquitto_pub", w.device(broker.Port, "at-edge", "e-1", "broker-ca.crt", contract.DeviceTopic("at-edge", "e-1", contract.ChannelSignal), `{"smoke":true}`)...).CombinedOutput(); err == nil {
		w.Errorf("the centre lets in a device of an edge node: %s", out)
	}
}

// cloud posts what a carrier pushes, the same thing twice, and tries another fleet.
func (w ways) cloud(ctx context.Context) {
	w.Helper()
	door, err := story.OpenForward(ctx, w.Kubectl, waysSpace, "dizuo-clouds", "8445")
	w.must(err)
	defer door.Close()
	dir := filepath.Join(w.dir, "nb-smoke", contract.PlatformDevice)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	w.must(err)
	ca, err := os.ReadFile(filepath.Join(w.dir, "broker-ca.crt"))
	w.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{cert}}}}
	body := fmt.Sprintf(`{"messageType":"dataReport","IMEI":"861234567890123","upDataSN":77,"timestamp":%d,"payload":{"APPdata":"AQ=="}}`, time.Now().UnixMilli())
	post := func(fleet string) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, door.URL()+"/v1/fleets/"+fleet+"/messages", strings.NewReader(body))
		w.must(err)
		req.Header.Set("Idempotency-Key", "push-77")
		resp, err := client.Do(req)
		w.must(err)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, tc := range []struct {
		fleet string
		want  int
	}{{"nb-smoke", http.StatusAccepted}, {"nb-smoke", http.StatusAccepted}, {"at-edge", http.StatusForbidden}, {"nothing", http.StatusForbidden}} {
		if got := post(tc.fleet); got != tc.want {
			w.Errorf("post for %s: %d, want %d", tc.fleet, got, tc.want)
		}
	}
}

// edge takes a machine in, as its guide says, and lets a detector speak to it.
func (w ways) edge(ctx context.Context) {
	w.Helper()
	hub, err := story.OpenForward(ctx, w.Kubectl, waysSpace, "dizuo-edge", "7422")
	w.must(err)
	w.Cleanup(hub.Close)
	w.eventually("the node's token", func() error {
		return exec.CommandContext(ctx, w.Kubectl, "get", "secret", "-n", waysSpace, "box-enrolment").Run()
	})
	w.secret(ctx, "box-enrolment", "token", "token")
	w.secret(ctx, "box-enrolment", "ca.crt", "hub-ca.crt")
	w.secret(ctx, "at-edge-connection", "ca.crt", "edge-ca.crt")
	port, health := free(w.T), fmt.Sprintf("127.0.0.1:%d", free(w.T))
	config, err := json.Marshal(contract.EdgeConfig{Platform: waysSpace + "/" + waysSpace, Edge: "box", Hub: "wss://localhost:" + hub.Port, HubCAFile: filepath.Join(w.dir, "hub-ca.crt"),
		TokenFile: filepath.Join(w.dir, "token"), StateDir: filepath.Join(w.dir, "state"), StorageBytes: 64 << 20, Host: "127.0.0.1", MQTTPort: port, Hostnames: []string{"127.0.0.1"}, HealthAddress: health})
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.dir, "edge.yaml"), config, 0o600))
	binary := filepath.Join(w.Root, "bin", "edge")
	key := strings.TrimSpace(w.run(ctx, binary, "key", "--config", filepath.Join(w.dir, "edge.yaml")))
	var log bytes.Buffer
	node := exec.CommandContext(ctx, binary, "run", "--config", filepath.Join(w.dir, "edge.yaml"))
	node.Stderr = &log
	w.must(node.Start())
	w.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
		if w.Failed() {
			w.Logf("edge node:\n%s", log.String())
		}
	})
	w.kubectl(ctx, "patch", "edgenode", "-n", waysSpace, "box", "--type", "merge", "-p", `{"spec":{"keyFingerprint":"`+key+`"}}`)
	w.kubectl(ctx, "wait", "--timeout=90s", "--for=condition=Connected", "-n", waysSpace, "edgenode/box")
	w.eventually("the node to have its bundle", func() error {
		resp, err := http.Get("http://" + health + "/readyz") //nolint:noctx // a test
		if err != nil {
			return err
		}
		defer resp.Body.Close() //nolint:errcheck // a test
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
	w.run(ctx, "mosquitto_pub", w.device(fmt.Sprint(port), "at-edge", "e-1", "edge-ca.crt", contract.DeviceTopic("at-edge", "e-1", contract.ChannelSignal), `{"smoke":true}`)...)
}

// device gives the arguments of mosquitto_pub with which a device publishes at QoS 1.
func (w ways) device(port, fleet, device, ca, topic, payload string) []string {
	dir := filepath.Join(w.dir, fleet, device)
	host := "localhost"
	if ca == "edge-ca.crt" {
		host = "127.0.0.1"
	}
	return []string{"-h", host, "-p", port, "-V", "mqttv311", "--cafile", filepath.Join(w.dir, ca), "--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key"),
		"-i", contract.ClientID(fleet, device), "-q", "1", "-t", topic, "-m", payload}
}

// secret writes a value of a Secret to a file.
func (w ways) secret(ctx context.Context, name, key, file string) {
	w.Helper()
	w.must(os.WriteFile(filepath.Join(w.dir, file), w.secretValue(ctx, waysSpace, name, key), 0o600))
}

// free gives a port of the loopback interface that nobody listens on.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	return l.Addr().(*net.TCPAddr).Port
}
