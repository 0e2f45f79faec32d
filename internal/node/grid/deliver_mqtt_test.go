package grid

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestACaseIsSentOverMQTTUntilItsAckComes has an organisation that does not answer at first. The real clock of the sender runs fast.
func TestACaseIsSentOverMQTTUntilItsAckComes(t *testing.T) {
	t.Parallel()
	began := time.Now()
	w := newWorldWith(t, func(b *intake.Bundle) {
		o := b.Directory.Organizations["fire-xinxiang"]
		o.Webhook, o.Delivery = nil, contract.DeliveryMQTT
		b.Directory.Organizations["fire-xinxiang"] = o
	}, func(s *service) { s.deliver.now = func() time.Time { return time.Now().Add(20 * time.Since(began)) } })
	desk := mqttClient(t, w.broker, contract.OrganizationClientID("fire-xinxiang", "desk"))
	heard := make(chan event.Event, 100)
	wait(t, desk.Subscribe(contract.OrganizationTopic("fire-xinxiang", contract.OrganizationCases), 0, func(_ mqtt.Client, m mqtt.Message) {
		var e event.Event
		if err := json.Unmarshal(m.Payload(), &e); err != nil {
			t.Errorf("%v in %s", err, m.Payload())
		}
		heard <- e
	}))
	next := func() event.Event {
		t.Helper()
		select {
		case e := <-heard:
			return e
		case <-time.After(30 * time.Second):
			t.Fatal("nothing comes")
		}
		panic("unreachable")
	}
	ack := func(organization, payload string, qos byte) {
		t.Helper()
		wait(t, desk.Publish(contract.OrganizationTopic(organization, contract.OrganizationAcks), qos, false, payload))
	}
	w.send("s1", 1, `{"smoke":true}`)
	first := next()
	var body DispatchedCase
	if err := first.DataAs(&body); err != nil || first.Type() != EventDispatched || body.Device != "smokes.s1" || body.State != Dispatched {
		t.Fatalf("%s %+v, %v", first.Type(), body, err)
	}
	if again := next(); again.ID() != first.ID() {
		t.Fatalf("sent again under id %s, want %s", again.ID(), first.ID())
	}
	mine := `{"id":"` + first.ID() + `"}`
	ack("fire-luoyang", mine, 1)
	for _, wrong := range []string{"", "garbage", `{"id":""}`, `{"id":"018f4bd8-4cb5-7f43-a5f5-b9ad4d5b5b5b"}`, `{"id":"` + first.ID()} {
		ack("fire-xinxiang", wrong, 0)
	}
	sent := number(t, w.pool, "SELECT attempts FROM grid.dispatch_outbox")
	eventually(t, "it is sent again and again", func() bool { return number(t, w.pool, "SELECT attempts FROM grid.dispatch_outbox") > sent+1 })
	if n := number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE delivered_at IS NULL AND method = 'MQTT'"); n != 1 {
		t.Fatal("an ack of another, or none at all, delivered the message")
	}
	ack("fire-xinxiang", mine, 1)
	eventually(t, "delivered", func() bool {
		return number(t, w.pool, "SELECT count(*) FROM grid.dispatch_outbox WHERE delivered_at IS NOT NULL AND last_error = ''") == 1
	})
	attempts := number(t, w.pool, "SELECT attempts FROM grid.dispatch_outbox")
	ack("fire-xinxiang", mine, 0)
	w.send("s2", 1, `{"smoke":true}`)
	for e := next(); e.ID() == first.ID(); e = next() { // what was on its way
	}
	if n := number(t, w.pool, "SELECT attempts FROM grid.dispatch_outbox WHERE delivered_at IS NOT NULL"); n != attempts {
		t.Errorf("%d attempts after the ack", n-attempts)
	}
	if n := w.counted("unregistered") + w.counted("malformed"); n != 0 {
		t.Errorf("%v acks were taken for messages of devices", n)
	}
}
