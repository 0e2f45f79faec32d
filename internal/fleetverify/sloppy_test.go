package fleetverify_test

import (
	"crypto/tls"
	"net"
	"slices"
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

// TestSloppyBroker sees the checks fail that a real broker passes whatever is configured.
func TestSloppyBroker(t *testing.T) {
	t.Parallel()
	ca := pki.New(t, "platform")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go sloppy(conn)
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c, err := fleetverify.ParseConnection(map[string][]byte{"host": []byte("localhost"), "port": []byte(port), "method": []byte("Password"),
		"topicPrefix": []byte("dizuo/v1/d/door/"), "ca.crt": []byte(ca.PEM)})
	if err != nil {
		t.Fatal(err)
	}
	o := field{t: t}.fast(fleetverify.Options{Connection: c, Device: fleetverify.Device{Name: "d1", Password: secret}})
	o.Timeout = 500 * time.Millisecond // how long is waited for the end of a connection that does not end
	want(t, o, slices.Clone([]string{"connect.other-client-id", "connect.empty-client-id", "connect.will", "connect.takeover",
		"subscribe.own-commands", "subscribe.own-desired", "publish.state", "publish.qos-2", "publish.oversized"}), []string{"publish.wrong-topics"})
}
