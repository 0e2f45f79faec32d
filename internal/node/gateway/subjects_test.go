package gateway

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/pki"
)

// The gateway shows its certificate, asks about no key that can be in no vault, and takes nothing but an answer to what it asked.
func TestVaultClient(t *testing.T) {
	ca := pki.New(t, "platform")
	var asked contract.MapRequest
	status, answer := 200, ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != contract.MapPath || json.NewDecoder(r.Body).Decode(&asked) != nil {
			http.Error(w, "wrong", http.StatusBadRequest)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	cert := ca.Server(t)
	config, err := process.MutualTLS(ca.Files(t, cert), contract.RoleURI("henan", contract.UserGateway), "this platform's gateway")
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{cert}
	server.TLS = config
	server.StartTLS()
	defer server.Close()
	v := newVaultClient(contract.VaultClient{URL: server.URL, TLS: ca.Files(t, ca.Client(t, contract.RoleURI("henan", contract.UserGateway)))})
	defer v.http.CloseIdleConnections()

	keys := []string{"k1", "k1", "", "\xff", strings.Repeat("张", contract.MaxIdentityKey+1), `'); DROP TABLE x; -- <张>`, "k2"}
	answer = `{"subjects":["s1","","s2"]}`
	got, err := v.consenting(t.Context(), "elders", keys, []string{"care"}, "HomeVisits")
	if err != nil || len(got) != 2 || got["k1"] != "s1" || got["k2"] != "s2" {
		t.Errorf("%v, %v", got, err)
	}
	if want := []string{"k1", `'); DROP TABLE x; -- <张>`, "k2"}; !slices.Equal(asked.Keys, want) || asked.Dataset != "elders" || !slices.Equal(asked.Scopes, []string{"care"}) || asked.Purpose != "HomeVisits" {
		t.Errorf("asked %+v", asked)
	}
	for _, bad := range []struct {
		status int
		answer string
	}{{200, `{"subjects":["s1"]}`}, {200, `{`}, {200, ``}, {503, `{"subjects":["s1","","s2"]}`}, {302, ``}} {
		status, answer = bad.status, bad.answer
		if got, err := v.consenting(t.Context(), "elders", keys, []string{"care"}, "HomeVisits"); !errors.Is(err, errVault) || got != nil {
			t.Errorf("%d %s: %v, %v", bad.status, bad.answer, got, err)
		}
	}
	stranger := newVaultClient(contract.VaultClient{URL: server.URL, TLS: ca.Files(t, ca.Client(t, contract.OrganizationURI("henan", "henan", "town", "id")))})
	if _, err := stranger.consenting(t.Context(), "elders", keys, nil, ""); !errors.Is(err, errVault) {
		t.Errorf("a stranger: %v", err)
	}
	server.Close()
	if _, err := v.consenting(t.Context(), "elders", keys, nil, ""); !errors.Is(err, errVault) {
		t.Errorf("the vault is away: %v", err)
	}
}
