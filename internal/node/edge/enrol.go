package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

const (
	// enrolEvery is how often the hub is asked whether a certificate is there.
	enrolEvery = 5 * time.Second
	// renewCheck is how often the age of the certificates is looked at.
	renewCheck = time.Hour
)

// ErrRefused says that the hub refuses to enrol this node: asking again changes nothing.
var ErrRefused = errors.New("enrolment refused")

// requester is a connection to the hub.
type requester interface {
	RequestWithContext(ctx context.Context, subject string, data []byte) (*nats.Msg, error)
}

// Fingerprint gives the digest of the node's public key, as EdgeNode.spec.keyFingerprint takes it, and makes the key if there is none.
func Fingerprint(stateDir string) (string, error) {
	key, err := ownKey(files{stateDir}.key())
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	return contract.Digest(der), nil
}

// ownKey reads a private key, or makes one on P-256 that never leaves this machine.
func ownKey(file string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("key %s: no PEM block found", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s: is %T, want an ECDSA key", file, parsed)
	}
	return key, nil
}

func makeKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return key, put(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// put replaces a file whole and on disk.
func put(file string, raw []byte) error {
	tmp, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.Rename(file+".new", file)
}

// request makes the two requests, over keys that are made where there are none.
func request(c contract.EdgeConfig) (contract.EnrolRequest, error) {
	f := files{c.StateDir}
	uri, err := url.Parse(contract.EdgeURI(path.Base(c.Platform), c.Edge))
	if err != nil {
		return contract.EnrolRequest{}, err
	}
	client, err := csr(f.key(), &x509.CertificateRequest{URIs: []*url.URL{uri}})
	if err != nil {
		return contract.EnrolRequest{}, err
	}
	names := &x509.CertificateRequest{Subject: pkix.Name{}}
	for _, h := range c.Hostnames {
		if ip := net.ParseIP(h); ip != nil {
			names.IPAddresses = append(names.IPAddresses, ip)
		} else {
			names.DNSNames = append(names.DNSNames, h)
		}
	}
	server, err := csr(f.serverKey(), names)
	return contract.EnrolRequest{CSR: client, ServerCSR: server}, err
}

func csr(keyFile string, want *x509.CertificateRequest) (string, error) {
	key, err := ownKey(keyFile)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, want, key)
	if err != nil {
		return "", fmt.Errorf("certificate request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// enrol asks until the hub has issued certificates that newer holds for new enough, and writes them. It ends with ErrRefused if the hub
// will not.
func enrol(ctx context.Context, c contract.EdgeConfig, nc requester, newer func(*x509.Certificate) bool, every time.Duration, log *slog.Logger) error {
	req, err := request(c)
	if err != nil {
		return err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	said := ""
	for {
		issued, reason, err := askOnce(ctx, c, nc, body, newer)
		if issued || errors.Is(err, ErrRefused) {
			return err
		}
		if err != nil {
			reason = err.Error()
		}
		if reason != said {
			log.Info("waiting for certificates", "reason", reason)
			said = reason
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

func askOnce(ctx context.Context, c contract.EdgeConfig, nc requester, body []byte, newer func(*x509.Certificate) bool) (issued bool, reason string, err error) {
	ask, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	m, err := nc.RequestWithContext(ask, contract.EdgeSubject(c.Edge, contract.EdgeEnrol), body)
	if err != nil {
		return false, "", err
	}
	var r contract.EnrolReply
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return false, "", fmt.Errorf("answer of the hub: %w", err)
	}
	switch r.State {
	case contract.EnrolRefused:
		return false, "", fmt.Errorf("%w: %s", ErrRefused, r.Reason)
	case contract.EnrolIssued:
	default:
		return false, r.Reason, nil
	}
	cert, err := leaf([]byte(r.Certificate))
	if err != nil {
		return false, "", fmt.Errorf("certificate from the hub: %w", err)
	}
	if !newer(cert) {
		return false, "the certificate is still the old one", nil
	}
	return true, "", write(c, r)
}

// write keeps what was issued, if it is over the node's own keys. The client certificate comes last: it says that enrolment is done. Keys
// of bundles are taken with the token only: later ones come by their succession, which proves itself (package intake).
func write(c contract.EdgeConfig, r contract.EnrolReply) error {
	f, renewal := files{c.StateDir}, enrolled(c)
	for _, x := range []struct{ what, chain, keyFile, file string }{
		{"server certificate", r.Server, f.serverKey(), f.server().CertFile}, {"certificate", r.Certificate, f.key(), f.client("").CertFile},
	} {
		cert, err := leaf([]byte(x.chain))
		if err != nil {
			return fmt.Errorf("%s from the hub: %w", x.what, err)
		}
		key, err := ownKey(x.keyFile)
		if err != nil {
			return err
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			return fmt.Errorf("%s from the hub: it is over another key than %s", x.what, x.keyFile)
		}
		if x.what == "certificate" && r.BundleTrust != "" && !renewal {
			if err := put(f.trust(), []byte(r.BundleTrust)); err != nil {
				return err
			}
		}
		if err := put(x.file, []byte(x.chain)); err != nil {
			return err
		}
	}
	return nil
}

func leaf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("no PEM certificate found")
	}
	return x509.ParseCertificate(block.Bytes)
}

// enrolled says whether there is a certificate.
func enrolled(c contract.EdgeConfig) bool {
	_, err := os.Stat(files{c.StateDir}.client("").CertFile)
	return err == nil
}

// first enrols with the token.
func first(ctx context.Context, c contract.EdgeConfig, log *slog.Logger) error {
	raw, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return fmt.Errorf("tokenFile: %w; write the token of the Secret %s-enrolment there", err, c.Edge)
	}
	fingerprint, err := Fingerprint(c.StateDir)
	if err != nil {
		return err
	}
	log.Info("enrolling; approve this key at the EdgeNode", "fingerprint", fingerprint)
	roots, err := process.Roots(c.HubCAFile)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(c.Hub, nats.Name(c.Edge), nats.UserInfo(c.Edge, strings.TrimSpace(string(raw))), nats.CustomInboxPrefix(contract.InboxPrefix(c.Edge)),
		nats.Secure(process.TrustTLS(roots)), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(2*time.Second), nats.IgnoreAuthErrorAbort())
	if err != nil {
		return fmt.Errorf("hub %s: %w", c.Hub, err)
	}
	defer nc.Close()
	return enrol(ctx, c, nc, func(*x509.Certificate) bool { return true }, enrolEvery, log)
}

// renew asks for certificates anew when two thirds of their life are over.
func renew(ctx context.Context, c contract.EdgeConfig, nc requester, log *slog.Logger) error {
	tick := time.NewTicker(renewCheck)
	defer tick.Stop()
	for {
		raw, err := os.ReadFile(files{c.StateDir}.client("").CertFile)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		cert, err := leaf(raw)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		if time.Now().After(renewAt(cert)) {
			err := enrol(ctx, c, nc, func(next *x509.Certificate) bool { return next.NotAfter.After(cert.NotAfter) }, time.Minute, log)
			switch {
			case errors.Is(err, ErrRefused):
				log.Error("certificate not renewed", "err", err, "expires", cert.NotAfter)
			case err != nil:
				return err
			default:
				log.Info("certificate renewed")
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// renewAt gives the time at which two thirds of a certificate's life are over.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}
