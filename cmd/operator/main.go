// Command operator is the control plane: it compiles the objects of group dizuo.io into services, credentials and policy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/render"
)

type options struct {
	images         compile.Images
	metrics, probe string
	leaderElect    bool
	logLevel       string
}

func main() {
	var o options
	flag.StringVar(&o.images.Node, "node-image", "dizuo/dizuo:dev", "image of the data plane where a platform names none")
	flag.StringVar(&o.images.Postgres, "postgres-image", "postgres:15", "PostgreSQL image where a platform names none")
	flag.StringVar(&o.metrics, "metrics-bind-address", ":8080", "address of /metrics")
	flag.StringVar(&o.probe, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flag.BoolVar(&o.leaderElect, "leader-elect", true, "let one replica be active")
	flag.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flag.Parse()
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		slog.Default().Error("operator stopped", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	slog.SetDefault(slog.New(handler))
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	catalog, err := offline.Catalog()
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1 // the API server's priority and fairness limits us
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme(), Cache: caches(), LeaderElection: o.leaderElect, LeaderElectionID: "operator.dizuo.io", LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress: o.probe, Metrics: metricsserver.Options{BindAddress: o.metrics}, GracefulShutdownTimeout: new(10 * time.Second),
	})
	if err != nil {
		return err
	}
	if err := controllers.Setup(ctx, mgr, controllers.Options{Catalog: catalog, Images: o.images}); err != nil {
		return err
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping), mgr.Start(ctx))
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(cmv1.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// caches holds of foreign kinds only what the operator made; Secrets are never cached across the cluster.
func caches() cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{render.LabelManagedBy: render.ManagedBy})}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.ConfigMap{}: ours, &corev1.Service{}: ours, &corev1.ResourceQuota{}: ours, &corev1.LimitRange{}: ours,
		&corev1.PersistentVolumeClaim{}: ours, &appsv1.Deployment{}: ours, &appsv1.StatefulSet{}: ours, &networkingv1.NetworkPolicy{}: ours,
		&cmv1.Issuer{}: ours, &cmv1.Certificate{}: ours,
	}}
}
