package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// EMQX asks over HTTP who a connection is (password_based, backend http, of EMQX 5.8): one request per CONNECT. The answer carries
// the rules of the connection and its end, so nothing is asked again for a publish or a subscription. Identity, client id, topics and
// life are those of the auth callout, from the same decision.
// https://docs.emqx.com/en/emqx/v5.8/access-control/authn/http.html

const (
	// EMQXPath is where EMQX posts.
	EMQXPath = "/emqx/authn"
	// emqxBody bounds a request in bytes: a certificate and a password fit.
	emqxBody = 64 << 10
	// emqxTimeout is EMQX's own patience, as rendered.
	emqxTimeout = 5 * time.Second
	// zoneDevices is the zone of the listener for devices. Nobody else is let in here.
	zoneDevices = "default"
)

// emqxRequest is what EMQX is configured to send. Cert is the base64 of the DER of the certificate that the connection proved to
// hold the key of; what it sent with it EMQX cannot pass on.
type emqxRequest struct {
	ClientID string `json:"clientid"`
	Username string `json:"username"`
	Password string `json:"password"`
	Cert     string `json:"cert"`
	Zone     string `json:"zone"`
}

// emqxAnswer is what EMQX takes. Rules are tried in order; what none matches is denied by EMQX's configuration.
type emqxAnswer struct {
	Result string `json:"result"`
	// ExpireAt, in Unix seconds, is when EMQX cuts the connection.
	ExpireAt int64 `json:"expire_at,omitempty"`
	// ClientAttrs carries the user's name, by which a sweep decides whether a connection may stay.
	ClientAttrs map[string]string `json:"client_attrs,omitempty"`
	ACL         []emqxRule        `json:"acl,omitempty"`
}

type emqxRule struct {
	Permission string   `json:"permission"`
	Action     string   `json:"action"`
	QoS        []int    `json:"qos,omitempty"`
	Topics     []string `json:"topics"`
}

// serveEMQX answers EMQX until ctx ends, and nobody else: the certificate must be that of the role emqx.
func serveEMQX(ctx context.Context, c contract.EMQXConfig, platform string, r *responder, log *slog.Logger) error {
	tlsConfig, err := emqxTLS(c.TLS, contract.RoleURI(platform, contract.UserEMQX))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+EMQXPath, r.emqx(log))
	return process.ServeHTTP(ctx, &http.Server{Addr: c.Address, Handler: mux, TLSConfig: tlsConfig, ReadHeaderTimeout: emqxTimeout, ReadTimeout: emqxTimeout})
}

func emqxTLS(files contract.TLSFiles, uri string) (*tls.Config, error) {
	pool, err := process.ReadPool(files.CAFile)
	if err != nil {
		return nil, fmt.Errorf("auth.emqx.tls: %w", err)
	}
	c := process.ServerTLS(files)
	c.ClientAuth, c.ClientCAs, c.SessionTicketsDisabled = tls.RequireAndVerifyClientCert, pool, true
	c.VerifyConnection = process.OnlyURI(uri, "this platform's EMQX")
	return c, nil
}

// emqx decides a connection of EMQX.
func (r *responder) emqx(log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, h *http.Request) {
		began := r.now()
		ctx, cancel := context.WithTimeout(h.Context(), emqxTimeout)
		defer cancel()
		req, err := readEMQX(http.MaxBytesReader(w, h.Body, emqxBody))
		if err != nil {
			log.Debug("request of EMQX not readable", "err", err)
			r.refuseEMQX(w, &Refusal{Reason: ReasonBadRequest}, began)
			return
		}
		_, no := r.decide(ctx, req, func(id Identity) error {
			return answerEMQX(w, admitEMQX(id, r.now(), rand.Float64())) //nolint:gosec // jitter of an expiry, not a secret
		})
		if no != nil {
			r.refuseEMQX(w, no, began)
			return
		}
		r.stats.decided("admitted", began, r.now())
	})
}

func (r *responder) refuseEMQX(w http.ResponseWriter, no *Refusal, began time.Time) {
	r.stats.refused(no)
	r.stats.decided("refused", began, r.now())
	_ = answerEMQX(w, emqxAnswer{Result: "deny"})
}

// answerEMQX sends an answer and flushes it: it must be out before a newer registry takes over.
func answerEMQX(w http.ResponseWriter, a emqxAnswer) error {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// readEMQX reads what a connection shows.
func readEMQX(body io.Reader) (Request, error) {
	var in emqxRequest
	if err := json.NewDecoder(body).Decode(&in); err != nil {
		return Request{}, err
	}
	if in.Zone != zoneDevices {
		return Request{}, fmt.Errorf("zone %q is not that of devices", in.Zone)
	}
	req := Request{Type: "mqtt", ClientID: in.ClientID, Username: in.Username, Password: in.Password}
	if in.Cert == "" {
		return req, nil
	}
	der, err := base64.StdEncoding.DecodeString(in.Cert)
	if err != nil {
		return Request{}, fmt.Errorf("certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Request{}, fmt.Errorf("certificate: %w", err)
	}
	req.Chain = []*x509.Certificate{leaf}
	return req, nil
}

// admitEMQX gives the rules of an identity: literal topics, up at QoS 0 and 1, down at QoS 0, and nothing else.
func admitEMQX(id Identity, now time.Time, jitter float64) emqxAnswer {
	up, down := []string{}, []string{}
	for _, p := range id.Prefixes {
		for _, c := range contract.UpChannels() {
			up = append(up, "eq "+contract.DeviceTopic(p.Fleet, p.Device, c))
		}
		for _, c := range contract.DownChannels() {
			down = append(down, "eq "+contract.DeviceTopic(p.Fleet, p.Device, c))
		}
	}
	a := emqxAnswer{Result: "allow", ExpireAt: expiry(now, jitter), ClientAttrs: map[string]string{"user": id.User()}}
	if len(id.Prefixes) > 0 {
		a.ACL = append(a.ACL, emqxRule{Permission: "allow", Action: "publish", QoS: []int{0, 1}, Topics: up},
			emqxRule{Permission: "allow", Action: "subscribe", QoS: []int{0}, Topics: down})
	}
	a.ACL = append(a.ACL, emqxRule{Permission: "deny", Action: "all", Topics: []string{"#"}})
	return a
}
