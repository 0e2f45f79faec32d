//go:build envtest

// Package controlplane tests the controllers against a real kube-apiserver. No pods run there: what needs them is shown in
// test/e2e.
package controlplane

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/test/apiserver"
)

var (
	c client.Client
	// admin is the configuration by which c may do everything.
	admin  *rest.Config
	scheme = controllers.Scheme()
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	certManager, err := apiserver.CertManagerCRDs()
	if err != nil {
		return 1, err
	}
	server, err := apiserver.Start(ctx, certManager)
	if err != nil {
		return 1, err
	}
	defer func() { // the operator first: the server waits for its watches
		stop()
		_ = server.Stop()
	}()
	c, admin = server.Client, server.Config
	if err := server.Run(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// admit does what the owner of a namespace does with `dizuo admit`.
func admit(t *testing.T, ns string) {
	t.Helper()
	create(t, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dizuo-namespace", Namespace: ns},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "dizuo-namespace"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "dizuo-operator", Namespace: "dizuo-system"}}})
}

// eventually waits until a check gives no error; what it last said is the failure.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second) // other packages may have the processors
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // the interval of the poll, not a wait for an outcome
	}
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func namespace(name, platform string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if platform != "" {
		ns.Labels = map[string]string{compile.LabelPlatform: platform}
	}
	return ns
}

func platform(ns string, members ...v1alpha1.Member) *v1alpha1.GridPlatform {
	return &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: ns},
		Spec: v1alpha1.GridPlatformSpec{Divisions: []string{"41"}, Members: members}}
}

func community(ns, name, division string) *v1alpha1.Community {
	return &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.CommunitySpec{Division: division}}
}

// expect waits until a condition of an object has a status and a reason, and its message holds a text.
func expect(t *testing.T, o interface {
	client.Object
	GetCommonStatus() *v1alpha1.CommonStatus
}, condition string, status metav1.ConditionStatus, reason, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s/%s: %s=%s %s %q", o, o.GetNamespace(), o.GetName(), condition, status, reason, text), func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		got := meta.FindStatusCondition(o.GetCommonStatus().Conditions, condition)
		if got == nil {
			return fmt.Errorf("no such condition in %v", o.GetCommonStatus().Conditions)
		}
		if got.Status != status || got.Reason != reason || !strings.Contains(got.Message, text) || got.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("is %s %s %q of generation %d", got.Status, got.Reason, got.Message, got.ObservedGeneration)
		}
		return nil
	})
}

