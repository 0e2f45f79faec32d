package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A certificate that ended is refused by clients, and by readiness, in words; the one that follows it in the file serves without a restart.
func TestServerCertificateThatEnds(t *testing.T) {
	w := newWorld(t)
	serve := func(end time.Time) { // as a Secret that cert-manager renews comes into the folder
		t.Helper()
		files := w.ca.Files(t, w.ca.ServerUntil(t, end))
		for from, to := range map[string]string{files.KeyFile: w.config.TLS.KeyFile, files.CertFile: w.config.TLS.CertFile} {
			raw, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(w.config.TLS.CertFile, end, end); err != nil {
			t.Fatal(err)
		}
	}
	front := httptest.NewUnstartedServer(w.server.handler())
	front.TLS = w.server.http(w.config).TLSConfig
	front.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { // httptest adds a certificate of its own
		c := front.TLS.Clone()
		c.Certificates, c.GetConfigForClient = nil, nil
		return c, nil
	}
	ask := func() error {
		c := w.client("town")
		c.Transport.(*http.Transport).DisableKeepAlives = true
		req, err := http.NewRequest(http.MethodGet, strings.Replace(front.URL, "127.0.0.1", "localhost", 1)+"/v1/datasets", nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := send(c, req)
		if err == nil && r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
		return err
	}
	now := time.Now()
	serve(now.Add(-time.Minute))
	front.StartTLS()
	t.Cleanup(front.Close)
	var invalid x509.CertificateInvalidError
	if err := ask(); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("a client says %v of a certificate that ended", err)
	}
	if err := w.server.certificate.check(now); err == nil || !strings.Contains(err.Error(), "ended at") {
		t.Errorf("readiness: %v", err)
	}
	end := now.Add(20 * time.Minute)
	serve(end)
	if err := ask(); err != nil {
		t.Errorf("renewed: %v", err)
	}
	if err := w.server.certificate.check(now); err != nil {
		t.Errorf("readiness after it is renewed: %v", err)
	}
	if got := testutil.ToFloat64(w.server.certificate.ends); got != float64(end.Unix()) {
		t.Errorf("the metric says %v, want %d", got, end.Unix())
	}
	if err := w.server.certificate.check(now.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "look at the clock") {
		t.Errorf("before it begins: %v", err)
	}
	if err := os.WriteFile(w.config.TLS.CertFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.server.certificate.check(now); err == nil {
		t.Error("a file without a certificate is taken")
	}
}
