// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hostNeed is something that a Debian package brings and that the Go modules cannot.
type hostNeed struct {
	Package string
	Paths   []string // any one of them will do
}

var clusterNeeds = []hostNeed{
	{"containerd", []string{"/usr/bin/containerd", "/usr/local/bin/containerd"}},
	{"runc", []string{"/usr/sbin/runc", "/usr/bin/runc", "/usr/local/bin/runc", "/usr/local/sbin/runc"}},
	{"containernetworking-plugins", []string{"/usr/lib/cni/bridge", "/opt/cni/bin/bridge"}},
	{"nftables", []string{"/usr/sbin/nft", "/sbin/nft"}},
	{"iproute2", []string{"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"}},
	{"postgresql-15", []string{postgresHome + "/bin/postgres"}},
}

// find gives the path of what is needed, or an empty string.
func (n hostNeed) find() string {
	for _, path := range n.Paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

func needNamed(pkg string) hostNeed {
	for _, n := range clusterNeeds {
		if n.Package == pkg {
			return n
		}
	}
	return hostNeed{Package: pkg}
}

// missingPackages lists the packages whose files this machine lacks.
func missingPackages(needs []hostNeed) []string {
	var missing []string
	for _, n := range needs {
		if n.find() == "" {
			missing = append(missing, n.Package)
		}
	}
	return missing
}

// installPackages installs what is missing with apt-get and keeps the packages' own services from starting.
func installPackages(ctx context.Context, needs []hostNeed) error {
	missing := missingPackages(needs)
	if len(missing) == 0 {
		return nil
	}
	advice := "apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("missing: %s. This machine has no apt-get: install the equivalents by hand", strings.Join(missing, ", "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing packages; as root, run: %s", advice)
	}
	fmt.Println("installing Debian packages:", strings.Join(missing, " "))
	restore, err := forbidServiceStarts("/usr/sbin/policy-rc.d")
	if err != nil {
		return err
	}
	defer restore()
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s\ntry by hand: %s", args[0], err, lastLines(string(out), 15), advice)
		}
	}
	return nil
}

// forbidServiceStarts writes Debian's policy file for the time of an installation, unless there is one already.
func forbidServiceStarts(path string) (restore func(), err error) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return nil, err
	}
	return func() { os.Remove(path) }, nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
