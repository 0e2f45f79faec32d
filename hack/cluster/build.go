// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// target is one binary to build.
type target struct {
	Name    string
	Group   string // envtest, cluster, tools or lint
	Module  string // folder under hack whose go.mod pins it
	Package string
	// VersionOf names a module whose pinned version is wanted; %s in Ldflags and Package stands for it.
	VersionOf string
	Ldflags   string
	// Install builds with `go install package@version`, for tools that write their own main module's version into their output.
	Install bool
}

const kubernetesLdflags = "-X k8s.io/component-base/version.gitVersion=%s" +
	" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"

func kubernetesTarget(name, group string) target {
	return target{Name: name, Group: group, Module: "kubernetes", Package: "k8s.io/kubernetes/cmd/" + name,
		VersionOf: "k8s.io/kubernetes", Ldflags: kubernetesLdflags}
}

// targets are in the order in which they are built: what others wait for comes first.
var targets = []target{
	kubernetesTarget("kube-apiserver", "envtest"),
	kubernetesTarget("kube-controller-manager", "envtest"),
	{Name: "etcd", Group: "envtest", Module: "etcd", Package: "go.etcd.io/etcd/server/v3"},
	kubernetesTarget("kubectl", "envtest"),
	{Name: "controller-gen", Group: "tools", Module: "tools", Package: "sigs.k8s.io/controller-tools/cmd/controller-gen",
		VersionOf: "sigs.k8s.io/controller-tools", Install: true},
	{Name: "oapi-codegen", Group: "tools", Module: "tools", Package: "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen",
		VersionOf: "github.com/oapi-codegen/oapi-codegen/v2", Install: true},
	kubernetesTarget("kube-scheduler", "cluster"),
	kubernetesTarget("kubelet", "cluster"),
	kubernetesTarget("kube-proxy", "cluster"),
	{Name: "coredns", Group: "cluster", Module: "coredns", Package: "."},
	{Name: "cert-manager", Group: "cluster", Module: "cert-manager", Package: "."},
	{Name: "pause", Group: "cluster", Module: "cluster", Package: "./images/pause"},
	{Name: "pgentry", Group: "cluster", Module: "cluster", Package: "./images/pgentry"},
	{Name: "opa", Group: "tools", Module: "tools", Package: "github.com/open-policy-agent/opa"},
	{Name: "helm", Group: "cluster", Module: "tools", Package: "helm.sh/helm/v4/cmd/helm",
		VersionOf: "helm.sh/helm/v4", Ldflags: "-X helm.sh/helm/v4/internal/version.version=%s"},
	{Name: "protoc-gen-go", Group: "tools", Module: "tools", Package: "google.golang.org/protobuf/cmd/protoc-gen-go"},
	{Name: "protoc-gen-go-grpc", Group: "tools", Module: "tools", Package: "google.golang.org/grpc/cmd/protoc-gen-go-grpc"},
	{Name: "golangci-lint", Group: "lint", Module: "lint", Package: "."},
}

func runBuild(ctx context.Context, l Layout, args []string) error {
	wanted, err := selectTargets(args)
	if err != nil {
		return err
	}
	if err := l.RequireHack(); err != nil {
		return err
	}
	return buildAll(ctx, l, wanted)
}

// selectTargets turns words of the command line (groups or names) into targets; none means all but lint.
func selectTargets(words []string) ([]target, error) {
	if len(words) == 0 {
		words = []string{"envtest", "cluster", "tools"}
	}
	for _, w := range words {
		if !slices.ContainsFunc(targets, func(t target) bool { return t.is(w) }) {
			return nil, fmt.Errorf("nothing to build is called %q; groups are envtest, cluster, tools, lint and all", w)
		}
	}
	var chosen []target
	for _, t := range targets {
		if slices.ContainsFunc(words, t.is) {
			chosen = append(chosen, t)
		}
	}
	return chosen, nil
}

// is says whether the word names this target or a group that it is in.
func (t target) is(word string) bool { return word == t.Name || word == t.Group || word == "all" }

