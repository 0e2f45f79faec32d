package gather

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/compile"
)

// Approvals reads the record of an agreement's approvals into the snapshot. One that cannot be read closes, and is not taken for none.
func (r *Reader) Approvals(ctx context.Context, s *compile.Snapshot, agreement types.NamespacedName) error {
	var cm corev1.ConfigMap
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: s.Platform.Namespace, Name: compile.ApprovalsName(agreement)}, &cm)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("approvals of DataSharingAgreement %s: %w", agreement, err)
	}
	s.Approvals[agreement], _ = compile.ParseApprovals(cm.Data[compile.ApprovalsKey])
	return nil
}
