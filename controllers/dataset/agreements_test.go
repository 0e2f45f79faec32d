package dataset

import (
	"context"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
)

// indexed lists agreements of a namespace by the dataset that they name, as the caches do.
type indexed struct {
	client.Client
	agreements []v1alpha1.DataSharingAgreement
}

func (c indexed) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	name, _ := o.FieldSelector.RequiresExactMatch(gather.IndexDataset)
	for _, a := range c.agreements {
		if a.Namespace == o.Namespace && slices.ContainsFunc(a.Spec.Datasets, func(d v1alpha1.AgreementDataset) bool { return d.Name == name }) {
			list := into.(*v1alpha1.DataSharingAgreementList)
			list.Items = append(list.Items, a)
		}
	}
	return nil
}

// TestSharing: agreements count that are in force, name the dataset and are the platform's; a rival for the name has none of the holder's.
func TestSharing(t *testing.T) {
	agreement := func(namespace, name string, phase v1alpha1.AgreementPhase, datasets ...string) v1alpha1.DataSharingAgreement {
		a := v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		a.Status.Phase = phase
		for _, d := range datasets {
			a.Spec.Datasets = append(a.Spec.Datasets, v1alpha1.AgreementDataset{Name: d})
		}
		return a
	}
	from := indexed{agreements: []v1alpha1.DataSharingAgreement{
		agreement("henan", "a1", v1alpha1.AgreementInForce, "elders", "visits"), agreement("henan", "a2", v1alpha1.AgreementInForce, "elders"),
		agreement("henan", "a3", v1alpha1.AgreementSuspended, "elders"), agreement("henan", "a4", v1alpha1.AgreementInForce, "visits"),
		agreement("elsewhere", "a5", v1alpha1.AgreementInForce, "elders"),
	}}
	r := &Reconciler{&kit.Kit{Client: from, Gather: &gather.Reader{Client: from}}}
	dataset := func(namespace string) *v1alpha1.Dataset {
		return &v1alpha1.Dataset{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "elders"}}
	}
	holder, rival := dataset("henan"), dataset("county")
	holder.Status.Claims = []v1alpha1.Claim{{Kind: compile.ClaimName, Value: "elders"}}
	s := &compile.Snapshot{Platform: &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "henan"}},
		Datasets: compile.Named[*v1alpha1.Dataset]{"elders": {rival, holder}}}
	for _, c := range []struct {
		s    *compile.Snapshot
		o    *v1alpha1.Dataset
		want int32
	}{{s, holder, 2}, {s, rival, 0}, {&compile.Snapshot{}, holder, 0}} {
		if n, err := r.sharing(t.Context(), c.s, c.o); err != nil || n != c.want {
			t.Errorf("%s/%s: %d, %v, want %d", c.o.Namespace, c.o.Name, n, err, c.want)
		}
	}
}
