package gateway

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/vault"
	"github.com/dizuo/dizuo/test/postgres"
)

// realVault is the role vault over a database of its own, and the gateway's client of it. It counts answers that name a person after a moment.
type realVault struct {
	*vaultClient
	w        *world
	api, key *httptest.Server
	// gone is who has withdrawn; named counts questions that were asked after that and answered with that person.
	gone  atomic.Pointer[string]
	named atomic.Int64
}

func (v *realVault) consenting(ctx context.Context, dataset string, keys, scopes []string, purpose string) (map[string]string, error) {
	gone := v.gone.Load()
	out, err := v.vaultClient.consenting(ctx, dataset, keys, scopes, purpose)
	for _, subject := range out {
		if gone != nil && subject == *gone {
			v.named.Add(1)
			break
		}
	}
	return out, err
}

// newRealVault puts a vault behind a gateway whose dataset elders is in a provider's own database and needs the consent care.
func newRealVault(w *world) *realVault {
	t := w.t
	server, name, dir := postgres.Shared(t), fmt.Sprintf("vault_%d", time.Now().UnixNano()), t.TempDir()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	server.Exec(t, "postgres", "CREATE DATABASE "+name)
	db := server.Owner(name)
	if err := grid.Migrate(t.Context(), db, postgres.Passwords(), quiet); err != nil {
		t.Fatal(err)
	}
	db.User = contract.DatabaseUserVault
	for _, name := range []string{"vault", "pseudonym"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat(name[:1], 32)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for organization, kind := range map[string]string{"committee": "Committee", "civil-affairs": "Department"} {
		uri := contract.OrganizationURI("henan", "henan", organization, "id")
		w.certs[organization] = w.ca.Client(t, uri)
		w.bundle.Directory.Organizations[organization] = contract.Organization{Type: kind, Jurisdiction: []string{"41"}, URIs: []string{uri}}
	}
	cert := w.ca.Server(t)
	files := w.ca.Files(t, cert)
	b := w.bundle
	api, keyMap, end, err := vault.Handlers(t.Context(), contract.VaultConfig{
		TLS: files, Database: db, KeyFile: filepath.Join(dir, "vault"), PseudonymKeyFile: filepath.Join(dir, "pseudonym"), Receipts: files,
	}, func(time.Time) (*intake.Bundle, error) { return &b, nil }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	v := &realVault{w: w, api: httptest.NewServer(api), key: httptest.NewUnstartedServer(keyMap)}
	t.Cleanup(v.api.Close)
	if v.key.TLS, err = process.MutualTLS(files, contract.RoleURI("henan", contract.UserGateway), "this platform's gateway"); err != nil {
		t.Fatal(err)
	}
	v.key.TLS.Certificates = []tls.Certificate{cert}
	v.key.StartTLS()
	t.Cleanup(v.key.Close)
	v.vaultClient = newVaultClient(contract.VaultClient{URL: v.key.URL, TLS: w.ca.Files(t, w.ca.Client(t, contract.RoleURI("henan", contract.UserGateway)))})
	t.Cleanup(v.http.CloseIdleConnections)
	w.server.subjects = v
	w.regrant(func(g *contract.Grant) { g.ConsentScope = "care" })
	return v
}

// call makes a call of the vault's API as organization/role; out may be nil.
func (v *realVault) call(as, path string, in, out any) {
	t := v.w.t
	t.Helper()
	organization, role, _ := strings.Cut(as, "/")
	c := v.w.certs[organization]
	token, err := person.Sign(c.PrivateKey.(crypto.Signer), []*x509.Certificate{c.Leaf}, organization, "p-1", role, contract.PersonAudience("dizuo-henan", "henan", contract.RoleVault), time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.api.URL+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 || out != nil && json.Unmarshal(answer, out) != nil {
		t.Fatalf("%s: %d %s, %v", path, resp.StatusCode, answer, err)
	}
}

// consents registers a person who consents, and links a key of the provider's.
func (v *realVault) consents(number, key string) (subject, consent string) {
	v.w.t.Helper()
	var who struct{ Subject string }
	v.call("committee/PrivacyOfficer", "/v1/subjects", map[string]any{"division": jinghu, "identities": []vault.Identity{{Source: "resident-id", Key: number}}}, &who)
	var given struct{ ID string }
	v.call("committee/PrivacyOfficer", "/v1/consents", map[string]any{"subject": who.Subject, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "form 1"}, &given)
	v.call("civil-affairs/DataSteward", "/v1/datasets/elders/keys", map[string]any{"links": []vault.Link{{Key: key, Person: &vault.Identity{Source: "resident-id", Key: number}}}}, nil)
	return who.Subject, given.ID
}

// manyForeign is a provider's table of n rows in turn of the keys ka, kb and kc, each so large that a client who does not read stops the stream.
func manyForeign(n int) func(*world) {
	return func(w *world) {
		foreign(w)
		raw, err := os.ReadFile(filepath.Join(w.config.SourceDir, "elders"))
		if err != nil {
			w.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(raw), "://")
		name, _, _ := strings.Cut(rest, ":")
		postgres.Shared(w.t).Exec(w.t, name, fmt.Sprintf(`TRUNCATE public.people; INSERT INTO public.people
			SELECT i, 'jinghu', 'k' || substr('abc', 1 + i %% 3, 1), substr('abc', 1 + i %% 3, 1) || repeat('x', 1500) FROM generate_series(1, %d) i`, n))
	}
}

// A consent that is withdrawn ends with the next chunk of a stream, and with the next read.
func TestForeignConsentWithdrawn(t *testing.T) {
	const n = 30_000
	w := newWorld(t, manyForeign(n))
	v := newRealVault(w)
	v.consents("father", "ka")
	mother, consent := v.consents("mother", "kb") // nobody is behind kc
	o, seen := w.open1("fields=phone"), map[byte]int{}
	count := func(line []byte) {
		var r struct{ Phone string }
		if json.Unmarshal(line, &r) == nil && r.Phone != "" {
			seen[r.Phone[0]]++
		}
	}
	if !o.Scan() {
		t.Fatal(o.Err())
	}
	count(o.Bytes())
	v.call("committee/PrivacyOfficer", "/v1/consents/"+consent+"/withdraw", map[string]string{"evidence": "letter 1"}, nil)
	v.gone.Store(&mother)
	last := ""
	for o.Scan() {
		count(o.Bytes())
		last = o.Text()
	}
	if !strings.Contains(last, `"outcome":"Sent"`) || seen['a'] != n/3 || seen['b'] == 0 || seen['b'] >= n/3 || seen['c'] != 0 || v.named.Load() != 0 {
		t.Errorf("rows %v, %d answers after the withdrawal name who withdrew; end %.300s, %v", seen, v.named.Load(), last, o.Err())
	}
	if r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&fields=phone&limit=20"); r.status != 200 || len(r.Records) != 20 || strings.Contains(r.raw, `"bx`) {
		t.Errorf("the next read: %d, %d records", r.status, len(r.Records))
	}
}

// A vault that goes away in the middle of a stream ends it: nothing more leaves, the client sees it, and the log says it.
func TestForeignVaultDiesInAStream(t *testing.T) {
	const n = 30_000
	w := newWorld(t, manyForeign(n))
	v := newRealVault(w)
	v.consents("father", "ka")
	o := w.open1("fields=phone")
	if !o.Scan() {
		t.Fatal(o.Err())
	}
	v.key.CloseClientConnections()
	v.key.Close()
	got, end := o.rest(t)
	got++
	if got >= n/3 || end.Outcome != reasonConsentUnavailable || end.Records != int64(got) || end.Next == "" {
		t.Errorf("%d records, end %+v", got, end)
	}
	if o.Scan() || o.Err() == nil {
		t.Error("to a client that does not look at the last line the stream looks whole")
	}
	if r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&fields=phone"); r.status != 503 || r.problem.Reasons[0] != reasonConsentUnavailable {
		t.Errorf("the next read: %d %.300s", r.status, r.raw)
	}
	w.close()
	released, over := int64(0), false
	for _, r := range w.records() {
		switch {
		case r.Request != end.Request:
		case r.Kind == contract.LogRelease:
			if released += r.Rows; over {
				t.Error("a release after the end")
			}
		case r.Kind == contract.LogEnd:
			if over = true; r.Rows != released || len(r.Reasons) != 1 || r.Reasons[0] != reasonConsentUnavailable {
				t.Errorf("the log's end %+v after %d rows", r, released)
			}
		}
	}
	if !over || released != int64(got) {
		t.Errorf("%d rows released, %d came; end logged: %t", released, got, over)
	}
}
