//go:build envtest

package controlplane

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/compile"
)

// stranger is a key that nobody appointed.
var stranger = ed25519.NewKeyFromSeed([]byte("a stranger's seed of 32 bytes...."[:32]))

func keyed(t *testing.T, name string, key ed25519.PrivateKey) v1alpha1.NamedKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return v1alpha1.NamedKey{Name: name, PublicKey: base64.StdEncoding.EncodeToString(der)}
}

// phase waits until an agreement is in a phase.
func phase(t *testing.T, o *v1alpha1.DataSharingAgreement, want v1alpha1.AgreementPhase) {
	t.Helper()
	eventually(t, "phase "+string(want), func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if o.Status.Phase != want || o.Status.ObservedGeneration != o.Generation {
			return fmt.Errorf("is %s: %v", o.Status.Phase, o.Status.Conditions)
		}
		return nil
	})
}

func shared(t *testing.T, ns string) (fire, health *v1alpha1.Organization, d *v1alpha1.Dataset, o *v1alpha1.DataSharingAgreement) {
	t.Helper()
	create(t, namespace(ns, ""))
	admit(t, ns)
	fire, health, d, o = organization(ns, "fire"), organization(ns, "health"), dataset(ns, "known", "health"), agreement(ns, "o", "fire", "known")
	create(t, platform(ns), fire, health, d, o)
	return fire, health, d, o
}

// Whoever may write an Organization may not make itself its approver: not by an edit, not by another's name, not by making it anew.
func TestApproversFollowFromThoseBefore(t *testing.T) {
	const ns = "apr-home"
	fire, _, _, o := shared(t, ns)
	sign(t, o, "health", "fire")
	phase(t, o, v1alpha1.AgreementInForce)
	first := fire.Spec.Approvers

	refusedBut := func(t *testing.T) {
		t.Helper()
		expect(t, fire, v1alpha1.ConditionApproversAccepted, metav1.ConditionFalse, v1alpha1.ReasonApproversChangeUnsigned, "the former approvers stand")
		expect(t, fire, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonApproversChangeUnsigned, "")
		if !approval.SameKeys(fire.Status.Approvers, first) {
			t.Errorf("approvers %v, want the former", fire.Status.Approvers)
		}
		phase(t, o, v1alpha1.AgreementInForce) // what the former approved stands
	}
	theirs := []v1alpha1.NamedKey{keyed(t, "office", stranger)}
	patch(t, fire, func() { fire.Spec.Approvers = theirs })
	refusedBut(t)
	patch(t, fire, func() {
		signature, err := approval.SignApprovers(stranger, fire, "office", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		fire.Spec.ApproversSignature = &v1alpha1.ApproverSignature{Approver: "office", Signature: signature}
	})
	refusedBut(t)
	remove(t, fire)
	gone(t, fire)
	fire = organization(ns, "fire")
	fire.Spec.Approvers = theirs
	create(t, fire)
	refusedBut(t)

	// What the stranger signs opens nothing.
	other := agreement(ns, "other", "fire", "known")
	create(t, other)
	sign(t, other, "health")
	patch(t, other, func() {
		signature, err := approval.Sign(stranger, "fire", "office", digestOf(t, other), signedAt())
		if err != nil {
			t.Fatal(err)
		}
		other.Spec.Approvals = append(other.Spec.Approvals, v1alpha1.Approval{Organization: "fire", Approver: "office", Signature: signature})
	})
	phase(t, other, v1alpha1.AgreementAwaitingApproval)

	// One who stood before signs, and goes: the new one's signature counts from then on, and not the former's.
	patch(t, fire, func() {
		signature, err := approval.SignApprovers(approverOf("fire"), fire, "office", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		fire.Spec.ApproversSignature = &v1alpha1.ApproverSignature{Approver: "office", Signature: signature}
	})
	expect(t, fire, v1alpha1.ConditionApproversAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	phase(t, other, v1alpha1.AgreementInForce)
	phase(t, o, v1alpha1.AgreementAwaitingApproval)

	// Restored without the record, the first list seen counts.
	patch(t, fire, func() { fire.Spec.Approvers, fire.Spec.ApproversSignature = first, nil })
	expect(t, fire, v1alpha1.ConditionApproversAccepted, metav1.ConditionFalse, v1alpha1.ReasonApproversChangeUnsigned, "")
	remove(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: compile.ApproversName("fire")}})
	eventually(t, "the first list seen after a restore stands", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(fire), fire); err != nil || !approval.SameKeys(fire.Status.Approvers, first) {
			return fmt.Errorf("approvers %v: %w", fire.Status.Approvers, err)
		}
		return nil
	})
}

