package publication

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
)

// contributors are the kinds whose objects stand in a bundle.
func contributors() map[string]client.ObjectList {
	return map[string]client.ObjectList{
		"GridPlatform": &v1alpha1.GridPlatformList{}, "Community": &v1alpha1.CommunityList{}, "Organization": &v1alpha1.OrganizationList{},
		"DeviceProfile": &v1alpha1.DeviceProfileList{}, "DeviceFleet": &v1alpha1.DeviceFleetList{}, "Scenario": &v1alpha1.ScenarioList{},
		"Dataset": &v1alpha1.DatasetList{}, "DataSharingAgreement": &v1alpha1.DataSharingAgreementList{},
		"EdgeNode": &v1alpha1.EdgeNodeList{},
	}
}

// settled reports whether every object of the platform has been looked at since the operator started. A bundle made before
// that would lack objects, and so revoke what nobody took away. Once settled a platform stays so: new objects add to it.
func (r *Reconciler) settled(ctx context.Context, p *v1alpha1.GridPlatform) (bool, error) {
	name := kit.PlatformKey(p)
	if s := r.sent[name]; s != nil {
		return true, nil
	}
	for kind, list := range contributors() {
		namespaces, err := r.Gather.Members(ctx, p, kind)
		if err != nil {
			return false, err
		}
		for _, ns := range namespaces {
			if err := r.Client.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
				return false, err
			}
			all := true
			_ = meta.EachListItem(list, func(item runtime.Object) error {
				o := item.(client.Object)
				all = all && (!o.GetDeletionTimestamp().IsZero() || r.Shelf.Knows(kit.Key(kind, o)))
				return nil
			})
			if !all {
				return false, nil
			}
		}
	}
	return true, nil
}
