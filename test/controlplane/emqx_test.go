//go:build envtest

package controlplane

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/test/apiserver"
)

// The API of emqx-operator is asked for, is picked up when it appears, and takes what is rendered. What its own operator would say
// of the EMQX object is written here by hand. Back on NATS nothing of EMQX is left.
func TestDevicesOnEMQX(t *testing.T) {
	folder, ok := apiserver.ForeignCRDs()
	if !ok {
		t.Skip("SKIPPED: the CRD of emqx-operator is not here; DIZUO_FOREIGN_CRDS names a folder that has it")
	}
	s := server(t, certManager(t))
	create(t, namespace("home", ""))
	admit(t, "home")
	p := platform("home")
	p.Spec.Broker.Engine = v1alpha1.BrokerEMQX
	create(t, p)
	expect(t, p, v1alpha1.ConditionDependenciesPresent, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "install emqx-operator")
	if _, err := envtest.InstallCRDs(s.Config, envtest.CRDInstallOptions{Paths: []string{filepath.Join(folder, "apps.emqx.io_emqxes.yaml")}, ErrorIfPathMissing: true}); err != nil {
		t.Fatal(err)
	}
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	emqx := foreign.Object(foreign.EMQX)
	at := types.NamespacedName{Namespace: "home", Name: compile.ObjectEMQX}
	if err := c.Get(t.Context(), at, emqx); !apierrors.IsNotFound(err) {
		t.Errorf("EMQX is there before a CA of devices is issued, and its listener would not start: %v", err)
	}
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: compile.SecretDevices}, Data: map[string][]byte{"tls.crt": []byte("CA of devices")}})
	get(t, emqx, at.Namespace, at.Name)
	expect(t, p, v1alpha1.ConditionEMQXReady, metav1.ConditionFalse, v1alpha1.ReasonComponentsNotReady, "0 of 3")
	devices := func() string {
		broker := &corev1.Service{}
		get(t, broker, "home", "dizuo-broker")
		return broker.Spec.Selector[render.LabelName]
	}
	config, _, _ := unstructured.NestedString(emqx.Object, "spec", "config", "data")
	before := emqx.DeepCopy()
	emqx.SetAnnotations(map[string]string{render.AnnotationEMQXConfig: config})
	if err := c.Patch(t.Context(), emqx, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	generation := emqx.GetGeneration()
	before = emqx.DeepCopy()
	emqx.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}},
		"coreNodesStatus": map[string]any{"readyReplicas": int64(3), "replicas": int64(3), "currentRevision": "a", "updateRevision": "a"}}
	if err := c.Status().Patch(t.Context(), emqx, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	expect(t, p, v1alpha1.ConditionEMQXReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "3 of 3")
	if get(t, emqx, at.Namespace, at.Name); emqx.GetGeneration() != generation {
		t.Errorf("the EMQX object was written again: generation %d, was %d", emqx.GetGeneration(), generation)
	}
	if to := devices(); to != "dizuo-broker" {
		t.Errorf("devices are led to %s while nothing holds what EMQX acknowledges", to)
	}
	ingest := &appsv1.StatefulSet{}
	get(t, ingest, "home", "dizuo-ingest")
	ingest.Status.Replicas, ingest.Status.ReadyReplicas, ingest.Status.ObservedGeneration = 1, 1, ingest.Generation
	if err := c.Status().Update(t.Context(), ingest); err != nil {
		t.Fatal(err)
	}
	eventually(t, "devices are led to EMQX", func() error {
		if to := devices(); to != "dizuo-emqx" {
			return fmt.Errorf("to %s", to)
		}
		return nil
	})
	// The Secret of the devices' CA is made anew: EMQX stays meanwhile.
	if err := c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: compile.SecretDevices}}); err != nil {
		t.Fatal(err)
	}
	update(t, p, func() { p.Spec.DisplayName = "another pass" })
	eventually(t, "another pass", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil || p.Status.ObservedGeneration != p.Generation {
			return fmt.Errorf("generation %d of %d: %w", p.Status.ObservedGeneration, p.Generation, err)
		}
		return nil
	})
	uid := emqx.GetUID()
	if get(t, emqx, at.Namespace, at.Name); emqx.GetUID() != uid || emqx.GetDeletionTimestamp() != nil {
		t.Error("EMQX went because a Secret was not there for a moment")
	}
	update(t, p, func() { p.Spec.Broker.Engine, p.Spec.Broker.EMQX = v1alpha1.BrokerNATS, nil })
	eventually(t, "nothing of EMQX is left", func() error {
		for _, o := range []client.Object{emqx, &corev1.Secret{}, &corev1.Service{}} {
			name := at
			if _, secret := o.(*corev1.Secret); secret {
				name.Name = compile.SecretEMQX
			}
			if err := c.Get(t.Context(), name, o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T %s: %w", o, name, err)
			}
		}
		return nil
	})
	if to := devices(); !strings.HasSuffix(to, "broker") {
		t.Errorf("devices are led to %s", to)
	}
}
