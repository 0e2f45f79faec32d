// Command operator is the control plane: it compiles the objects of group dizuo.io into services, credentials and policy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/controllers/admission"
	"github.com/dizuo/dizuo/internal/artifact"
	"github.com/dizuo/dizuo/internal/bundleserver"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
)

type options struct {
	images         compile.Images
	metrics, probe string
	leaderElect    bool
	logLevel       string
	artifacts      artifact.Options
	// bundles is the address of the policy bundles, bundleTLS the folder with tls.crt and tls.key of its server.
	bundles, bundleTLS string
	// bundleService is the Service that leads to whichever replica has bundles.
	bundleService types.NamespacedName
	admission     admission.Options
}

func main() {
	var o options
	flag.StringVar(&o.images.Node, "node-image", "dizuo/dizuo:dev", "image of the data plane where a platform names none")
	flag.StringVar(&o.images.Postgres, "postgres-image", "postgres:15", "PostgreSQL image where a platform names none")
	flag.StringVar(&o.metrics, "metrics-bind-address", ":8080", "address of /metrics")
	flag.StringVar(&o.probe, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flag.BoolVar(&o.leaderElect, "leader-elect", true, "let one replica be active")
	flag.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flag.StringVar(&o.admission.CertDir, "admission-cert-dir", "", "folder with tls.crt and tls.key of the admission webhook, which may come later; empty: no webhook")
	flag.IntVar(&o.admission.Port, "admission-port", 9443, "port of the admission webhook")
	flag.BoolVar(&o.admission.Deny, "admission-deny", false, "refuse an agreement that a guardrail refuses, instead of warning")
	flag.Func("artifact-allow", "prefixes of addresses that are not public and from which inventories may be fetched nevertheless, such as 10.20.0.0/16; separated by commas", func(v string) (err error) {
		o.artifacts.Allow, err = artifact.ParsePrefixes(v)
		return err
	})
	flag.StringVar(&o.bundles, "bundle-bind-address", "", "address of the policy bundles over HTTPS; empty serves none")
	flag.StringVar(&o.bundleTLS, "bundle-tls-dir", "/etc/dizuo-bundles", "folder with tls.crt and tls.key of the policy bundles' server")
	flag.StringVar(&o.bundleService.Name, "bundle-service", "", "Service without selector, in the namespace POD_NAMESPACE, whose one endpoint this replica becomes, at POD_IP, while it leads; empty: none")
	flag.Parse()
	o.bundleService.Namespace = os.Getenv("POD_NAMESPACE")
	limitMemory()
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		slog.Default().Error("operator stopped", "err", err)
		os.Exit(1)
	}
}

// limitMemory makes the garbage collector work harder before the container's limit is reached, which the chart tells in bytes: a tenth of it
// is left for what is no heap. GOMEMLIMIT wins.
func limitMemory() {
	limit, err := strconv.ParseInt(os.Getenv("DIZUO_MEMORY_LIMIT"), 10, 64)
	if err == nil && limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
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
		Scheme: controllers.Scheme(), Cache: controllers.Caches(), LeaderElection: o.leaderElect, LeaderElectionID: "operator.dizuo.io", LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress: o.probe, Metrics: metricsserver.Options{BindAddress: o.metrics}, GracefulShutdownTimeout: new(10 * time.Second),
	})
	if err != nil {
		return err
	}
	bundles, err := serveBundles(mgr, o)
	if err != nil {
		return err
	}
	if err := controllers.Setup(ctx, mgr, controllers.Options{Catalog: catalog, Images: o.images, Artifacts: o.artifacts, Bundles: bundles, Admission: o.admission}); err != nil {
		return err
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping), mgr.Start(ctx))
}

// serveBundles serves policy bundles in every replica. Only the one that leads has any, so the Service is made to lead there.
func serveBundles(mgr ctrl.Manager, o options) (*bundleserver.Server, error) {
	if o.bundles == "" {
		return nil, nil
	}
	s := &bundleserver.Server{Authorizer: bundleserver.NewReviews(mgr.GetClient())}
	if err := mgr.Add(bundleserver.Runnable{Server: s, Address: o.bundles, TLSDir: o.bundleTLS}); err != nil || o.bundleService.Name == "" {
		return s, err
	}
	at, err := bundlesAt(o.bundles)
	if err != nil {
		return nil, err
	}
	return s, mgr.Add(bundleserver.Leader{Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Service: o.bundleService, Endpoint: at})
}

// bundlesAt gives where other pods reach the bundles of this one.
func bundlesAt(bind string) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(os.Getenv("POD_IP"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--bundle-service: environment variable POD_IP: %w: give the pod its own address by the downward API", err)
	}
	_, port, err := net.SplitHostPort(bind)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--bundle-bind-address: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--bundle-bind-address: port %q: give a number", port)
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}
