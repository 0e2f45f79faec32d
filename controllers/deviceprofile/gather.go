package deviceprofile

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads what a DeviceProfile refers to.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.DeviceProfile) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	return s, problems, gather.ByName(ctx, r.Gather, s, kind, s.Profiles, o.Name)
}
