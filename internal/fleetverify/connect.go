package fleetverify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/dizuo/dizuo/internal/contract"
)

// nobody stands for another device, and for another fleet: names that nobody has, so that a platform which takes them harms nobody.
const nobody = "dizuo-verify-nobody"

// connect checks who is let in. It says whether the device itself was.
func (r *run) connect() bool {
	s, err := r.own()
	if err == nil {
		err = s.ping()
	}
	if err != nil {
		s.close()
		r.notAccepted("connect.accepted", err)
		return false
	}
	s.close()
	r.passed("connect.accepted", "CONNACK code 0 for client id %s by MQTT 3.1.1; PINGRESP came.", "客户端标识 %s 按 MQTT 3.1.1 得到 CONNACK 0，并收到 PINGRESP。", r.clientID())

	r.accepts("connect.tls-1.2", func(c *tls.Config, _ *packets.ConnectPacket) { c.MaxVersion = tls.VersionTLS12 })
	r.refuses("connect.without-credential", func(c *tls.Config, p *packets.ConnectPacket) {
		c.Certificates = nil
		p.UsernameFlag, p.PasswordFlag, p.Username, p.Password = false, false, "", nil
	})
	if r.Connection.Method == methodPassword {
		r.refuses("connect.wrong-password", func(_ *tls.Config, p *packets.ConnectPacket) { p.Password = []byte(newMark()) })
	} else if foreign, err := r.foreign(); err != nil {
		r.unproven("connect.foreign-certificate", "No certificate could be made: %s.", "无法生成证书：%s。", err)
	} else {
		r.refuses("connect.foreign-certificate", func(c *tls.Config, _ *packets.ConnectPacket) { c.Certificates = []tls.Certificate{foreign} })
	}
	r.refuses("connect.other-client-id", func(_ *tls.Config, p *packets.ConnectPacket) {
		p.ClientIdentifier = contract.ClientID(r.Connection.Fleet, nobody)
	})
	r.refuses("connect.empty-client-id", func(_ *tls.Config, p *packets.ConnectPacket) { p.ClientIdentifier = "" })
	r.accepts("connect.will", func(_ *tls.Config, p *packets.ConnectPacket) {
		p.WillFlag, p.WillQos, p.WillTopic, p.WillMessage = true, 1, r.topic(contract.ChannelState), []byte("{}")
	})
	r.takeover()
	return true
}

func (r *run) accepts(id string, change func(*tls.Config, *packets.ConnectPacket)) {
	s, err := r.own(change)
	if err == nil {
		err = s.ping()
	}
	s.close()
	if err != nil {
		r.notAccepted(id, err)
		return
	}
	r.passed(id, "CONNACK code 0, and PINGRESP came.", "得到 CONNACK 0，并收到 PINGRESP。")
}

// refuses wants an altered connection refused. A line that just closes may also be a broker that is going down: then the device itself must
// still be let in for the refusal to count.
func (r *run) refuses(id string, change func(*tls.Config, *packets.ConnectPacket)) {
	s, err := r.own(change)
	if err == nil {
		s.close()
		r.failed(id, "The connection was accepted (CONNACK code 0).", "连接被接受（CONNACK 0）。")
		return
	}
	how, ok := refusal(err)
	if !ok {
		r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
		return
	}
	control, err := r.own()
	control.close()
	if err != nil {
		r.set(id, NotProven, how.and(say("; but right after that the device itself was not let in either: %s.", "；但随后设备自身也未能接入：%s。", plain(err))))
		return
	}
	r.set(id, Passed, how.and(say("; right after that the device itself was let in.", "；随后设备自身仍可接入。")))
}

// foreign makes a certificate with the device's own URI that no CA signed.
func (r *run) foreign() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	uri, err := url.Parse(r.Connection.URIPrefix + r.Device.Name)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{uri}, NotBefore: r.Now().Add(-time.Hour), NotAfter: r.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// takeover wants a second connection of the device to end the first.
func (r *run) takeover() {
	const id = "connect.takeover"
	first, err := r.own()
	if err != nil {
		r.notAccepted(id, err)
		return
	}
	defer first.conn.Close()
	second, err := r.own()
	defer second.close()
	if err != nil {
		r.notAccepted(id, err)
		return
	}
	_, err = await[*packets.DisconnectPacket](first, r.Timeout) // a broker of 3.1.1 sends none: the line just ends
	if _, ended := refusal(err); !ended {
		r.failed(id, "%s after the second connection the first still lived.", "第二个连接建立 %s 后，第一个连接仍存活。", r.Timeout)
		return
	}
	if err := second.ping(); err != nil {
		r.failed(id, "The second connection did not last: %s.", "第二个连接未能保持：%s。", plain(err))
		return
	}
	r.passed(id, "The second connection was let in, and the first ended.", "第二个连接被接受，第一个连接随即结束。")
}

// closed says whether the broker ended the connection.
func closed(err error) bool {
	_, ok := refusal(err)
	return ok && !errors.As(err, new(refused))
}
