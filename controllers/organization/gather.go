package organization

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads the webhook's secret and the certificates that were issued.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.Organization) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Organizations, o.Name); err != nil {
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
