// Package apply brings rendered objects to the cluster by server-side apply, and takes away what is no longer rendered.
//
//	plan:  union of inventory and rendered objects --persist--> write-ahead inventory
//	apply: for each object: skip if it stands as rendered, refuse if another holds it, else server-side apply
//	prune: only if compile had no open problem and every apply succeeded; delete with a UID precondition
//	shrink: what is left is the new inventory; survivors of a failed delete stay in it
//
// Nothing is kept between calls: the inventory in the owner's status is all that it needs, so it may be killed anywhere.
package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// FieldManager owns the fields of every object that Dizuo makes.
const FieldManager = "dizuo"

// Engine applies objects.
type Engine struct {
	// Client writes.
	Client client.Client
	// Live reads an object as the cache has it, as JSON values; nil if it is not there.
	Live Read
	// Fresh reads an object from the API server. The caches hold only objects with our labels, so before the first apply it
	// is asked whether somebody else's stands there.
	Fresh Read
}

// Read gives an object as JSON values; nil if it is not there.
type Read func(ctx context.Context, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error)

// Set is what one owner wants.
type Set struct {
	Owner   compile.Owner
	Objects []render.Object
	// Inventory as the owner's status has it.
	Inventory []v1alpha1.InventoryEntry
	// Prune is false while the owner has open problems: then nothing is taken away.
	Prune bool
	// Keep names what is let go of rather than deleted, when it is no longer rendered; nil deletes everything.
	Keep func(v1alpha1.InventoryEntry) bool
	// Persist writes an inventory to the owner's status before anything is applied.
	Persist func(ctx context.Context, inventory []v1alpha1.InventoryEntry) error
}

// Report says what became of a set.
type Report struct {
	// Inventory to record.
	Inventory []v1alpha1.InventoryEntry
	// Changed and Pruned count writes.
	Changed, Pruned int
	// Conflicts are objects that another holds.
	Conflicts []string
	// Err joins what failed otherwise.
	Err error
}

// ErrConflict says that an object is held by another owner.
var ErrConflict = errors.New("is held by another")

// Run applies a set.
func (e Engine) Run(ctx context.Context, s Set) Report {
	desired := make([]*unstructured.Unstructured, 0, len(s.Objects))
	for _, o := range s.Objects {
		u, err := toUnstructured(o)
		if err != nil {
			return Report{Inventory: s.Inventory, Err: err}
		}
		desired = append(desired, u)
	}
	inventory := union(s.Inventory, desired)
	if !slices.Equal(keys(inventory), keys(s.Inventory)) {
		if err := s.Persist(ctx, inventory); err != nil {
			return Report{Inventory: s.Inventory, Err: fmt.Errorf("write inventory ahead: %w", err)}
		}
	}
	report := Report{Inventory: inventory}
	taken := map[string]bool{} // namespaces that another holds: what would stand in one is not ours to put there
	for _, u := range desired {
		if taken[u.GetNamespace()] {
			continue
		}
		uid, changed, err := e.one(ctx, s.Owner, u, uidOf(inventory, u))
		switch {
		case errors.Is(err, ErrConflict):
			report.Conflicts = append(report.Conflicts, err.Error())
			if u.GetKind() == "Namespace" {
				taken[u.GetName()] = true
			}
		case err != nil:
			report.Err = errors.Join(report.Err, err)
		default:
			setUID(report.Inventory, u, uid)
		}
		if changed {
			report.Changed++
		}
	}
	if s.Prune && report.Err == nil && len(report.Conflicts) == 0 {
		e.prune(ctx, s.Owner, desired, &report, s.Keep)
	}
	return report
}

// Finalize deletes everything in the inventory except what keep says. It needs no spec and no compile.
func (e Engine) Finalize(ctx context.Context, owner compile.Owner, inventory []v1alpha1.InventoryEntry, keep func(v1alpha1.InventoryEntry) bool) Report {
	report := Report{Inventory: slices.Clone(inventory)}
	e.prune(ctx, owner, nil, &report, keep)
	return report
}

