// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
)

const kubeconfigFormat = `apiVersion: v1
kind: Config
clusters:
- name: dizuo-local
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: dizuo-local
  context: {cluster: dizuo-local, user: %[3]s}
current-context: dizuo-local
`

func writeKubeconfigs(l Layout) error {
	for path, user := range kubeconfigs {
		content, err := kubeconfigFor(l.State("pki"), user)
		if err != nil {
			return err
		}
		if err := writeIfChanged(l.State(path), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfigFor holds the keys themselves, so that the file can be copied elsewhere.
func kubeconfigFor(pki, user string) ([]byte, error) {
	var encoded []any
	for _, name := range []string{"ca.crt", user + ".crt", user + ".key"} {
		data, err := os.ReadFile(filepath.Join(pki, name))
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, base64.StdEncoding.EncodeToString(data))
	}
	return fmt.Appendf(nil, kubeconfigFormat, apiServerURL, encoded[0], user, encoded[1], encoded[2]), nil
}

// writeIfChanged leaves a file alone that already has the content, and makes its folder if need be.
func writeIfChanged(path string, content []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFileAtomic(path, content, mode)
}
