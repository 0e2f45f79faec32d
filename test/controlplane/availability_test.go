//go:build envtest

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/test/apiserver"
)

// started starts an API server of a test's own, with CRDs in further folders and nothing else. It lives longer than what the test starts on
// it, where that ends with the context: a server waits for its watches.
func started(t *testing.T, crds ...string) (*apiserver.Server, context.Context) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s, err := apiserver.Start(ctx, crds...)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	was := c
	c = s.Client
	t.Cleanup(func() {
		c = was
		stop()
		_ = s.Stop()
	})
	return s, ctx
}

// server is started, and the operator on it.
func server(t *testing.T, crds ...string) *apiserver.Server {
	t.Helper()
	s, ctx := started(t, crds...)
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// certManager gives the folder of cert-manager's CRDs.
func certManager(t *testing.T) string {
	t.Helper()
	folder, err := apiserver.CertManagerCRDs()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func get(t *testing.T, o client.Object, namespace, name string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s/%s", o, namespace, name), func() error {
		return c.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o)
	})
}

// The API of CloudNativePG is asked for, is picked up when it appears, and takes what is rendered, backups and all; so does that of
// prometheus-operator. What CloudNativePG's own operator would say of the Cluster is written here by hand.
func TestHighAvailabilityOnForeignAPIs(t *testing.T) {
	folder, ok := apiserver.ForeignCRDs()
	if !ok {
		t.Skip("SKIPPED: the CRDs of CloudNativePG are not here; DIZUO_FOREIGN_CRDS names a folder that has them")
	}
	s := server(t, certManager(t))
	create(t, namespace("home", ""))
	admit(t, "home")
	p := platform("home")
	p.Spec.Profile = v1alpha1.ProfileHighAvailability
	p.Spec.Monitoring.ServiceMonitors = new(true)
	p.Spec.Database = v1alpha1.DatabaseSpec{Engine: v1alpha1.DatabaseCloudNativePG,
		Backups: &v1alpha1.BackupSpec{DestinationPath: "s3://backups/home", EndpointURL: "https://s3.example", CredentialsSecretRef: &v1alpha1.SecretRef{Name: "s3"}}}
	create(t, p)
	expect(t, p, v1alpha1.ConditionDependenciesPresent, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "install CloudNativePG")
	if _, err := envtest.InstallCRDs(s.Config, envtest.CRDInstallOptions{Paths: []string{folder}, ErrorIfPathMissing: true}); err != nil {
		t.Fatal(err)
	}
	expect(t, p, v1alpha1.ConditionDependenciesPresent, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "install prometheus-operator")
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	if _, err := envtest.InstallCRDs(s.Config, envtest.CRDInstallOptions{Paths: []string{"testdata/monitoring"}, ErrorIfPathMissing: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is missing", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, cond := range p.Status.Conditions {
			if cond.Type == v1alpha1.ConditionDependenciesPresent {
				return errors.New(cond.Message)
			}
		}
		return nil
	})
	for name, o := range map[string]client.Object{compile.ClusterCNPG: foreign.Object(foreign.ScheduledBackup), "dizuo-broker": &policyv1.PodDisruptionBudget{},
		"dizuo-health": &corev1.Service{}} {
		get(t, o, "home", name)
	}
	cluster := foreign.Object(foreign.Cluster)
	get(t, cluster, "home", compile.ClusterCNPG)
	expect(t, p, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonComponentsNotReady, "0 of 3 instances")
	before := cluster.DeepCopy()
	made := func(users ...any) {
		t.Helper()
		cluster.Object["status"] = map[string]any{"phase": "Cluster in healthy state", "readyInstances": int64(3),
			"managedRolesStatus": map[string]any{"byStatus": map[string]any{"reconciled": users}}}
		if err := c.Status().Patch(t.Context(), cluster, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	made("dizuo_audit", "dizuo_auditor", "dizuo_gateway", "dizuo_grid")
	expect(t, p, v1alpha1.ConditionDatabaseReady, metav1.ConditionFalse, v1alpha1.ReasonComponentsNotReady, "3 of 3 instances ready: CloudNativePG has not made dizuo_vault")
	made("dizuo_audit", "dizuo_auditor", "dizuo_gateway", "dizuo_grid", "dizuo_vault")
	expect(t, p, v1alpha1.ConditionDatabaseReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "3 of 3 instances")
	generation := cluster.GetGeneration()
	if get(t, cluster, "home", compile.ClusterCNPG); cluster.GetGeneration() != generation {
		t.Errorf("the Cluster was written again: generation %d, was %d", cluster.GetGeneration(), generation)
	}
	brokers := &appsv1.StatefulSet{}
	if get(t, brokers, "home", "dizuo-broker"); *brokers.Spec.Replicas != 3 {
		t.Errorf("%d brokers, want 3", *brokers.Spec.Replicas)
	}

	p.Spec.DeletionProtection = new(false)
	if err := c.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the platform goes", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); !apierrors.IsNotFound(err) {
			return fmt.Errorf("is there: %w", err)
		}
		return nil
	})
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(cluster), cluster); err != nil { // deletionPolicy Retain: it would take its volumes along
		t.Errorf("the database went with the platform: %v", err)
	}
}

