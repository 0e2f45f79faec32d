package organization

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// record keeps the approvers that stand in a ConfigMap of the platform's namespace, which outlives the Organization, so that whoever makes
// it anew needs the signature of one who stood before.
func (r *Reconciler) record(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Organization, plan compile.OrganizationPlan) error {
	if was, known := s.Approvers[o.Name]; plan.Approvers == nil || (known && reflect.DeepEqual(was, *plan.Approvers)) {
		return nil
	}
	name := types.NamespacedName{Namespace: s.Platform.Namespace, Name: compile.ApproversName(o.Name)}
	if err := r.Record(ctx, name, compile.ApproversKey, plan.Approvers); err != nil {
		return fmt.Errorf("record of the approvers of Organization %s: %w", o.Name, err)
	}
	return nil
}
