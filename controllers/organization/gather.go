package organization

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// all reads the organisations of the platform: another may hold the name, or a key. There are hundreds of them, not thousands.
func (r *Reconciler) all(ctx context.Context, s *compile.Snapshot) error {
	members, err := r.Gather.Members(ctx, s.Platform, kind)
	if err != nil {
		return err
	}
	for _, ns := range members {
		var list v1alpha1.OrganizationList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].DeletionTimestamp.IsZero() {
				s.Organizations.Add(&list.Items[i])
			}
		}
	}
	return nil
}

// gather reads the webhook's secret and the certificates that were issued.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.Organization) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := r.all(ctx, s); err != nil {
		return nil, nil, err
	}
	if err := r.Gather.Approvers(ctx, s, o.Name); err != nil {
		return nil, nil, err
	}
	if o.Spec.Webhook != nil {
		if err := r.Gather.Secret(ctx, s, o.Namespace, o.Spec.Webhook.SecretRef.Name); err != nil {
			return nil, nil, err
		}
	}
	for _, id := range o.Spec.Identities {
		if id.Type == v1alpha1.IdentityIssuedCertificate {
			if err := r.Gather.Secret(ctx, s, s.Platform.Namespace, compile.OrganizationCertificateName(o.Name, id.Name)); err != nil {
				return nil, nil, err
			}
		}
	}
	return s, problems, nil
}
