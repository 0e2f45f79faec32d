package dataset

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

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
	if ref := o.Spec.Source.DSNSecretRef; ref != nil {
		if err := r.Gather.Secret(ctx, s, o.Namespace, ref.Name); err != nil {
			return nil, nil, err
		}
	}
	return s, problems, r.all(ctx, s)
}

// all reads the datasets of the platform: one of them may read the same table. There are tens of them, not thousands.
func (r *Reconciler) all(ctx context.Context, s *compile.Snapshot) error {
	members, err := r.Gather.Members(ctx, s.Platform, kind)
	if err != nil {
		return err
	}
	for _, ns := range members {
		var list v1alpha1.DatasetList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].DeletionTimestamp.IsZero() {
				s.Datasets.Add(&list.Items[i])
			}
		}
	}
	return nil
}