// An agreement goes through its phases, and each says why.
func TestPhasesOfAnAgreement(t *testing.T) {
	const ns = "phs-home"
	_, _, d, o := shared(t, ns)
	approved := func(reason string) {
		t.Helper()
		expect(t, o, v1alpha1.ConditionApproved, metav1.ConditionFalse, reason, "spec.approvals")
	}
	phase(t, o, v1alpha1.AgreementDraft)
	approved(v1alpha1.ReasonDraft)
	sign(t, o, "health")
	phase(t, o, v1alpha1.AgreementAwaitingApproval)
	approved(v1alpha1.ReasonAwaitingApproval)
	sign(t, o, "fire")
	phase(t, o, v1alpha1.AgreementInForce)
	if o.Status.DataClass != v1alpha1.DataClassC0 {
		t.Errorf("class %s, want C0", o.Status.DataClass)
	}

	// The dataset is changed behind the signatures.
	patch(t, d, func() { d.Spec.Fields[0].Column = "phone" })
	phase(t, o, v1alpha1.AgreementAwaitingApproval)
	approved(v1alpha1.ReasonApprovalVoid)
	patch(t, d, func() { d.Spec.Fields[0].Column = "" })
	phase(t, o, v1alpha1.AgreementInForce)

	patch(t, o, func() { o.Spec.Suspended = true })
	phase(t, o, v1alpha1.AgreementSuspended)
	expect(t, o, v1alpha1.ConditionInForce, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "grants nothing")
	patch(t, o, func() { o.Spec.Suspended = false })
	phase(t, o, v1alpha1.AgreementInForce)
	patch(t, o, func() { o.Spec.Revoked = true })
	phase(t, o, v1alpha1.AgreementRevoked)

	// Made anew it does not come back with the signatures that it had.
	again := agreement(ns, "o", "fire", "known")
	again.Spec.Approvals = o.Spec.Approvals
	remove(t, o)
	gone(t, o)
	create(t, again)
	phase(t, again, v1alpha1.AgreementAwaitingApproval)
	expect(t, again, v1alpha1.ConditionApproved, metav1.ConditionFalse, v1alpha1.ReasonApprovalVoid, "revoked after that")
	patch(t, again, func() { again.Spec.Approvals = nil })
	lastSigned.Store(time.Now().Unix() + 1)
	sign(t, again, "health", "fire")
	phase(t, again, v1alpha1.AgreementInForce)

	// Time alone opens and closes.
	soon := metav1.NewTime(time.Now().Add(3 * time.Second).Truncate(time.Second))
	end := metav1.NewTime(soon.Add(2 * time.Second))
	timed := agreement(ns, "timed", "fire", "known")
	timed.Spec.Validity = &v1alpha1.Validity{NotBefore: &soon, NotAfter: &end}
	create(t, timed)
	sign(t, timed, "health", "fire")
	phase(t, timed, v1alpha1.AgreementExpired)
	if time.Now().Before(end.Time) {
		t.Error("it expired before its end")
	}
}

// One item has one dataset: the second says which one has it, and takes over when that one lets go.
func TestOneItemHasOneDataset(t *testing.T) {
	const ns = "itm-home"
	_, _, d, _ := shared(t, ns)
	patch(t, d, func() { d.Spec.ItemCode = "41-0001" })
	eventually(t, "the first holds the item", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil || len(d.Status.Claims) < 3 {
			return fmt.Errorf("claims %v: %w", d.Status.Claims, err)
		}
		return nil
	})
	second := dataset(ns, "another", "health")
	second.Spec.ItemCode = "41-0001"
	create(t, second)
	refused(t, second, v1alpha1.ReasonItemClaimed, "41-0001 is the item of Dataset itm-home/known already")
	patch(t, d, func() { d.Spec.ItemCode = "" })
	expect(t, second, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
}
