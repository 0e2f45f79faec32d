package vault

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/dizuo/dizuo/internal/contract"
)

func (w *world) mapping() *mapping {
	return &mapping{pool: w.s.pool, keys: w.s.keys, live: w.s.live, now: w.s.now, slots: semaphore.NewWeighted(1)}
}

func (w *world) link(want int, links ...Link) {
	w.t.Helper()
	w.call("health/DataSteward", http.MethodPost, "/v1/datasets/clinic/keys", map[string]any{"links": links}, want, nil)
}

func register(number string) *Identity { return &Identity{"resident-id", number} }

// TestLinksSayNothing: the provider alone links, the last word holds, and whoever is not known is nobody's.
func TestLinksSayNothing(t *testing.T) {
	w := newWorld(t)
	father, mother := w.person("father"), w.person("mother")
	subjects := func(keys ...string) []string {
		out, err := w.mapping().subjects(t.Context(), contract.MapRequest{Dataset: "clinic", Keys: keys}, "health")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	is := func(want string, keys ...string) {
		t.Helper()
		if got := strings.Join(subjects(keys...), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	// What a committee registers under the dataset's name gives out no row.
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{"identities": []Identity{{"resident-id", "father"}, {"clinic", "p0"}}}, 200, nil)
	is("", "p0")
	odd := `'); DROP TABLE vault.keys; -- 张\`
	w.link(204, Link{Key: "p1", Person: register("father")}, Link{Key: odd, Subject: mother}, Link{Key: "p3", Person: register("nobody")})
	is(father+" "+mother+"  "+father, "p1", odd, "p3", "p1")
	w.link(204, Link{Key: "p1", Person: register("mother")}, Link{Key: odd, Person: register("nobody")})
	is(mother+" ", "p1", odd)
	w.link(204, Link{Key: "p1"})
	is("", "p1")
	w.link(422, Link{Key: "p1", Person: &Identity{"elder-visits", "x"}})
	w.link(422, Link{Key: "p1"}, Link{Key: "p1"})
	for _, as := range []string{"committee/DataSteward", "civil-affairs/PrivacyOfficer"} {
		w.call(as, http.MethodPost, "/v1/datasets/clinic/keys", map[string]any{"links": []Link{{Key: "p1"}}}, 404, nil)
	}
	w.call("health/Doctor", http.MethodPost, "/v1/datasets/clinic/keys", map[string]any{"links": []Link{{Key: "p1"}}}, 403, nil)
	w.call("civil-affairs/DataSteward", http.MethodPost, "/v1/datasets/elder-visits/keys", map[string]any{"links": []Link{{Key: "p1"}}}, 404, nil)

	// Another provider of a dataset of the name begins without links; an erased person has none.
	w.link(204, Link{Key: "p1", Subject: father})
	if out, err := w.mapping().subjects(t.Context(), contract.MapRequest{Dataset: "clinic", Keys: []string{"p1"}}, "town"); err != nil || out[0] != "" {
		t.Errorf("another provider: %q, %v", out, err)
	}
	// What was read before the link is found after it.
	at := time.Now().Add(-time.Hour)
	w.line(1, "decision", "r1", at, contract.LogBody{})
	w.line(2, "release", "r1", at, contract.LogBody{Rows: 1}, w.logName(contract.ForeignSubject("clinic", "p1")))
	var got Access
	w.call("committee/PrivacyOfficer", http.MethodGet, "/v1/subjects/"+father+"/access?reason=SubjectRequest", nil, 200, &got)
	found := false
	for _, r := range got.Reads {
		found = found || r.Request == "r1"
	}
	if !found {
		t.Error("a reading from before the link is not found")
	}
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+father+"/erase", map[string]string{"reason": "SubjectRequest"}, 200, nil)
	is("", "p1")
	w.verifyChain()
}

// TestMappingAgreesWithAnOracle holds the one statement against a walk over every consent.
func TestMappingAgreesWithAnOracle(t *testing.T) {
	w := newWorld(t)
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a test
	type consent struct {
		scope, purpose                string
		given, withdrawn, expires     time.Duration
		isWithdrawn, expiresSometimes bool
	}
	const n = 60
	keys, subject, consents := make([]string, n), make([]string, n), make([][]consent, n)
	var links []Link
	for i := range n {
		keys[i] = fmt.Sprintf("钥%d'", i)
		if i%7 == 0 {
			continue // not mapped
		}
		subject[i] = w.person(fmt.Sprintf("number-%d", i))
		w.s.lookups.Clear()
		links = append(links, Link{Key: keys[i], Subject: subject[i]})
		for range random.IntN(4) {
			hours := func() time.Duration { return time.Duration(random.IntN(20)-10)*time.Hour + 30*time.Minute }
			c := consent{scope: []string{"care", "agreement.a"}[random.IntN(2)], purpose: []string{"HomeVisits", "Pension"}[random.IntN(2)], given: hours(), isWithdrawn: random.IntN(3) == 0, expiresSometimes: random.IntN(3) == 0}
			c.withdrawn, c.expires = c.given+time.Duration(1+random.IntN(12))*time.Hour, c.given+time.Duration(1+random.IntN(12))*time.Hour
			var withdrawn, expires *time.Time
			now := time.Now()
			if c.isWithdrawn {
				at := now.Add(c.withdrawn)
				withdrawn = &at
			}
			if c.expiresSometimes {
				at := now.Add(c.expires)
				expires = &at
			}
			w.exec("INSERT INTO grid.consents (subject, scope, purposes, given_at, withdrawn_at, expires_at, guardian) VALUES ($1, $2, $3, $4, $5, $6, 'g') ON CONFLICT DO NOTHING",
				subject[i], c.scope, []string{c.purpose}, now.Add(c.given), withdrawn, expires)
			consents[i] = append(consents[i], c)
		}
	}
	w.link(204, links...)
	for _, scopes := range [][]string{nil, {"care"}, {"agreement.a"}, {"care", "agreement.a"}} {
		got, err := w.mapping().subjects(t.Context(), contract.MapRequest{Dataset: "clinic", Keys: keys, Scopes: scopes, Purpose: "HomeVisits"}, "health")
		if err != nil {
			t.Fatal(err)
		}
		some := 0
		for i := range keys {
			want := subject[i]
			for _, scope := range scopes {
				stands := false
				for _, c := range consents[i] {
					stands = stands || c.scope == scope && c.purpose == "HomeVisits" && c.given < 0 && (!c.isWithdrawn || c.withdrawn > 0) && (!c.expiresSometimes || c.expires > 0)
				}
				if !stands {
					want = ""
				}
			}
			if got[i] != want {
				t.Errorf("scopes %v, key %d: %q, want %q: %+v", scopes, i, got[i], want, consents[i])
			}
			if want != "" {
				some++
			}
		}
		if some == 0 {
			t.Errorf("scopes %v: nobody, so nothing is tried", scopes)
		}
	}
}

// TestMappingIsForTheGateway: the certificate of the role gateway and no other opens the door, and the dataset's own scope is asked for.
func TestMappingIsForTheGateway(t *testing.T) {
	w := newWorld(t)
	father := w.person("father")
	w.link(204, Link{Key: "p1", Subject: father})
	d := w.bundle.Access.Datasets["clinic"]
	d.ConsentScope = "clinic"
	w.bundle.Access.Datasets["clinic"] = d
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	db := w.owner
	db.User = contract.DatabaseUserVault
	files := w.ca.Files(t, w.ca.Server(t))
	ended := make(chan error, 1)
	go func() {
		ended <- w.s.serveMapping(t.Context(), contract.VaultConfig{MapAddress: address, TLS: files, Database: db}, "henan")
	}()
	ask := func(uri, dataset string) (int, []string) {
		c := &tls.Config{RootCAs: w.ca.Pool(), MinVersion: tls.VersionTLS12}
		if uri != "" {
			c.Certificates = []tls.Certificate{w.ca.Client(t, uri)}
		}
		raw, _ := json.Marshal(contract.MapRequest{Dataset: dataset, Keys: []string{"p1"}, Purpose: "HomeVisits"})
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c}}
		defer client.CloseIdleConnections()
		resp, err := client.Post("https://"+address+contract.MapPath, "application/json", bytes.NewReader(raw))
		if err != nil {
			return 0, nil
		}
		defer func() { _ = resp.Body.Close() }()
		var a contract.MapAnswer
		_ = json.NewDecoder(resp.Body).Decode(&a)
		return resp.StatusCode, a.Subjects
	}
	gateway := contract.RoleURI("henan", contract.UserGateway)
	for deadline := time.Now().Add(10 * time.Second); ; {
		if status, _ := ask(gateway, "clinic"); status != 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the door does not open")
		}
	}
	for _, uri := range []string{"", contract.RoleURI("henan", contract.UserGrid), contract.OrganizationURI("henan", "henan", "health", "id")} {
		if status, _ := ask(uri, "clinic"); status != 0 {
			t.Errorf("%q is let in: %d", uri, status)
		}
	}
	if status, got := ask(gateway, "clinic"); status != 200 || len(got) != 1 || got[0] != "" {
		t.Errorf("without the dataset's consent: %d %q", status, got)
	}
	w.exec("INSERT INTO grid.consents (subject, scope, purposes, given_at) VALUES ($1, 'clinic', '{HomeVisits}', now() - interval '1 hour')", father)
	if status, got := ask(gateway, "clinic"); status != 200 || len(got) != 1 || got[0] != father {
		t.Errorf("with it: %d %q", status, got)
	}
	for _, other := range []string{"resident-id", "elder-visits", "roads"} {
		if status, _ := ask(gateway, other); status != 404 {
			t.Errorf("%s: %d", other, status)
		}
	}
}