// A volume grows: the StatefulSet is made anew, for its template cannot be changed, and the claims that stand are grown.
func TestVolumesGrow(t *testing.T) {
	s := server(t, certManager(t))
	if err := s.KubeControllers(); err != nil { // the garbage collector ends a deletion that leaves pods
		t.Fatal(err)
	}
	create(t, namespace("home", ""))
	admit(t, "home")
	p := platform("home")
	p.Spec.Broker.Storage.Size = resource.MustParse("1Gi")
	create(t, p)
	set := &appsv1.StatefulSet{}
	get(t, set, "home", "dizuo-broker")
	create(t, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "grows"}, Provisioner: "example.org/none", AllowVolumeExpansion: new(true)})
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-dizuo-broker-0", Namespace: "home", Labels: set.Spec.VolumeClaimTemplates[0].Labels},
		Spec: *set.Spec.VolumeClaimTemplates[0].Spec.DeepCopy()}
	claim.Spec.StorageClassName, claim.Spec.VolumeName = new("grows"), "volume"
	create(t, claim)
	claim.Status.Phase = corev1.ClaimBound
	if err := c.Status().Update(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "dizuo-broker-0", Namespace: "home", Labels: set.Spec.Template.Labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	create(t, pod)

	p.Spec.Broker.Storage.Size = resource.MustParse("3Gi")
	update(t, p, func() { p.Spec.Broker.Storage.Size = resource.MustParse("3Gi") })
	eventually(t, "a StatefulSet with larger volumes", func() error {
		is := &appsv1.StatefulSet{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(set), is); err != nil {
			return err
		}
		if size := is.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage(); is.UID == set.UID || size.String() != "3Gi" {
			return fmt.Errorf("volumes of %s, the same object: %t", size, is.UID == set.UID)
		}
		return nil
	})
	eventually(t, "the claim grows", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(claim), claim); err != nil {
			return err
		}
		if size := claim.Spec.Resources.Requests.Storage(); size.String() != "3Gi" {
			return fmt.Errorf("it has %s", size)
		}
		return nil
	})
	uid := pod.UID
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || pod.UID != uid || pod.DeletionTimestamp != nil {
		t.Errorf("the pod did not stay: %v", err)
	}
}

func update(t *testing.T, p *v1alpha1.GridPlatform, change func()) {
	t.Helper()
	eventually(t, "update", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		change()
		return c.Update(t.Context(), p)
	})
}

// What an autoscaler sets stays; what a person sets by hand does not.
func TestAnAutoscalersNumberStays(t *testing.T) {
	create(t, namespace("scaled", ""))
	admit(t, "scaled")
	p := platform("scaled")
	create(t, p)
	auth := &appsv1.Deployment{}
	get(t, auth, "scaled", "dizuo-auth")
	clients, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	scale := func(manager string, to int32) {
		t.Helper()
		eventually(t, "scale", func() error {
			get(t, auth, "scaled", "dizuo-auth")
			_, err := clients.AppsV1().Deployments("scaled").UpdateScale(t.Context(), auth.Name, &autoscalingv1.Scale{
				ObjectMeta: metav1.ObjectMeta{Name: auth.Name, Namespace: "scaled", ResourceVersion: auth.ResourceVersion}, Spec: autoscalingv1.ScaleSpec{Replicas: to}}, metav1.UpdateOptions{FieldManager: manager})
			return err
		})
	}
	pods := func(want int32) {
		t.Helper()
		// A change of the platform makes the operator look at everything again; its answer shows that it did.
		update(t, p, func() { p.Spec.DisplayName = fmt.Sprint("look ", want) })
		eventually(t, fmt.Sprintf("%d pods", want), func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil || p.Status.ObservedGeneration != p.Generation {
				return fmt.Errorf("not looked at yet: %w", err)
			}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(auth), auth); err != nil || *auth.Spec.Replicas != want {
				return fmt.Errorf("%d pods: %w", *auth.Spec.Replicas, err)
			}
			return nil
		})
	}
	scale("kubectl", 4)
	pods(1)
	scale("kube-controller-manager", 5)
	pods(5)
}
