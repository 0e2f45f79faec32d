package apply

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/dizuo/dizuo/internal/render"
)

// autoscaler is the field manager of the horizontal pod autoscaler, which is a part of kube-controller-manager.
const autoscaler = "kube-controller-manager"

// leaveDelegated takes out of u what live has from an autoscaler: the number of pods. A person who scales by hand is no autoscaler,
// and no pods at all is never an autoscaler's wish.
func leaveDelegated(u, live *unstructured.Unstructured) {
	if c := u.GetLabels()[render.LabelComponent]; c == "broker" || c == "postgres" { // their number is not a matter of load
		return
	}
	if n, found, err := unstructured.NestedInt64(u.Object, "spec", "replicas"); !found || err != nil || n == 0 {
		return
	}
	for _, m := range live.GetManagedFields() {
		if m.Subresource == "scale" && m.Manager == autoscaler && m.FieldsV1 != nil && strings.Contains(m.FieldsV1.GetRawString(), `"f:replicas"`) {
			unstructured.RemoveNestedField(u.Object, "spec", "replicas")
			return
		}
	}
}
