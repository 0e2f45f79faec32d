// Package kit is what the controllers share: their dependencies and the steps that are the same for every kind. It decides
// nothing; what an object means is in internal/compile, what is said of it in the kind's own status.go.
package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/internal/shelf"
	"github.com/dizuo/dizuo/internal/status"
	"github.com/dizuo/dizuo/policies"
)

const (
	// Finalizer holds an object until what was made for it is gone.
	Finalizer = v1alpha1.Finalizer
	// statusManager owns the status of objects of our API.
	statusManager = "dizuo-status"
)

// Kit is what a controller works with.
type Kit struct {
	Client client.Client
	// Direct reads from the API server.
	Direct client.Reader
	Gather *gather.Reader
	// APIs knows which kinds of other projects are served.
	APIs  *foreign.APIs
	Shelf *shelf.Shelf
	Guard *policies.Guard
	// CityGuardrails holds the ConfigMaps with compile.LabelGuardrails.
	CityGuardrails cache.Cache
	// Wakes has a channel per kind on which objects are called again; see Wake.
	Wakes *Wakes
	// Reports gives what the nodes of platforms say.
	Reports Reports
	// Loads holds what devices may send to edge nodes.
	Loads Loads
	// Namespaces that are seen; none means all.
	Namespaces []string
	// Events takes what happens to objects.
	Events events.EventRecorder

	written written
	pace    pace
}

// Reports gives what the nodes of a platform say. The last result is false while no report that speaks of it is fresh: then
// nothing is known, and the last value is not the present one.
type Reports interface {
	Platform(platform types.NamespacedName) (reports []contract.Report, last time.Time)
	Fleet(platform types.NamespacedName, fleet string) (contract.FleetReport, bool)
	Community(platform types.NamespacedName, community string) (contract.PresenceReport, bool)
	Devices(platform types.NamespacedName) (contract.PresenceReport, bool)
	OpenCases(platform types.NamespacedName, community string) (int64, bool)
	ScenarioCases(platform types.NamespacedName, scenario string) (int64, bool)
	Dispatch(platform types.NamespacedName, organization string) (contract.DispatchReport, bool)
	Decisions(platform types.NamespacedName, agreement string) (contract.DecisionReport, bool)
	BreakGlass(platform types.NamespacedName, agreement string) (contract.BreakGlassReport, bool)
	// Edge gives what is known of an edge node.
	Edge(platform types.NamespacedName, edge string) EdgeNews
}

// EdgeNews is what the nodes of a platform say of an edge node.
type EdgeNews struct {
	// Heard is what each node of the role auth that is online says that the machine asks, by the sequence that it enforces.
	Heard []EdgeHeard
	// Report is the machine's own; nil where none came since the operator started.
	Report *contract.Report
	// HeardAt is when it came, by the clock of the centre.
	HeardAt time.Time
	// Online says that it came just now.
	Online bool
	// LeaseExpiresAt is when the lease ends that the machine holds; zero where it is not known.
	LeaseExpiresAt time.Time
}

// EdgeHeard is what one node of the role auth says that a machine asks.
type EdgeHeard struct {
	Sequence int64
	compile.EdgeHeard
}

// Object is an object of our API.
type Object interface {
	client.Object
	GetCommonStatus() *v1alpha1.CommonStatus
}

// sees reports whether a namespace is among those that are seen.
func (k *Kit) sees(namespace string) bool {
	return len(k.Namespaces) == 0 || slices.Contains(k.Namespaces, namespace)
}

