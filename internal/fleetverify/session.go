package fleetverify

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// maxPacket bounds what is taken from the broker at once, in bytes: a device's command is small.
const maxPacket = 1 << 20

// refused is a CONNACK code other than 0.
type refused byte

// Error gives the code and its words.
func (c refused) Error() string {
	return fmt.Sprintf("CONNACK code %d: %s", byte(c), packets.ConnackReturnCodes[byte(c)])
}

// session is an MQTT 3.1.1 connection in which every packet that comes is seen: a client library would retry, reconnect and hide codes.
type session struct {
	conn    net.Conn
	in      *io.LimitedReader
	timeout time.Duration
	id      uint16
	// heard are messages that came.
	heard []*packets.PublishPacket
}

// newConnect gives a CONNECT with a client id and nothing else.
func (r *run) newConnect(clientID string) *packets.ConnectPacket {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.Keepalive, p.ClientIdentifier = "MQTT", 4, true, 60, clientID
	return p
}

// credential puts the device's own proof into a connection.
func (r *run) credential(c *tls.Config, p *packets.ConnectPacket) {
	if r.Device.Certificate != nil {
		c.Certificates = []tls.Certificate{*r.Device.Certificate}
		return
	}
	withPassword(p, r.Connection.Fleet+"."+r.Device.Name, r.Device.Password)
}

func withPassword(p *packets.ConnectPacket, name, password string) {
	p.UsernameFlag, p.PasswordFlag, p.Username, p.Password = true, true, name, []byte(password)
}

// own connects as the device. Each change alters the connection before it is made.
func (r *run) own(changes ...func(*tls.Config, *packets.ConnectPacket)) (*session, error) {
	c, p := r.trusted(), r.newConnect(r.clientID())
	r.credential(c, p)
	for _, change := range changes {
		change(c, p)
	}
	return r.open(c, p)
}

// open connects and gives the session; refused if the broker said no.
func (r *run) open(c *tls.Config, p *packets.ConnectPacket) (*session, error) {
	conn, err := r.handshake(c)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, in: &io.LimitedReader{R: conn}, timeout: r.Timeout}
	answer, err := request[*packets.ConnackPacket](s, p)
	if err == nil && answer.ReturnCode != packets.Accepted {
		err = refused(answer.ReturnCode)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// request sends a packet and waits for the first one of the type of its answer; messages that come before are kept in heard.
func request[A packets.ControlPacket](s *session, p packets.ControlPacket) (answer A, err error) {
	if err := s.send(p); err != nil {
		return answer, err
	}
	return await[A](s, s.timeout)
}

// await waits for a packet of a type.
func await[A packets.ControlPacket](s *session, limit time.Duration) (answer A, err error) {
	if err := s.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return answer, err
	}
	for {
		s.in.N = maxPacket
		p, err := packets.ReadPacket(s.in)
		if err != nil {
			return answer, err
		}
		switch p := p.(type) {
		case A:
			return p, nil
		case *packets.PublishPacket:
			s.heard = append(s.heard, p)
		}
	}
}

func (s *session) send(p packets.ControlPacket) error {
	if err := s.conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return p.Write(s.conn)
}

// next gives a packet identifier.
func (s *session) next() uint16 {
	s.id++
	return s.id
}

// publish sends a message at QoS 1 and waits for the PUBACK.
func (s *session) publish(topic string, payload []byte) error {
	_, err := request[*packets.PubackPacket](s, s.message(topic, 1, payload))
	return err
}

func (s *session) message(topic string, qos byte, payload []byte) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.Payload, p.MessageID = topic, qos, payload, s.next()
	return p
}

// subscribe asks for a topic and gives the code of the SUBACK: the QoS granted, or 0x80.
func (s *session) subscribe(topic string, qos byte) (byte, error) {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = s.next(), []string{topic}, []byte{qos}
	answer, err := request[*packets.SubackPacket](s, p)
	if err != nil {
		return 0, err
	}
	if len(answer.ReturnCodes) != 1 {
		return 0, fmt.Errorf("SUBACK with %d codes for one topic", len(answer.ReturnCodes))
	}
	return answer.ReturnCodes[0], nil
}

// ping asks whether the connection lives.
func (s *session) ping() error {
	_, err := request[*packets.PingrespPacket](s, packets.NewControlPacket(packets.Pingreq))
	return err
}

// close ends the session in order, so that no will is sent.
func (s *session) close() {
	if s == nil {
		return
	}
	_ = s.send(packets.NewControlPacket(packets.Disconnect))
	_ = s.conn.Close()
}
