// Package natslink holds the operator's connections to the brokers of its platforms, one each, with a client certificate
// that cert-manager issued in the platform's namespace.
package natslink

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/apimachinery/pkg/types"
)

// Link is a connection to one platform's broker.
type Link struct {
	Conn      *nats.Conn
	JetStream jetstream.JetStream
	cert      [32]byte
}

// Pool holds links by platform.
type Pool struct {
	// Address gives the URL of a platform's broker.
	Address func(platform types.NamespacedName) string

	mu    sync.Mutex
	links map[types.NamespacedName]*Link
}

// InCluster gives the address of the broker's Service.
func InCluster(platform types.NamespacedName) string {
	return fmt.Sprintf("tls://dizuo-nats.%s.svc:4222", platform.Namespace)
}

// ErrNoCertificate says that cert-manager has not issued the operator's certificate yet.
var ErrNoCertificate = errors.New("the operator's client certificate is not issued yet")

// Get gives the link of a platform, and true if it is a new one. data is the Secret of the operator's certificate; another
// certificate makes another link.
func (p *Pool) Get(platform types.NamespacedName, data map[string][]byte) (*Link, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(data["tls.crt"]) == 0 {
		return nil, false, ErrNoCertificate
	}
	sum := sha256.Sum256(append(append([]byte{}, data["tls.crt"]...), data["ca.crt"]...))
	if l := p.links[platform]; l != nil {
		if l.cert == sum && !l.Conn.IsClosed() {
			return l, false, nil
		}
		l.Conn.Close()
		delete(p.links, platform)
	}
	l, err := dial(p.Address(platform), data)
	if err != nil {
		return nil, false, fmt.Errorf("broker of platform %s: %w", platform, err)
	}
	l.cert = sum
	if p.links == nil {
		p.links = map[types.NamespacedName]*Link{}
	}
	p.links[platform] = l
	return l, true, nil
}

// Close ends the link of a platform.
func (p *Pool) Close(platform types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[platform]; l != nil {
		l.Conn.Close()
		delete(p.links, platform)
	}
}

func dial(url string, data map[string][]byte) (*Link, error) {
	cert, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data["ca.crt"]) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	nc, err := nats.Connect(url, nats.Name("operator"), nats.MaxReconnects(-1), nats.ReconnectWait(500*time.Millisecond), nats.Timeout(2*time.Second),
		nats.CustomInboxPrefix("_INBOX_operator"),
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool}))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Link{Conn: nc, JetStream: js}, nil
}