// Key names an object on the shelf.
func Key(kind string, o client.Object) shelf.Key {
	return shelf.Key{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Owner names an object as the owner of others.
func Owner(kind string, o client.Object) compile.Owner {
	return compile.Owner{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// PlatformKey names the platform of a snapshot.
func PlatformKey(p *v1alpha1.GridPlatform) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// Engine gives the apply engine over the kit's client and caches.
func (k *Kit) Engine() apply.Engine {
	return apply.Engine{Client: k.Client, Live: k.live, Fresh: k.fresh}
}

// live reads an object from the typed caches; Secrets from the store of admitted namespaces.
func (k *Kit) live(ctx context.Context, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error) {
	if gvk.Group == "" && gvk.Kind == "Secret" {
		secret, admitted, err := k.Gather.Secrets.Get(ctx, key)
		if err != nil || secret == nil {
			if err == nil && !admitted {
				err = fmt.Errorf("namespace %s does not admit Dizuo to its Secrets: its owner runs `dizuo admit %s`", key.Namespace, key.Namespace)
			}
			return nil, err
		}
		return runtime.DefaultUnstructuredConverter.ToUnstructured(secret)
	}
	if !k.APIs.Serves(gvk) { // the cache would wait for it for ever
		return nil, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
	}
	if foreign.Foreign(gvk) {
		return k.read(ctx, k.APIs, gvk, key)
	}
	return k.read(ctx, k.Client, gvk, key)
}

// fresh reads an object from the API server.
func (k *Kit) fresh(ctx context.Context, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error) {
	return k.read(ctx, k.Direct, gvk, key)
}

func (k *Kit) read(ctx context.Context, from client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error) {
	o, err := k.empty(gvk)
	if err != nil {
		return nil, err
	}
	if err := from.Get(ctx, key, o); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(o)
}

// empty gives an object to read a kind into: typed, where the scheme has its type.
func (k *Kit) empty(gvk schema.GroupVersionKind) (client.Object, error) {
	typed, err := k.Client.Scheme().New(gvk)
	if runtime.IsNotRegisteredError(err) && foreign.Foreign(gvk) {
		return foreign.Object(gvk), nil
	}
	if err != nil {
		return nil, err
	}
	return typed.(client.Object), nil
}

// EnsureFinalizer adds the finalizer if it is not there.
func (k *Kit) EnsureFinalizer(ctx context.Context, o client.Object) error {
	before := o.DeepCopyObject().(client.Object)
	if !controllerutil.AddFinalizer(o, Finalizer) {
		return nil
	}
	if err := k.Client.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return conflicting(err)
	}
	k.written.note(o.GetUID(), o.GetResourceVersion())
	return nil
}

// RemoveFinalizer lets an object go.
func (k *Kit) RemoveFinalizer(ctx context.Context, o client.Object) error {
	before := o.DeepCopyObject().(client.Object)
	if !controllerutil.RemoveFinalizer(o, Finalizer) {
		return nil
	}
	return conflicting(client.IgnoreNotFound(k.Client.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))))
}

// WriteStatus writes the status of o if it differs from before, by server-side apply: fields that another manager of the
// status owns are left alone, if the caller leaves them empty. It fails with a conflict where somebody wrote o since it was
// read: what was read is then not what the inventory is worked out from.
func (k *Kit) WriteStatus(ctx context.Context, before, o Object) error {
	if err := k.writeStatus(ctx, before, o); err != nil {
		return err
	}
	k.observe(reflect.TypeOf(o).Elem().Name(), before, o)
	return nil
}

func (k *Kit) writeStatus(ctx context.Context, before, o Object) error {
	was, err := statusMap(before)
	if err != nil {
		return err
	}
	is, err := statusMap(o)
	if err != nil || reflect.DeepEqual(was, is) {
		return err
	}
	return k.ApplyStatus(ctx, o, is, statusManager)
}

// ApplyStatus applies a status under a field manager, to o as it was read: to any version of it, if its resource version is empty.
func (k *Kit) ApplyStatus(ctx context.Context, o client.Object, st map[string]any, manager string) error {
	gvk, err := apiutil.GVKForObject(o, k.Client.Scheme())
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": st}}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(o.GetNamespace())
	u.SetName(o.GetName())
	u.SetResourceVersion(o.GetResourceVersion())
	err = k.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return conflicting(fmt.Errorf("status of %s %s/%s: %w", gvk.Kind, o.GetNamespace(), o.GetName(), err))
	}
	o.SetResourceVersion(u.GetResourceVersion())
	k.written.note(u.GetUID(), u.GetResourceVersion())
	return nil
}

// statusMap gives the status of an object as JSON has it. Every kind has a field Status.
func statusMap(o Object) (map[string]any, error) {
	raw, err := json.Marshal(reflect.ValueOf(o).Elem().FieldByName("Status").Interface())
	if err != nil {
		return nil, err
	}
	m := map[string]any{}
	return m, json.Unmarshal(raw, &m)
}

// Apply applies the objects of o and records the inventory in its status; the caller writes the status afterwards.
func (k *Kit) Apply(ctx context.Context, kind string, o Object, objects []render.Object, prune bool) apply.Report {
	return k.ApplySet(ctx, kind, o, apply.Set{Objects: objects, Prune: prune})
}

