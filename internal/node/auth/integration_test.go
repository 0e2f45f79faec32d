package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestDevicesComeInAndArriveInTheIngestLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	bound := w.x509("smoke", "s3")
	bound.clientID = "IMEI-866123"
	for name, tc := range map[string]struct {
		device device
		fleet  string
		id     string
	}{
		"certificate":                   {w.x509("smoke", "s1"), "smoke", "s1"},
		"certificate, bound client id":  {bound, "smoke", "s3"},
		"generated password":            {withPassword("door", "d1", door1), "door", "d1"},
		"chosen password":               {withPassword("door", "d2", door2), "door", "d2"},
		"certificate of a second fleet": {w.x509("other", "o1"), "other", "o1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.connect(tc.device)
			for _, c := range contract.UpChannels() {
				payload := fmt.Sprintf(`{"n":%q}`, name+string(c))
				if err := s.publish(contract.DeviceTopic(tc.fleet, tc.id, c), payload, 7); err != nil {
					t.Fatal(err)
				}
				if got := w.stored(contract.DeviceSubject(tc.fleet, tc.id, c)); got != payload {
					t.Errorf("%s: the ingest log holds %q, want %q", c, got, payload)
				}
			}
			for _, c := range contract.DownChannels() {
				if code, err := s.subscribe(contract.DeviceTopic(tc.fleet, tc.id, c), 0, 9); err != nil || code != 0 {
					t.Errorf("subscribe %s: code %x, %v", c, code, err)
				}
			}
		})
	}
}

// TestSubscriptionsAreBounded: a connection holds as many subscriptions as its fleet allows, counted by the broker itself. A limit in the
// user JWT does not do it: the server drops it.
func TestSubscriptionsAreBounded(t *testing.T) {
	w := newWorld(t)
	smoke := w.creds["smoke"]
	smoke.Limits.Subscriptions = 1
	w.creds["smoke"] = smoke
	w.start()
	for _, tc := range []struct {
		device    device
		fleet, id string
		want      map[string]byte
	}{
		{w.x509("smoke", "s1"), "smoke", "s1", map[string]byte{"cmd": 0, "desired": 0x80, "+": 0x80, "#": 0x80, "state": 0x80}},
		{w.x509("other", "o1"), "other", "o1", map[string]byte{"cmd": 0, "desired": 0, "+": 0x80, "#": 0x80, "state": 0x80}},
	} {
		s := w.connect(tc.device)
		for n, channel := range []string{"cmd", "desired", "cmd", "+", "#", "state"} {
			code, err := s.subscribe("dizuo/v1/d/"+tc.fleet+"/"+tc.id+"/"+channel, 0, uint16(n+1))
			if err != nil || code != tc.want[channel] {
				t.Errorf("%s.%s subscribes to %s: code %x, %v; want %x", tc.fleet, tc.id, channel, code, err, tc.want[channel])
			}
		}
	}
}

func TestStockClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	if out, err := w.mosquitto("mosquitto_pub", w.x509("smoke", "s1"), "-q", "1", "-t", contract.DeviceTopic("smoke", "s1", contract.ChannelSignal), "-m", `{"smoke":true}`); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
	if got := w.stored(contract.DeviceSubject("smoke", "s1", contract.ChannelSignal)); got != `{"smoke":true}` {
		t.Errorf("the ingest log holds %q", got)
	}
	if out, err := w.mosquitto("mosquitto_pub", withPassword("door", "d1", "wrong"), "-q", "1", "-t", "x", "-m", "x"); err == nil {
		t.Errorf("a wrong password was taken: %s", out)
	}

	// A command from the grid service reaches a paho client.
	got := make(chan string, 1)
	d := withPassword("door", "d1", door1)
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://" + w.broker.MQTTAddress()).SetClientID(d.clientID).
		SetUsername(d.username).SetPassword(d.password).SetTLSConfig(w.tls(d)).SetAutoReconnect(false))
	if token := client.Connect(); !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("paho: %v", token.Error())
	}
	t.Cleanup(func() { client.Disconnect(0) })
	token := client.Subscribe(contract.DeviceTopic("door", "d1", contract.ChannelCommand), 0, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
	if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("paho subscribe: %v", token.Error())
	}
	if err := w.user(contract.UserGrid).Publish(contract.DeviceSubject("door", "d1", contract.ChannelCommand), []byte(`{"open":true}`)); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-got:
		if m != `{"open":true}` {
			t.Errorf("command %q", m)
		}
	case <-time.After(20 * time.Second):
		t.Error("the command did not arrive")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	both := w.x509("smoke", "s1")
	both.username, both.password = "door.d1", door1
	stolen := w.x509("smoke", "s2")
	stolen.clientID = contract.ClientID("smoke", "s1")
	crossed := withPassword("door", "d1", door1)
	crossed.clientID = contract.ClientID("smoke", "s1")
	unbound := w.x509("smoke", "s3") // its row binds another client id
	roleName := device{clientID: "x", username: contract.RoleURI(platform, contract.UserGrid)}
	for name, d := range map[string]device{
		"wrong password":                         withPassword("door", "d1", door1+"x"),
		"empty password":                         withPassword("door", "d1", ""),
		"wrong chosen password":                  withPassword("door", "d2", door1),
		"no credential":                          {clientID: "smoke_s1"},
		"no client id":                           {username: "door.d1", password: door1},
		"certificate of another fleet's CA":      w.x509By(w.cas["other"], "smoke", "s1"),
		"certificate of the platform's CA":       w.x509By(w.ca, "smoke", "s1"),
		"device without a row":                   w.x509("smoke", "s9"),
		"unknown fleet":                          w.x509By(w.cas["smoke"], "nosuch", "s1"),
		"password for a certificate fleet":       withPassword("smoke", "s1", ""),
		"certificate and another username":       both,
		"client id of another device":            stolen,
		"client id of another fleet":             crossed,
		"client id by name where one is bound":   unbound,
		"name of a role without its certificate": roleName,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := w.dial(w.broker.MQTTAddress(), d)
			if err == nil {
				_ = s.conn.Close()
				t.Fatal("let in")
			}
			t.Log(err)
		})
	}
}

