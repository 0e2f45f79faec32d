package edge

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

func deviceName(n int) string { return fmt.Sprintf("d%03d", n) }

// ledger holds what each device sent and what became of it. A device numbers its messages and never sends a number twice, so that all
// that comes twice was made two on the way.
type ledger struct {
	mu      sync.Mutex
	devices map[string]*account
	acked   int
	arrived int
}

// account is the part of one device.
type account struct {
	sent int
	// acked are the numbers that a PUBACK came for. The others may have been stored or not.
	acked []int
	// arrived are the numbers in the order in which the hub committed them.
	arrived []int
}

func newLedger(devices int) *ledger {
	l := &ledger{devices: map[string]*account{}}
	for n := range devices {
		l.devices[deviceName(n)] = &account{}
	}
	return l
}

func (l *ledger) next(device string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.devices[device].sent++
	return l.devices[device].sent
}

func (l *ledger) ack(device string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.devices[device].acked = append(l.devices[device].acked, n)
	l.acked++
}

func (l *ledger) arrive(device string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.devices[device] == nil {
		return // the detector
	}
	l.devices[device].arrived = append(l.devices[device].arrived, n)
	l.arrived++
}

func (l *ledger) counts() (acked, arrived int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.arrived
}

// check holds what arrived against what was acknowledged, of which so many may be missing, and gives how many of these were counted.
func (l *ledger) check(t *testing.T, missing int) (counted int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, a := range l.devices {
		there := map[int]bool{}
		for i, n := range a.arrived {
			if i > 0 && n <= a.arrived[i-1] {
				t.Errorf("%s: message %d came after %d: twice, or out of order", name, n, a.arrived[i-1])
			}
			if n < 1 || n > a.sent {
				t.Errorf("%s: message %d came, which was never sent", name, n)
			}
			there[n] = true
		}
		lost := slices.DeleteFunc(slices.Clone(a.acked), func(n int) bool { return there[n] })
		if missing -= len(lost); missing < 0 {
			t.Errorf("%s: %d messages were acknowledged and never came: %v", name, len(lost), lost)
		}
		counted += len(a.acked) - len(lost)
	}
	return counted
}

// load is devices that publish.
type load struct {
	ledger *ledger
	// address of the node, roots of its certificate.
	address string
	roots   *x509.CertPool
	// every is how often each device publishes.
	every time.Duration

	quit chan struct{}
	work sync.WaitGroup
}

// start lets the devices begin, spread over the interval.
func (l *load) start() {
	l.quit = make(chan struct{})
	n := 0
	for name := range l.ledger.devices {
		after := l.every * time.Duration(n) / time.Duration(len(l.ledger.devices))
		n++
		l.work.Go(func() {
			if l.pause(after) {
				l.live(name)
			}
		})
	}
}

func (l *load) stop() {
	close(l.quit)
	l.work.Wait()
}

// pause waits and says whether to go on.
func (l *load) pause(d time.Duration) bool {
	select {
	case <-l.quit:
		return false
	case <-time.After(d):
		return true
	}
}

// live is the life of a device: it connects, publishes at its pace, each message once the one before is acknowledged, and connects anew.
func (l *load) live(name string) {
	for {
		if client, err := l.connect(name); err == nil {
			l.publish(name, client)
			client.Disconnect(0)
		}
		if !l.pause(100 * time.Millisecond) {
			return
		}
	}
}

func (l *load) connect(name string) (mqtt.Client, error) {
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://" + l.address).SetClientID(contract.ClientID(fleet, name)).
		SetUsername(contract.DeviceID(fleet, name)).SetPassword(secret).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second).
		SetTLSConfig(&tls.Config{RootCAs: l.roots, MinVersion: tls.VersionTLS12}))
	token := client.Connect()
	if !token.WaitTimeout(10 * time.Second) {
		return nil, errors.New("no answer")
	}
	return client, token.Error()
}

// leak lets the detector speak and gives how long it took from then until the valve heard a command, how many messages the two sent, and the
// command's id.
func (l *load) leak(t *testing.T) (took time.Duration, sent int, id string) {
	t.Helper()
	v, err := l.connect(valve)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Disconnect(100)
	heard := make(chan command.Message, 16)
	if token := v.Subscribe(contract.DeviceTopic(fleet, valve, contract.ChannelCommand), 0, func(_ mqtt.Client, m mqtt.Message) {
		var is command.Message
		if json.Unmarshal(m.Payload(), &is) == nil {
			heard <- is
		}
	}); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	d, err := l.connect(detector)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Disconnect(100)
	say := func(c mqtt.Client, topic, payload string) {
		t.Helper()
		if token := c.Publish(topic, 1, false, payload); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatal(token.Error())
		}
		sent++
	}
	began := time.Now()
	say(d, contract.DeviceTopic(fleet, detector, contract.ChannelSignal), `{"leak":true}`)
	select {
	case is := <-heard:
		took = time.Since(began)
		say(v, contract.DeviceTopic(fleet, valve, contract.ChannelAck), fmt.Sprintf(`{"id":%q,"result":"Done"}`, is.ID))
		return took, sent, is.ID.String()
	case <-time.After(20 * time.Second):
		t.Fatal("the valve hears nothing though the line is cut")
	}
	return 0, 0, ""
}

// publish goes on until a message is not acknowledged.
func (l *load) publish(name string, client mqtt.Client) {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
		n := l.ledger.next(name)
		token := client.Publish(contract.DeviceTopic(fleet, name, contract.ChannelSignal), 1, false, fmt.Sprintf(`{"n":%d}`, n))
		if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			return
		}
		l.ledger.ack(name, n)
	}
}
