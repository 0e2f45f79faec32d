package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// schemas are made once, as the grid service's migrations make them.
var schemas sync.Once

// tables gives how the gateway reaches the database of the tests, and a function that runs SQL as its owner.
func tables(t testing.TB) (config contract.DatabaseConfig, exec func(sql string, args ...any)) {
	t.Helper()
	server := postgres.Shared(t)
	schemas.Do(func() {
		server.Exec(t, "postgres", `DO $$ BEGIN CREATE ROLE dizuo_gateway LOGIN PASSWORD '`+postgres.Password+`'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
			CREATE SCHEMA datasets; CREATE SCHEMA grid; CREATE SCHEMA platform;
			GRANT USAGE ON SCHEMA datasets, grid, platform TO dizuo_gateway;
			ALTER DEFAULT PRIVILEGES IN SCHEMA datasets GRANT SELECT ON TABLES TO dizuo_gateway;
			CREATE TABLE grid.consents (subject text, scope text, given_at timestamptz NOT NULL DEFAULT now(), withdrawn_at timestamptz, expires_at timestamptz, purposes text[] NOT NULL DEFAULT '{HomeVisits}');
			CREATE TABLE platform.roster (organization text, person text, role text, community text, grid text NOT NULL DEFAULT '');
			GRANT SELECT ON grid.consents, platform.roster TO dizuo_gateway;`)
	})
	config = server.Owner("postgres")
	config.User = contract.DatabaseUserGateway
	return config, func(sql string, args ...any) { t.Helper(); server.Exec(t, "postgres", sql, args...) }
}

// Communities of the tests.
const (
	jinghu = "410702001001" // 新乡 荆胡社区, in the town's jurisdiction
	old    = "410702001099" // its former code
	east   = "410703001001" // another county
)

const zone = "Asia/Shanghai"

// world is a gateway with its surroundings.
type world struct {
	t      testing.TB
	exec   func(sql string, args ...any)
	ca     pki.CA
	server *server
	http   *httptest.Server
	logDir string
	config contract.GatewayConfig
	bundle intake.Bundle
	certs  map[string]tls.Certificate
	now    func() time.Time
	// later is how far now runs ahead in some tests; audit is where emergencies are kept, if anywhere.
	later time.Duration
	audit *contract.DatabaseConfig
}

func testDirectory() contract.Directory {
	return contract.Directory{
		Platform: contract.Platform{Name: "henan", Namespace: "dizuo-henan", TimeZone: zone},
		Communities: map[string]contract.Community{
			"jinghu": {Division: jinghu, FormerDivisions: []string{old}}, "east": {Division: east},
		},
		Organizations: map[string]contract.Organization{},
	}
}

func testDataset(table string) contract.Dataset {
	field := func(kind, column, personal string) contract.DatasetField {
		return contract.DatasetField{Type: kind, Column: column, Grade: "General3", Personal: personal}
	}
	return contract.Dataset{
		Provider: "civil-affairs", Sharing: "Conditional", Category: "Ordinary",
		Fields: map[string]contract.DatasetField{
			"community": field("String", "community", "None"), "level": field("Integer", "level", "None"),
			"phone": field("String", "phone", "Ordinary"), "name": field("String", "full name", "Ordinary"),
			"born": field("Time", "born", "Sensitive"), "seen": field("Time", "seen", "None"),
			"health": field("String", "health", "Sensitive"),
		},
		Source: contract.Source{Schema: "datasets", Table: table, DivisionColumn: "community", SubjectColumn: "subject"},
	}
}

func visits() contract.Grant {
	return contract.Grant{
		UID: "uid-visits", Generation: 3, Digest: "sha256:aa",
		Fields: map[string]contract.Mask{
			"community": {}, "level": {Method: maskGeneralise, To: "10"}, "phone": {Method: maskKeepLast, Keep: 4},
			"name": {Method: maskPseudonym}, "born": {Method: maskGeneralise, To: "Year"}, "seen": {Method: maskGeneralise, To: "Day"},
			"health": {Method: maskDrop},
		},
		Rows: contract.Rows{Divisions: []string{"410702"}}, Purposes: []string{"HomeVisits"}, Roles: []string{"GridWorker"},
	}
}