func TestClientIDOfAnotherDeviceDoesNotCutOffItsHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	holder := w.connect(w.x509("smoke", "s1"))
	thief := w.x509("smoke", "s2")
	thief.clientID = contract.ClientID("smoke", "s1")
	for range 3 {
		if _, err := w.dial(w.broker.MQTTAddress(), thief); !errors.As(err, new(errRefused)) {
			t.Fatalf("thief: %v, want a refusal", err)
		}
	}
	if err := holder.alive(); err != nil {
		t.Errorf("the holder was cut off: %v", err)
	}
	// The device itself does replace its own older connection: that is MQTT.
	w.connect(w.x509("smoke", "s1"))
	await(t, "the older connection to be replaced", func() error {
		if holder.alive() == nil {
			return errors.New("it lives")
		}
		return nil
	})
}

func TestPublishAsAnotherIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	s := w.connect(w.x509("smoke", "s1"))
	for i, topic := range []string{
		contract.DeviceTopic("smoke", "s2", contract.ChannelSignal),
		contract.DeviceTopic("other", "o1", contract.ChannelSignal),
		contract.DeviceTopic("smoke", "s1", contract.ChannelCommand),
		"dizuo/v1/c/jinghu/smoke/s1/signal",
		"$MQTT/msgs/dizuo/v1/d/smoke/s2/signal",
		"$KV/" + contract.LeaseBucket + "/center",
	} {
		if err := s.publish(topic, "forged", uint16(i+1)); err != nil {
			t.Fatalf("%s: %v; MQTT 3.1.1 wants a PUBACK", topic, err)
		}
		if got := w.stored(strings.ReplaceAll(topic, "/", ".")); got != "" {
			t.Errorf("%s: %q is in the ingest log", topic, got)
		}
	}
	if err := s.publish(contract.DeviceTopic("smoke", "s1", contract.ChannelSignal), "honest", 99); err != nil {
		t.Fatal(err)
	}
	want := float64(6)
	await(t, "violations to be counted", func() error {
		got := metric(t, w, "dizuo_broker_violations_total", map[string]string{"fleet": "smoke", "kind": "publish"})
		if got != want {
			return fmt.Errorf("%v violations, want %v", got, want)
		}
		return nil
	})
}

