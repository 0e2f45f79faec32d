package devicefleet

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads profile, vendor, communities and inventories that a fleet names, and its CA.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.DeviceFleet) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Fleets, o.Name); err != nil {
		return nil, nil, err
	}
	if err := gather.ByName(ctx, r.Gather, s, "DeviceProfile", s.Profiles, o.Spec.ProfileRef.Name); err != nil {
		return nil, nil, err
	}
	if o.Spec.Vendor != nil {
		if err := gather.ByName(ctx, r.Gather, s, "Organization", s.Organizations, o.Spec.Vendor.Name); err != nil {
			return nil, nil, err
		}
	}
	if err := r.secrets(ctx, s, o); err != nil {
		return nil, nil, err
	}
	if err := r.gateways(ctx, s, o); err != nil {
		return nil, nil, err
	}
	return s, problems, gather.ByName(ctx, r.Gather, s, "Community", s.Communities, compile.CommunitiesNamed(s, o)...)
}

func (r *Reconciler) secrets(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet) error {
	if err := r.Gather.Admission(ctx, s, o.Namespace); err != nil {
		return err
	}
	for _, name := range append(compile.FleetCANames(o, s.Now), compile.SecretBrokerTLS, compile.SecretDevices) {
		if err := r.Gather.Secret(ctx, s, s.Platform.Namespace, name); err != nil {
			return err
		}
	}
	return r.inventory(ctx, s, o)
}

// inventory reads the Secrets with a fleet's rows.
func (r *Reconciler) inventory(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet) error {
	if o.Spec.Inventory == nil {
		return nil
	}
	for _, ref := range o.Spec.Inventory.Secrets {
		if err := r.Gather.Secret(ctx, s, o.Namespace, ref.Name); err != nil {
			return err
		}
	}
	return nil
}

// gateways reads the fleets of the same namespace whose devices speak for rows of this one, and their inventories.
func (r *Reconciler) gateways(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet) error {
	for _, name := range compile.GatewaysNamed(s, o) {
		if err := gather.ByName(ctx, r.Gather, s, kind, s.Fleets, name); err != nil {
			return err
		}
		f, ok := s.Fleets.Get(name)
		if !ok || f.Namespace != o.Namespace {
			continue
		}
		if err := r.inventory(ctx, s, f); err != nil {
			return err
		}
	}
	return nil
}
