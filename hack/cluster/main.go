// SPDX-License-Identifier: Apache-2.0

// Command cluster builds, starts and stops a real one-node Kubernetes on this machine,
// from Go modules and Debian packages only: no image registry, no Docker.
// hack/README.md says how to use it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `cluster: a one-node Kubernetes on this machine, for people, end-to-end tests and CI

  cluster build [envtest|cluster|tools|lint|all|NAME]...   build binaries (default: envtest cluster tools)
  cluster up                                 start, or repair, the cluster; harmless when it runs
  cluster down [--keep-data]                 stop and remove exactly what up made; with --keep-data, keep etcd and volumes
  cluster status                             what runs, and where its log is
  cluster image --name NAME --bin PATH... [--user UID] [--entrypoint PATH] [--out TAR] [--no-load]
                                             make an image of static binaries and load it
  cluster load NAME=BINARY_OR_TAR...         load images; a tar keeps its own name and NAME may be left out
  cluster memory -n NAMESPACE [-o json]      working set of every container, from the kubelet
  cluster scrub                              wipe volumes that were released, so that they can be claimed again
  cluster kubeconfig                         print the path of the kubeconfig
  cluster env                                print shell exports: eval "$(cluster env)"

Environment:
  DIZUO_CACHE   where binaries, images and state are kept (default: $XDG_CACHE_HOME/dizuo or ~/.cache/dizuo)
  DIZUO_HACK    the hack folder of the checkout (default: found from the working directory)
  DIZUO_GO      the go command, with words before it if need be (default: go)

Only the native cluster is implemented. Where Docker and kind both work, the kit says so and still runs natively.
`

type command func(ctx context.Context, l Layout, args []string) error

var commands = map[string]command{
	"build":      runBuild,
	"up":         runUp,
	"down":       runDown,
	"status":     runStatus,
	"image":      runImage,
	"load":       runLoad,
	"memory":     runMemory,
	"scrub":      runScrub,
	"kubeconfig": runKubeconfig,
	"env":        runEnv,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Print(usage)
		return nil
	}
	cmd, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %q; run `cluster --help` for the list", args[0])
	}
	layout, err := findLayout()
	if err != nil {
		return err
	}
	return cmd(ctx, layout, args[1:])
}

func runKubeconfig(_ context.Context, l Layout, _ []string) error {
	fmt.Println(l.Kubeconfig())
	return nil
}

func runEnv(_ context.Context, l Layout, _ []string) error {
	fmt.Printf("export KUBEBUILDER_ASSETS=%q\n", l.Bin())
	fmt.Printf("export KUBECONFIG=%q\n", l.Kubeconfig())
	fmt.Printf("export PATH=%q:\"$PATH\"\n", l.Bin())
	fmt.Printf("export NO_PROXY=\"${NO_PROXY:+$NO_PROXY,}%s,%s\"\n", podCIDR, serviceCIDR)
	return nil
}
