package gridplatform

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/status"
)

// countReady counts the objects of a list and those that are Ready for their generation.
func countReady(list client.ObjectList) (total, ready int32) {
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		total++
		if o, ok := item.(kit.Object); ok && isReady(o) {
			ready++
		}
		return nil
	})
	return total, ready
}

func isReady(o kit.Object) bool {
	return status.IsTrue(o.GetCommonStatus().Conditions, v1alpha1.ConditionReady, o.GetGeneration())
}
