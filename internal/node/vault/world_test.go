package vault

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
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

const (
	jinghu = "410702001001"
	east   = "410703001001"
)

var migrated sync.Once

// world is a vault over a real PostgreSQL, with the organisations of a county.
type world struct {
	t      *testing.T
	s      *service
	http   *httptest.Server
	ca     pki.CA
	certs  map[string]tls.Certificate
	bundle *intake.Bundle
	owner  contract.DatabaseConfig
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := postgres.Shared(t)
	migrated.Do(func() {
		server.Exec(t, "postgres", "CREATE DATABASE vault_template")
		if err := grid.Migrate(t.Context(), server.Owner("vault_template"), postgres.Passwords(), quiet()); err != nil {
			t.Fatal(err)
		}
	})
	name := fmt.Sprintf("vault_%d", time.Now().UnixNano())
	server.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE vault_template")
	w := &world{t: t, ca: pki.New(t, "platform"), certs: map[string]tls.Certificate{}, owner: server.Owner(name)}
	w.bundle = &intake.Bundle{
		Lease: contract.Lease{Revision: "sha256:r1", Sequence: 1, ExpiresAt: time.Now().Add(time.Hour)},
		Directory: contract.Directory{
			Platform:      contract.Platform{Name: "henan", Namespace: "dizuo-henan", TimeZone: "Asia/Shanghai"},
			Organizations: map[string]contract.Organization{},
		},
		Access: contract.Access{Datasets: map[string]contract.Dataset{
			"elder-visits": {Provider: "civil-affairs", Writer: "civil-affairs", Fields: map[string]contract.DatasetField{"phone": {Column: "phone"}}, Source: contract.Source{Schema: "datasets", Table: "elders", SubjectColumn: "subject"}},
			"households":   {Provider: "town", Source: contract.Source{Schema: "datasets", Table: "households", SubjectColumn: "subject"}},
			"clinic":       {Provider: "health", Source: contract.Source{DSN: "clinic", Schema: "public", Table: "p", SubjectColumn: "patient"}},
			"roads":        {Provider: "town", Source: contract.Source{Schema: "datasets", Table: "roads"}},
		}},
	}
	for name, o := range map[string]contract.Organization{
		"committee":     {Type: "Committee", Jurisdiction: []string{jinghu}, DisplayName: "荆胡社区居委会"},
		"town":          {Type: "Township", Jurisdiction: []string{"410702"}, Webhook: &contract.Webhook{URL: "https://town.example"}},
		"east":          {Type: "Committee", Jurisdiction: []string{east}},
		"office":        {Type: "DataOffice", Jurisdiction: []string{"41"}},
		"property":      {Type: "PropertyCompany", Jurisdiction: []string{jinghu}},
		"health":        {Type: "Health", Jurisdiction: []string{"41"}, DisplayName: "卫健委"},
		"civil-affairs": {Type: "Department", Jurisdiction: []string{"41"}},
	} {
		uri := contract.OrganizationURI("henan", "henan", name, "id")
		o.URIs = []string{uri}
		w.bundle.Directory.Organizations[name], w.certs[name] = o, w.ca.Client(t, uri)
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, name := range []string{"vault", "pseudonym"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat(name[:1], 32)+"\n"), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	db := w.owner
	db.User = contract.DatabaseUserVault
	files := w.ca.Files(w.t, w.ca.Server(w.t))
	s, err := newService(w.t.Context(), contract.VaultConfig{
		TLS: files, Database: db, KeyFile: filepath.Join(dir, "vault"), PseudonymKeyFile: filepath.Join(dir, "pseudonym"),
		Receipts: w.ca.Files(w.t, w.ca.Named(w.t, contract.ErasureSigner("henan"))),
	}, func(time.Time) (*intake.Bundle, error) { return w.bundle, nil }, quiet())
	if err != nil {
		w.t.Fatal(err)
	}
	w.s, w.http = s, httptest.NewServer(s.handler())
	w.t.Cleanup(func() { w.http.Close(); s.pool.Close() })
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// token signs for a person of an organisation.
func (w *world) token(organization, role string, audience contract.Role) string {
	w.t.Helper()
	c := w.certs[organization]
	token, err := person.Sign(c.PrivateKey.(crypto.Signer), []*x509.Certificate{c.Leaf}, organization, "p-1", role, contract.PersonAudience("dizuo-henan", "henan", audience), time.Now(), time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// call makes a request as organization/role and wants a status; out may be nil.
func (w *world) call(as, method, path string, in any, want int, out any) {
	w.t.Helper()
	organization, role, _ := strings.Cut(as, "/")
	w.send(w.token(organization, role, contract.RoleVault), method, path, in, want, out)
}

func (w *world) send(token, method, path string, in any, want int, out any) {
	w.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	body := io.Reader(nil)
	if in != nil {
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != want {
		w.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, want, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			w.t.Fatal(err)
		}
	}
}

// sql runs a statement as a user and scans one row, if there are places for it.
func (w *world) sql(user, statement string, args []any, into ...any) error {
	w.t.Helper()
	c := w.owner
	if user != "" {
		c.User = user
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, postgres.DSN(c))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if len(into) == 0 {
		_, err = conn.Exec(ctx, statement, args...)
		return err
	}
	return conn.QueryRow(ctx, statement, args...).Scan(into...)
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if err := w.sql("", statement, args); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// person registers somebody in 荆胡 with a number of the register resident-id.
func (w *world) person(number string, guardians ...Guardian) string {
	w.t.Helper()
	var out Subject
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{
		"division": jinghu, "identities": []Identity{{Source: "resident-id", Key: number}}, "guardians": notNil(guardians),
	}, 200, &out)
	return out.Subject
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
