package kit

import (
	"context"
	"sync"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/internal/shelf"
)

// catchUp is how long to wait for a cache that does not show yet what we wrote.
const catchUp = 10 * time.Millisecond

// Load reads the object of a request. ok is false where there is nothing to do now: the object is gone, or the cache does not
// show yet what we last wrote to it. An inventory older than our own would let objects be forgotten that we made.
func (k *Kit) Load(ctx context.Context, kind string, key types.NamespacedName, o Object) (ctrl.Result, bool, error) {
	if !k.sees(key.Namespace) {
		return ctrl.Result{}, false, nil
	}
	if err := k.Client.Get(ctx, key, o); err != nil {
		return ctrl.Result{}, false, k.absent(ctx, kind, key, err)
	}
	if k.written.newer(o) {
		return ctrl.Result{RequeueAfter: catchUp}, false, nil
	}
	k.pace.seen(o, k.Gather.Now())
	return ctrl.Result{}, true, nil
}

// written remembers, by object, the resource version of our last write.
type written struct{ versions sync.Map }

func (w *written) note(uid types.UID, resourceVersion string) { w.versions.Store(uid, resourceVersion) }

// newer reports whether we wrote a later version of an object than this one. What the cache shows is not kept in mind longer.
func (w *written) newer(o client.Object) bool {
	last, ok := w.versions.Load(o.GetUID())
	if !ok {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), last.(string)); err == nil && order < 0 {
		return true
	}
	w.versions.Delete(o.GetUID())
	return false
}

// absent handles an object that could not be read. One that is gone leaves the shelf; and if somebody took its finalizer off, so
// that it went without being finalized, what was made for it goes now: the keys of a fleet must not outlive the fleet.
func (k *Kit) absent(ctx context.Context, kind string, key types.NamespacedName, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	owner := compile.Owner{Kind: kind, Namespace: key.Namespace, Name: key.Name}
	k.Shelf.Drop(shelf.Key(owner))
	if kind == "DeviceFleet" {
		k.CallEdges(ctx, k.Loads.Drop(shelf.Key(owner)))
	}
	left, err := k.leftBy(ctx, owner)
	if err != nil || len(left) == 0 {
		return err
	}
	if gone, err := k.gone(ctx, owner); err != nil || !gone {
		return err // the cache is behind: the object's own event calls again
	}
	return k.Engine().Finalize(ctx, owner, left, nil).Err
}

// leftBy lists what carries the labels of an owner. Of a GridPlatform nothing is listed: what it leaves behind on purpose
// (deletionPolicy Retain) carries them too.
func (k *Kit) leftBy(ctx context.Context, owner compile.Owner) ([]v1alpha1.InventoryEntry, error) {
	if owner.Kind == "GridPlatform" {
		return nil, nil
	}
	labels := client.MatchingLabels{render.LabelManagedBy: render.ManagedBy, render.LabelOwnerKind: owner.Kind,
		render.LabelOwnerNamespace: owner.Namespace, render.LabelOwnerName: owner.Name}
	var left []v1alpha1.InventoryEntry
	add := func(gvk schema.GroupVersionKind) func(client.Object) {
		return func(o client.Object) {
			left = append(left, v1alpha1.InventoryEntry{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind,
				Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())})
		}
	}
	var namespaces corev1.NamespaceList
	if err := k.Client.List(ctx, &namespaces, labels); err != nil {
		return nil, err
	}
	Each(&namespaces, add(corev1.SchemeGroupVersion.WithKind("Namespace")))
	if certificate := cmv1.SchemeGroupVersion.WithKind("Certificate"); k.APIs.Serves(certificate) {
		var certificates cmv1.CertificateList
		if err := k.APIs.List(ctx, &certificates, labels); err != nil {
			return nil, err
		}
		Each(&certificates, add(certificate))
		if request := cmv1.SchemeGroupVersion.WithKind("CertificateRequest"); owner.Kind == "EdgeNode" {
			var requests cmv1.CertificateRequestList
			if err := k.APIs.List(ctx, &requests, labels); err != nil {
				return nil, err
			}
			Each(&requests, add(request))
		}
	}
	secrets, err := k.Gather.Secrets.Labelled(ctx, owner.Namespace, labels)
	if err != nil {
		return nil, err
	}
	for i := range secrets {
		add(corev1.SchemeGroupVersion.WithKind("Secret"))(&secrets[i])
	}
	return left, nil
}

// gone asks the API server whether an owner is really not there.
func (k *Kit) gone(ctx context.Context, owner compile.Owner) (bool, error) {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(owner.Kind))
	err := k.Direct.Get(ctx, types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}, o)
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}
