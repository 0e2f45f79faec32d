package dataset

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// sharing counts the agreements in force on the platform that share a dataset. One that does not hold its name is shared by none.
func (r *Reconciler) sharing(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Dataset) (n int32, err error) {
	if s.Platform == nil || !compile.HoldsName(o, s.Datasets) {
		return 0, nil
	}
	members, err := r.Gather.Members(ctx, s.Platform, "DataSharingAgreement")
	if err != nil {
		return 0, err
	}
	for _, ns := range members {
		var list v1alpha1.DataSharingAgreementList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns), client.MatchingFields{gather.IndexDataset: o.Name}, client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("agreements on dataset %s: %w", o.Name, err)
		}
		for i := range list.Items {
			if a := &list.Items[i]; a.Status.Phase == v1alpha1.AgreementInForce && a.DeletionTimestamp.IsZero() {
				n++
			}
		}
	}
	return n, nil
}

// shares reports whether an agreement names a dataset.
func shares(agreement, dataset client.Object) bool {
	return slices.ContainsFunc(agreement.(*v1alpha1.DataSharingAgreement).Spec.Datasets, func(d v1alpha1.AgreementDataset) bool {
		return d.Name == dataset.GetName()
	})
}

// phaseChanged passes agreements that come into force or cease to be, and those whose datasets may be others.
func phaseChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*v1alpha1.DataSharingAgreement), e.ObjectNew.(*v1alpha1.DataSharingAgreement)
		return was.Status.Phase != is.Status.Phase || was.Generation != is.Generation
	}})
}
