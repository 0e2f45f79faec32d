// Package controllers joins the controllers of all kinds to one manager.
package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/admission"
	"github.com/dizuo/dizuo/controllers/community"
	"github.com/dizuo/dizuo/controllers/dataset"
	"github.com/dizuo/dizuo/controllers/datasharingagreement"
	"github.com/dizuo/dizuo/controllers/devicefleet"
	"github.com/dizuo/dizuo/controllers/deviceprofile"
	"github.com/dizuo/dizuo/controllers/edgenode"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/gridplatform"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/controllers/organization"
	"github.com/dizuo/dizuo/controllers/publication"
	"github.com/dizuo/dizuo/controllers/scenario"
	"github.com/dizuo/dizuo/internal/artifact"
	"github.com/dizuo/dizuo/internal/bundleserver"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/natslink"
	"github.com/dizuo/dizuo/internal/secrets"
	"github.com/dizuo/dizuo/internal/shelf"
	"github.com/dizuo/dizuo/policies"
)

// Options of the control plane.
type Options struct {
	Catalog compile.Catalog
	Images  compile.Images
	// Address gives the URL of a platform's broker; nil for the Service in the cluster.
	Address func(platform types.NamespacedName) string
	// Namespaces that are seen, as Caches was given them; none means all.
	Namespaces []string
	// Bundles serves policy bundles to whoever is not a node; nil serves none.
	Bundles *bundleserver.Server
	// Artifacts says where inventories may be fetched from.
	Artifacts artifact.Options
	// Admission is about the webhook for agreements and scenarios.
	Admission admission.Options
}

// kinds have a channel on which their objects are called again.
var kinds = []string{"GridPlatform", "Community", "Organization", "DeviceProfile", "DeviceFleet", "Scenario", "Dataset", "DataSharingAgreement", "EdgeNode"}

// Setup adds all controllers to a manager. They live as long as ctx.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	guard, err := policies.Guardrails(ctx)
	if err != nil {
		return err
	}
	if err := inform(ctx, mgr.GetCache()); err != nil {
		return err
	}
	if err := kit.RegisterIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	wakes := kit.NewWakes(kinds...)
	dirty := publication.NewDirty()
	board := shelf.New()
	board.Wake, board.Dirty = wakes.Wake, dirty.Call
	calls := secretCalls{reader: mgr.GetClient(), wakes: wakes, dirty: dirty}
	store, err := secrets.New(ctx, mgr.GetConfig(), calls.changed)
	if err != nil {
		return err
	}
	if o.Address == nil {
		o.Address = natslink.InCluster
	}
	apis, err := foreign.New(mgr, o.Namespaces)
	if err != nil {
		return err
	}
	city, err := cityGuardrails(mgr, o.Namespaces)
	if err != nil {
		return err
	}
	k := &kit.Kit{CityGuardrails: city, Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Shelf: board, Guard: guard, Wakes: wakes, APIs: apis, Namespaces: o.Namespaces, Events: mgr.GetEventRecorder("dizuo-operator"), Gather: &gather.Reader{
		Client: mgr.GetClient(), Secrets: store, Catalog: o.Catalog, Images: o.Images, Now: time.Now, MissingAPIs: apis.Missing,
	}}
	reports := publication.NewReports(ctx, board, time.Now)
	reports.Wake = wakes.Wake
	k.Reports = reports
	for _, c := range []interface{ SetupWithManager(ctrl.Manager) error }{
		&gridplatform.Reconciler{Kit: k}, &community.Reconciler{Kit: k}, &organization.Reconciler{Kit: k},
		&deviceprofile.Reconciler{Kit: k}, &edgenode.Reconciler{Kit: k}, &scenario.Reconciler{Kit: k},
		&devicefleet.Reconciler{Kit: k, Artifacts: artifact.NewStore(ctx, artifact.NewFetcher(o.Artifacts), time.Now)},
		&dataset.Reconciler{Kit: k}, &datasharingagreement.Reconciler{Kit: k},
		&publication.Reconciler{Kit: k, Links: &natslink.Pool{Address: o.Address}, Follow: reports, Modules: policies.Access(), Dirty: dirty, Bundles: o.Bundles},
	} {
		if err := c.SetupWithManager(mgr); err != nil {
			return err
		}
	}
	return errors.Join(apis.SetupWithManager(mgr, calls.everywhere), admissions(mgr, store, calls),
		admission.Setup(mgr, o.Admission, (&datasharingagreement.Reconciler{Kit: k}).Findings, (&scenario.Reconciler{Kit: k}).Mistakes))
}

// cityGuardrails gives a cache of the ConfigMaps with guardrails of cities' own. It runs with the manager.
func cityGuardrails(mgr ctrl.Manager, namespaces []string) (cache.Cache, error) {
	labelled, err := labels.NewRequirement(compile.LabelGuardrails, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), ReaderFailOnMissingInformer: true,
		DefaultNamespaces: foreign.Only(namespaces), DefaultLabelSelector: labels.NewSelector().Add(*labelled),
	})
	if err != nil {
		return nil, err
	}
	return c, mgr.Add(c)
}

