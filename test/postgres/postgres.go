// Package postgres runs a PostgreSQL server for tests. It takes TLS connections with a password alone, so that a client that forgot
// one of them fails here and not only in production.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/pki"
)

// Password of every user of the server.
const Password = "synthetic-password"

// Passwords gives it for every user that a migration makes.
func Passwords() map[string]string {
	out := map[string]string{}
	for _, user := range contract.DatabaseUsers() {
		out[user] = Password
	}
	return out
}

// Server is a running one.
type Server struct {
	dir   string
	port  int
	cmd   *exec.Cmd
	logs  bytes.Buffer
	ended chan struct{}
	// command runs a program of PostgreSQL, settings are those of the server, as "name=value".
	command  func(name string, args ...string) *exec.Cmd
	settings []string
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared gives the one server of a package's tests; whoever asks first starts it, and Stop ends it. Without PostgreSQL a test is skipped
// on a person's machine and fails in CI.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = start(t) })
	given(t, shared.err)
	return shared.server
}

// Start gives a server of the test's own, for one that has a network of its own or takes the server away. Settings, as "name=value", go
// before ours, such as fsync=off.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(t, settings...)
	given(t, err)
	t.Cleanup(s.stop)
	return s
}

func given(t testing.TB, err error) {
	t.Helper()
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
}

// Stop ends the server if there is one. It is for TestMain, behind all tests.
func Stop() {
	if s := shared.server; s != nil {
		s.stop()
	}
}

// Owner says how the superuser reaches a database; "postgres" is always there.
func (s *Server) Owner(database string) contract.DatabaseConfig {
	return contract.DatabaseConfig{Host: "127.0.0.1", Port: s.port, Name: database, User: "dizuo", PasswordFile: s.at("password"), CAFile: s.at("ca.crt")}
}

// Exec runs statements as the superuser. With arguments there may be one alone.
func (s *Server) Exec(t testing.TB, database, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), DSN(s.Owner(database)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// DSN gives the connection string of a configuration.
func DSN(c contract.DatabaseConfig) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s sslmode=verify-full sslrootcert=%s", c.Host, c.Port, c.Name, c.User, Password, c.CAFile)
}

func (s *Server) at(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		<-s.ended
	}
	_ = os.RemoveAll(s.dir)
}

func start(t testing.TB, settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dizuo-pg") // the user postgres cannot reach a test's own folder, which also ends with its test
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, ended: make(chan struct{}), settings: settings}
	if err := s.run(t, bin); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// run makes a cluster and serves it.
func (s *Server) run(t testing.TB, bin string) error {
	if err := s.write(t); err != nil {
		return err
	}
	cred, err := handOver(s.dir)
	if err != nil {
		return err
	}
	s.command = func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir = s.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGQUIT}
		return cmd
	}
	data := s.at("data")
	if out, err := s.command("initdb", "-D", data, "-U", "dizuo", "-A", "scram-sha-256", "--pwfile", s.at("password"), "-N", "-E", "UTF8", "--locale", "C").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("hostssl all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
		return err
	}
	if s.port, err = freePort(); err != nil {
		return err
	}
	return s.serve()
}

// serve starts the server and waits until it says that it is ready.
func (s *Server) serve() error {
	args := []string{"-D", s.at("data"), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl=on",
		"-c", "ssl_cert_file=" + s.at("server.crt"), "-c", "ssl_key_file=" + s.at("server.key"), "-c", "fsync=off"}
	for _, x := range s.settings {
		args = append(args, "-c", x)
	}
	cmd, ended := s.command("postgres", args...), make(chan struct{})
	cmd.Stderr = &s.logs
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.ended = cmd, ended
	go func() { _ = cmd.Wait(); close(ended) }()
	for range 600 {
		select {
		case <-ended:
			return fmt.Errorf("PostgreSQL: %s", s.logs.String())
		case <-time.After(50 * time.Millisecond):
		}
		// The file may be the one that a killed server left.
		if pid, err := os.ReadFile(s.at("data/postmaster.pid")); err == nil && strings.HasPrefix(string(pid), fmt.Sprintf("%d\n", cmd.Process.Pid)) && strings.Contains(string(pid), "ready") {
			return nil
		}
	}
	return errors.New("PostgreSQL does not start")
}

// Kill ends the server as kill -9 does: nothing is flushed, and its clients hear nothing. Again starts it anew.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// Again starts a server that was killed. It tries until the processes that the killed one left are gone.
func (s *Server) Again() error {
	var err error
	for range 100 {
		s.logs.Reset()
		if err = s.serve(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// write puts certificate, key, CA and password into the server's folder.
func (s *Server) write(t testing.TB) error {
	ca := pki.New(t, "database")
	files := ca.Files(t, ca.Server(t))
	for name, from := range map[string]string{"server.crt": files.CertFile, "server.key": files.KeyFile, "ca.crt": files.CAFile} {
		raw, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(s.at(name), raw, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return os.WriteFile(s.at("password"), []byte(Password), 0o600)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		found = append([]string{strings.TrimSpace(string(out))}, found...)
	}
	for _, dir := range found {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL is not installed: install the package postgresql")
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
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("user postgres: %s:%s", u.Uid, u.Gid)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for _, f := range append(files, dir) {
		if err := os.Chown(f, uid, gid); err != nil {
			return nil, err
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil //nolint:gosec // numbers of users
}
