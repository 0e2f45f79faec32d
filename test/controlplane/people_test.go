//go:build envtest

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// as gives a client that acts as a person.
func as(t *testing.T, person string) client.Client {
	t.Helper()
	config := rest.CopyConfig(admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: person, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// binding gives a person a role in a namespace.
func binding(ns, role, person string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role, Namespace: ns},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: person}}}
}

func fleet(ns, name string) *v1alpha1.DeviceFleet {
	return &v1alpha1.DeviceFleet{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.DeviceFleetSpec{
		ProfileRef: v1alpha1.ProfileRef{Name: "smoke-detector"}}}
}

func secret(ns, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, StringData: map[string]string{"k": "v"}}
}

// attempt is something that a person tries in a namespace, dry: what is refused is refused before it would be done.
type attempt func(ctx context.Context, c client.Client, ns string) error

func listing(list client.ObjectList) attempt {
	return func(ctx context.Context, c client.Client, ns string) error {
		return c.List(ctx, list, client.InNamespace(ns))
	}
}

func creating(o func(ns string) client.Object) attempt {
	return func(ctx context.Context, c client.Client, ns string) error {
		return c.Create(ctx, o(ns), client.DryRunAll)
	}
}

func deleting(o func(ns string) client.Object) attempt {
	return func(ctx context.Context, c client.Client, ns string) error {
		return client.IgnoreNotFound(c.Delete(ctx, o(ns), client.DryRunAll))
	}
}

// statusOf tries to write a status, by which claims are held.
func statusOf(o func(ns string) client.Object) attempt {
	return func(ctx context.Context, c client.Client, ns string) error {
		return client.IgnoreNotFound(c.Status().Patch(ctx, o(ns), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"observedGeneration":9}}`)), client.DryRunAll))
	}
}

var attempts = map[string]attempt{
	"list fleets":       listing(&v1alpha1.DeviceFleetList{}),
	"list communities":  listing(&v1alpha1.CommunityList{}),
	"list agreements":   listing(&v1alpha1.DataSharingAgreementList{}),
	"list datasets":     listing(&v1alpha1.DatasetList{}),
	"list secrets":      listing(&corev1.SecretList{}),
	"list workloads":    listing(&appsv1.StatefulSetList{}),
	"list certificates": listing(&cmv1.CertificateList{}),
	"list bindings":     listing(&rbacv1.RoleBindingList{}),
	"create fleet":      creating(func(ns string) client.Object { return fleet(ns, "try") }),
	"create community":  creating(func(ns string) client.Object { return community(ns, "try", "410103014099") }),
	"create platform":   creating(func(ns string) client.Object { return platform(ns) }),
	"create secret":     creating(func(ns string) client.Object { return secret(ns, "try") }),
	"create certificate": creating(func(ns string) client.Object {
		return &cmv1.Certificate{ObjectMeta: metav1.ObjectMeta{Name: "try", Namespace: ns}, Spec: cmv1.CertificateSpec{SecretName: "try", DNSNames: []string{"a"}}}
	}),
	"create workload": creating(func(ns string) client.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "try", Namespace: ns}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	}),
	"admit Dizuo":      creating(func(ns string) client.Object { return binding(ns, "dizuo-namespace", "me") }),
	"delete community": deleting(func(ns string) client.Object { return community(ns, "some", "410103014006") }),
	"delete fleet":     deleting(func(ns string) client.Object { return fleet(ns, "some") }),
	"write status":     statusOf(func(ns string) client.Object { return fleet(ns, "some") }),
}

// Each person tries everything in each namespace; what is not listed here must be refused.
func TestPeopleDoWhatTheirRoleSaysAndNothingElse(t *testing.T) {
	namespaces := []string{"r-home", "r-vendor-a", "r-vendor-b"}
	for _, ns := range namespaces {
		create(t, namespace(ns, ""))
	}
	create(t, binding("r-home", "dizuo-county-admin", "ada"), binding("r-vendor-a", "dizuo-vendor", "bo"), binding("r-vendor-b", "dizuo-vendor", "cy"),
		binding("r-home", "dizuo-community-worker", "di"),
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "r-auditor"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "dizuo-auditor"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "eve"}}})
	reads := []string{"list fleets", "list communities", "list agreements", "list datasets", "list workloads", "list certificates", "list bindings"}
	vendor := []string{"list fleets", "list secrets", "create fleet", "create secret", "delete fleet"}
	may := map[string]map[string][]string{
		"ada": {"r-home": {"list fleets", "list communities", "list agreements", "list datasets", "list workloads", "create fleet", "create community", "create platform", "delete community", "delete fleet"}},
		"bo":  {"r-vendor-a": vendor},
		"cy":  {"r-vendor-b": vendor},
		"di":  {"r-home": {"list fleets", "list communities"}},
		"eve": {"r-home": reads, "r-vendor-a": reads, "r-vendor-b": reads, "": reads},
	}
	for person, allowed := range may {
		c := as(t, person)
		for _, ns := range append(namespaces, "") {
			for what, try := range attempts {
				if ns == "" && !strings.HasPrefix(what, "list") {
					continue // the whole cluster: lists only
				}
				want := false
				for _, a := range allowed[ns] {
					want = want || a == what
				}
				eventually(t, fmt.Sprintf("%s: %s in %q, allowed: %t", person, what, ns, want), func() error {
					err := try(t.Context(), c, ns)
					switch {
					case want && err != nil:
						return err
					case !want && err == nil:
						return errors.New("it was let through")
					case !want && !apierrors.IsForbidden(err):
						return fmt.Errorf("refused for another reason: %w", err)
					}
					return nil
				})
			}
		}
	}
}

func TestDeletionProtection(t *testing.T) {
	create(t, namespace("x-home", ""))
	p := platform("x-home")
	create(t, p)
	eventually(t, "a protected platform cannot be deleted", func() error {
		err := c.Delete(t.Context(), p, client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "x-home/p: spec.deletionProtection is on") {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	if err := c.DeleteAllOf(t.Context(), &v1alpha1.GridPlatform{}, client.InNamespace("x-home"), client.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("delete of the collection: %v", err)
	}
	patch(t, p, func() { p.Spec.DeletionProtection = new(false) })
	if err := c.Delete(t.Context(), p); err != nil {
		t.Errorf("after protection was turned off: %v", err)
	}

	create(t, namespace("x-ends", ""))
	q := platform("x-ends")
	create(t, q)
	if err := c.Delete(t.Context(), namespace("x-ends", "")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what goes with its namespace goes", func() error { return client.IgnoreNotFound(c.Delete(t.Context(), q)) })
}

// Deleting a CustomResourceDefinition would take every platform along past its protection.
func TestCRDsAreNotDeletedByAccident(t *testing.T) {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	crd.SetName("gridplatforms.dizuo.io")
	eventually(t, "a CRD of ours cannot be deleted", func() error {
		err := c.Delete(t.Context(), crd, client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "gridplatforms.dizuo.io: its deletion takes every object") {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	foreign := crd.DeepCopy()
	foreign.SetName("issuers.cert-manager.io")
	if err := c.Delete(t.Context(), foreign, client.DryRunAll); err != nil {
		t.Errorf("another project's: %v", err)
	}
	allow := func(value string) {
		t.Helper()
		if err := c.Patch(t.Context(), crd, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"dizuo.io/allow-deletion":`+value+`}}}`))); err != nil {
			t.Fatal(err)
		}
	}
	allow(`"true"`)
	defer allow("null")
	if err := c.Delete(t.Context(), crd, client.DryRunAll); err != nil {
		t.Errorf("after it was allowed: %v", err)
	}
}

