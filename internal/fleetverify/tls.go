package fleetverify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// errNoLine wraps what keeps a TCP connection from being made: no verdict can rest on it.
var errNoLine = errors.New("no connection")

const redial = 200 * time.Millisecond

// dial makes a TCP connection whose every step ends in time. A port that was there and is gone may come back within that time: a forwarded
// one ends whenever the broker cuts a connection, and is opened again by the loop around it.
func (r *run) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.Timeout)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.address())
		switch {
		case err == nil:
			r.reached, r.lost = true, nil
			return conn, conn.SetDeadline(time.Now().Add(r.Timeout))
		case !r.reached || !errors.Is(err, syscall.ECONNREFUSED) || !pause(ctx, redial):
			if r.reached {
				r.lost = err
			}
			return nil, errors.Join(errNoLine, err)
		}
	}
}

// pause says whether ctx still runs after d.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// handshake makes a TLS connection; the config decides whom it trusts.
func (r *run) handshake(c *tls.Config) (*tls.Conn, error) {
	conn, err := r.dial()
	if err != nil {
		return nil, err
	}
	line := tls.Client(conn, c)
	if err := line.HandshakeContext(r.ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return line, nil
}

// probe is the config of a handshake that only asks what the server would do; nothing is sent over it.
func (r *run) probe(version uint16) *tls.Config {
	return &tls.Config{MinVersion: version, MaxVersion: version, ServerName: r.Connection.Host, InsecureSkipVerify: true} //nolint:gosec // the certificate is judged by serverCertificate, and nothing is sent
}

// trusted is the config of a connection over which something is said.
func (r *run) trusted() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.Connection.CAs, ServerName: r.Connection.Host, Time: r.Now}
}

// refusal says how the other side refused; ok is false if the error says nothing about its will, such as a timeout.
func refusal(err error) (how Text, ok bool) {
	var alert *net.OpError
	var code refused
	switch {
	case err == nil || errors.Is(err, errNoLine):
		return Text{}, false
	case errors.As(err, &code):
		return say("CONNACK code %d", "CONNACK 返回码 %d", byte(code)), true
	case errors.As(err, &alert) && alert.Op == "remote error":
		return say("TLS alert: %s", "TLS 告警：%s", alert.Err), true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return say("the broker closed the connection", "服务端关闭了连接"), true
	}
	return Text{}, false
}

// plain tells an error without its Go dress.
func plain(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return err.Error()
}

// tls checks versions, ciphers and the server's certificate. It says whether the server proved who it is.
func (r *run) tls() bool {
	var state *tls.ConnectionState
	for _, v := range []struct {
		id      string
		version uint16
	}{{"tls.version-1.3", tls.VersionTLS13}, {"tls.version-1.2", tls.VersionTLS12}} {
		conn, err := r.handshake(r.probe(v.version))
		if err != nil {
			r.notAccepted(v.id, err)
			continue
		}
		s := conn.ConnectionState()
		state = &s
		r.passed(v.id, "Handshake with %s.", "以 %s 完成握手。", tls.CipherSuiteName(s.CipherSuite))
		conn.Close()
	}
	if state == nil {
		r.block(say("Not tried: no TLS connection could be made.", "未尝试：无法建立 TLS 连接。"), GroupTLS)
		return false
	}
	r.refusesVersion("tls.version-1.1", tls.VersionTLS11)
	r.refusesVersion("tls.version-1.0", tls.VersionTLS10)
	weak := r.probe(tls.VersionTLS12)
	weak.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, //nolint:gosec // offered to see them refused
		tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}
	r.refusesHandshake("tls.weak-ciphers", weak)
	r.plaintext()
	return r.serverCertificate(state.PeerCertificates)
}

// notAccepted judges a failed attempt at what should have been accepted.
func (r *run) notAccepted(id string, err error) {
	if how, ok := refusal(err); ok {
		r.set(id, Failed, how)
		return
	}
	r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
}

func (r *run) refusesVersion(id string, version uint16) {
	c := r.probe(version)
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		c.CipherSuites = append(c.CipherSuites, s.ID) // a refusal must be about the version
	}
	r.refusesHandshake(id, c)
}

func (r *run) refusesHandshake(id string, c *tls.Config) {
	conn, err := r.handshake(c)
	if err == nil {
		s := conn.ConnectionState()
		conn.Close()
		r.failed(id, "The broker accepted %s with %s.", "服务端接受了 %s（%s）。", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
		return
	}
	if how, ok := refusal(err); ok {
		r.set(id, Passed, how)
		return
	}
	r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
}

// plaintext sends a CONNECT without TLS and without any credential.
func (r *run) plaintext() {
	const id = "tls.plaintext"
	conn, err := r.dial()
	if err != nil {
		r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
		return
	}
	defer conn.Close()
	first := make([]byte, 1)
	if err = r.newConnect(r.clientID()).Write(conn); err == nil {
		_, err = io.ReadFull(conn, first)
	}
	how, ok := refusal(err)
	switch {
	case err == nil && first[0]>>4 == packets.Connack:
		r.failed(id, "The broker answered a CONNECT in the clear.", "服务端应答了明文 CONNECT。")
	case err == nil: // a TLS alert: it does not speak MQTT here
		r.passed(id, "The broker answered with a TLS record, not with MQTT.", "服务端以 TLS 记录而非 MQTT 应答。")
	case ok:
		r.set(id, Passed, how)
	default:
		r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
	}
}

// serverCertificate judges chain, name and validity, each by itself, so that a report says which of them is wrong.
func (r *run) serverCertificate(chain []*x509.Certificate) bool {
	leaf, now := chain[0], r.Now()
	r.report.ServerCertificate = Fingerprint(leaf)
	valid := validAt(leaf, now).Equal(now)
	span := []any{leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), days(leaf.NotAfter.Sub(now))}
	if valid {
		r.passed("tls.server-validity", "Valid from %s to %s; %d days are left.", "有效期 %s 至 %s，剩余 %d 天。", span...)
	} else {
		r.failed("tls.server-validity", "Valid from %s to %s only.", "有效期仅为 %s 至 %s。", span[:2]...)
	}
	o := x509.VerifyOptions{Roots: r.Connection.CAs, Intermediates: x509.NewCertPool(), CurrentTime: validAt(leaf, now)}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, broken := leaf.Verify(o)
	if broken != nil {
		r.failed("tls.server-chain", "The certificate with SHA-256 %s does not stand under ca.crt: %s.", "SHA-256 为 %s 的证书不能由 ca.crt 验证：%s。", r.report.ServerCertificate, broken)
	} else {
		r.passed("tls.server-chain", "The certificate with SHA-256 %s stands under ca.crt.", "SHA-256 为 %s 的证书由 ca.crt 验证通过。", r.report.ServerCertificate)
	}
	other := leaf.VerifyHostname(r.Connection.Host)
	if other != nil {
		r.failed("tls.server-name", "%s.", "%s。", other)
	} else {
		r.passed("tls.server-name", "The certificate names %s.", "证书包含名称 %s。", r.Connection.Host)
	}
	return valid && broken == nil && other == nil
}

// days counts whole days.
func days(d time.Duration) int { return int(d / (24 * time.Hour)) }
