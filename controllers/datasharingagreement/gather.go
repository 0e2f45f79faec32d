package datasharingagreement

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads the parties, the datasets and, where rows are selected by label, the communities.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.DataSharingAgreement) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Agreements, o.Name); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(r.Gather.AcceptedGuardrails(ctx, s), r.Gather.Aggregates(ctx, s, o)); err != nil {
		return nil, nil, err
	}
	parties := []string{o.Spec.Consumer.Name}
	selects := false
	for _, d := range o.Spec.Datasets {
		if err := gather.ByName(ctx, r.Gather, s, "Dataset", s.Datasets, d.Name); err != nil {
			return nil, nil, err
		}
		if found, ok := s.Datasets.Get(d.Name); ok {
			parties = append(parties, found.Spec.Provider.Name)
		}
		selects = selects || (d.Rows != nil && d.Rows.CommunitySelector != nil)
	}
	if o.Spec.BreakGlass != nil {
		parties = append(parties, o.Spec.BreakGlass.Reviewer.Name)
	}
	for _, a := range o.Spec.Approvals {
		parties = append(parties, a.Organization)
	}
	if office := s.Platform.Spec.DataOffice; office != nil {
		parties = append(parties, office.Name)
	}
	if err := errors.Join(r.Gather.Approvers(ctx, s, parties...), r.Gather.Approvals(ctx, s, client.ObjectKeyFromObject(o))); err != nil {
		return nil, nil, err
	}
	if err := gather.ByName(ctx, r.Gather, s, "Organization", s.Organizations, parties...); err != nil {
		return nil, nil, err
	}
	if selects {
		err = r.communities(ctx, s)
	}
	return s, problems, err
}

func (r *Reconciler) communities(ctx context.Context, s *compile.Snapshot) error {
	namespaces, err := r.Gather.Members(ctx, s.Platform, "Community")
	if err != nil {
		return err
	}
	for _, ns := range namespaces {
		var list v1alpha1.CommunityList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return fmt.Errorf("communities of namespace %s: %w", ns, err)
		}
		for i := range list.Items {
			s.Communities.Add(&list.Items[i])
		}
	}
	return nil
}
