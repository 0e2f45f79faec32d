package organization

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// record keeps the approvers that stand in a ConfigMap of the platform's namespace, which nobody owns: it outlives the Organization, so
// that whoever makes it anew needs the signature of one who stood before. Two that race are told apart by the API server.
func (r *Reconciler) record(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Organization, plan compile.OrganizationPlan) error {
	if was, known := s.Approvers[o.Name]; plan.Approvers == nil || (known && reflect.DeepEqual(was, *plan.Approvers)) {
		return nil
	}
	raw, err := json.Marshal(plan.Approvers)
	if err != nil {
		return err
	}
	want := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Platform.Namespace, Name: compile.ApproversName(o.Name),
			Labels: map[string]string{render.LabelManagedBy: render.ManagedBy}},
		Data: map[string]string{compile.ApproversKey: string(raw)},
	}
	var have corev1.ConfigMap
	err = r.Client.Get(ctx, types.NamespacedName{Namespace: want.Namespace, Name: want.Name}, &have)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, want)
	case err == nil:
		before := have.DeepCopy()
		have.Data = want.Data
		err = r.Client.Patch(ctx, &have, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	if err != nil {
		return fmt.Errorf("record of the approvers of Organization %s: %w", o.Name, err)
	}
	return nil
}