func metric(t *testing.T, w *world, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func TestSubscribeElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	s := w.connect(w.x509("smoke", "s1"))
	for i, topic := range []string{"#", "+/+/+/+/+/+", "dizuo/v1/d/smoke/+/cmd", "dizuo/v1/d/smoke/s1/+", "dizuo/v1/d/smoke/s1/#",
		contract.DeviceTopic("smoke", "s2", contract.ChannelCommand), contract.DeviceTopic("smoke", "s1", contract.ChannelSignal),
		"$MQTT/msgs/#", "$SYS/#", "$JS/#", "$KV/#", "_INBOX_grid/#"} {
		code, err := s.subscribe(topic, 0, uint16(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if code != 0x80 {
			t.Errorf("%s: SUBACK %x, want 80", topic, code)
		}
	}
	// QoS 1 would be a JetStream consumer.
	if code, err := s.subscribe(contract.DeviceTopic("smoke", "s1", contract.ChannelCommand), 1, 50); err != nil || code != 0x80 {
		t.Errorf("QoS 1: SUBACK %x, %v, want 80", code, err)
	}
	await(t, "no consumer to be left", func() error {
		stream, err := w.broker.JetStream().Stream(context.Background(), contract.IngestStream)
		if err != nil {
			return err
		}
		if n := stream.CachedInfo().State.Consumers; n != 0 {
			return fmt.Errorf("%d consumers on the ingest log", n)
		}
		return nil
	})
	if code, err := s.subscribe(contract.DeviceTopic("smoke", "s1", contract.ChannelCommand), 0, 51); err != nil || code != 0 {
		t.Errorf("own commands at QoS 0: SUBACK %x, %v", code, err)
	}
}

func TestRevocationCutsAndRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	gone, stays := w.connect(w.x509("smoke", "s1")), w.connect(w.x509("smoke", "s2"))
	delete(w.creds["smoke"].Devices, "s1")
	took := w.publish()
	// publish has waited for auth's acknowledgement, so the cut is over, not under way.
	if err := gone.alive(); err == nil {
		t.Error("the revoked device is still connected after the acknowledgement")
	}
	if err := stays.alive(); err != nil {
		t.Errorf("a device that was not revoked was cut: %v", err)
	}
	if _, err := w.dial(w.broker.MQTTAddress(), w.x509("smoke", "s1")); !errors.As(err, new(errRefused)) {
		t.Errorf("the revoked device comes back: %v", err)
	}
	t.Logf("from bundle to acknowledgement: %s", took)

	await(t, "the refusal in auth's report", func() error {
		r, err := w.report(contract.RoleAuth)
		if err != nil {
			return err
		}
		if r.Fleets["smoke"].Rejected == 0 {
			return fmt.Errorf("fleets %+v", r.Fleets)
		}
		return nil
	}, w.nudge)
}

// nudge publishes the same credentials again, which makes auth report.
func (w *world) nudge() { w.in.Set(w.bundle()) }

func (w *world) report(role contract.Role) (contract.Report, error) {
	var r contract.Report
	kv, err := w.broker.JetStream().KeyValue(context.Background(), contract.ReportBucket)
	if err != nil {
		return r, err
	}
	keys, err := kv.Keys(context.Background())
	if err != nil {
		return r, err
	}
	for _, k := range keys {
		if strings.HasPrefix(k, string(role)+".") {
			entry, err := kv.Get(context.Background(), k)
			if err != nil {
				return r, err
			}
			return r, json.Unmarshal(entry.Value(), &r)
		}
	}
	return r, fmt.Errorf("no report of %s", role)
}

func TestChangesThatCut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*world)
		cut    bool
	}{
		"nothing":              {func(*world) {}, false},
		"another device added": {func(w *world) { w.creds["smoke"].Devices["s7"] = contract.Credential{} }, false},
		"issuer added": {func(w *world) {
			c := w.creds["smoke"]
			c.Issuers = append([]string{newCA(w.t, "next").pem}, c.Issuers...)
			w.creds["smoke"] = c
		}, false},
		"issuer replaced": {func(w *world) {
			c := w.creds["smoke"]
			c.Issuers = []string{newCA(w.t, "next").pem}
			w.creds["smoke"] = c
		}, true},
		"client id bound": {func(w *world) { w.creds["smoke"].Devices["s1"] = contract.Credential{ClientID: "new"} }, true},
		"fleet removed":   {func(w *world) { delete(w.creds, "smoke") }, true},
		"method changed": {func(w *world) {
			c := w.creds["smoke"]
			c.Method = "Password"
			w.creds["smoke"] = c
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).start()
			s := w.connect(w.x509("smoke", "s1"))
			tc.change(w)
			w.publish()
			if err := s.alive(); (err != nil) != tc.cut {
				t.Errorf("alive: %v, want cut %v", err, tc.cut)
			}
		})
	}
}

func TestExpiredLeaseAdmitsNobodyNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	s := w.connect(w.x509("smoke", "s1"))
	b := w.bundle()
	b.Lease.ExpiresAt = time.Now().Add(-time.Second)
	w.in.Set(b)
	if _, err := w.dial(w.broker.MQTTAddress(), w.x509("smoke", "s2")); !errors.As(err, new(errRefused)) {
		t.Errorf("admitted after the lease: %v", err)
	}
	if err := s.alive(); err != nil {
		t.Errorf("a connection was cut because the lease ran out: %v", err)
	}
	w.publish()
	w.connect(w.x509("smoke", "s2"))
}

func TestNewIssuerNeedsNoRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	next := newCA(t, "next")
	if _, err := w.dial(w.broker.MQTTAddress(), w.x509By(next, "smoke", "s1")); err == nil {
		t.Fatal("an unknown CA was taken")
	}
	c := w.creds["smoke"]
	c.Issuers = append(c.Issuers, next.pem)
	w.creds["smoke"] = c
	w.publish()
	w.connect(w.x509By(next, "smoke", "s1"))
}

// TestCloudOnTheBroker: a carrier's cloud has its fleet's topics and nothing of its devices, of another fleet's or of the broker's.
func TestCloudOnTheBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hash := w.creds["door"].Devices["d1"].PasswordHash
	for _, fleet := range []string{"meter", "lamp"} {
		w.creds[fleet] = contract.Credentials{Method: "Password", AccessMode: contract.AccessPlatform, PlatformHash: hash, Devices: map[string]contract.Credential{"m1": {PasswordHash: hash}}}
	}
	w.start()
	if _, err := w.dial(w.broker.MQTTAddress(), withPassword("meter", "m1", door1)); !errors.As(err, new(errRefused)) {
		t.Errorf("a device of a cloud is let in: %v", err)
	}
	s := w.connect(withPassword("meter", contract.PlatformDevice, door1))
	for n, topic := range []string{"dizuo/v1/p/meter/up", "dizuo/v1/p/lamp/up", "dizuo/v1/p/meter/down", "dizuo/v1/d/meter/m1/signal", "dizuo/v1/d/meter/_platform/signal", "dizuo/v1/p/meter"} {
		if err := s.publish(topic, topic, uint16(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	for topic, want := range map[string]byte{"dizuo/v1/p/meter/down": 0, "dizuo/v1/p/lamp/down": 0x80, "dizuo/v1/p/meter/up": 0x80, "dizuo/v1/p/+/down": 0x80,
		"dizuo/v1/p/meter/#": 0x80, "dizuo/v1/d/meter/m1/cmd": 0x80} {
		if got, err := s.subscribe(topic, 0, 99); got != want || err != nil {
			t.Errorf("%s: SUBACK %x, %v; want %x", topic, got, err, want)
		}
	}
	log := (&stage{crowd: &crowd{world: w}, t: t}).ingestLog()
	if len(log) != 1 || len(log["dizuo/v1/p/meter/up"]) != 1 {
		t.Errorf("the ingest log holds %v", log)
	}
}

// TestGatewayOnTheBroker: a gateway that gets a sensor more connects anew and may then speak for it; nobody else is disturbed.
func TestGatewayOnTheBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.creds["sensor"] = contract.Credentials{Method: "X509", AccessMode: "Gateway", Devices: map[string]contract.Credential{"a": {Via: "smoke.s1"}}}
	w.start()
	s1, s2, other := w.connect(w.x509("smoke", "s1")), w.connect(w.x509("smoke", "s2")), w.connect(w.x509("other", "o1"))
	for n, topic := range []string{"dizuo/v1/d/sensor/a/signal", "dizuo/v1/d/sensor/b/signal"} {
		if err := s1.publish(topic, "1", uint16(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	if w.stored("dizuo.v1.d.sensor.a.signal") == "" || w.stored("dizuo.v1.d.sensor.b.signal") != "" {
		t.Error("a gateway speaks for its own sensors, and for no others")
	}
	w.creds["sensor"].Devices["b"] = contract.Credential{Via: "smoke.s1"}
	w.publish()
	if s1.alive() == nil {
		t.Error("the gateway keeps a connection that cannot speak for its new sensor")
	}
	if err := errors.Join(s2.alive(), other.alive()); err != nil {
		t.Errorf("somebody else was disturbed: %v", err)
	}
	var again *session
	await(t, "the gateway to come back", func() (err error) {
		again, err = w.dial(w.broker.MQTTAddress(), w.x509("smoke", "s1"))
		return err
	})
	defer again.conn.Close() //nolint:errcheck // a test
	if err := again.publish("dizuo/v1/d/sensor/b/signal", "2", 1); err != nil || w.stored("dizuo.v1.d.sensor.b.signal") != "2" {
		t.Errorf("it does not speak for its new sensor: %v", err)
	}
}
