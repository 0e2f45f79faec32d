// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	postgresHome  = "/usr/lib/postgresql/15"
	postgresShare = "/usr/share/postgresql/15"
)

func goarch() string { return runtime.GOARCH }

// postgresSpec is PostgreSQL 15 from the Debian package: its programs, the libraries they need, time zones, a shell
// (initdb runs one) and our entrypoint, which understands the official image's main variables.
func postgresSpec(l Layout) (imageSpec, error) {
	files := append(baseFiles(),
		imageFile{Path: "/usr/local/bin/pgentry", From: l.Tool("pgentry"), Mode: 0o755},
		imageFile{Path: "/run/postgresql", Dir: true, Mode: 0o1777},
		imageFile{Path: "/var/lib/postgresql/data", Dir: true, Mode: 0o1777},
		imageFile{Path: "/bin/sh", From: realPath("/bin/sh"), Mode: 0o755},
	)
	programs := []string{realPath("/bin/sh")}
	for _, dir := range []string{postgresHome, postgresShare, "/usr/share/zoneinfo", "/usr/lib/locale/C.utf8"} {
		tree, err := copyTree(dir)
		if err != nil {
			return imageSpec{}, fmt.Errorf("PostgreSQL's files: %w", err)
		}
		for _, f := range tree {
			if isELF(f.From) {
				programs = append(programs, f.From)
			}
		}
		files = append(files, tree...)
	}
	libraries, err := sharedLibraries(programs)
	if err != nil {
		return imageSpec{}, err
	}
	for path, from := range libraries {
		files = append(files, imageFile{Path: path, From: from, Mode: 0o755})
	}
	for _, name := range []string{"psql", "pg_isready", "pg_ctl", "pg_dump", "pg_restore", "initdb", "postgres"} {
		files = append(files, imageFile{Path: "/usr/local/bin/" + name, Link: postgresHome + "/bin/" + name})
	}
	return imageSpec{
		Name: postgresImage, Files: files, User: "26", Ports: []string{"5432/tcp"}, StopSignal: "SIGINT",
		Entrypoint: []string{"/usr/local/bin/pgentry"}, Cmd: []string{"postgres"},
		Env: []string{"LANG=C.UTF-8", "PGDATA=/var/lib/postgresql/data", "PGHOST=/run/postgresql"},
	}, nil
}

// copyTree lists a folder's files and links, without what needs the compiler libraries of the just-in-time compiler.
func copyTree(root string) ([]imageFile, error) {
	var files []imageFile
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "llvmjit") || strings.Contains(path, "/bitcode/") {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			files = append(files, imageFile{Path: path, Link: target})
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, imageFile{Path: path, From: path, Mode: int64(info.Mode().Perm())})
		return nil
	})
	return files, err
}

// sharedLibraries asks the loader, which knows best, and gives image path -> file of this machine.
func sharedLibraries(programs []string) (map[string]string, error) {
	found := map[string]string{}
	out, err := exec.Command("ldd", programs...).Output()
	if err != nil && len(out) == 0 {
		return nil, fmt.Errorf("ldd: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if path := libraryInLddLine(line); path != "" {
			found[path] = realPath(path)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("ldd found no libraries for %d programs", len(programs))
	}
	return found, nil
}

// libraryInLddLine takes the path out of "libc.so.6 => /lib/x/libc.so.6 (0x7f)" or "/lib64/ld-linux.so.2 (0x7f)".
func libraryInLddLine(line string) string {
	fields := strings.Fields(line)
	for i, f := range fields {
		if f == "=>" && i+1 < len(fields) && strings.HasPrefix(fields[i+1], "/") {
			return fields[i+1]
		}
	}
	if len(fields) == 2 && strings.HasPrefix(fields[0], "/") && strings.HasPrefix(fields[1], "(0x") {
		return fields[0]
	}
	return ""
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

func isELF(path string) bool {
	if path == "" {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = f.Read(magic)
	return err == nil && bytes.Equal(magic, []byte(elf.ELFMAG))
}
