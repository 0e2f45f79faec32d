package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/dizuo/dizuo/internal/contract"
)

// idp is an OpenID Connect issuer over TLS.
type idp struct {
	t      *testing.T
	server *httptest.Server
	mu     sync.Mutex
	keys   map[string]*ecdsa.PrivateKey
	asked  int
	away   bool
}

func newIDP(t *testing.T) *idp {
	i := &idp{t: t, keys: map[string]*ecdsa.PrivateKey{"k1": newKey(t)}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asked++
		if i.away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var set jose.JSONWebKeySet
		for kid, key := range i.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"})
		}
		_ = json.NewEncoder(w).Encode(set)
	})
	i.server = httptest.NewTLSServer(mux)
	t.Cleanup(i.server.Close)
	return i
}

func (i *idp) change(do func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	do()
}

func (i *idp) provider(name string) contract.OIDCProvider {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw})
	return contract.OIDCProvider{Name: name, Issuer: i.server.URL, Audiences: []string{"dizuo"}, CABundle: string(ca), SubjectClaim: "uid", OrganizationClaim: "org", RolesClaim: "roles"}
}

// token signs claims, of which change may alter some; nil takes one out.
func (i *idp) token(kid string, change map[string]any) string {
	i.t.Helper()
	claims := map[string]any{
		"iss": i.server.URL, "sub": "svc-health", "aud": "dizuo", "iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
		"uid": "p-9", "org": "health", "roles": []string{"Nurse", "GridWorker"},
	}
	for name, v := range change {
		if claims[name] = v; v == nil {
			delete(claims, name)
		}
	}
	i.mu.Lock()
	key := i.keys[kid]
	i.mu.Unlock()
	if key == nil {
		key = newKey(i.t)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// withIDP gives a world in which the organisation health comes by tokens of the issuer and has the agreement of the town.
func withIDP(t *testing.T, i *idp) *world {
	return newWorld(t, func(w *world) {
		w.bundle.Directory.Platform.OIDC = []contract.OIDCProvider{i.provider("city")}
		o := w.bundle.Directory.Organizations["health"]
		o.OIDC = []contract.OIDCIdentity{{Provider: "city", Subject: "svc-health"}, {Provider: "city", Claim: "groups", Value: "health"}}
		w.bundle.Directory.Organizations["health"] = o
		w.bundle.Access.Grants["elders"]["health"] = map[string]contract.Grant{"h1": visits()}
	})
}

// ask reads as whoever the headers say, with the certificate of an organisation or none.
func (w *world) ask(organization, query string, header map[string]string) reply {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.http.URL+"/v1/datasets/elders/records?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	r, err := send(w.client(organization), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

const plain = "purpose=HomeVisits&fields=community"

func TestOrganizationByToken(t *testing.T) {
	i := newIDP(t)
	w := withIDP(t, i)
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	good := i.token("k1", nil)
	if r := w.ask("", plain, bearer(good)); r.status != http.StatusOK || len(r.Records) == 0 {
		t.Fatalf("good token: %d %s", r.status, r.raw)
	}
	if r := w.ask("health", plain, bearer(good)); r.status != http.StatusOK {
		t.Errorf("certificate and token of one organisation: %d %s", r.status, r.raw)
	}
	if r := w.ask("", plain, bearer(i.token("k1", map[string]any{"sub": "other", "groups": []string{"x", "health"}}))); r.status != http.StatusOK {
		t.Errorf("by a claim that is a list: %d %s", r.status, r.raw)
	}
	other := newIDP(t)
	parts := strings.Split(good, ".")
	none := "eyJhbGciOiJub25lIn0." + parts[1] + "."
	for name, c := range map[string]struct{ certificate, token, want string }{
		"nothing":                  {"", "", "no client certificate"},
		"wrong audience":           {"", i.token("k1", map[string]any{"aud": "else"}), "aud"},
		"alg none":                 {"", none, "no issuer"},
		"expired":                  {"", i.token("k1", map[string]any{"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-time.Second).Unix()}), "expired"},
		"lives too long":           {"", i.token("k1", map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()}), "lives"},
		"no iat":                   {"", i.token("k1", map[string]any{"iat": nil}), "iat"},
		"from the future":          {"", i.token("k1", map[string]any{"iat": time.Now().Add(5 * time.Minute).Unix()}), "future"},
		"unknown key":              {"", i.token("k7", nil), "could not be verified"},
		"another issuer":           {"", other.token("k1", nil), "no issuer"},
		"posing as issuer":         {"", other.token("k1", map[string]any{"iss": i.server.URL}), "could not be verified"},
		"no organisation":          {"", i.token("k1", map[string]any{"sub": "stranger"}), "no organisation"},
		"two organisations":        {"town", good, "two organisations"},
		"bad beside a certificate": {"town", "x", "no issuer"},
	} {
		header := map[string]string{}
		if c.token != "" {
			header = bearer(c.token)
		}
		if r := w.ask(c.certificate, plain, header); r.status != http.StatusUnauthorized || r.problem.Reasons[0] != reasonUnknownOrganization || !strings.Contains(r.problem.Detail, c.want) {
			t.Errorf("%s: %d %s, want %q", name, r.status, r.raw, c.want)
		}
	}
	// A token that two organisations claim speaks for neither.
	town := w.bundle.Directory.Organizations["town"]
	town.OIDC = []contract.OIDCIdentity{{Provider: "city", Claim: "org", Value: "health"}}
	w.bundle.Directory.Organizations["town"] = town
	w.next()
	if r := w.ask("", plain, bearer(good)); r.status != http.StatusUnauthorized || !strings.Contains(r.problem.Detail, "two organisations") {
		t.Errorf("claimed twice: %d %s", r.status, r.raw)
	}
}

func TestIssuerRotatesItsKeysAndGoesAway(t *testing.T) {
	i := newIDP(t)
	w := withIDP(t, i)
	read := func(token string) int {
		return w.ask("", plain, map[string]string{"Authorization": "Bearer " + token}).status
	}
	if got := read(i.token("k1", nil)); got != http.StatusOK {
		t.Fatalf("first key: %d", got)
	}
	i.change(func() { i.keys["k2"] = newKey(t) })
	if got := read(i.token("k2", nil)); got != http.StatusOK {
		t.Errorf("new key: %d", got)
	}
	var said bytes.Buffer // written before the answer leaves
	w.server.slog = slog.New(slog.NewTextHandler(&said, nil))
	i.change(func() { i.away, i.keys["k3"] = true, newKey(t) })
	if got := read(i.token("k2", nil)); got != http.StatusOK {
		t.Errorf("known key while the issuer is away: %d", got)
	}
	if got := read(i.token("k3", nil)); got != http.StatusUnauthorized {
		t.Errorf("unknown key while the issuer is away: %d", got)
	}
	i.change(func() { i.asked = 0 })
	r := w.ask("", plain, map[string]string{"Authorization": "Bearer " + i.token("k3", nil)})
	if r.problem.Detail != "the token could not be verified; the gateway's log says why" || strings.Contains(r.raw, "503 Service") || !strings.Contains(said.String(), "503 Service") {
		t.Errorf("a stranger is told %s, the log says %s", r.raw, said.String())
	}
	for range 40 {
		if got := read(i.token("k9", nil)); got != http.StatusUnauthorized {
			t.Fatalf("unknown key: %d", got)
		}
	}
	i.change(func() {
		if i.asked > 20 {
			t.Errorf("40 tokens with an unknown key made %d calls of the issuer", i.asked)
		}
	})
}

func TestPersonByToken(t *testing.T) {
	i := newIDP(t)
	w := withIDP(t, i)
	const query = "purpose=HomeVisits&fields=community,phone"
	ask := func(organization, token string) reply {
		return w.ask(organization, query, map[string]string{"Dizuo-Person": token})
	}
	if r := ask("health", i.token("k1", nil)); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if r := ask("health", w.token("health", "GridWorker")); r.status != http.StatusOK {
		t.Errorf("token of the organisation itself: %d %s", r.status, r.raw)
	}
	if r := ask("health", i.token("k1", map[string]any{"roles": "GridWorker"})); r.status != http.StatusOK {
		t.Errorf("one role: %d %s", r.status, r.raw)
	}
	for name, token := range map[string]string{
		"of another organisation": i.token("k1", map[string]any{"org": "town"}), "of none": i.token("k1", map[string]any{"org": nil}), "without a name": i.token("k1", map[string]any{"uid": nil}),
		"with a list for a name": i.token("k1", map[string]any{"uid": []string{"p"}}), "wrong audience": i.token("k1", map[string]any{"aud": "x"}), "unknown key": i.token("k7", nil),
	} {
		if r := ask("health", token); r.status != http.StatusUnauthorized || r.problem.Reasons[0] != reasonPersonInvalid {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if r := ask("town", i.token("k1", nil)); r.status != http.StatusUnauthorized {
		t.Errorf("person of another organisation: %d %s", r.status, r.raw)
	}
	if r := ask("health", i.token("k1", map[string]any{"roles": []any{1, "Nurse"}})); r.status != http.StatusForbidden || r.problem.Reasons[0] != "RoleNotAllowed" {
		t.Errorf("no such role: %d %s", r.status, r.raw)
	}
}
