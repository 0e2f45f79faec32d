package ingest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// qosHeader is how the NATS server marks what came over MQTT, and by which QoS.
const qosHeader = "Nmqtt-Pub"

// storeTimeout bounds one attempt. EMQX waits for a call longer than that; see render.
const storeTimeout = 5 * time.Second

// message is what a device or a cloud published.
type message struct {
	topic   string
	qos     byte
	payload []byte
	// id is the same for the same message sent again within a minute or two, and for no other.
	id string
}

// log writes to the platform's ingest log.
type log struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// store puts a message where NATS would have put it, had the device published there: QoS 1 into the ingest log, where it is when
// store returns nil; QoS 0 to who listens now. A topic that no device can have is an error that no second attempt mends; see
// permanent.
func (l log) store(ctx context.Context, m message) error {
	subject, err := subjectOf(m.topic)
	if err != nil {
		return permanent{err}
	}
	if !l.nc.IsConnected() { // a publish would wait for its time to run out, and the device for EMQX
		return nats.ErrDisconnected
	}
	msg := &nats.Msg{Subject: subject, Data: m.payload, Header: nats.Header{qosHeader: []string{strconv.Itoa(int(m.qos))}}}
	if m.qos == 0 {
		return l.nc.PublishMsg(msg)
	}
	msg.Subject = contract.IngestPrefix + subject
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if _, err := l.js.PublishMsg(ctx, msg, jetstream.WithMsgID(m.id), jetstream.WithExpectStream(contract.IngestStream)); err != nil {
		return fmt.Errorf("ingest log: %w", err)
	}
	return nil
}

// subjectOf gives the subject to which NATS maps what a device or a cloud publishes to.
func subjectOf(topic string) (string, error) {
	if !strings.Contains(topic, ".") {
		if fleet, channel, err := contract.ParsePlatformSubject(strings.ReplaceAll(topic, "/", ".")); err == nil && channel == contract.PlatformUp {
			return contract.PlatformSubject(fleet, channel), nil
		}
	}
	fleet, device, channel, err := contract.ParseDeviceTopic(topic)
	if err != nil {
		return "", err
	}
	return contract.DeviceSubject(fleet, device, channel), nil
}

// permanent is an error that trying again does not mend.
type permanent struct{ error }

// Unwrap gives the error itself.
func (p permanent) Unwrap() error { return p.error }
