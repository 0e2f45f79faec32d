// Package postgres runs a PostgreSQL server for tests of what is built from several parts. It takes TLS connections alone.
package postgres

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/test/dataplane"
	"github.com/dizuo/dizuo/test/pki"
)

// Password of every user of the server.
const Password = "synthetic-password"

// Grid starts a server until the test ends, makes the tables of the grid service, and gives how the service and the owner reach them.
func Grid(t testing.TB) (service, owner contract.DatabaseConfig) {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	ca := pki.New(t, "database")
	files := ca.Files(t, ca.Server(t))
	dir, err := os.MkdirTemp("", "dizuo-pg") // the user postgres cannot reach the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, from := range map[string]string{"server.crt": files.CertFile, "server.key": files.KeyFile, "ca.crt": files.CAFile} {
		raw, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(at(name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("password"), []byte(Password), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, bin, dir)
	owner = contract.DatabaseConfig{Host: "127.0.0.1", Port: port(t, dir), Name: "postgres", User: "dizuo", PasswordFile: at("password"), CAFile: at("ca.crt")}
	service = owner
	service.User = contract.DatabaseUserGrid
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	passwords := map[string]string{}
	for _, user := range contract.DatabaseUsers() {
		passwords[user] = Password
	}
	if err := grid.Migrate(ctx, owner, passwords, dataplane.Logger()); err != nil {
		t.Fatal(err)
	}
	return service, owner
}

// start makes a cluster in dir and runs it; it waits until the server says that it is ready.
func start(t testing.TB, bin, dir string) {
	t.Helper()
	cred, err := handOver(dir)
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGQUIT}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "dizuo", "-A", "scram-sha-256", "--pwfile", filepath.Join(dir, "password"), "-N", "-E", "UTF8", "--locale", "C").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("hostssl all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := run("postgres", "-D", data, "-p", strconv.Itoa(freePort(t)), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl=on",
		"-c", "ssl_cert_file="+filepath.Join(dir, "server.crt"), "-c", "ssl_key_file="+filepath.Join(dir, "server.key"), "-c", "fsync=off")
	var logs bytes.Buffer
	server.Stderr = &logs
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = server.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // fast shutdown
		<-ended
	})
	for range 600 {
		select {
		case <-ended:
			t.Fatalf("PostgreSQL: %s", logs.String())
		case <-time.After(50 * time.Millisecond):
		}
		if pid, err := os.ReadFile(filepath.Join(data, "postmaster.pid")); err == nil && strings.Contains(string(pid), "ready") {
			return
		}
	}
	t.Fatal("PostgreSQL does not start")
}

// port reads the port from the file of the running server.
func port(t testing.TB, dir string) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.Split(string(raw), "\n")[3])
	if err != nil {
		t.Fatal(err)
	}
	return n
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