// newWorld starts a gateway over a table of its own with five people, one of them in another county. change may alter the
// access document before it is applied.
func newWorld(t testing.TB, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, ca: pki.New(t, "platform"), certs: map[string]tls.Certificate{}, now: time.Now}
	w.config.Database, w.exec = tables(t)
	table := fmt.Sprintf("elders_%d", time.Now().UnixNano())
	w.exec(`CREATE TABLE datasets.` + table + ` (id bigint PRIMARY KEY, community char(12), subject text, phone text, "full name" text,
		born date, seen timestamptz, level int, health text)`)
	w.exec(`INSERT INTO datasets.` + table + ` VALUES
		(1,'` + jinghu + `','s1','13800000001','张一','1941-05-06','2026-03-01T17:00:00Z',47,'h1'),
		(2,'` + jinghu + `','s2','123','李二','1942-05-06','2026-03-01T15:00:00Z',-3,'h2'),
		(3,'` + old + `','s3',NULL,'王三','1943-05-06',NULL,NULL,'h3'),
		(4,'` + east + `','s4','13800000004','赵四','1944-05-06','2026-03-01T17:00:00Z',50,'h4'),
		(5,NULL,'s5','13800000005','钱五','1945-05-06','2026-03-01T17:00:00Z',50,'h5')`)
	w.bundle = intake.Bundle{
		Lease:     contract.Lease{Platform: "dizuo-henan/henan", Scope: contract.ScopeCenter, Revision: "sha256:r1", Sequence: 1, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)},
		Directory: testDirectory(), Modules: policies.Access(),
		Access: contract.Access{
			Datasets: map[string]contract.Dataset{"elders": testDataset(table)},
			Grants:   map[string]map[string]map[string]contract.Grant{"elders": {"town": {"a6": visits()}}},
		},
	}
	for _, name := range []string{"town", "health"} {
		uri := contract.OrganizationURI("henan", "henan", name, "id")
		w.certs[name] = w.ca.Client(t, uri)
		w.bundle.Directory.Organizations[name] = contract.Organization{Type: "Township", Clearance: "C2", URIs: []string{uri}}
	}
	self := pki.New(t, "somebody").Client(t, "spiffe://elsewhere.example/property")
	w.certs["property"] = self
	w.bundle.Directory.Organizations["property"] = contract.Organization{Type: "PropertyCompany", Clearance: "C2", KeyDigests: []string{contract.Digest(self.Leaf.RawSubjectPublicKeyInfo)}}
	for _, c := range change {
		c(w)
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	dir := w.t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.logDir = filepath.Join(dir, "log")
	w.config = contract.GatewayConfig{TLS: w.ca.Files(w.t, w.ca.Server(w.t)), Database: w.config.Database, SourceDir: w.config.SourceDir, LogDir: w.logDir, PseudonymKeyFile: key, AuditDatabase: w.audit}
	w.open()
}

