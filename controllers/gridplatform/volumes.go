package gridplatform

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/render"
)

// growVolumes gives the volumes that stand the size that is asked for: a StatefulSet gives it to new ones only. A storage class
// that does not let volumes grow refuses, and the error says so; a volume is never made smaller.
func (r *Reconciler) growVolumes(ctx context.Context, o *v1alpha1.GridPlatform, objects []render.Object) error {
	var failed error
	for _, object := range objects {
		set, ok := object.(*appsv1ac.StatefulSetApplyConfiguration)
		if !ok {
			continue
		}
		for i := range set.Spec.VolumeClaimTemplates {
			claim := &set.Spec.VolumeClaimTemplates[i]
			failed = errors.Join(failed, r.growClaims(ctx, o, claim.Labels, (*claim.Spec.Resources.Requests)[corev1.ResourceStorage]))
		}
	}
	return failed
}

// growClaims grows the claims that bear the labels of a claim template.
func (r *Reconciler) growClaims(ctx context.Context, o *v1alpha1.GridPlatform, labels map[string]string, size resource.Quantity) error {
	var claims corev1.PersistentVolumeClaimList
	if err := r.Client.List(ctx, &claims, client.InNamespace(o.Namespace), client.MatchingLabels(labels)); err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	var failed error
	for i := range claims.Items {
		c := &claims.Items[i]
		if has := c.Spec.Resources.Requests[corev1.ResourceStorage]; has.Cmp(size) >= 0 || c.DeletionTimestamp != nil {
			continue
		}
		before := c.DeepCopy()
		c.Spec.Resources.Requests[corev1.ResourceStorage] = size
		if err := r.Client.Patch(ctx, c, client.MergeFrom(before)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("PersistentVolumeClaim %s: grow to %s: %w", c.Name, size.String(), err))
		}
	}
	return failed
}
