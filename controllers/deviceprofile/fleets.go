package deviceprofile

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// fleets counts the fleets of the platform that name a profile. One that does not hold its name is used by none.
func (r *Reconciler) fleets(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceProfile) (n int32, err error) {
	if s.Platform == nil || !compile.HoldsName(o, s.Profiles) {
		return 0, nil
	}
	members, err := r.Gather.Members(ctx, s.Platform, "DeviceFleet")
	if err != nil {
		return 0, err
	}
	for _, ns := range members {
		var list v1alpha1.DeviceFleetList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("fleets of profile %s: %w", o.Name, err)
		}
		for i := range list.Items {
			if f := &list.Items[i]; uses(f, o) && f.DeletionTimestamp.IsZero() {
				n++
			}
		}
	}
	return n, nil
}

// uses reports whether a fleet names a profile.
func uses(fleet, profile client.Object) bool {
	return fleet.(*v1alpha1.DeviceFleet).Spec.ProfileRef.Name == profile.GetName()
}
