package gridplatform

import (
	"context"
	"errors"
	"slices"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/controllers/kit"
)

// SetupWithManager starts the controller: what it reconciles, and what else makes it look again. Secrets and reports are
// told over the kind's wakes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	platforms := &v1alpha1.GridPlatformList{}
	c, err := ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).For(&v1alpha1.GridPlatform{}, kit.SpecChanged()).
		Watches(&v1alpha1.GridPlatform{}, r.ToAll(platforms, func(to, from client.Object) bool {
			return to.GetNamespace() == from.GetNamespace() && to.GetName() != from.GetName()
		}), kit.SpecChanged()).
		Watches(&corev1.Namespace{}, r.home(), kit.LabelsChanged()).
		Watches(&appsv1.StatefulSet{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&appsv1.Deployment{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&corev1.PersistentVolumeClaim{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&corev1.Service{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&corev1.ConfigMap{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&networkingv1.NetworkPolicy{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&policyv1.PodDisruptionBudget{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&batchv1.Job{}, kit.ByOwner(kind), kit.Ours()).
		Watches(&v1alpha1.Community{}, r.ToAll(platforms, nil), readiness()).
		Watches(&v1alpha1.Organization{}, r.ToAll(platforms, nil), readiness()).
		Watches(&v1alpha1.DeviceFleet{}, r.ToAll(platforms, nil), readiness()).
		Watches(&v1alpha1.EdgeNode{}, r.ToAll(platforms, nil), readiness()).
		Watches(&v1alpha1.Dataset{}, r.ToAll(platforms, nil), readiness()).
		Watches(&v1alpha1.DataSharingAgreement{}, r.ToAll(platforms, nil), readiness()).
		Watches(&v1alpha1.Scenario{}, r.ToAll(platforms, nil), kit.SpecChanged()).
		Watches(&v1alpha1.DeviceProfile{}, r.ToAll(platforms, nil), kit.SpecChanged()).
		WatchesRawSource(r.cityGuardrails()).
		WatchesRawSource(r.Wakes.Source(kind)).
		Build(kit.Again(r))
	if err != nil {
		return err
	}
	return errors.Join(r.WatchForeign(c, &cmv1.Issuer{}, kind, false), r.WatchForeign(c, &cmv1.Certificate{}, kind, true),
		r.WatchForeign(c, foreign.Object(foreign.Cluster), kind, true), r.WatchForeign(c, foreign.Object(foreign.ScheduledBackup), kind, false),
		r.WatchForeign(c, foreign.Object(foreign.ObjectStore), kind, false), r.WatchForeign(c, foreign.Object(foreign.EMQX), kind, true),
		r.WatchForeign(c, &monitoringv1.ServiceMonitor{}, kind, false), r.WatchForeign(c, &monitoringv1.PrometheusRule{}, kind, false))
}

// home maps a namespace to the platforms in it and to those that list it as a member.
func (r *Reconciler) home() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, ns client.Object) []reconcile.Request {
		var all v1alpha1.GridPlatformList
		if err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list for watch")
			return nil
		}
		var out []reconcile.Request
		for i := range all.Items {
			p := &all.Items[i]
			member := func(m v1alpha1.Member) bool { return m.Namespace == ns.GetName() }
			if p.Namespace == ns.GetName() || slices.ContainsFunc(p.Spec.Members, member) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)})
			}
		}
		return out
	})
}

// readiness passes what changes a count or a webhook: coming, going, another spec, and Ready turning over.
func readiness() builder.Predicates {
	turned := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, ok := e.ObjectOld.(kit.Object)
		is, also := e.ObjectNew.(kit.Object)
		return ok && also && (isReady(was) != isReady(is) || was.GetGeneration() != is.GetGeneration())
	}}
	return builder.WithPredicates(turned)
}
