//go:build envtest

package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/test/apiserver"
)

// object is an object of our API.
type object interface {
	client.Object
	GetCommonStatus() *v1alpha1.CommonStatus
}

// reconciled are the kinds that a controller acts on: all of them.
var reconciled = []string{"GridPlatform", "Community", "Organization", "DeviceProfile", "DeviceFleet", "Scenario", "Dataset", "DataSharingAgreement", "EdgeNode"}

// verdicts counts what kstatus said of the states of objects, by kind.
type verdicts struct {
	mu    sync.Mutex
	count map[string]map[status.Status]int
}

func (v *verdicts) of(kind string, s status.Status) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.count[kind][s]
}

func (v *verdicts) all(kind string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprint(v.count[kind])
}

func (v *verdicts) add(kind string, s status.Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count[kind] == nil {
		v.count[kind] = map[status.Status]int{}
	}
	v.count[kind][s]++
}

// judge holds every state that objects of our kinds take in some namespaces, from now to the end of the test, against kstatus:
// those that a test waits for, and those between, which a tool may see as well.
func judge(t *testing.T, config *rest.Config, namespaces ...string) *verdicts {
	t.Helper()
	watching, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	seen := &verdicts{count: map[string]map[status.Status]int{}}
	var wg sync.WaitGroup
	var over atomic.Bool
	t.Cleanup(wg.Wait) // after the watches are stopped: the last cleanup runs first
	for _, kind := range reconciled {
		for _, ns := range namespaces {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kind + "List"))
			w, err := watching.Watch(context.Background(), list, client.InNamespace(ns))
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				for e := range w.ResultChan() {
					u, ok := e.Object.(*unstructured.Unstructured)
					if !ok || e.Type == watch.Error {
						if !over.Load() { // a watch that is stopped ends in an error, too
							t.Errorf("watch of %s in %s: %v", kind, ns, e.Object)
						}
						return
					}
					s, err := verdict(u)
					if err != nil {
						t.Errorf("%s %s/%s, %s: %v", kind, ns, u.GetName(), e.Type, err)
					}
					seen.add(kind, s)
				}
			})
			t.Cleanup(w.Stop)
		}
	}
	t.Cleanup(func() { over.Store(true) })
	return seen
}

