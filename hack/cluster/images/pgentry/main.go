// SPDX-License-Identifier: Apache-2.0

// Command pgentry is the entrypoint of the development image of PostgreSQL. It makes the data folder once, then becomes postgres.
//
// It reads the official image's main variables: PGDATA, POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE.
// Where /tls holds tls.crt and tls.key, connections over the network must use TLS.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	tlsFolder    = "/tls"
	socketFolder = "/run/postgresql"
	stagingName  = ".pgentry-init" // inside PGDATA: the data folder while it is being made
	stagedMarker = "PGENTRY_STAGED"
	passwordName = stagingName + "-password"
)

// settings are what the environment asks for.
type settings struct {
	data, user, database, password string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pgentry:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s, err := readSettings(os.Getenv, os.ReadFile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return err
	}
	if !initialised(s.data) {
		if err := s.initialise(); err != nil {
			return err
		}
	}
	for _, leftover := range []string{stagingName, passwordName} {
		if err := os.RemoveAll(filepath.Join(s.data, leftover)); err != nil {
			return err
		}
	}
	// PostgreSQL refuses a data folder that others may write to; a volume with an fsGroup is one.
	if err := restrictMode(s.data); err != nil {
		return err
	}
	tls, err := copyTLS(tlsFolder, s.data)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.data, "pg_hba.conf"), []byte(hbaRules(tls)), 0o600); err != nil {
		return err
	}
	return become("postgres", serverArgs(s.data, tls, args))
}

func readSettings(getenv func(string) string, readFile func(string) ([]byte, error)) (settings, error) {
	s := settings{
		data:     orDefault(getenv("PGDATA"), "/var/lib/postgresql/data"),
		user:     orDefault(getenv("POSTGRES_USER"), "postgres"),
		password: getenv("POSTGRES_PASSWORD"),
	}
	s.database = orDefault(getenv("POSTGRES_DB"), s.user)
	if file := getenv("POSTGRES_PASSWORD_FILE"); file != "" {
		data, err := readFile(file)
		if err != nil {
			return settings{}, fmt.Errorf("POSTGRES_PASSWORD_FILE: %w", err)
		}
		s.password = strings.TrimRight(string(data), "\r\n")
	}
	return s, nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

func initialised(data string) bool {
	_, err := os.Stat(filepath.Join(data, "PG_VERSION"))
	return err == nil
}

// initialise makes the data folder in a staging folder and then moves it up, PG_VERSION last. Whatever moment a crash
// chooses, the next start either continues the move or begins again; it deletes nothing but its own staging folder.
func (s settings) initialise() error {
	staging := filepath.Join(s.data, stagingName)
	if _, err := os.Stat(filepath.Join(staging, stagedMarker)); err != nil {
		if err := os.RemoveAll(staging); err != nil {
			return err
		}
		if err := s.stage(staging); err != nil {
			return err
		}
	}
	return moveUp(staging, s.data)
}

func (s settings) stage(staging string) error {
	if s.password == "" {
		return errors.New("no superuser password: set POSTGRES_PASSWORD_FILE to a file that holds it")
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	passwordFile := filepath.Join(filepath.Dir(staging), passwordName)
	if err := os.WriteFile(passwordFile, []byte(s.password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(passwordFile)
	err := runProgram("", "initdb", "--pgdata="+staging, "--username="+s.user, "--pwfile="+passwordFile,
		"--auth-host=scram-sha-256", "--auth-local=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums")
	if err != nil {
		return err
	}
	if s.database != "postgres" {
		sql := "CREATE DATABASE " + quoteIdentifier(s.database) + ";\n"
		if err := runProgram(sql, "postgres", "--single", "-D", staging, "postgres"); err != nil {
			return err
		}
	}
	return writeSynced(filepath.Join(staging, stagedMarker), nil)
}

func moveUp(staging, data string) error {
	entries, err := os.ReadDir(staging)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "PG_VERSION" || e.Name() == stagedMarker {
			continue
		}
		if err := os.Rename(filepath.Join(staging, e.Name()), filepath.Join(data, e.Name())); err != nil {
			return err
		}
	}
	if err := syncFolder(data); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(staging, "PG_VERSION"), filepath.Join(data, "PG_VERSION")); err != nil {
		return err
	}
	return syncFolder(data)
}

func writeSynced(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// restrictMode keeps the group's reading, which PostgreSQL allows, and drops all else. The root of a volume belongs to
// root and keeps its mode: then PGDATA must be a folder below it, as with the official image.
func restrictMode(data string) error {
	info, err := os.Stat(data)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&^0o750 == 0 {
		return nil
	}
	if err := os.Chmod(data, 0o700); err != nil {
		return fmt.Errorf("%w; PGDATA must be a folder that this user owns: set it to one below the mount point", err)
	}
	return nil
}

// copyTLS copies the key into a file that only this user reads: a mounted Secret may be readable by the group.
func copyTLS(from, data string) (bool, error) {
	for _, name := range []string{"tls.crt", "tls.key"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		target := filepath.Join(data, "pgentry-"+name)
		if err := os.WriteFile(target+".tmp", content, 0o600); err != nil {
			return false, err
		}
		if err := os.Rename(target+".tmp", target); err != nil {
			return false, err
		}
	}
	return true, nil
}

// hbaRules trusts the socket, which only this container reaches, and asks for a password on the network, over TLS if there is TLS.
func hbaRules(tls bool) string {
	network := "host"
	if tls {
		network = "hostssl"
	}
	return "local all all trust\n" +
		network + " all all all scram-sha-256\n" +
		network + " replication all all scram-sha-256\n"
}

func serverArgs(data string, tls bool, given []string) []string {
	args := []string{"-D", data, "-c", "listen_addresses=*", "-c", "unix_socket_directories=" + socketFolder,
		"-c", "hba_file=" + filepath.Join(data, "pg_hba.conf"), "-c", "password_encryption=scram-sha-256"}
	if tls {
		args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+filepath.Join(data, "pgentry-tls.crt"),
			"-c", "ssl_key_file="+filepath.Join(data, "pgentry-tls.key"))
	}
	if len(given) > 0 && given[0] == "postgres" {
		given = given[1:]
	}
	return append(args, given...)
}

func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func runProgram(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out.String())
	}
	return nil
}

// become replaces this process, so that signals reach postgres itself: SIGTERM is a smart shutdown, SIGINT a fast one.
func become(name string, args []string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // postgres finds its own files beside its binary
	}
	return syscall.Exec(path, append([]string{path}, args...), os.Environ())
}
