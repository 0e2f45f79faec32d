// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
)

// podResolvConf gives the name servers that pods can reach, and whether there are any: a server on loopback is not one of them.
func podResolvConf(path string) (content string, any bool, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	content = reachableNameservers(string(data))
	return content, content != "", nil
}

func reachableNameservers(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if ip := net.ParseIP(fields[1]); ip != nil && ip.To4() != nil && !ip.IsLoopback() {
			kept.WriteString("nameserver " + fields[1] + "\n")
		}
	}
	return kept.String()
}