// one brings one object to the cluster and gives its UID and whether it was written. uid is the one that the inventory has.
func (e Engine) one(ctx context.Context, owner compile.Owner, u *unstructured.Unstructured, uid types.UID) (string, bool, error) {
	key := client.ObjectKeyFromObject(u)
	name := named(u.GetKind(), key)
	live, err := e.Live(ctx, u.GroupVersionKind(), key)
	unseen := live == nil // by the cache, and so by what was rendered
	if err == nil && unseen {
		live, err = e.Fresh(ctx, u.GroupVersionKind(), key)
	}
	if err != nil {
		return "", false, fmt.Errorf("%s: read: %w", name, err)
	}
	createOnly := u.GetAnnotations()[render.AnnotationCreateOnly] != ""
	if live == nil && createOnly {
		if err := e.Client.Create(ctx, u, client.FieldOwner(FieldManager)); err != nil {
			return "", false, fmt.Errorf("%s: create: %w", name, err)
		}
		return string(u.GetUID()), true, nil
	}
	if live != nil {
		was := unstructured.Unstructured{Object: live}
		was.SetGroupVersionKind(u.GroupVersionKind()) // a typed read leaves it out
		if !owned(&was, owner, uid) {
			return "", false, fmt.Errorf("%s %w: it lacks our labels or carries another owner's; rename or remove it", name, ErrConflict)
		}
		if was.GetDeletionTimestamp() != nil {
			return "", false, fmt.Errorf("%s: is still being deleted", name)
		}
		leaveDelegated(u, &was)
		// What was rendered without knowing this one holds other random values: they must not go over it.
		if stands(u, &was) || (createOnly && unseen) {
			return string(was.GetUID()), false, nil
		}
	}
	err = e.apply(ctx, u)
	if apierrors.IsInvalid(err) && live != nil {
		err = e.takeOver(ctx, u, err)
	}
	if apierrors.IsInvalid(err) && live != nil && u.GetKind() == "StatefulSet" {
		err = e.remake(ctx, u, live)
	}
	if err != nil {
		return "", false, fmt.Errorf("%s: apply: %w", name, err)
	}
	return string(u.GetUID()), true, nil
}

// apply applies u and reads the answer into it.
func (e Engine) apply(ctx context.Context, u *unstructured.Unstructured) error {
	return e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager), client.ForceOwnership)
}

// takeOver takes the fields that others edited by hand into our own set and applies again, so that the edits go. It is for an
// object that an edit has made impossible, such as a Service whose port was renumbered: ours beside it would bear the same name.
// why is returned where nobody edited anything.
func (e Engine) takeOver(ctx context.Context, u *unstructured.Unstructured, why error) error {
	was, err := e.Fresh(ctx, u.GroupVersionKind(), client.ObjectKeyFromObject(u))
	if err != nil || was == nil {
		return err
	}
	live := &unstructured.Unstructured{Object: was}
	live.SetGroupVersionKind(u.GroupVersionKind())
	others := sets.New[string]()
	for _, m := range live.GetManagedFields() {
		if m.Manager != FieldManager && m.Operation == metav1.ManagedFieldsOperationUpdate && m.Subresource == "" {
			others.Insert(m.Manager)
		}
	}
	if len(others) == 0 {
		return why
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, others, FieldManager)
	if err != nil {
		return err
	}
	if err := e.Client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldManager)); err != nil {
		return err
	}
	return e.apply(ctx, u)
}

