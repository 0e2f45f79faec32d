// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// buildKey hashes everything that decides a build's result: the words given (versions, flags) and the files' names and contents.
func buildKey(words, files []string) (string, error) {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "word %d %s\n", len(w), w)
	}
	sorted := append([]string(nil), files...)
	sort.Strings(sorted)
	for _, name := range sorted {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "file %s %d\n", filepath.Base(name), len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// upToDate says whether the artefact exists and was built from this key.
func upToDate(l Layout, name, artefact, key string) bool {
	if _, err := os.Stat(artefact); err != nil {
		return false
	}
	return recordedKey(l, name) == key
}

func recordedKey(l Layout, name string) string {
	data, err := os.ReadFile(filepath.Join(l.Keys(), name))
	if err != nil {
		return ""
	}
	return string(data)
}

func recordKey(l Layout, name, key string) error {
	if err := os.MkdirAll(l.Keys(), 0o755); err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(l.Keys(), name), []byte(key), 0o644)
}

// writeFileAtomic leaves either the old file or the whole new one.
func writeFileAtomic(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
