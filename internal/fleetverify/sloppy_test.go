package fleetverify_test

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/dizuo/dizuo/internal/fleetverify"
	"github.com/dizuo/dizuo/test/pki"
)

// sloppy speaks MQTT as no broker should: it knows one password, and gets everything else wrong.
func sloppy(conn net.Conn) {
	defer conn.Close()
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		var answer packets.ControlPacket
		switch p := p.(type) {
		case *packets.ConnectPacket:
			a := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
			if string(p.Password) != secret || p.WillFlag {
				a.ReturnCode = packets.ErrRefusedNotAuthorised
			}
			answer = a
		case *packets.PingreqPacket:
			answer = packets.NewControlPacket(packets.Pingresp)
		case *packets.SubscribePacket: // own topics refused, others granted
			a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			a.MessageID, a.ReturnCodes = p.MessageID, []byte{0x80}
			answer = a
		case *packets.PublishPacket:
			switch {
			case p.Qos == 2:
				a := packets.NewControlPacket(packets.Pubrec).(*packets.PubrecPacket)
				a.MessageID, answer = p.MessageID, a
			case p.TopicName == "dizuo/v1/d/door/d1/state":
				return
			default:
				a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				a.MessageID, answer = p.MessageID, a
			}
		}
		if answer == nil || answer.Write(conn) != nil {
			return
		}
	}
}

// sloppyAt serves connections of one listener until it is closed, or until one connection has come.
func sloppyAt(l net.Listener, config *tls.Config, one bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if one {
			l.Close()
		}
		go sloppy(tls.Server(conn, config))
		if one {
			return
		}
	}
}

// brokerAt gives the options for a device of a sloppy broker on a port of its own, and its side of TLS.
func brokerAt(t *testing.T) (net.Listener, *tls.Config, fleetverify.Options) {
	t.Helper()
	ca := pki.New(t, "platform")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := fleetverify.ParseConnection(map[string][]byte{"host": []byte("localhost"), "port": []byte(port), "method": []byte("Password"),
		"topicPrefix": []byte("dizuo/v1/d/door/"), "ca.crt": []byte(ca.PEM)})
	if err != nil {
		t.Fatal(err)
	}
	o := field{t: t}.fast(fleetverify.Options{Connection: c, Device: fleetverify.Device{Name: "d1", Password: secret}})
	o.Timeout = 500 * time.Millisecond // how long is waited for the end of a connection that does not end
	return l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t)}}, o
}

// TestSloppyBroker sees the checks fail that a real broker passes whatever is configured.
func TestSloppyBroker(t *testing.T) {
	t.Parallel()
	l, config, o := brokerAt(t)
	go sloppyAt(l, config, false)
	want(t, o, slices.Clone([]string{"connect.other-client-id", "connect.empty-client-id", "connect.will", "connect.takeover",
		"subscribe.own-commands", "subscribe.own-desired", "publish.state", "publish.qos-2", "publish.oversized"}), []string{"publish.wrong-topics"})
}

// A port that goes away for good gives no report: what it would not prove nobody could tell from what the platform refused.
func TestALostLineGivesNoReport(t *testing.T) {
	t.Parallel()
	l, config, o := brokerAt(t)
	go sloppyAt(l, config, true)
	report, err := fleetverify.Run(t.Context(), o)
	if report != nil || err == nil || !strings.Contains(err.Error(), "was reached at first and not at the end") {
		t.Errorf("a report %v and error %v, want no report and an error about the line", report, err)
	}
}

// A forwarded port ends whenever the broker cuts a connection; a loop opens it again.
func TestAPortThatComesBackIsWaitedFor(t *testing.T) {
	t.Parallel()
	l, config, o := brokerAt(t)
	o.Timeout = 5 * time.Second
	o.Dry = true
	address := l.Addr().String()
	go func() {
		for t.Context().Err() == nil {
			sloppyAt(l, config, true)
			time.Sleep(300 * time.Millisecond) // the outage
			again, err := net.Listen("tcp", address)
			for err != nil && t.Context().Err() == nil {
				again, err = net.Listen("tcp", address)
			}
			if err != nil {
				return
			}
			l = again
		}
	}()
	report, err := fleetverify.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Checks {
		if strings.Contains(c.Evidence.EN, "connection refused") {
			t.Errorf("%s was judged by a closed port: %s", c.ID, c.Evidence.EN)
		}
	}
}
