// SPDX-License-Identifier: Apache-2.0

// Command golangci-lint is golangci-lint with the linter of Kubernetes API types (kube-api-linter) built in, which it takes as a
// plugin only. It is a module of its own because its requirements are many.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter"
)

func main() {
	if err := commands.Execute(info()); err != nil {
		fmt.Fprintln(os.Stderr, "golangci-lint:", err)
		os.Exit(exitcodes.Failure)
	}
}

// info gives the versions that this is built from.
func info() commands.BuildInfo {
	out := commands.BuildInfo{Version: "unknown", Commit: "?"}
	if b, ok := debug.ReadBuildInfo(); ok {
		out.GoVersion = b.GoVersion
		for _, d := range b.Deps {
			if d.Path == "github.com/golangci/golangci-lint/v2" {
				out.Version = d.Version
			}
		}
	}
	return out
}
