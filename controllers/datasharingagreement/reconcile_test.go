package datasharingagreement

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/shelf"
)

// alone gives one agreement, and fails for everything else.
type alone struct {
	client.Client
	o *v1alpha1.DataSharingAgreement
}

func (a alone) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if o, ok := into.(*v1alpha1.DataSharingAgreement); ok {
		a.o.DeepCopyInto(o)
		return nil
	}
	return errors.New("the API server is away")
}

func (alone) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("the API server is away")
}

// What is revoked stops though nothing else can be read; what is not stays as it was.
func TestRevocationNeedsNothingElse(t *testing.T) {
	home := types.NamespacedName{Namespace: "henan", Name: "henan"}
	for name, c := range map[string]struct {
		spec v1alpha1.DataSharingAgreementSpec
		want bool
	}{
		"in force":  {v1alpha1.DataSharingAgreementSpec{}, true},
		"revoked":   {v1alpha1.DataSharingAgreementSpec{Revoked: true}, false},
		"suspended": {v1alpha1.DataSharingAgreementSpec{Suspended: true}, false},
	} {
		o := &v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "a", UID: "u"}, Spec: c.spec}
		from := alone{o: o}
		r := &Reconciler{&kit.Kit{Client: from, Shelf: shelf.New(), Gather: &gather.Reader{Client: from, Now: time.Now, MissingAPIs: func() []string { return nil }}}}
		r.Shelf.Put(home, kit.Key(kind, o), "granted", func(*bundle.Parts) {}, time.Now())
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := r.Shelf.Has(home, kit.Key(kind, o)); got != c.want {
			t.Errorf("%s: contributes %v, want %v", name, got, c.want)
		}
	}
}