// secretCalls calls the objects that a Secret may concern. Names decide: a Secret says by itself what it is for.
type secretCalls struct {
	reader client.Reader
	wakes  *kit.Wakes
	dirty  publication.Dirty
}

func (s secretCalls) changed(key types.NamespacedName) {
	ctx := context.Background()
	s.named(ctx, key.Namespace)
	if edge, ok := strings.CutSuffix(key.Name, compile.EdgeTokenName("")); ok { // there is one for each: not all of them are called for it
		s.wakes.Wake(shelf.Key{Kind: "EdgeNode", Namespace: key.Namespace, Name: edge})
	}
	var ns corev1.Namespace
	if err := s.reader.Get(ctx, types.NamespacedName{Name: key.Namespace}, &ns); err == nil && ns.Labels[compile.LabelPlatform] != "" {
		s.named(ctx, ns.Labels[compile.LabelPlatform]) // the platform holds the webhook secrets of its members
	}
	if strings.HasPrefix(key.Name, "fleet-") || strings.HasPrefix(key.Name, "organization.") || key.Name == compile.SecretBrokerTLS {
		s.members(ctx, key.Namespace, s.named)
	}
	if key.Name == compile.SecretBrokerTLS || key.Name == compile.SecretEdges {
		s.edges(ctx, key.Namespace)
		s.members(ctx, key.Namespace, s.edges)
	}
}

// members calls objects of the members of a namespace's platform.
func (s secretCalls) members(ctx context.Context, ns string, call func(context.Context, string)) {
	var platforms v1alpha1.GridPlatformList
	_ = s.reader.List(ctx, &platforms, client.InNamespace(ns))
	for _, p := range platforms.Items {
		for _, m := range p.Spec.Members {
			call(ctx, m.Namespace)
		}
	}
}

// namespace calls the objects of a namespace that read Secrets.
func (s secretCalls) namespace(ctx context.Context, ns string) {
	s.named(ctx, ns)
	s.edges(ctx, ns)
}

// named calls the objects of a namespace that name Secrets.
func (s secretCalls) named(ctx context.Context, ns string) {
	s.all(ctx, ns, map[string]client.ObjectList{
		"GridPlatform": &v1alpha1.GridPlatformList{}, "Organization": &v1alpha1.OrganizationList{}, "Dataset": &v1alpha1.DatasetList{}, "DeviceFleet": &v1alpha1.DeviceFleetList{},
	})
}

// edges calls the edge nodes of a namespace.
func (s secretCalls) edges(ctx context.Context, ns string) {
	s.all(ctx, ns, map[string]client.ObjectList{"EdgeNode": &v1alpha1.EdgeNodeList{}})
}

func (s secretCalls) all(ctx context.Context, ns string, lists map[string]client.ObjectList) {
	for kind, list := range lists {
		if err := s.reader.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list for a changed Secret")
			continue
		}
		kit.Each(list, func(o client.Object) {
			s.wakes.Wake(kit.Key(kind, o))
			if kind == "GridPlatform" {
				s.dirty.Call(client.ObjectKeyFromObject(o))
			}
		})
	}
}

// everywhere calls the objects of all namespaces that have children of a foreign kind.
func (s secretCalls) everywhere(ctx context.Context) { s.namespace(ctx, "") }

// admissions watches role bindings: one to ClusterRole dizuo-namespace admits Dizuo to a namespace's Secrets.
func admissions(mgr ctrl.Manager, store *secrets.Store, calls secretCalls) error {
	binding := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		if b, ok := o.(*rbacv1.RoleBinding); !ok || b.RoleRef.Name != RoleNamespace {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace()}}}
	})
	return ctrl.NewControllerManagedBy(mgr).Named("admission").Watches(&rbacv1.RoleBinding{}, binding).
		Complete(reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
			if !bound(ctx, mgr.GetClient(), req.Namespace) {
				store.Close(req.Namespace)
				calls.namespace(ctx, req.Namespace)
				calls.members(ctx, req.Namespace, calls.namespace)
				return reconcile.Result{}, nil
			}
			store.Forget(req.Namespace)
			admitted, err := store.Admitted(ctx, req.Namespace)
			if err != nil {
				return reconcile.Result{}, err
			}
			calls.namespace(ctx, req.Namespace)
			calls.members(ctx, req.Namespace, calls.namespace)
			if !admitted {
				return reconcile.Result{RequeueAfter: time.Second}, nil // the API server's authorizer learns of a binding a little later
			}
			return reconcile.Result{}, nil
		}))
}

// bound reports whether a namespace has a binding that admits Dizuo.
func bound(ctx context.Context, reader client.Reader, namespace string) bool {
	var list rbacv1.RoleBindingList
	if err := reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return false
	}
	return slices.ContainsFunc(list.Items, func(b rbacv1.RoleBinding) bool { return b.RoleRef.Name == RoleNamespace })
}

// RoleNamespace is the ClusterRole by which the owner of a namespace admits Dizuo to its Secrets.
const RoleNamespace = "dizuo-namespace"
