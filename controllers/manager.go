package controllers

import (
	"context"
	"fmt"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/internal/render"
)

// Scheme gives every type that the controllers work with.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(cmv1.AddToScheme(s))
	utilruntime.Must(monitoringv1.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// inform starts the caches of every kind that is read, before any controller looks: one that starts earlier than another would
// find the other's kind not cached.
func inform(ctx context.Context, c cache.Cache) error {
	for _, o := range []client.Object{
		&v1alpha1.GridPlatform{}, &v1alpha1.Community{}, &v1alpha1.Organization{}, &v1alpha1.DeviceProfile{}, &v1alpha1.DeviceFleet{},
		&v1alpha1.EdgeNode{}, &v1alpha1.Scenario{}, &v1alpha1.Dataset{}, &v1alpha1.DataSharingAgreement{},
		&corev1.Namespace{}, &corev1.ConfigMap{}, &corev1.Service{}, &corev1.ResourceQuota{}, &corev1.LimitRange{},
		&appsv1.Deployment{}, &appsv1.StatefulSet{}, &networkingv1.NetworkPolicy{}, &rbacv1.RoleBinding{},
		&batchv1.Job{}, &policyv1.PodDisruptionBudget{}, &corev1.PersistentVolumeClaim{},
	} {
		if _, err := c.GetInformer(ctx, o, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("cache of %T: %w", o, err)
		}
	}
	return nil
}

// Caches holds of the kinds of Kubernetes only what the operator made; Secrets are never cached across the cluster. What has no
// watch cannot be read. Kinds of other projects have a cache of their own, in controllers/foreign: this one would not start
// where one of them is not served. namespaces bound what is seen; none means all.
func Caches(namespaces ...string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{render.LabelManagedBy: render.ManagedBy})}
	crds := &metav1.PartialObjectMetadata{}
	crds.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return cache.Options{ReaderFailOnMissingInformer: true, DefaultNamespaces: foreign.Only(namespaces), ByObject: map[client.Object]cache.ByObject{
		&corev1.ConfigMap{}: ours, &corev1.Service{}: ours, &corev1.ResourceQuota{}: ours, &corev1.LimitRange{}: ours,
		&corev1.PersistentVolumeClaim{}: ours, &appsv1.Deployment{}: ours, &appsv1.StatefulSet{}: ours, &networkingv1.NetworkPolicy{}: ours,
		&batchv1.Job{}: ours, &policyv1.PodDisruptionBudget{}: ours,
		crds: {Transform: cache.TransformStripManagedFields()},
	}}
}
