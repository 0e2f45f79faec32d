// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// runUp starts the cluster or repairs it. Every phase looks first whether its work is done, so that it can be run again at any time.
func runUp(ctx context.Context, l Layout, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("up takes no arguments, got %q", args)
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("`cluster up` makes network interfaces and containers: it needs Linux and root (sudo -E)")
	}
	fmt.Println(chooseEngine(ctx))
	unlock, err := lock(l)
	if err != nil {
		return err
	}
	defer unlock()
	if err := prepareBinaries(ctx, l); err != nil {
		return err
	}
	phases := upPhases(l)
	steps := NewSteps(len(phases))
	for _, p := range phases {
		if err := steps.Do(p.name, false, func() error { return p.run(ctx, l) }); err != nil {
			return err
		}
	}
	fmt.Printf("\nThe cluster is up after %s. In this shell:\n  export KUBECONFIG=%s PATH=%s:$PATH\n", steps.Elapsed(), l.Kubeconfig(), l.Bin())
	return nil
}

// chooseEngine says what the kit runs on, and why.
func chooseEngine(ctx context.Context) string {
	kind, kindErr := exec.LookPath("kind")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if kindErr == nil && exec.CommandContext(ctx, "docker", "info").Run() == nil {
		return fmt.Sprintf("engine: native (Docker and %s work here, but this kit implements the native cluster only)", kind)
	}
	return "engine: native (no working Docker with kind on this machine)"
}

// lock keeps two runs from working on one cluster at a time.
func lock(l Layout) (unlock func(), err error) {
	if err := os.MkdirAll(l.Cache, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.Cache+"/lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another `cluster up` or `down` is at work (%s is locked)", f.Name())
	}
	return func() { f.Close() }, nil
}

// prepareBinaries builds what is out of date. Without Go or a checkout it uses what the cache has.
func prepareBinaries(ctx context.Context, l Layout) error {
	if err := installPackages(ctx, clusterNeeds); err != nil {
		return err
	}
	wanted, err := selectTargets([]string{"envtest", "cluster"})
	if err != nil {
		return err
	}
	if _, goErr := exec.LookPath("go"); goErr == nil && l.Hack != "" {
		return buildAll(ctx, l, wanted)
	}
	var missing []string
	for _, t := range wanted {
		if !fileExists(l.Tool(t.Name)) {
			missing = append(missing, t.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s must be built first: put go in PATH and run `cluster build` in the checkout", strings.Join(missing, ", "))
	}
	return nil
}

type phase struct {
	name string
	run  func(context.Context, Layout) error
}

func upPhases(l Layout) []phase {
	return []phase{
		{"keys, certificates, configuration", prepareFiles},
		{"bridge, routes, NAT", prepareNetwork},
		{"containerd", startLater(containerdProcess)},
		{"etcd", startLater(etcdProcess)},
		{"kube-apiserver", startLater(apiserverProcess)},
		{"images", loadKitImages},
		{"kube-controller-manager", startLater(controllerManagerProcess)},
		{"kube-scheduler", startLater(schedulerProcess)},
		{"kubelet", startLater(kubeletProcess)},
		{"kube-proxy", startLater(kubeProxyProcess)},
		{"DNS and cert-manager: apply", applyAddons},
		{"volumes", prepareStorage},
		{"node ready", waitNode},
		{"DNS and cert-manager: ready", waitAddons},
	}
}

// startLater builds the process only when its phase runs: its arguments may depend on files of earlier phases.
func startLater(define func(Layout) process) func(context.Context, Layout) error {
	return func(ctx context.Context, l Layout) error { return define(l).ensure(ctx, l) }
}

func prepareFiles(_ context.Context, l Layout) error {
	if err := noteAbsentHostPaths(l); err != nil {
		return err
	}
	if err := preparePKI(l); err != nil {
		return err
	}
	return writeConfigs(l)
}

func waitNode(ctx context.Context, l Layout) error {
	return waitFor(ctx, 90*time.Second, func(ctx context.Context) error {
		out, err := kubectl(ctx, l, "", "get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err != nil {
			return err
		}
		if out != "True" {
			return fmt.Errorf("the node is not ready; look at %s and kubectl describe node", logPath(l, "kubelet"))
		}
		return nil
	})
}