// remake deletes a StatefulSet and leaves its pods and volumes: the size of its volumes and the name of its Service cannot be
// changed, and the next pass makes it anew around them. The error says so.
func (e Engine) remake(ctx context.Context, u *unstructured.Unstructured, live map[string]any) error {
	uid := (&unstructured.Unstructured{Object: live}).GetUID()
	err := e.Client.Delete(ctx, u.DeepCopy(), client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	if err != nil {
		return fmt.Errorf("make it anew around its pods: %w", client.IgnoreNotFound(err))
	}
	return errors.New("has fields that cannot be changed: it is made anew around its pods")
}

// named gives the name of an object for messages.
func named(kind string, key types.NamespacedName) string {
	if key.Namespace == "" {
		return kind + " " + key.Name
	}
	return kind + " " + key.String()
}

// prune deletes what the inventory holds and desired does not.
func (e Engine) prune(ctx context.Context, owner compile.Owner, desired []*unstructured.Unstructured, report *Report, keep func(v1alpha1.InventoryEntry) bool) {
	wanted := map[entryKey]bool{}
	for _, u := range desired {
		wanted[keyOf(u)] = true
	}
	var rest []v1alpha1.InventoryEntry
	for _, entry := range report.Inventory {
		if wanted[entryOf(entry)] {
			rest = append(rest, entry)
			continue
		}
		if keep != nil && keep(entry) {
			continue // let go of, not deleted
		}
		gone, deleted, err := e.remove(ctx, owner, entry)
		if gone && err == nil {
			err = e.removeIssued(ctx, entry, keep)
		}
		if deleted {
			report.Pruned++
		}
		if err != nil {
			report.Err = errors.Join(report.Err, err)
		}
		if !gone || err != nil {
			rest = append(rest, entry)
		}
	}
	report.Inventory = rest
}

// remove deletes one object if it is ours and says whether it is gone and whether a delete was sent.
func (e Engine) remove(ctx context.Context, owner compile.Owner, entry v1alpha1.InventoryEntry) (gone, deleted bool, err error) {
	if ending, err := e.ending(ctx, entry.Namespace); err != nil || ending {
		return ending, false, err // a namespace that ends takes all with it, and our rights there went first
	}
	gvk := schema.GroupVersionKind{Group: entry.Group, Version: entry.Version, Kind: entry.Kind}
	key := types.NamespacedName{Namespace: entry.Namespace, Name: entry.Name}
	live, err := e.surely(ctx, gvk, key)
	if meta.IsNoMatchError(err) {
		return true, false, nil // the kind itself is gone, and with it the object
	}
	if err != nil {
		return false, false, fmt.Errorf("%s: read: %w", named(entry.Kind, key), err)
	}
	was := unstructured.Unstructured{Object: live}
	switch {
	case live == nil, !owned(&was, owner, types.UID(entry.UID)), entry.UID != "" && string(was.GetUID()) != entry.UID:
		return true, false, nil // gone, or not the one that we made
	case was.GetDeletionTimestamp() != nil:
		return false, false, nil
	}
	err = e.delete(ctx, entry, was.GetUID())
	if apierrors.IsNotFound(err) {
		return true, false, nil
	}
	return false, err == nil, err
}

// surely reads an object whose absence would make us forget it: what the cache does not show (it lags, lost an event, or somebody
// took our labels off) is asked for.
func (e Engine) surely(ctx context.Context, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error) {
	live, err := e.Live(ctx, gvk, key)
	if err == nil && live == nil {
		live, err = e.Fresh(ctx, gvk, key)
	}
	return live, err
}

// removeIssued deletes the Secret that cert-manager filled for a Certificate that is gone, which it would leave behind: the next
// who bears the name would find the key of the last. While the Certificate is there cert-manager would only fill another.
func (e Engine) removeIssued(ctx context.Context, entry v1alpha1.InventoryEntry, keep func(v1alpha1.InventoryEntry) bool) error {
	if entry.Kind != "Certificate" {
		return nil
	}
	of := v1alpha1.InventoryEntry{Version: "v1", Kind: "Secret", Namespace: entry.Namespace, Name: entry.Name}
	if keep != nil && keep(of) {
		return nil
	}
	if ending, err := e.ending(ctx, entry.Namespace); err != nil || ending {
		return err
	}
	live, err := e.surely(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, types.NamespacedName{Namespace: of.Namespace, Name: of.Name})
	if err != nil || live == nil {
		return err
	}
	was := unstructured.Unstructured{Object: live}
	if was.GetAnnotations()["cert-manager.io/certificate-name"] != entry.Name {
		return nil
	}
	return client.IgnoreNotFound(e.delete(ctx, of, was.GetUID()))
}

// delete deletes the very object that has a UID.
func (e Engine) delete(ctx context.Context, entry v1alpha1.InventoryEntry, uid types.UID) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: entry.Group, Version: entry.Version, Kind: entry.Kind})
	u.SetNamespace(entry.Namespace)
	u.SetName(entry.Name)
	err := e.Client.Delete(ctx, u, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil {
		return fmt.Errorf("%s: delete: %w", named(entry.Kind, client.ObjectKeyFromObject(u)), err)
	}
	return nil
}

// ending reports whether a namespace is gone or being deleted.
func (e Engine) ending(ctx context.Context, namespace string) (bool, error) {
	if namespace == "" {
		return false, nil
	}
	live, err := e.surely(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, types.NamespacedName{Name: namespace})
	if err != nil {
		return false, fmt.Errorf("namespace %s: %w", namespace, err)
	}
	ns := unstructured.Unstructured{Object: live}
	return live == nil || ns.GetDeletionTimestamp() != nil, nil
}
