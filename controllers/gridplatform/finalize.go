package gridplatform

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// finalize takes the stack down. With deletionPolicy Retain the volumes stay, and the Secrets without which they could not
// be read; with Delete they go as well.
func (r *Reconciler) finalize(ctx context.Context, o *v1alpha1.GridPlatform) error {
	unmeasure(kit.PlatformKey(o))
	retain := o.Spec.DeletionPolicy != v1alpha1.DeletionDelete
	if !retain {
		if err := r.deleteVolumes(ctx, o); err != nil {
			return err
		}
	}
	return r.Finalize(ctx, kind, withoutBundle(o), func(e v1alpha1.InventoryEntry) bool {
		return retain && ((e.Kind == "Secret" && e.Name != compile.SecretWebhooks && e.Name != compile.SecretSources) || holdsData(e))
	})
}

// holdsData names what a Cluster of CloudNativePG is and lives on: it takes its data along when it is deleted, where the volumes of a
// StatefulSet stay. A person deletes it.
func holdsData(e v1alpha1.InventoryEntry) bool {
	return e.Name == compile.ClusterCNPG || strings.HasPrefix(e.Name, compile.ClusterCNPG+"-")
}

func (r *Reconciler) deleteVolumes(ctx context.Context, o *v1alpha1.GridPlatform) error {
	owner := kit.Owner(kind, o)
	return r.Client.DeleteAllOf(ctx, &corev1.PersistentVolumeClaim{}, client.InNamespace(o.Namespace), client.MatchingLabels{
		render.LabelManagedBy: render.ManagedBy, render.LabelOwnerKind: owner.Kind, render.LabelOwnerName: owner.Name,
	})
}
