//go:build envtest

package reconcile

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// agreement gives an agreement that waits for its parties: it is compiled at every look, and grants nothing.
func agreement(ns, name string) *v1alpha1.DataSharingAgreement {
	return &v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.DataSharingAgreementSpec{
		Consumer: v1alpha1.LocalRef{Name: "fire"}, Purposes: []v1alpha1.Purpose{"FireResponse"},
		Datasets: []v1alpha1.AgreementDataset{{Name: "addresses", Fields: []string{"division"}}},
	}}
}
