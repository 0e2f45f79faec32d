// Package process holds what every node role does alike: read its configuration, serve health and metrics, connect to the
// broker, and serve TLS with certificates that are renewed under its feet.
package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/internal/contract"
)

// Load reads a node's configuration and refuses fields that it does not know.
func Load(path string) (contract.NodeConfig, error) {
	var c contract.NodeConfig
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("node configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return c, fmt.Errorf("node configuration %s: %w", path, err)
	}
	return c, nil
}

// Health collects named readiness checks.
type Health struct {
	mu      sync.Mutex
	checks  map[string]error
	running map[string]func() error
}

// Check asks from now on whenever somebody wants to know, in place of what Set said under that name.
func (h *Health) Check(name string, check func() error) {
	h.Set(name, nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		h.running = map[string]func() error{}
	}
	h.running[name] = check
}

// Set records the state of one check; nil means fine.
func (h *Health) Set(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]error{}
	}
	h.checks[name] = err
}

// Err gives nil when at least one check was set and all are fine, else what is wrong, sorted by name.
func (h *Health) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.checks) == 0 {
		return errors.New("starting")
	}
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(h.checks)) {
		err := h.checks[name]
		if check := h.running[name]; check != nil {
			err = check()
		}
		if err != nil {
			wrong = append(wrong, name+": "+err.Error())
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// Page is one more thing that Serve answers.
type Page struct {
	Path    string
	Handler http.HandlerFunc
}

// Serve answers /healthz (the process lives), /readyz (every check is fine), /metrics and pages until ctx ends.
func Serve(ctx context.Context, addr string, h *Health, reg *prometheus.Registry, pages ...Page) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.Err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	for _, p := range pages {
		mux.HandleFunc("GET "+p.Path, p.Handler)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	return ServeHTTP(ctx, &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second})
}

// ServeHTTP runs a server until ctx ends, then lets requests finish for up to 5 s. With a TLSConfig it serves TLS.
func ServeHTTP(ctx context.Context, s *http.Server) error {
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(grace)
	})
	defer stop()
	var err error
	if s.TLSConfig != nil {
		err = s.ListenAndServeTLS("", "")
	} else {
		err = s.ListenAndServe()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return ctx.Err()
	}
	return fmt.Errorf("listen on %s: %w", s.Addr, err)
}

// Connect opens a connection to the broker as the user name, which the certificate in c must name too. It reconnects for ever and reads its certificate again each time. It waits
// until the broker is there or ctx ends. more options come after these.
func Connect(ctx context.Context, c contract.NATSConfig, name string, log *slog.Logger, more ...nats.Option) (*nats.Conn, error) {
	connected := make(chan struct{})
	var once sync.Once
	nc, err := nats.Connect(c.URL, append([]nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.ClientTLSConfig(
			func() (tls.Certificate, error) { return tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile) },
			func() (*x509.CertPool, error) { return ReadPool(c.TLS.CAFile) }),
		nats.CustomInboxPrefix(contract.InboxPrefix(name)),
		nats.ConnectHandler(func(*nats.Conn) { once.Do(func() { close(connected) }) }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("broker connected again") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("broker connection lost", "err", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("broker", "err", err) }),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", c.URL, err)
	}
	if nc.IsConnected() {
		return nc, nil
	}
	log.Info("waiting for the broker", "url", c.URL)
	select {
	case <-connected:
		return nc, nil
	case <-ctx.Done():
		nc.Close()
		return nil, fmt.Errorf("broker %s: %w", c.URL, ctx.Err())
	}
}

// ReadPool reads a file of PEM certificates.
func ReadPool(caFile string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("CA file %s: no PEM certificate found", caFile)
	}
	return pool, nil
}

// Roots reads a file of PEM certificates; without a file it gives nil, which stands for the public roots.
func Roots(caFile string) (*x509.CertPool, error) {
	if caFile == "" {
		return nil, nil //nolint:nilnil // crypto/tls takes nil so
	}
	return ReadPool(caFile)
}

// ServerTLS serves the certificate in the files and reads them again when they change. The caller adds what it asks of
// clients.
func ServerTLS(f contract.TLSFiles) *tls.Config {
	r := &reloader{files: f}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.get}
}

// MutualTLS serves the certificate in the files to who shows one of the CA in them with that URI, and to nobody else; who names it
// in errors. The certificate is read again when it changes, the CA at every handshake.
func MutualTLS(f contract.TLSFiles, uri, who string) (*tls.Config, error) {
	c := ServerTLS(f)
	c.VerifyConnection = OnlyURI(uri, who)
	return c, DemandCA(c, f.CAFile, func() error { return nil })
}

// DemandCA makes a server ask for a certificate of the CA in a file, which is read at every handshake, after gate has let it begin.
func DemandCA(c *tls.Config, caFile string, gate func() error) error {
	pool, err := ReadPool(caFile)
	if err != nil {
		return err
	}
	c.ClientAuth, c.ClientCAs, c.SessionTicketsDisabled = tls.RequireAndVerifyClientCert, pool, true
	base := c.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if err := gate(); err != nil {
			return nil, err
		}
		fresh, err := ReadPool(caFile)
		if err != nil {
			return nil, nil //nolint:nilnil,nilerr // files are being swapped: the pool read at start serves
		}
		current := base.Clone()
		current.ClientCAs = fresh
		return current, nil
	}
	return nil
}

// ClientTLS shows the certificate in the files and trusts their CA. They are read once.
func ClientTLS(f contract.TLSFiles) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	pool, err := ReadPool(f.CAFile)
	if err != nil {
		return nil, err
	}
	c := TrustTLS(pool)
	c.Certificates = []tls.Certificate{cert}
	return c, nil
}

// TrustTLS trusts the CAs in pool.
func TrustTLS(pool *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

// OnlyURI gives the check of a connection whose other side must bear a certificate with one URI; who names it in the error.
func OnlyURI(uri, who string) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 || !slices.ContainsFunc(s.PeerCertificates[0].URIs, func(u *url.URL) bool { return u.String() == uri }) {
			return errors.New("the certificate is not that of " + who)
		}
		return nil
	}
}

// reloader keeps a certificate until one of its files has another modification time. cert-manager renews by replacing a
// mounted Secret, which swaps the folder that both files are in.
type reloader struct {
	files contract.TLSFiles

	mu       sync.Mutex
	cert     *tls.Certificate
	modified time.Time
}

func (r *reloader) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.files.CertFile)
	if err == nil && r.cert != nil && info.ModTime().Equal(r.modified) {
		return r.cert, nil
	}
	if err == nil {
		var cert tls.Certificate
		if cert, err = tls.LoadX509KeyPair(r.files.CertFile, r.files.KeyFile); err == nil {
			r.cert, r.modified = &cert, info.ModTime()
			return r.cert, nil
		}
	}
	if r.cert != nil {
		return r.cert, nil // the old one is better than none while files are being swapped
	}
	return nil, fmt.Errorf("server certificate: %w", err)
}
