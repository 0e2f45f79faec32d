package gridplatform

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
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

// brokerClaims gives the volumes of brokers by the number of their pod, without those that go.
func (r *Reconciler) brokerClaims(ctx context.Context, o *v1alpha1.GridPlatform) (map[int32]*corev1.PersistentVolumeClaim, error) {
	const prefix = "data-dizuo-broker-"
	var claims corev1.PersistentVolumeClaimList
	if err := r.Client.List(ctx, &claims, client.InNamespace(o.Namespace), client.MatchingLabels{render.LabelComponent: "broker", render.LabelManagedBy: render.ManagedBy}); err != nil {
		return nil, fmt.Errorf("volumes of brokers: %w", err)
	}
	out := map[int32]*corev1.PersistentVolumeClaim{}
	for i := range claims.Items {
		c := &claims.Items[i]
		if n, err := strconv.ParseInt(strings.TrimPrefix(c.Name, prefix), 10, 32); err == nil && strings.HasPrefix(c.Name, prefix) && c.DeletionTimestamp == nil {
			out[int32(n)] = c
		}
	}
	return out, nil
}

// brokerVolumes gives how many brokers have volumes: what is on them must be gathered, whatever became of the StatefulSet.
func (r *Reconciler) brokerVolumes(ctx context.Context, o *v1alpha1.GridPlatform) (int32, error) {
	claims, err := r.brokerClaims(ctx, o)
	var n int32
	for i := range claims {
		n = max(n, i+1)
	}
	return n, err
}

// dropBrokerVolumes deletes the volumes of brokers that left the cluster: they hold a state of the past, which must not come back
// into it. Kubernetes keeps each until its pod is gone.
func (r *Reconciler) dropBrokerVolumes(ctx context.Context, o *v1alpha1.GridPlatform, plan compile.BrokerPlan) error {
	if plan.Pods >= plan.Peers { // nobody leaves, or has not been told so yet
		return nil
	}
	claims, err := r.brokerClaims(ctx, o)
	if err != nil {
		return err
	}
	var failed error
	for n, c := range claims {
		if n >= plan.Pods {
			failed = errors.Join(failed, client.IgnoreNotFound(r.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID})))
		}
	}
	return failed
}