// open starts the gateway; after close it starts it again over the same log.
func (w *world) open() {
	w.t.Helper()
	s, err := newServer(w.t.Context(), w.config, "gateway-0", prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	s.now = func() time.Time { return w.now() }
	w.server = s
	w.apply()
	w.http = httptest.NewUnstartedServer(s.handler())
	w.http.TLS = s.http(w.config).TLSConfig
	cert, err := tls.LoadX509KeyPair(w.config.TLS.CertFile, w.config.TLS.KeyFile)
	if err != nil {
		w.t.Fatal(err)
	}
	w.http.TLS.Certificates = []tls.Certificate{cert}
	w.http.StartTLS()
	w.t.Cleanup(w.close)
}

func (w *world) close() {
	w.http.Close()
	w.server.close()
}

// apply puts a copy of w.bundle in force.
func (w *world) apply() {
	w.t.Helper()
	b := sealed(w.t, w.bundle)
	if err := w.server.apply(w.t.Context(), &b); err != nil {
		w.t.Fatal(err)
	}
}

// sealed gives a bundle as the intake does: its grants in shards.
func sealed(t testing.TB, b intake.Bundle) intake.Bundle {
	t.Helper()
	shards := map[string]map[string]map[string]map[string]contract.Grant{}
	for dataset, consumers := range b.Access.Grants {
		for consumer, agreements := range consumers {
			name := contract.GrantsShard(consumer)
			if shards[name] == nil {
				shards[name] = map[string]map[string]map[string]contract.Grant{}
			}
			if shards[name][dataset] == nil {
				shards[name][dataset] = map[string]map[string]contract.Grant{}
			}
			shards[name][dataset][consumer] = agreements
		}
	}
	b.Access.Grants, b.Grants = nil, map[string]intake.Grants{}
	for name, shard := range shards {
		raw, err := json.Marshal(shard)
		if err != nil {
			t.Fatal(err)
		}
		b.Grants[name] = intake.Grants{Digest: contract.Digest(raw), JSON: string(raw)}
	}
	return b
}

// next puts w.bundle in force as a new revision.
func (w *world) next() {
	w.t.Helper()
	w.bundle.Lease.Sequence++
	w.bundle.Lease.Revision = fmt.Sprintf("sha256:r%d", w.bundle.Lease.Sequence)
	w.apply()
}

func (w *world) client(organization string) *http.Client {
	cfg := &tls.Config{RootCAs: w.ca.Pool(), MinVersion: tls.VersionTLS12}
	if cert, ok := w.certs[organization]; ok {
		cfg.Certificates = []tls.Certificate{cert}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second}
}

// token signs for a person of an organisation, in a role.
func (w *world) token(organization, role string) string {
	w.t.Helper()
	c := w.certs[organization]
	audience := contract.PersonAudience("dizuo-henan", "henan", contract.RoleGateway)
	token, err := person.Sign(c.PrivateKey.(crypto.Signer), []*x509.Certificate{c.Leaf}, organization, "p-1", role, audience, time.Now(), 10*time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

type reply struct {
	status  int
	header  http.Header
	problem Problem
	Records []map[string]any
	Masked  map[string]string
	Next    string
	Request string
	raw     string
}

// get reads records as an organisation; token "" shows no person.
func (w *world) get(organization, token, dataset, query string) reply {
	w.t.Helper()
	r, err := fetchReply(w.client(organization), w.http.URL, token, dataset, query)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func fetchReply(c *http.Client, base, token, dataset, query string) (reply, error) {
	req, err := http.NewRequest(http.MethodGet, base+"/v1/datasets/"+dataset+"/records?"+query, nil)
	if err != nil {
		return reply{}, err
	}
	if token != "" {
		req.Header.Set("Dizuo-Person", token)
	}
	return send(c, req)
}

func send(c *http.Client, req *http.Request) (reply, error) {
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if resp.StatusCode == http.StatusOK {
		return r, json.Unmarshal(raw, &r)
	}
	if len(raw) == 0 {
		return r, nil
	}
	return r, json.Unmarshal(raw, &r.problem)
}

// lines gives the decision log, verified.
func (w *world) lines() []decisionlog.Line {
	w.t.Helper()
	var out []decisionlog.Line
	if _, err := decisionlog.Verify(os.DirFS(w.logDir), func(l decisionlog.Line) { out = append(out, l) }); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// records gives the decision log, verified, with what was decided joined to every line of a request.
func (w *world) records() []contract.LogRecord {
	w.t.Helper()
	var out []contract.LogRecord
	decided := map[string]*contract.LogBody{}
	for _, l := range w.lines() {
		if l.Kind == contract.LogDecision {
			decided[l.Request] = l.Said
		}
		r := contract.LogRecord{
			Kind: l.Kind, Sequence: l.Sequence, Time: l.At, Request: l.Request, Instance: l.Instance, UID: l.UID, Rows: l.Said.Rows, Subjects: l.Said.Subjects,
		}
		if d := decided[l.Request]; d != nil {
			r.Dataset, r.Consumer, r.Purpose, r.Agreement = d.Input.Dataset, d.Input.Consumer, d.Input.Purpose, d.Decision.Agreement
			r.Generation, r.Allow, r.Reasons, r.Fields = d.Generation, d.Decision.Allow, d.Decision.Reasons, leaving(d.Decision.Fields)
			r.Revision, r.Lease = d.Policy.Revision, d.Policy.Sequence
			if len(r.Fields) == 0 {
				r.Fields = d.Input.Fields
			}
			if d.Input.Case != nil {
				r.CaseNumber = d.Input.Case.Number
			}
			if d.Input.Person != nil {
				r.Person, r.Role = d.Input.Person.Subject, strings.Join(d.Input.Person.Roles, " ")
			}
		}
		if l.Kind == contract.LogEnd && l.Said.Outcome != outcomeSent {
			r.Reasons = []string{l.Said.Outcome}
		}
		out = append(out, r)
	}
	return out
}
