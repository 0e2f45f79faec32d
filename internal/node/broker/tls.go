package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
	"github.com/dizuo/dizuo/internal/node/process"
)

// gate keeps both listeners shut until the streams are there: the first device to connect would otherwise make the server
// create them in its own way, and lose messages.
type gate struct {
	open atomic.Bool
	// answering says whether somebody answers the auth callout; it is set before the gate opens.
	answering func() bool
}

var (
	errShut   = errors.New("broker is starting")
	errNoAuth = errors.New("no auth is connected")
)

func (g *gate) check() error {
	if !g.open.Load() {
		return errShut
	}
	return nil
}

// checkDevices also turns devices away while no auth listens: the server would hold each for the whole auth timeout and
// then say that it is not authorized, where a failed handshake makes it try again at once.
func (g *gate) checkDevices() error {
	if err := g.check(); err != nil {
		return err
	}
	if g.answering != nil && !g.answering() {
		return errNoAuth
	}
	return nil
}

// deviceTLS serves devices: a certificate is asked for, not demanded, and must stand under a CA in pool if it comes. A change
// of pool holds from the next handshake.
func deviceTLS(files contract.TLSFiles, g *gate, pool *atomic.Pointer[x509.CertPool]) *tls.Config {
	c := process.ServerTLS(files)
	c.ClientAuth = tls.RequestClientCert
	// A resumed session would skip nothing that counts, but a fleet's reconnect is rare and tickets are one more secret.
	c.SessionTicketsDisabled = true
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, g.checkDevices() }
	c.VerifyConnection = func(s tls.ConnectionState) error { return verifyDevice(s.PeerCertificates, pool.Load()) }
	return c
}

func verifyDevice(shown []*x509.Certificate, roots *x509.CertPool) error {
	if len(shown) == 0 {
		return nil
	}
	_, err := chain.Verify(shown, roots, time.Now())
	return err
}

// clientTLS serves the platform's own roles: a certificate of the platform's CA is demanded. The CA file is read at every
// handshake; roles connect rarely.
func clientTLS(files contract.TLSFiles, g *gate) (*tls.Config, error) {
	c := process.ServerTLS(files)
	if err := process.DemandCA(c, files.CAFile, g.check); err != nil {
		return nil, fmt.Errorf("broker.tls: %w", err)
	}
	return c, nil
}

// peerTLS serves and reaches the other brokers, which trust each other wholly: a certificate of the platform's CA does not do, it
// must be that of the role broker.
func peerTLS(files contract.TLSFiles, uri string) (*tls.Config, error) {
	pool, err := process.ReadPool(files.CAFile)
	if err != nil {
		return nil, fmt.Errorf("broker.peerTLS: %w", err)
	}
	c := process.ServerTLS(files)
	if _, err := c.GetCertificate(nil); err != nil {
		return nil, fmt.Errorf("broker.peerTLS: %w", err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.GetCertificate(nil) }
	c.ClientAuth, c.ClientCAs, c.RootCAs, c.SessionTicketsDisabled = tls.RequireAndVerifyClientCert, pool, pool, true
	c.VerifyConnection = process.OnlyURI(uri, "a broker of this platform")
	return c, nil
}

// fleetPool gathers the CAs of all fleets. What cannot be parsed is left out: auth says so.
func fleetPool(credentials map[string]contract.Credentials) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range credentials {
		for _, text := range c.Issuers {
			pool.AppendCertsFromPEM([]byte(text))
		}
	}
	return pool
}