// buildAll builds what is out of date and says so, line by line. Builds run one after another: each uses every core.
func buildAll(ctx context.Context, l Layout, wanted []target) error {
	if err := os.MkdirAll(l.Bin(), 0o755); err != nil {
		return err
	}
	var stale []target
	for _, t := range wanted {
		key, err := t.key(ctx, l)
		if err != nil {
			return err
		}
		if !upToDate(l, t.Name, l.Tool(t.Name), key) {
			stale = append(stale, t)
		}
	}
	steps := NewSteps(len(stale))
	for _, t := range stale {
		if err := steps.Do("build "+t.Name, true, func() error { return t.build(ctx, l) }); err != nil {
			return err
		}
	}
	fmt.Printf("built %d of %d binaries in %s (the others are up to date)\n", len(stale), len(wanted), steps.Elapsed())
	return nil
}

// key is the hash of what decides this binary: pins, flags, compiler, and for our own programs their source.
func (t target) key(ctx context.Context, l Layout) (string, error) {
	dir := filepath.Join(l.Hack, t.Module)
	files := []string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}
	if strings.HasPrefix(t.Package, ".") {
		sources, err := filepath.Glob(filepath.Join(dir, t.Package, "*.go"))
		if err != nil {
			return "", err
		}
		for _, source := range sources {
			if !strings.HasSuffix(source, "_test.go") {
				files = append(files, source)
			}
		}
	}
	key, err := buildKey([]string{runtime.Version(), runtime.GOOS, runtime.GOARCH, t.Package, t.Ldflags}, files)
	if err != nil {
		return "", fmt.Errorf("key of %s: %w", t.Name, err)
	}
	return key, nil
}

func (t target) build(ctx context.Context, l Layout) error {
	dir := filepath.Join(l.Hack, t.Module)
	version := ""
	if t.VersionOf != "" {
		var err error
		if version, err = pinnedVersion(ctx, dir, t.VersionOf); err != nil {
			return err
		}
	}
	ldflags := "-s -w"
	if t.Ldflags != "" {
		ldflags += " " + fmt.Sprintf(t.Ldflags, version)
	}
	if err := t.compile(ctx, l, dir, ldflags, version); err != nil {
		return err
	}
	if t.Name == "cert-manager" {
		if err := copyCertManagerCRDs(ctx, l); err != nil {
			return err
		}
	}
	key, err := t.key(ctx, l)
	if err != nil {
		return err
	}
	return recordKey(l, t.Name, key)
}

// compile writes beside the old binary and renames, so that a running process keeps its file.
func (t target) compile(ctx context.Context, l Layout, dir, ldflags, version string) error {
	tmp, err := os.MkdirTemp(l.Cache, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, t.Name)
	if t.Install {
		_, err = goCommand(ctx, tmp, []string{"GOBIN=" + tmp}, "install", "-ldflags", ldflags, t.Package+"@"+version)
	} else {
		_, err = goCommand(ctx, dir, nil, "build", "-ldflags", ldflags, "-o", out, t.Package)
	}
	if err != nil {
		return err
	}
	return os.Rename(out, l.Tool(t.Name))
}

func pinnedVersion(ctx context.Context, dir, module string) (string, error) {
	out, err := goCommand(ctx, dir, nil, "list", "-m", "-f", "{{.Version}}", module)
	return strings.TrimSpace(out), err
}

// goCommand runs go, or what DIZUO_GO says, without cgo so that every binary is static.
func goCommand(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	words := strings.Fields(os.Getenv("DIZUO_GO"))
	if len(words) == 0 {
		words = []string{"go"}
	}
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false"}, env...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", strings.Join(words, " "), strings.Join(args, " "), err, lastLines(stderr.String(), 15))
	}
	return string(out), nil
}

// copyCertManagerCRDs takes the CRDs out of cert-manager's module, so that `up` needs no module cache.
func copyCertManagerCRDs(ctx context.Context, l Layout) error {
	out, err := goCommand(ctx, filepath.Join(l.Hack, "cert-manager"), nil, "mod", "download", "-json", "github.com/cert-manager/cert-manager")
	if err != nil {
		return err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(module.Dir, "deploy", "crds", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("cert-manager's module has no CRDs in deploy/crds (%w)", err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		all.WriteString("---\n")
		all.Write(data)
	}
	if err := os.MkdirAll(l.Manifests(), 0o755); err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(l.Manifests(), "cert-manager-crds.yaml"), []byte(all.String()), 0o644)
}
