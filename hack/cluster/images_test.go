// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestLayerIsReproducible(t *testing.T) {
	a := imageFile{Path: "/b", Content: []byte("x"), Mode: 0o644}
	b := imageFile{Path: "/a", Dir: true, Mode: 0o755, UID: 26}
	one, err := layerTar([]imageFile{a, b})
	if err != nil {
		t.Fatal(err)
	}
	two, err := layerTar([]imageFile{b, a})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Error("the order of files changes the layer")
	}
	r := tar.NewReader(bytes.NewReader(one))
	head, err := r.Next()
	if err != nil || head.Name != "a/" || head.Typeflag != tar.TypeDir || head.Uid != 26 {
		t.Errorf("first entry is %+v (%v)", head, err)
	}
	if head, err = r.Next(); err != nil || head.Name != "b" {
		t.Errorf("second entry is %+v (%v)", head, err)
	}
	if _, err = r.Next(); !errors.Is(err, io.EOF) {
		t.Error("there are more entries")
	}
}

func TestStaticImage(t *testing.T) {
	dir := t.TempDir()
	binary, out := filepath.Join(dir, "node"), filepath.Join(dir, "out.tar")
	write(t, binary, "program")
	if err := writeImage(staticImage("docker.io/dizuo/node:dev", "65532", binary), out); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/node" || config.OS != "linux" {
		t.Errorf("config is %+v", config.Config)
	}
}

func TestImageKeyFollowsItsFiles(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "node")
	write(t, binary, "one")
	spec := staticImage("docker.io/dizuo/node:dev", "65532", binary)
	before, err := spec.key()
	if err != nil {
		t.Fatal(err)
	}
	write(t, binary, "other")
	after, err := spec.key()
	if err != nil || before == after {
		t.Errorf("a changed binary keeps the key (%v)", err)
	}
}

func TestNormalName(t *testing.T) {
	for given, want := range map[string]string{
		"postgres:15":              "docker.io/library/postgres:15",
		"dizuo/node:dev":           "docker.io/dizuo/node:dev",
		"registry.example/pause:3": "registry.example/pause:3",
		"localhost/x:dev":          "localhost/x:dev",
		"127.0.0.1:5000/dizuo/x:a": "127.0.0.1:5000/dizuo/x:a",
	} {
		if got := normalName(given); got != want {
			t.Errorf("%s becomes %s, want %s", given, got, want)
		}
	}
}

func TestCheckStaticRefusesText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	write(t, path, "#!/bin/sh\n")
	if checkStatic(path) == nil {
		t.Error("a script passes for a static binary")
	}
}

func TestLibraryInLddLine(t *testing.T) {
	for line, want := range map[string]string{
		"\tlinux-vdso.so.1 (0x7ffd)":                             "",
		"\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f1)": "/lib/x86_64-linux-gnu/libc.so.6",
		"\t/lib64/ld-linux-x86-64.so.2 (0x7f2)":                  "/lib64/ld-linux-x86-64.so.2",
		"\tlibgone.so => not found":                              "",
		"/usr/lib/postgresql/15/bin/psql:":                       "",
	} {
		if got := libraryInLddLine(line); got != want {
			t.Errorf("%q gives %q, want %q", line, got, want)
		}
	}
}
