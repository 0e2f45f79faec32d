package gather

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/compile"
)

// Approvers reads the records of organisations' approvers into the snapshot. One that cannot be read names nobody: it closes, and is not
// taken for none.
func (r *Reader) Approvers(ctx context.Context, s *compile.Snapshot, organizations ...string) error {
	for _, name := range organizations {
		if _, have := s.Approvers[name]; have || name == "" {
			continue
		}
		var cm corev1.ConfigMap
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: s.Platform.Namespace, Name: compile.ApproversName(name)}, &cm)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("approvers of Organization %s: %w", name, err)
		}
		record, err := compile.ParseApprovers(cm.Data[compile.ApproversKey])
		if err != nil {
			record = compile.ApproversRecord{}
		}
		s.Approvers[name] = record
	}
	return nil
}