// verdict gives what kstatus says of an object, and an error where our conditions say otherwise.
func verdict(u *unstructured.Unstructured) (status.Status, error) {
	got, err := status.Compute(u)
	if err != nil {
		return "", err
	}
	var common struct {
		Status v1alpha1.CommonStatus `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &common); err != nil {
		return "", err
	}
	st := common.Status
	want := status.InProgressStatus
	switch {
	case u.GetDeletionTimestamp() != nil:
		want = status.TerminatingStatus
	case st.ObservedGeneration == u.GetGeneration():
		if want, err = said(st.Conditions, u.GetGeneration()); err != nil {
			return got.Status, err
		}
	}
	if got.Status != want {
		return got.Status, fmt.Errorf("kstatus says %s (%s), want %s; conditions %v", got.Status, got.Message, want, st.Conditions)
	}
	return got.Status, nil
}

// said gives what our conditions say of a generation, as kstatus calls it. Exactly one of the three that every object has holds.
func said(conditions []metav1.Condition, generation int64) (status.Status, error) {
	means := map[string]status.Status{v1alpha1.ConditionReady: status.CurrentStatus, v1alpha1.ConditionReconciling: status.InProgressStatus, v1alpha1.ConditionStalled: status.FailedStatus}
	var holds []status.Status
	for _, cond := range conditions {
		if cond.ObservedGeneration != generation {
			return "", fmt.Errorf("condition %s speaks of generation %d, the status of %d", cond.Type, cond.ObservedGeneration, generation)
		}
		if s, ok := means[cond.Type]; ok {
			delete(means, cond.Type)
			if cond.Status == metav1.ConditionTrue {
				holds = append(holds, s)
			}
		}
	}
	if len(holds) != 1 || len(means) != 0 {
		return "", fmt.Errorf("of Ready, Reconciling and Stalled %d are True and %d are not there: %v", len(holds), len(means), conditions)
	}
	return holds[0], nil
}

// looksAgain makes the operator look at an object again, which its spec does not call for.
func looksAgain(t *testing.T, o object) {
	t.Helper()
	patch(t, o, func() { o.SetLabels(map[string]string{"example.org/looked": "again"}) })
}

// inForce writes to an object's status that its present generation is in force, and makes the operator look again. No enforcers
// run here that could say so; of a generation of which it was said once the operator takes it over, as it does after a restart.
func inForce(t *testing.T, o object) {
	t.Helper()
	before := o.DeepCopyObject().(client.Object)
	at := metav1.NewTime(o.GetCreationTimestamp().Time)
	st := o.GetCommonStatus()
	st.Enforcement = &v1alpha1.EnforcementStatus{Revision: "sha256:test", Sequence: 1, RequestedAt: &at, EffectiveAt: &at, Acked: 4, Total: 4}
	for _, conditionType := range []string{v1alpha1.ConditionAvailable, v1alpha1.ConditionFullyEnforced} {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{Type: conditionType, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSucceeded, Message: "by hand", ObservedGeneration: o.GetGeneration()})
	}
	if err := c.Status().Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	looksAgain(t, o)
}

// stackStands writes to the children of a platform what cert-manager and the controllers of Kubernetes would.
func stackStands(t *testing.T, ns string) {
	t.Helper()
	var certificates cmv1.CertificateList
	var deployments appsv1.DeploymentList
	var sets appsv1.StatefulSetList
	for _, list := range []client.ObjectList{&certificates, &deployments, &sets} {
		if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		if meta.LenList(list) == 0 {
			t.Fatalf("no %T", list)
		}
	}
	write := func(o client.Object, change func()) {
		before := o.DeepCopyObject().(client.Object)
		change()
		if err := c.Status().Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range certificates.Items {
		o := &certificates.Items[i]
		write(o, func() {
			o.Status.Conditions = []cmv1.CertificateCondition{{Type: cmv1.CertificateConditionReady, Status: cmmeta.ConditionTrue}}
		})
	}
	for i := range deployments.Items {
		o := &deployments.Items[i]
		write(o, func() {
			o.Status.ObservedGeneration, o.Status.Replicas, o.Status.UpdatedReplicas, o.Status.ReadyReplicas = o.Generation, *o.Spec.Replicas, *o.Spec.Replicas, *o.Spec.Replicas
		})
	}
	for i := range sets.Items {
		o := &sets.Items[i]
		write(o, func() {
			o.Status.ObservedGeneration, o.Status.Replicas, o.Status.ReadyReplicas, o.Status.CurrentRevision, o.Status.UpdateRevision = o.Generation, *o.Spec.Replicas, *o.Spec.Replicas, "1", "1"
		})
	}
}

// vaultRuns says in the vault's Deployment how many of its pods are ready.
func vaultRuns(t *testing.T, ns string, ready int32) {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "dizuo-vault"}, d); err != nil {
		t.Fatal(err)
	}
	before := d.DeepCopy()
	d.Status.ReadyReplicas = ready
	if err := c.Status().Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// Every kind is brought to each of the four states that kstatus tells apart and that it can be in, and kstatus calls it so.
func TestKstatusSeesWhatConditionsSay(t *testing.T) {
	const ns = "s-home"
	seen := judge(t, admin, ns)
	create(t, namespace(ns, ""))
	admit(t, ns)
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: compile.SecretBrokerTLS, Namespace: ns}, StringData: map[string]string{"ca.crt": "any"}})
	p := platform(ns)
	p.Spec.DeletionProtection = new(false)
	com := community(ns, "c", "410103014006")
	org := organization(ns, "org")
	prof := profile(ns, "prof")
	f := fleet(ns, "f")
	f.Spec.Identity.Type = v1alpha1.FleetIdentityPassword // no certificate of its own to wait for
	scn := scenario(ns, "scn")
	provider := organization(ns, "provider")
	create(t, provider)
	set := dataset(ns, "set", "provider")
	dsa := agreement(ns, "dsa", "org", "set")
	box := edgeNode(ns, "box", "c")
	objects := []object{com, org, prof, f, scn, set, dsa, box, p}
	for _, o := range objects {
		o.SetFinalizers([]string{"example.org/hold"}) // so that it can be seen being deleted
	}
	for _, o := range objects {
		create(t, o)
	}
	sign(t, dsa, "org", "provider")
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")

	for _, e := range []struct {
		o             object
		spoil, mend   func()
		reason, waits string
	}{
		{com, func() { com.Spec.Division = "420103014006" }, func() { com.Spec.Division = "410103014006" }, v1alpha1.ReasonDivisionOutsidePlatform, v1alpha1.ReasonPlatformNotReady},
		{org, func() { org.Spec.Jurisdiction = []string{"42"} }, func() { org.Spec.Jurisdiction = []string{"41"} }, v1alpha1.ReasonDivisionOutsidePlatform, v1alpha1.ReasonPlatformNotReady},
		{prof, nil, nil, "", v1alpha1.ReasonPlatformNotReady}, // what would be wrong with it the API server refuses
		{f, func() {
			f.Spec.Mapping = &v1alpha1.PayloadMapping{Fields: []v1alpha1.FieldMapping{{Name: "nothing", Expression: "payload."}}}
		}, func() { f.Spec.Mapping = nil }, v1alpha1.ReasonInvalidExpression, v1alpha1.ReasonPlatformNotReady},
		{scn, func() { scn.Spec.Trigger.When = "msg.nothing == 1" }, func() { scn.Spec.Trigger.When = "msg.smoke == true" }, v1alpha1.ReasonInvalidExpression, v1alpha1.ReasonPlatformNotReady},
		{set, func() { set.Spec.Source.Schema = "grid" }, func() { set.Spec.Source.Schema = "datasets" }, v1alpha1.ReasonSchemaNotAdmitted, v1alpha1.ReasonPlatformNotReady},
		{dsa, func() { dsa.Spec.CaseNumber = "1" }, func() { dsa.Spec.CaseNumber = "" }, v1alpha1.ReasonApprovalVoid, v1alpha1.ReasonPlatformNotReady},
		// No machine asks in this test: it is Ready where it is shut out, as the spec says.
		{box, func() { box.Spec.Hostnames = []string{"localhost"} }, func() { box.Spec.Hostnames, box.Spec.Approved = nil, new(false) }, v1alpha1.ReasonInvalidSpec, ""},
		{p, func() { p.Spec.TimeZone = "Mars/Olympus" }, func() { p.Spec.TimeZone = "Asia/Shanghai" }, v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonCertificatePending},
	} {
		kind := kindOf(t, e.o)
		t.Run(kind, func(t *testing.T) {
			if e.o == object(box) {
				expect(t, e.o, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAwaitingEnrolment, "")
				e.waits = v1alpha1.ReasonPlatformNotReady
			} else {
				expect(t, e.o, v1alpha1.ConditionReady, metav1.ConditionFalse, e.waits, "")
			}
			if e.spoil != nil {
				patch(t, e.o, e.spoil)
				expect(t, e.o, v1alpha1.ConditionStalled, metav1.ConditionTrue, e.reason, "")
				patch(t, e.o, e.mend)
				expect(t, e.o, v1alpha1.ConditionReady, metav1.ConditionFalse, e.waits, "")
			}
			if e.o == object(p) {
				stackStands(t, ns)
				vaultRuns(t, ns, 0)
				expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonComponentsNotReady, "VaultReady: Deployment dizuo-vault has 0 of 1 pods ready")
				vaultRuns(t, ns, 1)
				expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing, "BundlePublished")
				before := p.DeepCopy()
				p.Status.Bundle = &v1alpha1.BundleStatus{Revision: "sha256:test"}
				if err := c.Status().Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
					t.Fatal(err)
				}
			}
			inForce(t, e.o)
			expect(t, e.o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
		})
	}
	for _, o := range objects {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range reconciled {
		for _, s := range []status.Status{status.InProgressStatus, status.FailedStatus, status.CurrentStatus, status.TerminatingStatus} {
			if kind == "DeviceProfile" && s == status.FailedStatus {
				continue
			}
			eventually(t, fmt.Sprintf("a %s is %s", kind, s), func() error {
				if seen.of(kind, s) == 0 {
					return errors.New("never; seen: " + seen.all(kind))
				}
				return nil
			})
		}
	}
	for _, o := range objects { // the platform last: what is on it has gone then
		patch(t, o, func() {
			o.SetFinalizers(slices.DeleteFunc(o.GetFinalizers(), func(f string) bool { return f == "example.org/hold" }))
		})
		gone(t, o)
	}
}

// kindOf gives the kind of an object.
func kindOf(t *testing.T, o client.Object) string {
	t.Helper()
	gvk, err := c.GroupVersionKindFor(o)
	if err != nil {
		t.Fatal(err)
	}
	return gvk.Kind
}

// operate runs an operator. looked is closed when it has looked at every object of a platform, and so would publish its bundle:
// it asks for the broker's address then, and not before.
func operate(t *testing.T, s *apiserver.Server) (looked <-chan struct{}, stop func()) {
	t.Helper()
	settled := make(chan struct{})
	once := sync.OnceFunc(func() { close(settled) })
	return settled, operateAt(t, s, func(types.NamespacedName) string {
		once()
		return "tls://127.0.0.1:1" // nobody listens there
	})
}

// operateAt runs an operator that finds the brokers of platforms at an address.
func operateAt(t *testing.T, s *apiserver.Server, address func(types.NamespacedName) string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	mgr, err := ctrl.NewManager(s.Operator(), ctrl.Options{Scheme: controllers.Scheme(), Cache: controllers.Caches(),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	options := controllers.Options{Catalog: catalog, Images: compile.Images{Node: "dizuo/dizuo:test", Postgres: "postgres:15"}, Address: address}
	if err := controllers.Setup(ctx, mgr, options); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("operator: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// passed waits until an operator has looked at every object of a platform and is done with each: every controller works off one
// object at a time, so when it is done with a new one it is done with those before.
func passed(t *testing.T, looked <-chan struct{}, probe string) {
	t.Helper()
	select {
	case <-looked:
	case <-t.Context().Done():
	}
	create(t, namespace(probe, ""))
	for _, o := range []object{platform(probe), community(probe, "c", "410103014006"), organization(probe, "org"), profile(probe, "prof"),
		fleet(probe, "f"), scenario(probe, "scn"), dataset(probe, "set", "org"), agreement(probe, "dsa", "org", "set"), edgeNode(probe, "box", "c")} {
		create(t, o)
		eventually(t, fmt.Sprintf("%T is looked at", o), func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil || len(o.GetCommonStatus().Conditions) == 0 {
				return fmt.Errorf("not yet: %w", err)
			}
			return nil
		})
	}
}

// world gives all that stands in some namespaces and that the operator could write, as JSON.
func world(t *testing.T, namespaces ...string) map[string]string {
	t.Helper()
	kinds := []schema.GroupVersionKind{{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "Service"}, {Version: "v1", Kind: "ResourceQuota"},
		{Version: "v1", Kind: "LimitRange"}, {Group: "apps", Version: "v1", Kind: "Deployment"}, {Group: "apps", Version: "v1", Kind: "StatefulSet"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, {Group: "cert-manager.io", Version: "v1", Kind: "Issuer"}, {Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}}
	for _, kind := range reconciled {
		kinds = append(kinds, v1alpha1.SchemeGroupVersion.WithKind(kind))
	}
	out := map[string]string{}
	for _, gvk := range kinds {
		for _, ns := range namespaces {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(gvk)
			if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
				t.Fatal(err)
			}
			for i := range list.Items {
				raw, err := json.MarshalIndent(&list.Items[i], "", " ") // so that a difference shows its field
				if err != nil {
					t.Fatal(err)
				}
				out[gvk.Kind+" "+ns+"/"+list.Items[i].GetName()] = string(raw)
			}
		}
	}
	return out
}

// An operator that starts on what another left as it should be writes nothing: no status changes by a byte, and no object's
// resource version, whether an object is Ready, waits, or is wrong.
func TestRestartWritesNothing(t *testing.T) {
	s, _ := started(t, certManager(t))
	if err := s.CertManager(); err != nil {
		t.Fatal(err)
	}
	namespaces := []string{"home", "vendor", "home-work"}
	judge(t, s.Config, namespaces...)

	looked, stop := operate(t, s)
	create(t, namespace("home", ""), namespace("vendor", "home"))
	admit(t, "home")
	admit(t, "vendor")
	p := platform("home", v1alpha1.Member{Namespace: "vendor", Role: v1alpha1.MemberVendor}, v1alpha1.Member{Namespace: "typo", Role: v1alpha1.MemberVendor})
	p.Spec.Scenarios = []v1alpha1.ScenarioSelection{{Name: "not-there"}}
	p.Spec.DataOffice, p.Spec.Guardrails = &v1alpha1.LocalRef{Name: "office"}, []v1alpha1.LocalRef{{Name: "night"}}
	create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "night", Namespace: "home", Labels: map[string]string{compile.LabelGuardrails: "true"}}, Data: cityRule("shut")},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere", Namespace: "home"}, StringData: map[string]string{"dsn": "postgres://reader:pad@db.example:5432/data?sslmode=verify-full"}})
	work := community("home", "work", "410103014006")
	work.Spec.Workspace = &v1alpha1.Workspace{}
	outside := community("home", "outside", "420103014006")
	org := organization("home", "org")
	org.Spec.Identities = []v1alpha1.OrganizationIdentity{{Name: "system"}}
	f := fleet("vendor", "f")
	f.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "d1", Community: "work"}, {Device: "d2", Community: "nowhere"}}}
	lost := fleet("vendor", "lost")
	lost.Spec.ProfileRef.Name = "not-there"
	atEdge := fleet("home", "at-edge")
	atEdge.Spec.Placement = v1alpha1.PlacementEdge
	atEdge.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "d1", Community: "work"}}}
	box, elsewhere := edgeNode("home", "box", "work"), edgeNode("home", "elsewhere", "nowhere")
	prof, scn, set := profile("home", "prof"), scenario("home", "scn"), dataset("home", "set", "provider")
	office := organization("home", "office")
	office.Spec.Type = v1alpha1.OrganizationDataOffice
	create(t, organization("home", "provider"), office)
	dsa, open, broken := agreement("home", "dsa", "org", "set"), agreement("home", "open", "org", "set"), agreement("home", "broken", "org", "not-there")
	remote, shut := dataset("home", "remote", "provider"), agreement("home", "shut", "org", "remote")
	remote.Spec.Source = v1alpha1.DatasetSource{Type: v1alpha1.SourceTable, Table: "t", DSNSecretRef: &v1alpha1.SecretKeyRef{Name: "elsewhere", Key: "dsn"}}
	for _, o := range []object{p, work, org, f, prof, scn, set, dsa, outside, lost, open, broken, atEdge, box, elsewhere, remote, shut} {
		create(t, o)
	}
	expect(t, work, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	rival := community("home", "rival", "410103014006")
	create(t, rival)
	sign(t, dsa, "org", "provider", "office")
	sign(t, open, "provider")

	expect(t, p, v1alpha1.ConditionGuardrailsCompiled, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, p, v1alpha1.ConditionCertificatesReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, org, v1alpha1.ConditionIdentitiesReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, f, v1alpha1.ConditionCredentialsReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	for _, o := range []object{work, org, prof, f, scn, set, dsa} {
		expect(t, o, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPlatformNotReady, "Available")
		inForce(t, o)
		expect(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	}
	expect(t, rival, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDivisionClaimed, "home/work")
	expect(t, outside, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDivisionOutsidePlatform, "")
	expect(t, lost, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProfileNotFound, "")
	expect(t, open, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAwaitingApproval, "")
	expect(t, shut, v1alpha1.ConditionGuardrailsPassed, metav1.ConditionFalse, v1alpha1.ReasonGuardrailViolated, "by night")
	expect(t, broken, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDatasetNotFound, "")
	expect(t, box, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAwaitingEnrolment, "")
	expect(t, box, v1alpha1.ConditionAutonomyCovered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "lasts")
	expect(t, elsewhere, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCommunityNotFound, "")
	passed(t, looked, "first")
	stop()

	before := world(t, namespaces...)
	if len(before) < 60 {
		t.Fatalf("only %d objects", len(before))
	}
	for _, name := range []string{"ConfigMap home/" + compile.ConfigMapGuardrails, "ConfigMap home/" + compile.ApproversName("org"), "Secret home/" + compile.SecretSources,
		"Certificate home/" + compile.SecretAudit, "Secret home/" + compile.SecretVault, "Deployment home/dizuo-vault"} {
		if before[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	looked, stop = operate(t, s)
	passed(t, looked, "second")
	stop()
	if diff := cmp.Diff(before, world(t, namespaces...)); diff != "" {
		t.Errorf("a second operator wrote (-before +after):\n%s", diff)
	}

	// While no operator looks, a changed object is on its way, whatever its old conditions say.
	patch(t, set, func() { set.Spec.Description = "changed" })
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("Dataset"))
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(set), u); err != nil {
		t.Fatal(err)
	}
	if got, err := verdict(u); err != nil || got != status.InProgressStatus || !meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("kstatus says %s of a generation that nobody looked at (%v), conditions %v", got, err, set.Status.Conditions)
	}
}

// An object that nobody has looked at is not fine, whoever writes to it: a tool waits for it.
func TestKstatusOfWhatNobodyHasLookedAt(t *testing.T) {
	started(t) // without an operator
	create(t, namespace("home", ""))
	for _, o := range []object{platform("home"), community("home", "c", "410103014006"), organization("home", "org"), profile("home", "prof"), fleet("home", "f"),
		scenario("home", "scn"), dataset("home", "set", "org"), agreement("home", "dsa", "org", "set"), edgeNode("home", "box", "c")} {
		create(t, o)
		look := func(after string) {
			t.Helper()
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kindOf(t, o)))
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), u); err != nil {
				t.Fatal(err)
			}
			if got, err := status.Compute(u); err != nil || got.Status != status.InProgressStatus {
				t.Errorf("%s after %s: kstatus says %v (%v), status %v", u.GetKind(), after, got, err, u.Object["status"])
			}
		}
		look("creation")
		looksAgain(t, o)
		look("a change of its labels")
		before := o.DeepCopyObject().(client.Object) // as the operator writes an inventory ahead of the objects in it
		o.GetCommonStatus().Inventory = []v1alpha1.InventoryEntry{{Version: "v1", Kind: "Secret", Name: "s", Namespace: "home"}}
		if err := c.Status().Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		look("a status of which nothing but the inventory was written")
	}
}
