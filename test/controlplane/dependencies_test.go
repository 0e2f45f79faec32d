//go:build envtest

package controlplane

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// The operator starts on a cluster without cert-manager, says what it lacks, picks it up when it appears, says so again when it
// goes, and lets a platform go though the kinds of its children are gone.
func TestForeignAPIComesAndGoes(t *testing.T) {
	s := server(t) // which fails if the operator does not start without cert-manager
	create(t, namespace("home", ""))
	admit(t, "home")
	p := platform("home")
	p.Spec.DeletionProtection = new(false)
	f := fleet("home", "smoke")
	com := community("home", "c", "410103014006")
	create(t, p, f, com)
	expect(t, p, v1alpha1.ConditionDependenciesPresent, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "install cert-manager")
	expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "cert-manager.io")
	expect(t, f, v1alpha1.ConditionDependenciesPresent, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "spec.identity.type")
	expect(t, com, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "") // needs none, waits for none

	installed, err := envtest.InstallCRDs(s.Config, envtest.CRDInstallOptions{Paths: []string{certManager(t)}, ErrorIfPathMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCertificatePending, "CertificatesReady")
	expect(t, f, v1alpha1.ConditionCredentialsReady, metav1.ConditionFalse, v1alpha1.ReasonCertificatePending, "the fleet's CA")

	if err := envtest.UninstallCRDs(s.Config, envtest.CRDInstallOptions{CRDs: installed}); err != nil {
		t.Fatal(err)
	}
	expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMissingDependency, "cert-manager.io")
	broker := &appsv1.StatefulSet{}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "home", Name: "dizuo-broker"}, broker); err != nil {
		t.Errorf("what runs was taken away: %v", err)
	}
	for _, o := range []client.Object{f, p} {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("%T goes", o), func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("is there: %w", err)
			}
			return nil
		})
	}
}
