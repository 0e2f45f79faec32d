package gateway

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificate watches the gateway's own server certificate, which cert-manager renews in its file: when that stops, clients refuse the gateway
// and nothing in its log says why.
type certificate struct {
	file string
	ends prometheus.Gauge
}

func newCertificate(reg prometheus.Registerer, file string) *certificate {
	c := &certificate{file: file, ends: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dizuo_gateway_certificate_expiry_seconds", Help: "When the gateway's server certificate ends, in Unix seconds; 0 before it was read.",
	})}
	reg.MustRegister(c.ends)
	return c
}

// check reads the certificate. It gives an error where clients refuse it at the time now, or it cannot be read.
func (c *certificate) check(now time.Time) error {
	raw, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return errors.New("server certificate: no PEM block in " + c.file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	c.ends.Set(float64(cert.NotAfter.Unix()))
	switch {
	case !now.Before(cert.NotAfter):
		return fmt.Errorf("the server certificate ended at %s and was not renewed: look at its Certificate of cert-manager", cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the server certificate begins at %s only: look at the clock", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
