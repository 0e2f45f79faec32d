package dataset

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads what a Dataset refers to.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.Dataset) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	names := []string{o.Spec.Provider.Name}
	if o.Spec.Writer != nil {
		names = append(names, o.Spec.Writer.Name)
	}
	if err := gather.ByName(ctx, r.Gather, s, "Organization", s.Organizations, names...); err != nil {
		return nil, nil, err
	}
	return s, problems, gather.ByName(ctx, r.Gather, s, kind, s.Datasets, o.Name)
}
