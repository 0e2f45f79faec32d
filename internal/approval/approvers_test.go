package approval_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

func TestSignAndVerifyApprovers(t *testing.T) {
	for name, key := range keys(t) {
		o := &v1alpha1.Organization{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "fire"}}
		o.Spec.Approvers = []v1alpha1.NamedKey{{Name: "office", PublicKey: "a"}, {Name: "deputy", PublicKey: "b"}}
		signature, err := approval.SignApprovers(key, o, "office", at)
		if err != nil {
			t.Fatal(err)
		}
		o.Spec.ApproversSignature = &v1alpha1.ApproverSignature{Approver: "office", Signature: signature}
		for what, c := range map[string]struct {
			change func(*v1alpha1.Organization)
			ok     bool
		}{
			"good": {func(*v1alpha1.Organization) {}, true},
			"another order": {func(o *v1alpha1.Organization) {
				o.Spec.Approvers[0], o.Spec.Approvers[1] = o.Spec.Approvers[1], o.Spec.Approvers[0]
			}, true},
			"a key more": {func(o *v1alpha1.Organization) {
				o.Spec.Approvers = append(o.Spec.Approvers, v1alpha1.NamedKey{Name: "c", PublicKey: "c"})
			}, false},
			"another key":          {func(o *v1alpha1.Organization) { o.Spec.Approvers[1].PublicKey = "c" }, false},
			"another organisation": {func(o *v1alpha1.Organization) { o.Name = "health" }, false},
			"another namespace":    {func(o *v1alpha1.Organization) { o.Namespace = "luoyang" }, false},
			"another signer":       {func(o *v1alpha1.Organization) { o.Spec.ApproversSignature.Approver = "deputy" }, false},
		} {
			changed := o.DeepCopy()
			c.change(changed)
			got, err := approval.VerifyApprovers(public(t, key), changed)
			if (err == nil) != c.ok || (c.ok && !got.Equal(at)) {
				t.Errorf("%s: %s: %v, signed at %v", name, what, err, got)
			}
		}
		// An approval is no signature over a list, and a list none over an agreement.
		approved, err := approval.Sign(key, "fire", "office", "sha256:00", at)
		if err != nil {
			t.Fatal(err)
		}
		o.Spec.ApproversSignature.Signature = approved
		if _, err := approval.VerifyApprovers(public(t, key), o); err == nil {
			t.Errorf("%s: an approval is taken for a signature over a list", name)
		}
		if claimed, err := approval.ClaimedAt(signature); err != nil || !claimed.Equal(at) {
			t.Errorf("%s: claimed at %v, %v", name, claimed, err)
		}
	}
}