// ApplySet is Apply with all that a set can say; its owner, inventory and Persist are filled in.
func (k *Kit) ApplySet(ctx context.Context, kind string, o Object, set apply.Set) apply.Report {
	common := o.GetCommonStatus()
	set.Owner, set.Inventory = Owner(kind, o), common.Inventory
	set.Persist = func(ctx context.Context, inventory []v1alpha1.InventoryEntry) error {
		before := o.DeepCopyObject().(Object)
		o.GetCommonStatus().Inventory = inventory
		return k.writeStatus(ctx, before, o)
	}
	report := k.Engine().Run(ctx, set)
	common.Inventory = report.Inventory
	return report
}

// Finalize deletes what was made for an object and lets it go. It works from the inventory alone.
func (k *Kit) Finalize(ctx context.Context, kind string, o Object, keep func(v1alpha1.InventoryEntry) bool) error {
	k.Shelf.Drop(Key(kind, o))
	if !controllerutil.ContainsFinalizer(o, Finalizer) {
		return nil
	}
	before := o.DeepCopyObject().(Object)
	report := k.Engine().Finalize(ctx, Owner(kind, o), o.GetCommonStatus().Inventory, keep)
	o.GetCommonStatus().Inventory = report.Inventory
	if len(report.Inventory) == 0 && report.Err == nil {
		return k.RemoveFinalizer(ctx, o)
	}
	if err := k.writeStatus(ctx, before, o); err != nil {
		return err
	}
	return report.Err // what is still being deleted calls us again when it is gone
}

// Applied gives the condition of an apply.
func Applied(r apply.Report) status.Named {
	switch {
	case len(r.Conflicts) > 0:
		return status.Named{Type: v1alpha1.ConditionApplied, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonConflict, Message: r.Conflicts[0], Stalled: true}
	case r.Err != nil:
		return status.Waiting(v1alpha1.ConditionApplied, v1alpha1.ReasonApplyFailed, r.Err.Error())
	}
	return status.True(v1alpha1.ConditionApplied, v1alpha1.ReasonSucceeded, fmt.Sprintf("%d objects stand as rendered", len(r.Inventory)))
}

// RegisterIndexes adds the field indexes that gather uses.
func RegisterIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	return errors.Join(
		indexer.IndexField(ctx, &v1alpha1.EdgeNode{}, gather.IndexServes, func(o client.Object) []string {
			return o.(*v1alpha1.EdgeNode).Spec.Communities
		}),
		indexer.IndexField(ctx, &v1alpha1.DeviceFleet{}, gather.IndexPlacement, func(o client.Object) []string {
			return []string{string(o.(*v1alpha1.DeviceFleet).Spec.Placement)}
		}),
		indexer.IndexField(ctx, &v1alpha1.DeviceFleet{}, gather.IndexAccessMode, func(o client.Object) []string {
			return []string{string(o.(*v1alpha1.DeviceFleet).Spec.AccessMode)}
		}),
		indexer.IndexField(ctx, &v1alpha1.DataSharingAgreement{}, gather.IndexAggregates, func(o client.Object) []string {
			if spec := &o.(*v1alpha1.DataSharingAgreement).Spec; spec.Aggregates != nil {
				return []string{spec.Consumer.Name}
			}
			return nil
		}),
		indexer.IndexField(ctx, &v1alpha1.Community{}, gather.IndexDivision, func(o client.Object) []string {
			return compile.Codes(o.(*v1alpha1.Community))
		}),
		indexer.IndexField(ctx, &v1alpha1.Community{}, gather.IndexGrid, func(o client.Object) []string {
			var names []string
			for _, g := range o.(*v1alpha1.Community).Spec.Grids {
				names = append(names, g.Name)
			}
			return names
		}),
		indexer.IndexField(ctx, &v1alpha1.Community{}, gather.IndexScenario, func(o client.Object) []string {
			var names []string
			for _, sel := range o.(*v1alpha1.Community).Spec.Scenarios {
				names = append(names, sel.Name)
			}
			return names
		}),
		indexer.IndexField(ctx, &v1alpha1.DataSharingAgreement{}, gather.IndexOrganization, func(o client.Object) []string {
			return compile.OrganizationsOf(o.(*v1alpha1.DataSharingAgreement))
		}),
		indexer.IndexField(ctx, &v1alpha1.DataSharingAgreement{}, gather.IndexDataset, func(o client.Object) []string {
			var names []string
			for _, d := range o.(*v1alpha1.DataSharingAgreement).Spec.Datasets {
				names = append(names, d.Name)
			}
			return names
		}))
}
