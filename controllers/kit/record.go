package kit

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/internal/render"
)

// Record keeps a value as JSON in a ConfigMap which nobody owns: it outlives the object that it is about. Two that race are told apart by
// the API server.
func (k *Kit) Record(ctx context.Context, name types.NamespacedName, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: map[string]string{render.LabelManagedBy: render.ManagedBy}},
		Data:       map[string]string{key: string(raw)},
	}
	var have corev1.ConfigMap
	err = k.Client.Get(ctx, name, &have)
	if apierrors.IsNotFound(err) {
		return k.Client.Create(ctx, want)
	}
	if err != nil {
		return err
	}
	before := have.DeepCopy()
	have.Data = want.Data
	return k.Client.Patch(ctx, &have, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}
