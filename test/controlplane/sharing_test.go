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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/policies"
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

// cityRule gives a ConfigMap's text of a guardrail of the city that refuses the agreement of a name.
func cityRule(name string) map[string]string {
	return map[string]string{"rules.rego": "package " + policies.CityPackage("night") + "\n\n# METADATA\n# title: Refuses one\n# custom:\n#   rule: one\n#   origin: city\n" +
		`deny contains {"rule": "one", "field": "spec", "message": "by night"} if startswith(input.agreement.name, "` + name + `")` + "\n"}
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
	lastSigned.Store(max(time.Now().Unix(), lastSigned.Load()) + 1)
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

// An agreement whose break-glass nobody reviews is not in force: the reviewer's coming and going is heard.
func TestAReviewerComesAndGoes(t *testing.T) {
	const ns = "rev-home"
	_, _, _, o := shared(t, ns)
	patch(t, o, func() {
		o.Spec.Roles = []string{"Dispatcher"}
		o.Spec.BreakGlass = &v1alpha1.BreakGlass{Roles: []string{"Dispatcher"}, Reviewer: v1alpha1.LocalRef{Name: "office"}}
	})
	sign(t, o, "health", "fire")
	expect(t, o, v1alpha1.ConditionReferencesResolved, metav1.ConditionFalse, v1alpha1.ReasonOrganizationNotFound, "spec.breakGlass.reviewer.name")
	office := organization(ns, "office")
	create(t, office)
	waits(t, o)
	remove(t, office)
	expect(t, o, v1alpha1.ConditionReferencesResolved, metav1.ConditionFalse, v1alpha1.ReasonOrganizationNotFound, "spec.breakGlass.reviewer.name")
}

// Uses in an emergency are shown as the gateways count them, all in one table: as the newest report has them, until it has none.
func TestEmergenciesAreCounted(t *testing.T) {
	const ns = "home"
	s, _ := started(t, certManager(t))
	create(t, namespace(ns, ""))
	admit(t, ns)
	n := startNodes(t, ns)
	p, o := platform(ns), agreement(ns, "o", "fire", "known")
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: compile.SecretBrokerTLS, Namespace: ns}, StringData: map[string]string{"ca.crt": "any"}},
		organization(ns, "fire"), organization(ns, "health"), dataset(ns, "known", "health"), o, p)
	operateAt(t, s, func(types.NamespacedName) string { return n.url })
	eventually(t, "a bundle is out", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil || p.Status.Bundle == nil {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	counted := func(want *v1alpha1.BreakGlassCounts, told map[string]contract.BreakGlassReport) {
		t.Helper()
		n.tell(contract.Report{Role: contract.RoleGateway, BreakGlass: told}, 0)
		eventually(t, "emergencies", func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			if got := o.Status.BreakGlass; (got == nil) != (want == nil) || (got != nil && *got != *want) {
				return fmt.Errorf("%+v, want %+v", got, want)
			}
			return nil
		})
	}
	counted(&v1alpha1.BreakGlassCounts{Pending: 2, Overdue: 1}, map[string]contract.BreakGlassReport{"o": {Pending: 3, Overdue: 1}, "other": {Pending: 9}})
	counted(&v1alpha1.BreakGlassCounts{Pending: 2, Overdue: 1}, nil) // a gateway that cannot count says nothing
	counted(nil, map[string]contract.BreakGlassReport{})
}

// A revocation is looked at before the agreements that a change of the city's guardrails calls, however many they are.
func TestARevocationOvertakesAStorm(t *testing.T) {
	const ns, many = "stm-home", 150
	_, _, _, o := shared(t, ns)
	sign(t, o, "health", "fire")
	phase(t, o, v1alpha1.AgreementInForce)
	for i := range many {
		create(t, agreement(ns, fmt.Sprint("storm-", i), "fire", "known"))
	}
	list := &v1alpha1.DataSharingAgreementList{}
	count := func(is func(*v1alpha1.DataSharingAgreement) bool) (n int) {
		if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if is(&list.Items[i]) {
				n++
			}
		}
		return n
	}
	refused := func(o *v1alpha1.DataSharingAgreement) bool { return len(o.Status.Guardrails) > 0 }
	eventually(t, "all are looked at", func() error {
		if n := count(func(o *v1alpha1.DataSharingAgreement) bool { return o.Status.Phase != "" }); n <= many {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "night", Namespace: ns, Labels: map[string]string{compile.LabelGuardrails: "true"}}, Data: cityRule("storm")})
	p := platform(ns)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	patch(t, p, func() { p.Spec.Guardrails = []v1alpha1.LocalRef{{Name: "night"}} })
	eventually(t, "the storm begins", func() error {
		if count(refused) == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	begun := time.Now()
	patch(t, o, func() { o.Spec.Revoked = true })
	phase(t, o, v1alpha1.AgreementRevoked)
	took, done := time.Since(begun), count(refused)
	if done == many {
		t.Errorf("revoked after %s, behind all %d others", took, done)
	}
	eventually(t, "the storm ends", func() error {
		if n := count(refused); n < many {
			return fmt.Errorf("%d of %d", n, many)
		}
		return nil
	})
	t.Logf("revoked after %s, when %d of %d others were done; the storm took %s", took, done, many, time.Since(begun))
}
