//go:build envtest

package reconcile

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/test/apiserver"
)

// writes counts what a controller writes.
type writes struct {
	mu    sync.Mutex
	paths []string
	last  time.Time
}

func (w *writes) count(part string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.paths {
		// A name must end there: c1 is not c10.
		if i := strings.Index(p, part); part == "" || (i >= 0 && (i+len(part) == len(p) || p[i+len(part)] == '/')) {
			n++
		}
	}
	return n
}

// quiet waits until nothing was written for a while.
func (w *writes) quiet() {
	w.mu.Lock()
	w.last = time.Now()
	w.mu.Unlock()
	for {
		time.Sleep(200 * time.Millisecond) // the interval of the poll
		w.mu.Lock()
		still := time.Since(w.last)
		w.mu.Unlock()
		if still > 5*time.Second {
			return
		}
	}
}

// wrap counts and passes on.
func (w *writes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") && !strings.HasSuffix(r.URL.Path, "/events") {
			w.mu.Lock()
			w.paths, w.last = append(w.paths, r.URL.Path), time.Now()
			w.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// startOperator starts our controllers on one side, and gives what stops them.
func startOperator(b *bench, w *writes) func() {
	b.t.Helper()
	config := rest.CopyConfig(b.server.Operator())
	config.WrapTransport = w.wrap
	ctx, stop := context.WithCancel(context.Background())
	mgr, err := apiserver.Manager(ctx, config)
	if err != nil {
		b.t.Fatal(err)
	}
	return started(ctx, stop, mgr)
}

func started(ctx context.Context, stop func(), mgr ctrl.Manager) func() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = mgr.Start(ctx)
	}()
	return func() { stop(); <-ended }
}

// startNull starts a controller that makes the writes of ours and thinks of nothing: finalizer, inventory, children, status.
func startNull(b *bench, w *writes) func() {
	b.t.Helper()
	config := rest.CopyConfig(b.server.Config)
	config.WrapTransport = w.wrap
	ctx, stop := context.WithCancel(context.Background())
	only := map[string]cache.Config{}
	for _, ns := range b.namespaces("null") {
		only[ns] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: controllers.Scheme(), Cache: cache.Options{DefaultNamespaces: only},
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		b.t.Fatal(err)
	}
	null := &nullController{mgr.GetClient()}
	if err := ctrl.NewControllerManagedBy(mgr).Named("null").For(&v1alpha1.Community{}, kit.SpecChanged()).Complete(null); err != nil {
		b.t.Fatal(err)
	}
	return started(ctx, stop, mgr)
}

type nullController struct{ client.Client }

// Reconcile implements reconcile.Reconciler.
func (n *nullController) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.Community{}
	if err := n.Get(ctx, req.NamespacedName, o); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if o.Spec.Workspace != nil {
		before := o.DeepCopy()
		controllerutil.AddFinalizer(o, "example.org/null")
		if err := n.Patch(ctx, o, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, err
		}
		objects := render.Community(compile.CommunityPlan{Workspace: &compile.WorkspacePlan{Namespace: o.Namespace + "-" + o.Name, Workspace: *o.Spec.Workspace,
			Owner: compile.Owner{Kind: "Null", Namespace: o.Namespace, Name: o.Name}}})
		if err := n.status(ctx, o, false); err != nil {
			return ctrl.Result{}, err
		}
		for _, c := range objects {
			if err := n.Apply(ctx, c, client.FieldOwner("null"), client.ForceOwnership); err != nil {
				return ctrl.Result{}, err
			}
		}
	}
	return ctrl.Result{}, n.status(ctx, o, true)
}

// status writes a status of the size of ours.
func (n *nullController) status(ctx context.Context, o *v1alpha1.Community, done bool) error {
	st := v1alpha1.CommunityStatus{}
	if done {
		st.ObservedGeneration = o.Generation
		for _, c := range []string{"Accepted", "Available", "FullyEnforced", "Ready", "Reconciling", "Stalled"} {
			st.Conditions = append(st.Conditions, metav1.Condition{Type: c, Status: "False", Reason: "Null", Message: "a message of the usual length, which says what it waits for",
				ObservedGeneration: o.Generation, LastTransitionTime: metav1.Now()})
		}
	} else {
		for range 4 {
			st.Inventory = append(st.Inventory, v1alpha1.InventoryEntry{Version: "v1", Kind: "ConfigMap", Namespace: o.Namespace, Name: o.Name})
		}
	}
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	m := map[string]any{}
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": m}}
	u.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("Community"))
	u.SetNamespace(o.Namespace)
	u.SetName(o.Name)
	return n.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("null"), client.ForceOwnership)
}
