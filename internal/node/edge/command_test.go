package edge

import (
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestCommandsReachTheirDevice: what the hub says to a device of the node arrives; what is for nobody here, or is no command, goes nowhere.
func TestCommandsReachTheirDevice(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.publish("d1", "d2")
	c := h.config()
	h.start(c)
	var d1 mqtt.Client
	eventually(t, "device is let in", func() bool {
		var err error
		d1, err = h.device(c, "d1")
		return err == nil
	})
	got := make(chan string, 16)
	token := d1.Subscribe(contract.DeviceTopic("smokes", "d1", contract.ChannelCommand), 0, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) })
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	push := func(subject, text string) {
		t.Helper()
		err := h.nc.PublishMsg(&nats.Msg{Subject: contract.EdgeSubject(testEdge, contract.EdgeCommand), Data: []byte(text),
			Header: nats.Header{contract.EdgeSubjectHeader: {subject}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	own := contract.DeviceSubject("smokes", "d1", contract.ChannelCommand)
	eventually(t, "the node listens", func() bool {
		push(own, "first")
		select {
		case text := <-got:
			return text == "first"
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	for _, subject := range []string{"", contract.DeviceSubject("smokes", "stranger", contract.ChannelCommand), contract.DeviceSubject("smokes", "d1", contract.ChannelSignal),
		"dizuo.v1.d.smokes.*.cmd", "dizuo.v1.d.>", contract.IngestPrefix + own, "$SYS.REQ.SERVER.PING"} {
		push(subject, "wrong "+subject)
	}
	push(own, "last")
	for text := range got {
		if text == "last" {
			break
		}
		if text != "first" {
			t.Errorf("arrived: %s", text)
		}
	}
}