// Who owns a namespace admits the operator there, though the operator may then do what its owner may not; who does not own it cannot.
func TestTheOwnerOfANamespaceAdmits(t *testing.T) {
	create(t, namespace("admits-home", ""), namespace("admits-other", ""))
	// What the cluster's own role admin holds, which the controllers of Kubernetes would put together.
	create(t, binding("admits-home", "dizuo-admin", "owner"), binding("admits-home", "system:aggregate-to-admin", "owner"), binding("admits-home", "dizuo-county-admin", "county"))
	admission := func(ns string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dizuo-namespace", Namespace: ns},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "dizuo-namespace"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "dizuo-operator", Namespace: "dizuo-system"}}}
	}
	eventually(t, "the owner admits", func() error { return as(t, "owner").Create(t.Context(), admission("admits-home"), client.DryRunAll) })
	for person, ns := range map[string]string{"owner": "admits-other", "county": "admits-home"} {
		if err := as(t, person).Create(t.Context(), admission(ns), client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("%s in %s: %v", person, ns, err)
		}
	}
	wider := admission("admits-home")
	wider.Name, wider.RoleRef.Name = "wider", "cluster-admin"
	if err := as(t, "owner").Create(t.Context(), wider, client.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("the owner binds another role: %v", err)
	}
}

// A key is approved by who holds the verb approve, and by nobody else who may write the object; what is not an approval is not asked about.
func TestEdgeNodesAreApprovedByTheVerb(t *testing.T) {
	create(t, namespace("va-home", ""), binding("va-home", "dizuo-county-admin", "gus"), binding("va-home", "dizuo-edge-approver", "hal"))
	const key = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	writer, approver := as(t, "gus"), as(t, "hal")
	o := edgeNode("va-home", "box", "c")
	eventually(t, "who writes edge nodes creates one", func() error { return client.IgnoreAlreadyExists(writer.Create(t.Context(), o)) })
	change := func(c client.Client, with func(*v1alpha1.EdgeNodeSpec)) error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		before := o.DeepCopy()
		with(&o.Spec)
		return c.Patch(t.Context(), o, client.MergeFrom(before))
	}
	approvals := map[string]func(*v1alpha1.EdgeNodeSpec){
		"approved":  func(s *v1alpha1.EdgeNodeSpec) { s.Approved = new(true) },
		"shut out":  func(s *v1alpha1.EdgeNodeSpec) { s.Approved = new(false) },
		"by a key":  func(s *v1alpha1.EdgeNodeSpec) { s.KeyFingerprint = key },
		"withdrawn": func(s *v1alpha1.EdgeNodeSpec) { s.Approved, s.KeyFingerprint = nil, "" },
	}
	for _, what := range []string{"approved", "shut out", "by a key", "withdrawn"} {
		if what != "withdrawn" || o.Spec.KeyFingerprint != "" {
			eventually(t, what+" by who only writes", func() error {
				if err := change(writer, approvals[what]); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the verb approve") {
					return fmt.Errorf("got %w", err)
				}
				return nil
			})
		}
		eventually(t, what+" by who approves", func() error { return change(approver, approvals[what]) })
		if what != "withdrawn" {
			eventually(t, "another change by who only writes", func() error {
				return change(writer, func(s *v1alpha1.EdgeNodeSpec) { s.DisplayName = what })
			})
		}
	}
	born := edgeNode("va-home", "born", "c")
	born.Spec.Approved = new(true)
	if err := writer.Create(t.Context(), born); !apierrors.IsForbidden(err) {
		t.Errorf("created as approved: %v", err)
	}
}
