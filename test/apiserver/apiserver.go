//go:build envtest

// Package apiserver runs a real etcd and kube-apiserver for tests, and beside them what a test asks for: the controllers of
// Kubernetes without which deletions never end, cert-manager's own controllers, and the operator's, with the rights of the chart.
package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
)

// root of the repository: tests of packages at any depth start here.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Server is an API server.
type Server struct {
	env *envtest.Environment
	// Config acts as an administrator, and so does Client.
	Config *rest.Config
	Client client.Client

	processes []*process
	// folder holds the kubeconfig of the processes; empty before the first.
	folder string
}

// Start starts an API server with our CRDs, those in further folders, and the chart's roles and admission policies.
func Start(ctx context.Context, crds ...string) (*Server, error) {
	log.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	s := &Server{env: &envtest.Environment{CRDDirectoryPaths: append([]string{filepath.Join(root(), "config", "crd")}, crds...), ErrorIfCRDPathMissing: true}}
	config, err := s.env.Start()
	if err != nil {
		return nil, fmt.Errorf("start the API server (KUBEBUILDER_ASSETS names its folder): %w", err)
	}
	config.QPS, config.Burst = -1, -1
	s.Config = config
	if s.Client, err = client.New(config, client.Options{Scheme: controllers.Scheme()}); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.chart(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop stops the API server and what was started beside it.
func (s *Server) Stop() error {
	for _, p := range s.processes {
		p.stopped.Store(true)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if s.folder != "" {
		_ = os.RemoveAll(s.folder)
	}
	return s.env.Stop()
}

// process is a program beside the API server.
type process struct {
	cmd     *exec.Cmd
	stopped atomic.Bool
	ended   chan struct{}
}

// CertManagerCRDs gives the folder of cert-manager's CRDs.
func CertManagerCRDs() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		return "", fmt.Errorf("find cert-manager's CRDs: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "deploy", "crds"), nil
}

// chart creates what of the chart is there without pods: roles and admission policies.
func (s *Server) chart(ctx context.Context) error {
	helm := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm")
	rendered, err := exec.CommandContext(ctx, helm, "template", "dizuo", filepath.Join(root(), "charts", "dizuo"), "--namespace", "dizuo-system").Output()
	if err != nil {
		return fmt.Errorf("render the chart: %w", err)
	}
	for _, doc := range strings.Split(string(rendered), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			return fmt.Errorf("read the chart: %w", err)
		}
		if strings.HasPrefix(u.GetKind(), "ClusterRole") || strings.HasPrefix(u.GetKind(), "ValidatingAdmissionPolicy") {
			if err := s.Client.Create(ctx, u); err != nil {
				return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
			}
		}
	}
	return nil
}

// Operator gives the configuration by which the operator's controllers act: as its service account, with the rights of the
// chart and no others.
func (s *Server) Operator() *rest.Config {
	config := rest.CopyConfig(s.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:dizuo-system:dizuo-operator",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:dizuo-system", "system:authenticated"}}
	return config
}

// Manager sets up the controllers as the operator's binary does; where namespaces are given they see no others. They run when
// the manager is started.
func Manager(ctx context.Context, config *rest.Config, namespaces ...string) (ctrl.Manager, error) {
	catalog, err := offline.Catalog()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: controllers.Scheme(), Cache: controllers.Caches(namespaces...),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		return nil, err
	}
	images := compile.Images{Node: "dizuo/dizuo:test", Postgres: "postgres:15"}
	return mgr, controllers.Setup(ctx, mgr, controllers.Options{Catalog: catalog, Images: images, Namespaces: namespaces})
}

// Run starts the controllers; they run until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	mgr, err := Manager(ctx, s.Operator())
	if err != nil {
		return err
	}
	go func() { utilruntime.Must(mgr.Start(ctx)) }()
	return nil
}

// KubeControllers starts the controllers of Kubernetes that end namespaces and collect garbage.
func (s *Server) KubeControllers() error {
	kubeconfig, err := s.kubeconfig()
	if err != nil {
		return err
	}
	return s.process("kube-controller-manager", nil, "--kubeconfig="+kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--controllers=namespace-controller,garbage-collector-controller")
}

// CertManager starts cert-manager's own controllers.
func (s *Server) CertManager() error {
	kubeconfig, err := s.kubeconfig()
	if err != nil {
		return err
	}
	return s.process("cert-manager", []string{"KUBECONFIG=" + kubeconfig}, "--cert-manager-kubeconfig="+kubeconfig, "--health-probe-bind-address=0")
}

// kubeconfig gives a file by which another process acts as an administrator.
func (s *Server) kubeconfig() (string, error) {
	if s.folder != "" {
		return filepath.Join(s.folder, "kubeconfig"), nil
	}
	user, err := s.env.AddUser(envtest.User{Name: "test-admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return "", err
	}
	raw, err := user.KubeConfig()
	if err != nil {
		return "", err
	}
	if s.folder, err = os.MkdirTemp("", "dizuo-apiserver-"); err != nil {
		return "", err
	}
	path := filepath.Join(s.folder, "kubeconfig")
	return path, os.WriteFile(path, raw, 0o600)
}

// process starts a program of the local cluster's kit.
func (s *Server) process(name string, env []string, args ...string) error {
	cmd := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), name), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it does not outlive a test that is killed
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	s.processes = append(s.processes, p)
	go func() {
		defer close(p.ended)
		if err := cmd.Wait(); !p.stopped.Load() {
			fmt.Fprintf(os.Stderr, "%s ended by itself (%v):\n%s\n", name, err, said.String())
		}
	}()
	return nil
}

// ForeignCRDs gives the folder of the CRDs of EMQX and CloudNativePG, which no module gives: DIZUO_FOREIGN_CRDS, or the one beside
// the repository. ok is false where there is none.
func ForeignCRDs() (folder string, ok bool) {
	folder = os.Getenv("DIZUO_FOREIGN_CRDS")
	if folder == "" {
		folder = filepath.Join(root(), "..", "shared", "crds")
	}
	_, err := os.Stat(filepath.Join(folder, "postgresql.cnpg.io_clusters.yaml"))
	return folder, err == nil
}
