// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Layout says where everything is. Nothing the kit makes lies inside the checkout.
type Layout struct {
	Hack  string // the hack folder of the checkout; empty when it was not found
	Cache string // binaries, images and state
}

// Bin holds the built binaries; it is also envtest's assets folder.
func (l Layout) Bin() string { return filepath.Join(l.Cache, "bin") }

// Keys holds one file a binary or image: the hash of what it was built from.
func (l Layout) Keys() string { return filepath.Join(l.Cache, "keys") }

// Images holds image archives.
func (l Layout) Images() string { return filepath.Join(l.Cache, "images") }

// Manifests holds manifests taken from modules at build time.
func (l Layout) Manifests() string { return filepath.Join(l.Cache, "manifests") }

// State holds all that a running cluster writes. `down` removes it.
func (l Layout) State(parts ...string) string {
	return filepath.Join(append([]string{l.Cache, "state"}, parts...)...)
}

// Kubeconfig is the administrator's kubeconfig.
func (l Layout) Kubeconfig() string { return l.State("kubeconfig") }

// ContainerdSocket is the address of the cluster's own containerd.
func (l Layout) ContainerdSocket() string { return l.State("run", "containerd.sock") }

// Tool is the path of a built binary.
func (l Layout) Tool(name string) string { return filepath.Join(l.Bin(), name) }

// RequireHack fails with advice when the kit does not run from a checkout.
func (l Layout) RequireHack() error {
	if l.Hack == "" {
		return errors.New("the hack folder was not found: run inside the checkout, or set DIZUO_HACK to its hack folder")
	}
	return nil
}

func findLayout() (Layout, error) {
	cache := os.Getenv("DIZUO_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return Layout{}, fmt.Errorf("no cache folder: set DIZUO_CACHE or HOME: %w", err)
		}
		cache = filepath.Join(base, "dizuo")
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return Layout{}, err
	}
	l := Layout{Hack: findHack(), Cache: cache}
	// A Unix socket's path must fit 108 bytes.
	if len(l.ContainerdSocket()) > 100 {
		return Layout{}, fmt.Errorf("the cache path %s is too long for a Unix socket: set DIZUO_CACHE to a shorter one", cache)
	}
	return l, nil
}

func findHack() string {
	if dir := os.Getenv("DIZUO_HACK"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "hack", "kubernetes", "go.mod")); err == nil {
			return filepath.Join(dir, "hack")
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}
