// Package foreign knows which kinds of other projects the cluster serves: cert-manager's, and those that a platform may ask for.
// Their presence is a value that gather reads. Their watches start when the CRD appears, so the operator starts without any of
// them and picks each up without a restart.
//
//	CRD comes or goes -> crds.go -> discovery -> Missing, Serves --> gather, apply
//	                                          -> watches start or end, platforms are called
package foreign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// Kinds that code names.
var (
	Cluster         = schema.GroupVersionKind{Group: compile.GroupCloudNativePG, Version: "v1", Kind: "Cluster"}
	ScheduledBackup = schema.GroupVersionKind{Group: compile.GroupCloudNativePG, Version: "v1", Kind: "ScheduledBackup"}
	EMQX            = schema.GroupVersionKind{Group: compile.GroupEMQX, Version: "v2beta1", Kind: "EMQX"}
	ObjectStore     = schema.GroupVersionKind{Group: compile.GroupBarman, Version: "v1", Kind: "ObjectStore"}
)

// Kinds are all foreign kinds, with the plural by which the API server names them.
var Kinds = map[schema.GroupVersionKind]string{
	Cluster: "clusters", ScheduledBackup: "scheduledbackups", ObjectStore: "objectstores",
	EMQX: "emqxes",
	{Group: compile.GroupPrometheus, Version: "v1", Kind: "ServiceMonitor"}:      "servicemonitors",
	{Group: compile.GroupPrometheus, Version: "v1", Kind: "PrometheusRule"}:      "prometheusrules",
	{Group: compile.GroupCertManager, Version: "v1", Kind: "Issuer"}:             "issuers",
	{Group: compile.GroupCertManager, Version: "v1", Kind: "Certificate"}:        "certificates",
	{Group: compile.GroupCertManager, Version: "v1", Kind: "CertificateRequest"}: "certificaterequests",
}

// Object gives an empty object of a kind whose types no module gives.
func Object(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}

// APIs knows which foreign kinds are served, and holds their watches.
type APIs struct {
	// Reader reads objects of foreign kinds that the operator made, of kinds that are served and watched.
	client.Reader

	discovery discovery.ServerResourcesInterface
	cache     cache.Cache
	scheme    *runtime.Scheme

	mu      sync.Mutex
	served  map[schema.GroupVersionKind]bool
	watches []*watch
}

// watch is one controller's interest in a kind.
type watch struct {
	gvk     schema.GroupVersionKind
	object  client.Object
	start   func() error
	running bool
}

// New asks the API server what it serves. The cache of foreign kinds runs with the manager. It fails on a kind that has no watch:
// a read that started one, of a kind that is just going, would wait for it for ever. namespaces bound what is seen; none means all.
func New(mgr ctrl.Manager, namespaces []string) (*APIs, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), ReaderFailOnMissingInformer: true,
		DefaultNamespaces: Only(namespaces), DefaultLabelSelector: labels.SelectorFromSet(labels.Set{render.LabelManagedBy: render.ManagedBy}),
	})
	if err != nil {
		return nil, err
	}
	a := &APIs{Reader: c, discovery: d, cache: c, scheme: mgr.GetScheme(), served: map[schema.GroupVersionKind]bool{}}
	if _, err := a.look(); err != nil {
		return nil, err
	}
	return a, mgr.Add(c)
}

// Only gives the configuration of a cache that sees some namespaces; nil, which sees all, for none.
func Only(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	out := map[string]cache.Config{}
	for _, ns := range namespaces {
		out[ns] = cache.Config{}
	}
	return out
}

// Foreign reports whether a kind is another project's.
func Foreign(gvk schema.GroupVersionKind) bool {
	_, foreign := Kinds[gvk]
	return foreign
}

// Missing gives the API groups of which a kind is not served, sorted.
func (a *APIs) Missing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for gvk := range Kinds {
		if !a.served[gvk] && !slices.Contains(out, gvk.Group) {
			out = append(out, gvk.Group)
		}
	}
	slices.Sort(out)
	return out
}

// Serves reports whether the API server serves a kind. A kind that is not foreign is taken as served.
func (a *APIs) Serves(gvk schema.GroupVersionKind) bool {
	if !Foreign(gvk) {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.served[gvk]
}

// Watch makes a controller look again when an object of a foreign kind changes, from when the kind is served.
func (a *APIs) Watch(c controller.Controller, o client.Object, h handler.EventHandler, p ...predicate.Predicate) error {
	gvk, err := apiutil.GVKForObject(o, a.scheme)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &watch{gvk: gvk, object: o, start: func() error { return c.Watch(source.Kind(a.cache, o, h, p...)) }}
	a.watches = append(a.watches, w)
	return a.begin(w)
}

// begin starts a watch whose kind is served.
func (a *APIs) begin(w *watch) error {
	if w.running || !a.served[w.gvk] {
		return nil
	}
	if err := w.start(); err != nil {
		return fmt.Errorf("watch %s: %w", w.gvk.Kind, err)
	}
	w.running = true
	return nil
}

// look asks what is served and reports whether that changed.
func (a *APIs) look() (changed bool, err error) {
	served := map[schema.GroupVersionKind]bool{}
	lists := map[string]*metav1.APIResourceList{}
	for gvk, plural := range Kinds {
		gv := gvk.GroupVersion().String()
		if _, asked := lists[gv]; !asked {
			list, err := a.discovery.ServerResourcesForGroupVersion(gv)
			if err != nil && !apierrors.IsNotFound(err) {
				return false, fmt.Errorf("ask for API %s: %w", gv, err)
			}
			lists[gv] = list
		}
		if list := lists[gv]; list != nil {
			served[gvk] = slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == plural })
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for gvk := range Kinds {
		changed = changed || served[gvk] != a.served[gvk]
	}
	a.served = served
	return changed, nil
}

// follow starts the watches of kinds that appeared and ends those of kinds that went.
func (a *APIs) follow(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var failed error
	for _, w := range a.watches {
		if a.served[w.gvk] {
			failed = errors.Join(failed, a.begin(w))
			continue
		}
		if w.running { // an informer of a kind that is gone would ask for it for ever
			w.running = false
			failed = errors.Join(failed, a.cache.RemoveInformer(ctx, w.object))
		}
	}
	return failed
}
