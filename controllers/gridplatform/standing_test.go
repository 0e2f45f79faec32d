package gridplatform

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
)

// TestUpdatedNeedsNoReadyPods: brokers that were taken out of the cluster are never ready again, and the change must go on all the same; but
// not before each pod is told.
func TestUpdatedNeedsNoReadyPods(t *testing.T) {
	set := func(observed int64, replicas, updatedReplicas, ready int32) *appsv1.StatefulSet {
		s := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](3)},
			Status: appsv1.StatefulSetStatus{ObservedGeneration: observed, Replicas: replicas, UpdatedReplicas: updatedReplicas, ReadyReplicas: ready,
				CurrentRevision: "old", UpdateRevision: "new"}}
		s.Generation = 7
		return s
	}
	for name, tc := range map[string]struct {
		s    *appsv1.StatefulSet
		want bool
	}{
		"all told, one ready":      {set(7, 3, 3, 1), true},
		"one not told":             {set(7, 3, 2, 3), false},
		"one away":                 {set(7, 2, 2, 2), false},
		"of the generation before": {set(6, 3, 3, 3), false},
		"no StatefulSet":           {&appsv1.StatefulSet{}, false},
	} {
		if got := updated(tc.s); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
		if name == "all told, one ready" && rolledOut(tc.s) {
			t.Error("rolledOut does not ask for ready pods: this test shows nothing")
		}
	}
}
