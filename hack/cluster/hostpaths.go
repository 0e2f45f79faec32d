// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hostPaths are folders outside the state folder that Kubernetes, containerd and CNI write to and whose names are fixed
// in their code. `up` notes which of them were absent, and `down` removes those.
var hostPaths = []string{
	"/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods", "/run/containerd", "/run/netns", "/run/runc",
	"/opt/cni", "/opt/containerd", "/usr/libexec/kubernetes",
}

// cgroupRoots are where the kubelet's cgroups may be, for both versions of cgroups.
var cgroupPatterns = []string{"/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/*/kubepods"}

// noteAbsentHostPaths writes the list once, at the first `up`.
func noteAbsentHostPaths(l Layout) error {
	file := l.State("absent-before.json")
	if fileExists(file) {
		return nil
	}
	absent := []string{}
	for _, path := range hostPaths {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			absent = append(absent, path)
		}
	}
	if len(cgroupFolders()) == 0 {
		absent = append(absent, "cgroups")
	}
	data, err := json.MarshalIndent(absent, "", "  ")
	if err != nil {
		return err
	}
	return writeIfChanged(file, data, 0o644)
}

func cgroupFolders() []string {
	var found []string
	for _, pattern := range cgroupPatterns {
		matches, _ := filepath.Glob(pattern)
		found = append(found, matches...)
	}
	return found
}

// removeHostPaths removes what was absent before the first `up`, and from folders that were there the links into our state.
func removeHostPaths(l Layout) error {
	var absent []string
	if data, err := os.ReadFile(l.State("absent-before.json")); err == nil {
		if err := json.Unmarshal(data, &absent); err != nil {
			return err
		}
	}
	for _, path := range absent {
		if slices.Contains(hostPaths, path) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if slices.Contains(absent, "cgroups") {
		for _, root := range cgroupFolders() {
			removeCgroups(root)
		}
	}
	return removeLinksInto("/var/log/containers", l.State())
}

// removeCgroups removes a tree of empty cgroups, deepest first. One that still holds a process stays.
func removeCgroups(root string) {
	var folders []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
		}
		return nil
	})
	slices.Reverse(folders)
	for _, f := range folders {
		_ = syscall.Rmdir(f)
	}
}

func removeLinksInto(folder, target string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil // nothing there
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, target+"/") {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
