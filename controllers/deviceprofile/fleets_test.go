package deviceprofile

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// listed gives the fleets of a namespace.
type listed struct {
	client.Client
	fleets []v1alpha1.DeviceFleet
}

func (c listed) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	for _, f := range c.fleets {
		if f.Namespace == o.Namespace {
			list := into.(*v1alpha1.DeviceFleetList)
			list.Items = append(list.Items, f)
		}
	}
	return nil
}

// TestFleets: fleets count that name the profile and are the platform's; a rival for the name has none of the holder's.
func TestFleets(t *testing.T) {
	fleet := func(namespace, name, profile string) v1alpha1.DeviceFleet {
		f := v1alpha1.DeviceFleet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		f.Spec.ProfileRef.Name = profile
		return f
	}
	from := listed{fleets: []v1alpha1.DeviceFleet{fleet("henan", "f1", "lamp"), fleet("henan", "f2", "lamp"), fleet("henan", "f3", "lift"), fleet("elsewhere", "f4", "lamp")}}
	r := &Reconciler{&kit.Kit{Client: from, Gather: &gather.Reader{Client: from}}}
	profile := func(namespace string) *v1alpha1.DeviceProfile {
		return &v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "lamp"}}
	}
	holder, rival := profile("henan"), profile("county")
	holder.Status.Claims = []v1alpha1.Claim{{Kind: compile.ClaimName, Value: "lamp"}}
	s := &compile.Snapshot{Platform: &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "henan"}},
		Profiles: compile.Named[*v1alpha1.DeviceProfile]{"lamp": {rival, holder}}}
	for _, c := range []struct {
		s    *compile.Snapshot
		o    *v1alpha1.DeviceProfile
		want int32
	}{{s, holder, 2}, {s, rival, 0}, {&compile.Snapshot{}, holder, 0}} {
		if n, err := r.fleets(t.Context(), c.s, c.o); err != nil || n != c.want {
			t.Errorf("%s/%s: %d, %v, want %d", c.o.Namespace, c.o.Name, n, err, c.want)
		}
	}
}
