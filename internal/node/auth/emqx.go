package auth

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
	"github.com/dizuo/dizuo/internal/node/process"
)

// EMQX asks over HTTP who a connection is (password_based, backend http, of EMQX 5.8): one request per CONNECT. The answer carries
// the rules of the connection and its end, so nothing is asked again for a publish or a subscription. Identity, client id, topics and
// life are those of the auth callout, from the same decision.
// https://docs.emqx.com/en/emqx/v5.8/access-control/authn/http.html

const (
	// emqxBody bounds a request in bytes: a certificate and a password fit.
	emqxBody = 64 << 10
	// emqxTimeout is EMQX's own patience, as rendered.
	emqxTimeout = 5 * time.Second
	// zoneDevices is the zone of the listener for devices, zoneRoles that of the listener for the platform's own roles, which is
	// for ingest alone.
	zoneDevices, zoneRoles = "default", "roles"
	// userIngest is the name of connections of the role ingest in EMQX. No device's begins so: a fleet holds no slash.
	userIngest = "role/" + contract.UserIngest
)

// emqx answers EMQX.
type emqx struct {
	*responder
	// ingest is the URI that the role ingest shows, under a CA in caFile.
	ingest, caFile string
	// held says that what EMQX acknowledges is held by the role ingest.
	held func(now time.Time) bool
	// recent remembers what was admitted lately; see emqxSweeper.
	recent *ledger
	log    *slog.Logger
}

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

// serve answers EMQX until ctx ends, and nobody else: the certificate must be that of the role emqx.
func (e *emqx) serve(ctx context.Context, c contract.EMQXConfig, platform string) error {
	tlsConfig, err := process.MutualTLS(c.TLS, contract.RoleURI(platform, contract.UserEMQX), "this platform's EMQX")
	if err != nil {
		return fmt.Errorf("auth.emqx.tls: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+contract.EMQXPath, e.answer)
	return process.ServeHTTP(ctx, &http.Server{Addr: c.Address, Handler: mux, TLSConfig: tlsConfig, ReadHeaderTimeout: emqxTimeout, ReadTimeout: emqxTimeout})
}

// answer decides a connection of EMQX.
func (e *emqx) answer(w http.ResponseWriter, h *http.Request) {
	began := e.now()
	ctx, cancel := context.WithTimeout(h.Context(), emqxTimeout)
	defer cancel()
	zone, req, err := readEMQX(http.MaxBytesReader(w, h.Body, emqxBody))
	var no *Refusal
	switch {
	case err != nil:
		e.log.Debug("request of EMQX not readable", "err", err)
		no = &Refusal{Reason: ReasonBadRequest}
	case zone == zoneRoles:
		no = e.role(w, req)
	case !e.held(began):
		no = &Refusal{Reason: ReasonNoIngest}
	default:
		_, no = e.decide(ctx, req, func(id Identity) error {
			e.recent.add(id.User(), id.ClientID, e.now())
			return answerEMQX(w, admitEMQX(id, e.now(), rand.Float64())) //nolint:gosec // jitter of an expiry, not a secret
		})
	}
	if no != nil {
		e.stats.refused(no)
		e.stats.decided("refused", began, e.now())
		_ = answerEMQX(w, emqxAnswer{Result: "deny"})
		return
	}
	e.stats.decided("admitted", began, e.now())
}

// role lets the role ingest in, by the platform's own CA: it must hold its session before any device may come.
func (e *emqx) role(w http.ResponseWriter, req Request) *Refusal {
	roots, err := process.ReadPool(e.caFile)
	if err != nil || len(req.Chain) == 0 || !strings.HasPrefix(req.ClientID, contract.IngestClientID("")) {
		return &Refusal{Reason: ReasonNoCredential}
	}
	leaf := req.Chain[0]
	if _, err := chain.Verify(req.Chain, roots, e.now()); err != nil {
		return &Refusal{Reason: ReasonBadIssuer}
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != e.ingest {
		return &Refusal{Reason: ReasonBadURI}
	}
	_ = answerEMQX(w, admitIngest(e.now()))
	return nil
}

// answerEMQX sends an answer and flushes it: it must be out before a newer registry takes over.
func answerEMQX(w http.ResponseWriter, a emqxAnswer) error {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// readEMQX reads what a connection shows, and the zone of the listener that it came to.
func readEMQX(body io.Reader) (zone string, req Request, err error) {
	var in emqxRequest
	if err := json.NewDecoder(body).Decode(&in); err != nil {
		return "", req, err
	}
	if in.Zone != zoneDevices && in.Zone != zoneRoles {
		return "", req, fmt.Errorf("zone %q has nobody who may come in", in.Zone)
	}
	req = Request{Type: "mqtt", DevicesOnly: true, ClientID: in.ClientID, Username: in.Username, Password: in.Password}
	if in.Cert == "" {
		return in.Zone, req, nil
	}
	der, err := base64.StdEncoding.DecodeString(in.Cert)
	if err != nil {
		return "", req, fmt.Errorf("certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return "", req, fmt.Errorf("certificate: %w", err)
	}
	req.Chain = []*x509.Certificate{leaf}
	return in.Zone, req, nil
}

// admitEMQX gives the rules of an identity: literal topics, up at QoS 0 and 1, down at QoS 0, and nothing else.
func admitEMQX(id Identity, now time.Time, jitter float64) emqxAnswer {
	up, down := []string{}, []string{}
	for _, p := range id.Prefixes {
		for _, c := range contract.UpChannels() {
			up = append(up, "eq "+contract.DeviceTopic(p.Fleet, p.Device, c))
		}
		for _, c := range id.down() {
			down = append(down, "eq "+contract.DeviceTopic(p.Fleet, p.Device, c))
		}
	}
	if id.Cloud != "" {
		up = append(up, "eq "+contract.PlatformTopic(id.Cloud, contract.PlatformUp))
		down = append(down, "eq "+contract.PlatformTopic(id.Cloud, contract.PlatformDown))
	}
	a := emqxAnswer{Result: "allow", ExpireAt: expiry(id, now, jitter), ClientAttrs: map[string]string{attrUser: id.User()}}
	if len(up) > 0 {
		a.ACL = append(a.ACL, emqxRule{Permission: "allow", Action: "publish", QoS: []int{0, 1}, Topics: up},
			emqxRule{Permission: "allow", Action: "subscribe", QoS: []int{0}, Topics: down})
	}
	a.ACL = append(a.ACL, nothingElse)
	return a
}

var nothingElse = emqxRule{Permission: "deny", Action: "all", Topics: []string{"#"}}

// admitIngest gives the rules of the role ingest: it hears every device and cloud, speaks to each, and cannot speak as one.
func admitIngest(now time.Time) emqxAnswer {
	each := func(channels []contract.Channel) (out []string) {
		for _, c := range channels {
			out = append(out, contract.DeviceTopic("+", "+", c))
		}
		return out
	}
	return emqxAnswer{Result: "allow", ExpireAt: now.Add(connectionLife).Unix(), ClientAttrs: map[string]string{attrUser: userIngest}, ACL: []emqxRule{
		{Permission: "allow", Action: "subscribe", QoS: []int{1}, Topics: append(each(contract.UpChannels()), contract.PlatformTopic("+", contract.PlatformUp))},
		{Permission: "allow", Action: "publish", QoS: []int{0}, Topics: append(each(contract.DownChannels()), contract.PlatformTopic("+", contract.PlatformDown))}, nothingElse}}
}
