// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBuildKeyFollowsContent(t *testing.T) {
	dir := t.TempDir()
	mod, sum := filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")
	write(t, mod, "module a")
	write(t, sum, "sum")
	key := func(words ...string) string {
		t.Helper()
		k, err := buildKey(words, []string{sum, mod})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key("go1", "flags")
	if first != key("go1", "flags") {
		t.Error("the same input gives two keys")
	}
	if first == key("go1f", "lags") {
		t.Error("words run into each other")
	}
	write(t, mod, "module b")
	if first == key("go1", "flags") {
		t.Error("a changed pin does not change the key")
	}
}

func TestUpToDate(t *testing.T) {
	l := Layout{Cache: t.TempDir()}
	artefact := filepath.Join(l.Cache, "tool")
	if upToDate(l, "tool", artefact, "k1") {
		t.Error("nothing was built, yet it is up to date")
	}
	write(t, artefact, "binary")
	if err := recordKey(l, "tool", "k1"); err != nil {
		t.Fatal(err)
	}
	if !upToDate(l, "tool", artefact, "k1") || upToDate(l, "tool", artefact, "k2") {
		t.Error("up to date must mean: built from this very key")
	}
}

func TestSelectTargets(t *testing.T) {
	names := func(words ...string) (list []string) {
		chosen, err := selectTargets(words)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chosen {
			list = append(list, c.Name)
		}
		return list
	}
	if got := names("envtest"); len(got) != 4 || got[0] != "kube-apiserver" {
		t.Errorf("envtest chooses %v", got)
	}
	if got := names("kubectl", "envtest"); len(got) != 4 {
		t.Errorf("a target that is named twice is built twice: %v", got)
	}
	for _, name := range names() {
		if name == "golangci-lint" {
			t.Error("the linter is built without being asked for")
		}
	}
	if _, err := selectTargets([]string{"kubelett"}); err == nil {
		t.Error("a misspelt target is not reported")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
