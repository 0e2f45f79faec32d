// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopOrder is the reverse of the order of starting; containerd goes after its containers.
var stopOrder = []string{"kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"}

// runDown stops the recorded processes and the containers, then removes mounts, interfaces, tables, kernel settings and files of the cluster.
func runDown(ctx context.Context, l Layout, args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	keepData := flags.Bool("keep-data", false, "keep the state folder (etcd, volumes, keys, images), so that `up` continues where this cluster stopped")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !fileExists(l.State()) {
		fmt.Println("nothing to do: there is no state in", l.State())
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("`cluster down` needs root (sudo -E)")
	}
	unlock, err := lock(l)
	if err != nil {
		return err
	}
	defer unlock()
	steps := NewSteps(5)
	for _, p := range []phase{
		{"stop Kubernetes", stopKubernetes},
		{"stop containers and containerd", stopContainers},
		{"unmount", func(_ context.Context, l Layout) error { return unmountBelow(l.State()) }},
		{"remove network and host files", removeFromHost},
		{"remove state", func(_ context.Context, l Layout) error { return removeState(l, *keepData) }},
	} {
		if err := steps.Do(p.name, false, func() error { return p.run(ctx, l) }); err != nil {
			return fmt.Errorf("%w; run `cluster down` again", err)
		}
	}
	return nil
}

func stopKubernetes(ctx context.Context, l Layout) error {
	for _, name := range stopOrder {
		if err := stopProcess(ctx, l, name); err != nil {
			return err
		}
	}
	return nil
}

// stopContainers kills the cluster's containers and their shims, which are known by our containerd's socket in their
// arguments, and then containerd itself.
func stopContainers(ctx context.Context, l Layout) error {
	if err := stopProcess(ctx, l, "containerd"); err != nil {
		return err
	}
	return waitFor(ctx, 20*time.Second, func(context.Context) error {
		left := descendants(allProcesses(), shims(l))
		slices.Reverse(left) // containers before their shims
		for _, s := range left {
			if sameProcess(s.PID, s.StartTime) {
				_ = syscall.Kill(s.PID, syscall.SIGKILL)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%d processes of containers still run", len(left))
		}
		return nil
	})
}

func shims(l Layout) []procStat {
	var found []procStat
	for _, s := range allProcesses() {
		argv := argvOf(s.PID)
		if len(argv) > 0 && strings.HasPrefix(filepath.Base(argv[0]), "containerd-shim") && slices.Contains(argv, l.ContainerdSocket()) {
			found = append(found, s)
		}
	}
	return found
}

// unmountBelow unmounts everything below the folder, the youngest mount first.
func unmountBelow(folder string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	points, err := mountPointsBelow(bufio.NewScanner(f), folder)
	if err != nil {
		return err
	}
	slices.Reverse(points)
	for _, p := range points {
		if err := syscall.Unmount(p, 0); err != nil {
			if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", p, err)
			}
		}
	}
	return nil
}

func mountPointsBelow(lines *bufio.Scanner, folder string) ([]string, error) {
	var points []string
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[4])
		if strings.HasPrefix(point, folder+"/") {
			points = append(points, point)
		}
	}
	return points, lines.Err()
}

func removeFromHost(ctx context.Context, l Layout) error {
	// Without this file the kit never touched the network.
	if fileExists(l.State(oldSysctls)) {
		if err := removeNetwork(ctx, l); err != nil {
			return err
		}
	}
	return removeHostPaths(l)
}

// removeState removes the state folder. To keep data, it keeps all but what belongs to processes that are gone.
func removeState(l Layout, keepData bool) error {
	if !keepData {
		return os.RemoveAll(l.State())
	}
	for _, part := range []string{"run", "cni-addresses", oldSysctls, "absent-before.json"} {
		if err := os.RemoveAll(l.State(part)); err != nil {
			return err
		}
	}
	return nil
}
