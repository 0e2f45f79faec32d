package grid

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
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

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

const testPassword = "synthetic-password"

// postgres is one server for all tests of the package; each test has a database of its own.
var postgres struct {
	once sync.Once
	err  error
	dir  string
	port int
	cmd  *exec.Cmd
	n    int
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	if os.Getenv(edgeChildEnv) != "" {
		edgeChild()
		return
	}
	code := m.Run()
	if postgres.cmd != nil {
		_ = postgres.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = postgres.cmd.Wait()
	}
	if postgres.dir != "" {
		_ = os.RemoveAll(postgres.dir)
	}
	os.Exit(code)
}

// database gives a migrated database and how the grid service reaches it.
func database(t *testing.T) (grid, owner contract.DatabaseConfig) {
	t.Helper()
	postgres.once.Do(func() { postgres.err = startPostgres() })
	if postgres.err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(postgres.err)
		}
		t.Skip(postgres.err)
	}
	postgres.n++
	name := "dizuo" + strconv.Itoa(postgres.n)
	owner = contract.DatabaseConfig{Host: "127.0.0.1", Port: postgres.port, Name: "postgres", User: "dizuo",
		PasswordFile: filepath.Join(postgres.dir, "password"), CAFile: filepath.Join(postgres.dir, "ca.pem")}
	exec1(t, owner, "CREATE DATABASE "+name)
	owner.Name = name
	if err := Migrate(t.Context(), owner, testPasswords(), quiet()); err != nil {
		t.Fatal(err)
	}
	grid = owner
	grid.User = contract.DatabaseUserGrid
	return grid, owner
}

// try runs one statement as the user of cfg and gives its error.
func try(t *testing.T, cfg contract.DatabaseConfig, statement string, args ...any) error {
	t.Helper()
	c, err := connConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := refresh(cfg)(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), statement, args...)
	return err
}

func exec1(t *testing.T, cfg contract.DatabaseConfig, statement string, args ...any) {
	t.Helper()
	if err := try(t, cfg, statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func startPostgres() error {
	bin, err := postgresBin()
	if err != nil {
		return err
	}
	if postgres.dir, err = os.MkdirTemp("", "dizuo-pg"); err != nil {
		return err
	}
	dir := postgres.dir
	if err := makeCertificates(dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(testPassword), 0o644); err != nil {
		return err
	}
	cred, err := handOver(dir)
	if err != nil {
		return err
	}
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGQUIT}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "dizuo", "-A", "scram-sha-256", "--pwfile", filepath.Join(dir, "password"), "-N", "-E", "UTF8", "--locale", "C").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	// No unencrypted connection is taken, so a client that forgot TLS fails here and not only in production.
	hba := "hostssl all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	postgres.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	postgres.cmd = run("postgres", "-D", data, "-p", strconv.Itoa(postgres.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl=on",
		"-c", "ssl_cert_file="+filepath.Join(dir, "server.pem"), "-c", "ssl_key_file="+filepath.Join(dir, "server.key"), "-c", "fsync=off")
	var logs bytes.Buffer
	postgres.cmd.Stderr = &logs
	if err := postgres.cmd.Start(); err != nil {
		return err
	}
	for range 200 {
		if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(postgres.port))); err == nil {
			_ = c.Close()
			if ready() == nil {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("PostgreSQL does not start: %s", logs.String())
}

func ready() error {
	cfg := contract.DatabaseConfig{Host: "127.0.0.1", Port: postgres.port, Name: "postgres", User: "dizuo",
		PasswordFile: filepath.Join(postgres.dir, "password"), CAFile: filepath.Join(postgres.dir, "ca.pem")}
	c, err := connConfig(cfg)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := refresh(cfg)(ctx, c); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func postgresBin() (string, error) {
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); exists(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, dir := range found {
		if exists(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL is not installed: install the package postgresql")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// handOver gives the folder to the user postgres if we are root: PostgreSQL refuses to run as root.
func handOver(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for _, f := range append(files, dir) {
		if err := os.Chown(f, uid, gid); err != nil {
			return nil, err
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// makeCertificates writes a CA and a certificate for 127.0.0.1.
func makeCertificates(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "synthetic CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	for _, c := range []struct {
		file string
		cert *x509.Certificate
	}{{"ca.pem", ca}, {"server.pem", leaf}} {
		der, err := x509.CreateCertificate(rand.Reader, c.cert, ca, key.Public(), key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
			return err
		}
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "server.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// broker is a real nats-server with MQTT and the ingest log.
func broker(t *testing.T) *server.Server {
	t.Helper()
	opts := &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: freePort(t)}, // the server does not tell a port that it chose itself
	}
	s, err := server.NewServer(opts)
	mqttAddress.Store(s, net.JoinHostPort("127.0.0.1", strconv.Itoa(opts.MQTT.Port)))
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("broker does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, js := connect(t, s.ClientURL())
	defer nc.Close()
	// As the role broker makes it.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: contract.IngestStream, Subjects: []string{contract.IngestPrefix + ">"}, Retention: jetstream.LimitsPolicy}); err != nil {
		t.Fatal(err)
	}
	return s
}

// mqttAddress is where a broker takes devices.
var mqttAddress sync.Map

// freePort asks the kernel for a port.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func connect(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// mqttClient is a device.
func mqttClient(t *testing.T, s *server.Server, id string) mqtt.Client {
	t.Helper()
	addr, _ := mqttAddress.Load(s)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr.(string)).SetClientID(id).SetCleanSession(true).SetAutoReconnect(false))
	wait(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func wait(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(20 * time.Second) {
		t.Fatal("MQTT: no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func poolOf(t *testing.T, cfg contract.DatabaseConfig) *pgxpool.Pool {
	t.Helper()
	pool, err := openPool(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// number reads one number.
func number(t *testing.T, pool *pgxpool.Pool, query string, args ...any) (n int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}
