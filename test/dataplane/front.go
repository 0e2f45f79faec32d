package dataplane

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
)

// Front is what some put before a broker: it ends TLS and speaks anew to the broker. Badly set up it takes what the broker would refuse.
type Front struct {
	// Certificate that it shows; nil shows the broker's own.
	Certificate *tls.Certificate
	// MinVersion of TLS; 0 is 1.2. Ciphers for TLS 1.2 and older; nil is what Go takes.
	MinVersion uint16
	Ciphers    []uint16
	// Plaintext also takes connections without TLS.
	Plaintext bool
}

// Start puts the front before a broker until the test ends, and gives its address. Client certificates
// do not get through it.
func (f Front) Start(t testing.TB, w *World) string {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(w.TLS.CertFile, w.TLS.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if f.Certificate != nil {
		certificate = *f.Certificate
	}
	config := &tls.Config{MinVersion: max(f.MinVersion, tls.VersionTLS10), CipherSuites: f.Ciphers, Certificates: []tls.Certificate{certificate}}
	if f.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS12
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { l.Close(); work.Wait() })
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { f.serve(conn, config, w) })
		}
	})
	return l.Addr().String()
}

// tlsHandshake is the first byte of a TLS connection.
const tlsHandshake = 0x16

// sniffed is a connection whose first byte was looked at.
type sniffed struct {
	net.Conn
	in io.Reader
}

func (s sniffed) Read(p []byte) (int, error) { return s.in.Read(p) }

func (f Front) serve(conn net.Conn, config *tls.Config, w *World) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	var device net.Conn = sniffed{conn, in}
	if first[0] == tlsHandshake || !f.Plaintext {
		line := tls.Server(device, config)
		if line.Handshake() != nil {
			return
		}
		device = line
	}
	behind, err := tls.Dial("tcp", w.Address, &tls.Config{RootCAs: w.CA.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12})
	if err != nil {
		return
	}
	defer behind.Close()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(behind, device); behind.Close() })
	both.Go(func() { _, _ = io.Copy(device, behind); device.Close() })
	both.Wait()
}