func TestMembershipIsSaidAndHeals(t *testing.T) {
	create(t, namespace("m-home", ""), namespace("m-vendor", ""), namespace("m-county", "m-home"))
	fleet := &v1alpha1.DeviceFleet{ObjectMeta: metav1.ObjectMeta{Name: "f", Namespace: "m-vendor"}, Spec: v1alpha1.DeviceFleetSpec{
		ProfileRef: v1alpha1.ProfileRef{Name: "smoke-detector"}}}
	orphan := community("m-home", "early", "410103014006")
	create(t, orphan, fleet)
	expect(t, orphan, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonPlatformNotFound, "create one there")
	expect(t, fleet, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonPlatformNotFound, "label the namespace")

	p := platform("m-home")
	create(t, p)
	expect(t, orphan, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")

	ns := namespace("m-vendor", "")
	patch(t, ns, func() { ns.Labels = map[string]string{compile.LabelPlatform: "m-home"} })
	expect(t, fleet, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAdmitted, "spec.members")
	patch(t, p, func() {
		p.Spec.Members = []v1alpha1.Member{{Namespace: "m-vendor", Role: v1alpha1.MemberVendor}, {Namespace: "m-county", Role: v1alpha1.MemberCounty}}
	})
	expect(t, fleet, v1alpha1.ConditionSecretsAdmitted, metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdmitted, "dizuo admit m-")

	wrong := community("m-vendor", "wrong", "410103014007")
	right := community("m-county", "right", "410103014008")
	create(t, wrong, right)
	expect(t, wrong, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonNamespaceRoleNotAllowed, "as Vendor")
	expect(t, right, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
}

func TestMembersInDoubtAreNamed(t *testing.T) {
	create(t, namespace("q-home", ""), namespace("q-silent", ""))
	p := platform("q-home", v1alpha1.Member{Namespace: "q-silent", Role: v1alpha1.MemberVendor}, v1alpha1.Member{Namespace: "q-typo", Role: v1alpha1.MemberVendor})
	create(t, p)
	expect(t, p, v1alpha1.ConditionMembersAdmitted, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAdmitted, "there is no namespace q-typo")
	expect(t, p, v1alpha1.ConditionMembersAdmitted, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAdmitted, "q-silent does not name this platform")
	create(t, namespace("q-typo", "q-home"))
	silent := namespace("q-silent", "")
	patch(t, silent, func() { silent.Labels[compile.LabelPlatform] = "q-home" })
	expect(t, p, v1alpha1.ConditionMembersAdmitted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "2 member")
}

// What was made for a fleet goes though somebody took the fleet's finalizer off, and nothing of its neighbour.
func TestFleetWithoutFinalizerLeavesNothing(t *testing.T) {
	create(t, namespace("o-home", ""))
	admit(t, "o-home")
	f, neighbour := fleet("o-home", "f"), fleet("o-home", "neighbour")
	create(t, platform("o-home"), f, neighbour)
	expect(t, f, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, neighbour, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	patch(t, f, func() { f.Finalizers = nil })
	if err := c.Delete(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	left := func(name string) (n int) {
		var certificates cmv1.CertificateList
		var secrets corev1.SecretList
		for _, list := range []client.ObjectList{&certificates, &secrets} {
			if err := c.List(t.Context(), list, client.InNamespace("o-home"), client.MatchingLabels{"dizuo.io/owner-kind": "DeviceFleet", "dizuo.io/owner-name": name}); err != nil {
				t.Fatal(err)
			}
			n += meta.LenList(list)
		}
		return n
	}
	eventually(t, "nothing of the fleet is left", func() error {
		if n := left("f"); n > 0 {
			return fmt.Errorf("%d objects", n)
		}
		return nil
	})
	if left("neighbour") == 0 {
		t.Error("the neighbour lost its certificate")
	}
}

func TestOneDivisionHasOneCommunity(t *testing.T) {
	create(t, namespace("d-home", ""), platform("d-home"))
	first := community("d-home", "first", "410103014006")
	create(t, first)
	expect(t, first, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	eventually(t, "the claim is recorded", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(first), first); err != nil {
			return err
		}
		if len(first.Status.Claims) != 2 {
			return fmt.Errorf("claims: %v", first.Status.Claims)
		}
		return nil
	})
	second := community("d-home", "second", "410103014006")
	outside := community("d-home", "outside", "420103014006")
	create(t, second, outside)
	expect(t, second, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonDivisionClaimed, "d-home/first")
	expect(t, outside, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonDivisionOutsidePlatform, "41")
	expect(t, first, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	if err := c.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	expect(t, second, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
}

func TestWorkspaceComesAndGoes(t *testing.T) {
	create(t, namespace("w-home", ""), platform("w-home"))
	o := community("w-home", "c", "410103014006")
	o.Spec.Workspace = &v1alpha1.Workspace{Admins: []v1alpha1.WorkspaceSubject{{Kind: v1alpha1.SubjectGroup, Name: "w-people"}}}
	taken := namespace("w-home-taken", "")
	create(t, taken)
	rival := community("w-home", "taken", "410103014007")
	rival.Spec.Workspace = &v1alpha1.Workspace{}
	create(t, o, rival)
	expect(t, o, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, rival, v1alpha1.ConditionApplied, metav1.ConditionFalse, v1alpha1.ReasonConflict, "w-home-taken")

	quota := &corev1.ResourceQuota{}
	at := types.NamespacedName{Namespace: "w-home-c", Name: "dizuo-workspace"}
	if err := c.Get(t.Context(), at, quota); err != nil {
		t.Fatal(err)
	}
	patch(t, quota, func() { quota.Spec.Hard[corev1.ResourcePods] = *quota.Spec.Hard.Cpu() })
	eventually(t, "a changed quota is put right", func() error {
		if err := c.Get(t.Context(), at, quota); err != nil {
			return err
		}
		if quota.Spec.Hard.Pods().Value() != int64(o.Spec.Workspace.Quota.Pods) {
			return fmt.Errorf("pods: %v", quota.Spec.Hard.Pods())
		}
		return nil
	})
	binding := &rbacv1.RoleBinding{}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "w-home-c", Name: "dizuo-workspace-admin"}, binding); err != nil || binding.RoleRef.Name != "dizuo-workspace-admin" {
		t.Errorf("%v %v", binding.RoleRef, err)
	}
	patch(t, o, func() { o.Spec.Workspace = nil })
	eventually(t, "the workspace is taken away", func() error {
		ns := &corev1.Namespace{}
		if err := c.Get(t.Context(), types.NamespacedName{Name: "w-home-c"}, ns); err == nil && ns.DeletionTimestamp.IsZero() {
			return fmt.Errorf("is still there")
		}
		return nil
	})
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(taken), taken); err != nil || !taken.DeletionTimestamp.IsZero() {
		t.Errorf("the namespace of another was touched: %v", err)
	}
}

func TestPlatformWaitsForAdmissionThenStands(t *testing.T) {
	create(t, namespace("a-home", ""))
	p := platform("a-home")
	create(t, p)
	expect(t, p, v1alpha1.ConditionSecretsAdmitted, metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdmitted, "dizuo admit a-home")
	admit(t, "a-home")
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCertificatePending, "CertificatesReady")
	broker := &appsv1.StatefulSet{}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "a-home", Name: "dizuo-broker"}, broker); err != nil {
		t.Fatal(err)
	}
	second := platform("a-home")
	second.Name = "second"
	create(t, second)
	expect(t, second, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonPlatformExists, "holds GridPlatform p")

	patch(t, p, func() { p.Spec.TimeZone = "Mars/Olympus" })
	expect(t, p, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, "Asia/Shanghai")
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(broker), broker); err != nil {
		t.Errorf("an invalid change took the last good state away: %v", err)
	}
	secret := &corev1.Secret{}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "a-home", Name: compile.SecretDatabase}, secret); err != nil || len(secret.Data["owner"]) < 32 {
		t.Fatalf("database passwords: %v", err)
	}
	patch(t, p, func() { p.Spec.DeletionProtection = new(false) })
	if err := c.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stack is taken down", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(broker), broker); err == nil && broker.DeletionTimestamp.IsZero() {
			return fmt.Errorf("the broker is still there")
		}
		return nil
	})
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil || !secret.DeletionTimestamp.IsZero() {
		t.Errorf("deletionPolicy Retain lost the database's passwords: %v", err)
	}
}

func patch(t *testing.T, o client.Object, change func()) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	before := o.DeepCopyObject().(client.Object)
	change()
	if err := c.Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
