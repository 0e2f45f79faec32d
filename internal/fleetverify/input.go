package fleetverify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Methods of identity.
const (
	methodX509     = "X509"
	methodPassword = "Password"
)

// DefaultPayloadBytes is the limit of a payload where the fleet sets none (spec.limits.payloadBytes).
const DefaultPayloadBytes = 16384

// Connection is what the Secret <fleet>-connection says.
type Connection struct {
	Fleet  string
	Host   string
	Port   string
	Method string
	// URIPrefix precedes the device's name in its certificate; empty for passwords.
	URIPrefix string
	// CA are the certificates that the broker is checked against; CAs is the same as a pool.
	CA  []*x509.Certificate
	CAs *x509.CertPool
}

// ParseConnection reads the content of the Secret <fleet>-connection: host, port, method, topicPrefix, ca.crt and, by method,
// uriPrefix. The error names the key.
func ParseConnection(data map[string][]byte) (Connection, error) {
	text := func(key string) string { return strings.TrimSpace(string(data[key])) }
	c := Connection{Host: text("host"), Port: text("port"), Method: text("method"), URIPrefix: text("uriPrefix"), CAs: x509.NewCertPool()}
	fleet, ok := strings.CutPrefix(text("topicPrefix"), "dizuo/v1/d/")
	c.Fleet = strings.TrimSuffix(fleet, "/")
	port, err := strconv.ParseUint(c.Port, 10, 16)
	switch {
	case !ok || !contract.ValidFleet(c.Fleet):
		return c, fmt.Errorf("topicPrefix %q: want dizuo/v1/d/<fleet>/, as the Secret <fleet>-connection has it", text("topicPrefix"))
	case c.Host == "":
		return c, errors.New("host: empty; take it from the Secret <fleet>-connection")
	case err != nil || port == 0:
		return c, fmt.Errorf("port %q: want a number from 1 to 65535", c.Port)
	case c.Method != methodX509 && c.Method != methodPassword:
		return c, fmt.Errorf("method %q: want X509 or Password", c.Method)
	case c.Method == methodX509 && c.URIPrefix == "":
		return c, errors.New("uriPrefix: empty; take it from the Secret <fleet>-connection")
	}
	if c.CA, err = certificates(data["ca.crt"]); err != nil {
		return c, fmt.Errorf("ca.crt: %w", err)
	}
	for _, ca := range c.CA {
		c.CAs.AddCert(ca)
	}
	return c, nil
}

// certificates reads every certificate of a PEM text.
func certificates(raw []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate; write PEM")
	}
	return out, nil
}

// Device is the device as which the checks are made.
type Device struct {
	Name string
	// ClientID that the row binds; empty is <fleet>_<device>.
	ClientID string
	// Certificate of method X509, and the CA that signed it.
	Certificate *tls.Certificate
	Issuers     []*x509.Certificate
	// Password of method Password.
	Password string
}

// NewCertificate reads a device of method X509 from the files that `dizuo fleet enroll` writes. The name is the part after the prefix in
// the certificate's URI; a certificate without that is an error.
func NewCertificate(c Connection, certPEM, keyPEM, issuerPEM []byte) (Device, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return Device{}, fmt.Errorf("tls.crt, tls.key: %w", err)
	}
	issuers, err := certificates(issuerPEM)
	if err != nil {
		return Device{}, fmt.Errorf("issuer.crt: %w", err)
	}
	d := Device{Certificate: &pair, Issuers: issuers}
	for _, uri := range pair.Leaf.URIs {
		if i := strings.LastIndexByte(uri.String(), '/'); strings.HasPrefix(uri.String(), "spiffe://") && contract.ValidDevice(uri.String()[i+1:]) {
			d.Name = uri.String()[i+1:]
			return d, nil
		}
	}
	return d, fmt.Errorf("tls.crt: has no URI %s<device>; issue it with `dizuo fleet enroll`", c.URIPrefix)
}

// Profile is what payloads are checked against.
type Profile struct {
	Name          string
	SchemaVersion int32
	contract.Profile
}

// Sample is a payload of the device.
type Sample struct {
	// Place is where it stands, such as "day.ndjson:3".
	Place string
	Raw   []byte
}

// Counter reads what the platform counts of the fleet.
type Counter interface {
	// Violations gives the number of publishes outside permissions that were dropped, as the fleet's status has it.
	Violations(ctx context.Context) (int64, error)
	// Engine gives the platform's broker engine, "NATS" or "EMQX"; empty if it is not known.
	Engine(ctx context.Context) string
}

// Options say what is checked.
type Options struct {
	Connection Connection
	Device     Device
	// Profile is nil if none is given: then nothing is published and no payload is checked.
	Profile *Profile
	Samples []Sample
	// PayloadBytes bounds a sample; 0 is DefaultPayloadBytes.
	PayloadBytes int
	// Dial is the address to connect to, if not the connection's: a port that is forwarded. The certificate is still checked against the
	// connection's host.
	Dial string
	// Offline makes no connection: the report has the checks of the certificate and of payloads alone, and neither Connection nor Device
	// need be given. Dry publishes nothing.
	Offline, Dry bool
	// AllowSignals also publishes to signal and ack.
	AllowSignals bool
	// Counter is nil where the cluster may not be read.
	Counter Counter

	Tool string
	Now  func() time.Time
	// Timeout bounds each step; 0 is 10 s. Quiet is how long is waited for what must not come; 0 is 2 s. Settle bounds the wait for the
	// counter, which brokers report every 30 s; 0 is 3 min. Poll is how often the counter is read; 0 is 5 s.
	Timeout, Quiet, Settle, Poll time.Duration
	// Progress is told what is done; nil tells nobody.
	Progress func(Text)
}

// defaults fills in what is left out.
func (o *Options) defaults() {
	for value, fallback := range map[*time.Duration]time.Duration{&o.Timeout: 10 * time.Second, &o.Quiet: 2 * time.Second, &o.Settle: 3 * time.Minute, &o.Poll: 5 * time.Second} {
		if *value == 0 {
			*value = fallback
		}
	}
	if o.PayloadBytes == 0 {
		o.PayloadBytes = DefaultPayloadBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Text) {}
	}
}

// check refuses what does not fit together.
func (o *Options) check() error {
	c, d := o.Connection, o.Device
	if o.Offline && len(c.CA) == 0 {
		if len(o.Samples) == 0 || o.Profile == nil {
			return errors.New("nothing to check: give a profile and samples, or the connection and a credential")
		}
		return nil
	}
	switch {
	case !contract.ValidDevice(d.Name):
		return fmt.Errorf("device %q: want 1 to 64 letters, digits, _ or -", d.Name)
	case c.Method == methodX509 && d.Certificate == nil:
		return fmt.Errorf("fleet %s is of method X509: give the device's folder with tls.crt, tls.key and issuer.crt", c.Fleet)
	case c.Method == methodPassword && d.Password == "" && !o.Offline:
		return fmt.Errorf("fleet %s is of method Password: give the device's password", c.Fleet)
	case o.Profile == nil && len(o.Samples) > 0:
		return errors.New("samples need a profile to be checked against")
	}
	return nil
}

func (o *Options) address() string {
	if o.Dial != "" {
		return o.Dial
	}
	return net.JoinHostPort(o.Connection.Host, o.Connection.Port)
}

func (o *Options) clientID() string {
	if o.Device.ClientID != "" {
		return o.Device.ClientID
	}
	return contract.ClientID(o.Connection.Fleet, o.Device.Name)
}

func (o *Options) topic(c contract.Channel) string {
	return contract.DeviceTopic(o.Connection.Fleet, o.Device.Name, c)
}
