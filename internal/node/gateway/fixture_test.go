package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/policies"
)

// authority is a certificate authority made for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	return authority{sign(t, template, template, key.Public(), key), key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate with a URI, for a client or (without one) for a server on loopback.
func (a authority) issue(t testing.TB, uri string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if uri == "" {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses, template.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	} else {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	for _, c := range change {
		c(template)
	}
	leaf := sign(t, template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files writes the authority's certificate and a server certificate into dir.
func (a authority) files(t testing.TB, dir string) contract.TLSFiles {
	t.Helper()
	f := contract.TLSFiles{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), CAFile: filepath.Join(dir, "ca.crt")}
	c := a.issue(t, "")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, f.CertFile, "CERTIFICATE", c.Certificate[0])
	writePEM(t, f.KeyFile, "PRIVATE KEY", der)
	writePEM(t, f.CAFile, "CERTIFICATE", a.cert.Raw)
	return f
}

// postgres is a real server, started once for all tests of the package.
type postgres struct {
	config contract.DatabaseConfig
	socket string
	stop   func()
}

var (
	postgresOnce sync.Once
	postgresHere *postgres
	postgresErr  error
	caHere       authority
)

// startPostgres gives the running server. Without PostgreSQL a test is skipped on a person's machine and fails in CI.
func startPostgres(t testing.TB) *postgres {
	t.Helper()
	postgresOnce.Do(func() {
		caHere = newAuthority(t)
		postgresHere, postgresErr = runPostgres(t, caHere)
	})
	if postgresErr != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(postgresErr)
		}
		t.Skip(postgresErr)
	}
	return postgresHere
}

func binaries() (string, error) {
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); exists(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", fmt.Errorf("PostgreSQL is not installed: install the package postgresql")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// asPostgres makes a command run as the user postgres when the test runs as root, which PostgreSQL refuses.
func asPostgres(cmd *exec.Cmd, dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Dir = dir
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
}

func runPostgres(t testing.TB, ca authority) (*postgres, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dizuo-gateway-pg-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	files := ca.files(t, dir)
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
	if err := asPostgres(initdb, dir); err != nil {
		return nil, err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	hba := "local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		return nil, err
	}
	port := freePort(t)
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "ssl=on", "-c", "ssl_cert_file="+files.CertFile, "-c", "ssl_key_file="+files.KeyFile, "-c", "fsync=off")
	if err := asPostgres(server, dir); err != nil {
		return nil, err
	}
	if err := os.Chmod(files.CAFile, 0o644); err != nil {
		return nil, err
	}
	if err := server.Start(); err != nil {
		return nil, err
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("s3cret-of-the-test\n"), 0o600); err != nil {
		return nil, err
	}
	p := &postgres{
		socket: fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", dir, port),
		config: contract.DatabaseConfig{Host: "127.0.0.1", Port: port, Name: "postgres", User: contract.DatabaseUserGateway, PasswordFile: password, CAFile: files.CAFile},
		stop: func() {
			_ = server.Process.Signal(syscall.SIGINT)
			_ = server.Wait()
			_ = os.RemoveAll(dir)
		},
	}
	return p, p.prepare(t)
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

// prepare waits for the server and makes what the grid service's migrations make.
func (p *postgres) prepare(t testing.TB) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := pgx.Connect(t.Context(), p.socket)
		if err == nil {
			_ = conn.Close(t.Context())
			break
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.exec(t, `CREATE ROLE dizuo_gateway LOGIN PASSWORD 's3cret-of-the-test';
		CREATE SCHEMA datasets; CREATE SCHEMA grid;
		GRANT USAGE ON SCHEMA datasets, grid TO dizuo_gateway;
		ALTER DEFAULT PRIVILEGES IN SCHEMA datasets GRANT SELECT ON TABLES TO dizuo_gateway;
		CREATE TABLE grid.consents (subject text, scope text, given_at timestamptz NOT NULL DEFAULT now(), withdrawn_at timestamptz);
		GRANT SELECT ON grid.consents TO dizuo_gateway;`)
	return nil
}

// exec runs SQL as the database's owner.
func (p *postgres) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
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
	pg     *postgres
	ca     authority
	server *server
	http   *httptest.Server
	logDir string
	config contract.GatewayConfig
	bundle intake.Bundle
	certs  map[string]tls.Certificate
	now    func() time.Time
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
	w := &world{t: t, pg: startPostgres(t), ca: caHere, certs: map[string]tls.Certificate{}, now: time.Now}
	table := fmt.Sprintf("elders_%d", time.Now().UnixNano())
	w.pg.exec(t, `CREATE TABLE datasets.`+table+` (id bigint PRIMARY KEY, community char(12), subject text, phone text, "full name" text,
		born date, seen timestamptz, level int, health text)`)
	w.pg.exec(t, `INSERT INTO datasets.`+table+` VALUES
		(1,'`+jinghu+`','s1','13800000001','张一','1941-05-06','2026-03-01T17:00:00Z',47,'h1'),
		(2,'`+jinghu+`','s2','123','李二','1942-05-06','2026-03-01T15:00:00Z',-3,'h2'),
		(3,'`+old+`','s3',NULL,'王三','1943-05-06',NULL,NULL,'h3'),
		(4,'`+east+`','s4','13800000004','赵四','1944-05-06','2026-03-01T17:00:00Z',50,'h4'),
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
		uri := contract.OrganizationURI("henan", name, "id")
		w.certs[name] = w.ca.issue(t, uri)
		w.bundle.Directory.Organizations[name] = contract.Organization{Type: "Township", URIs: []string{uri}}
	}
	self := newAuthority(t).issue(t, "spiffe://elsewhere.example/property")
	w.certs["property"] = self
	w.bundle.Directory.Organizations["property"] = contract.Organization{Type: "PropertyCompany", KeyDigests: []string{contract.Digest(self.Leaf.RawSubjectPublicKeyInfo)}}
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
	w.config = contract.GatewayConfig{TLS: w.ca.files(w.t, dir), Database: w.pg.config, LogDir: w.logDir, PseudonymKeyFile: key}
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
	b := w.bundle
	if err := w.server.apply(w.t.Context(), &b); err != nil {
		w.t.Fatal(err)
	}
}

// next puts w.bundle in force as a new revision.
func (w *world) next() {
	w.t.Helper()
	w.bundle.Lease.Sequence++
	w.bundle.Lease.Revision = fmt.Sprintf("sha256:r%d", w.bundle.Lease.Sequence)
	w.apply()
}

func (w *world) client(organization string) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.cert)
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
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
	return r, json.Unmarshal(raw, &r.problem)
}

// records gives the decision log, verified.
func (w *world) records() []contract.LogRecord {
	w.t.Helper()
	var out []contract.LogRecord
	if _, err := decisionlog.Verify(os.DirFS(w.logDir), func(r contract.LogRecord) { out = append(out, r) }); err != nil {
		w.t.Fatal(err)
	}
	return out
}
