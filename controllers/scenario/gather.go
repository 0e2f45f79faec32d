package scenario

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads what a Scenario refers to.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.Scenario) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, "DeviceProfile", s.Profiles, compile.ProfilesOf(o)...); err != nil {
		return nil, nil, err
	}
	if err := r.Gather.Selecting(ctx, s, o.Name); err != nil {
		return nil, nil, err
	}
	return s, problems, gather.ByName(ctx, r.Gather, s, kind, s.Scenarios, o.Name)
}
