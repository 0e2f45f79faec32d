package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/dizuo/dizuo/internal/compile"
)

// Object is a declarative configuration that server-side apply takes.
type Object interface {
	runtime.ApplyConfiguration
	GetName() *string
	GetNamespace() *string
	GetKind() *string
	GetAPIVersion() *string
}

// Labels of every object that the operator makes.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelComponent = "app.kubernetes.io/component"
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelOwnerKind, LabelOwnerNamespace and LabelOwnerName name the object that another was made for.
	LabelOwnerKind      = "dizuo.io/owner-kind"
	LabelOwnerNamespace = "dizuo.io/owner-namespace"
	LabelOwnerName      = "dizuo.io/owner-name"

	// AnnotationCreateOnly marks an object that is made once and never written over: its content is random, and a second one
	// would lock out what the first opened.
	AnnotationCreateOnly = "dizuo.io/create-only"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "dizuo-operator"
)

// labels gives the labels of an object made for owner.
func labels(owner compile.Owner, component string) map[string]string {
	l := map[string]string{
		LabelPartOf: "dizuo", LabelManagedBy: ManagedBy,
		LabelOwnerKind: owner.Kind, LabelOwnerNamespace: owner.Namespace, LabelOwnerName: owner.Name,
	}
	if component != "" {
		l[LabelName], l[LabelComponent] = "dizuo-"+component, component
	}
	return l
}

// selector gives the labels by which the pods of a component are found.
func selector(component string) map[string]string {
	return map[string]string{LabelName: "dizuo-" + component, LabelPartOf: "dizuo"}
}

func selecting(component string) *metav1ac.LabelSelectorApplyConfiguration {
	return metav1ac.LabelSelector().WithMatchLabels(selector(component))
}

// shortHash names a content in an annotation, so that pods are replaced when what they read at start changes.
func shortHash(content ...string) string {
	h := sha256.New()
	for _, c := range content {
		fmt.Fprintf(h, "%d:%s", len(c), c)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
