//go:build envtest

package apply_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// All of it runs against a real API server (etcd and kube-apiserver from KUBEBUILDER_ASSETS): server-side apply is what is
// tested, and no fake has it right.
func TestAgainstAPIServer(t *testing.T) {
	env := &envtest.Environment{}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, *cluster){
		"create and leave alone":    createAndLeaveAlone,
		"drift is repaired":         drift,
		"a field dropped is gone":   dropped,
		"foreign fields stay":       foreign,
		"what another holds":        conflict,
		"a cache that lags":         lagging,
		"made once":                 createOnly,
		"prune":                     prune,
		"no prune while in trouble": noPrune,
		"UID precondition":          precondition,
		"what is being deleted":     deleting,
		"write-ahead":               writeAhead,
		"a crash after every write": crashes,
		"finalize":                  finalize,
		"finalize after a crash":    finalizeAfterCrash,
		"finalize seeing nothing":   finalizeBlind,
	} {
		t.Run(name, func(t *testing.T) { test(t, newCluster(t, c, strings.ReplaceAll(strings.ToLower(name), " ", "-"))) })
	}
}

// cluster is a namespace in which one owner's objects live, with the owner's status beside it.
type cluster struct {
	t         *testing.T
	c         client.WithWatch
	namespace string
	owner     compile.Owner
	// inventory is the owner's status.
	inventory []v1alpha1.InventoryEntry
	// writes names each write, and dies is the one after which the process is dead; 0 is never.
	writes []string
	dies   int
}

var errDead = errors.New("the process was killed")

func newCluster(t *testing.T, c client.WithWatch, namespace string) *cluster {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, c: c, namespace: namespace, owner: compile.Owner{Kind: "Community", Namespace: namespace, Name: "jinghu"}}
}

// wrote notes a write that was made; it gives errDead if the process dies after it.
func (k *cluster) wrote(what string) error {
	k.writes = append(k.writes, what)
	if k.dead() {
		return errDead
	}
	return nil
}

func (k *cluster) dead() bool { return k.dies > 0 && len(k.writes) >= k.dies }

func (k *cluster) engine() apply.Engine {
	counted := interceptor.NewClient(k.c, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if k.dead() {
				return errDead
			}
			if err := c.Apply(ctx, o, opts...); err != nil {
				return err
			}
			named := o.(interface{ GetName() string })
			return k.wrote("apply " + named.GetName())
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if k.dead() {
				return errDead
			}
			if err := c.Create(ctx, o, opts...); err != nil {
				return err
			}
			return k.wrote("create " + o.GetName())
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if k.dead() {
				return errDead
			}
			if err := c.Delete(ctx, o, opts...); err != nil {
				return err
			}
			return k.wrote("delete " + o.GetName())
		},
	})
	return apply.Engine{Client: counted, Live: k.live, Fresh: k.live}
}

func (k *cluster) live(ctx context.Context, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error) {
	if k.dead() {
		return nil, errDead
	}
	typed, err := k.c.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	o := typed.(client.Object)
	if err := k.c.Get(ctx, key, o); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(o)
}

// persist writes the owner's status.
func (k *cluster) persist(_ context.Context, inventory []v1alpha1.InventoryEntry) error {
	if k.dead() {
		return errDead
	}
	k.inventory = slices.Clone(inventory)
	return k.wrote("status")
}

// run applies objects as a reconcile does: the status is written at the end if the inventory changed.
func (k *cluster) run(prune bool, objects ...render.Object) apply.Report {
	k.t.Helper()
	r := k.engine().Run(k.t.Context(), apply.Set{Owner: k.owner, Objects: objects, Inventory: slices.Clone(k.inventory), Prune: prune, Persist: k.persist})
	if !k.dead() && !slices.Equal(r.Inventory, k.inventory) {
		_ = k.persist(k.t.Context(), r.Inventory)
	}
	return r
}

// fine runs, fails on any error, and gives the writes that were made.
func (k *cluster) fine(prune bool, objects ...render.Object) []string {
	k.t.Helper()
	k.writes = nil
	if r := k.run(prune, objects...); r.Err != nil || len(r.Conflicts) > 0 {
		k.t.Fatalf("%v %v", r.Err, r.Conflicts)
	}
	return k.writes
}

func (k *cluster) labels() map[string]string {
	return map[string]string{render.LabelManagedBy: render.ManagedBy, render.LabelOwnerKind: k.owner.Kind,
		render.LabelOwnerNamespace: k.owner.Namespace, render.LabelOwnerName: k.owner.Name}
}

func (k *cluster) configMap(name, value string) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(name, k.namespace).WithLabels(k.labels()).WithData(map[string]string{"key": value})
}

// deployment has what the server writes in another way: quantities, defaults, ports.
func (k *cluster) deployment(memory string, arguments ...string) render.Object {
	l := map[string]string{"app": "a"}
	return appsv1ac.Deployment("workload", k.namespace).WithLabels(k.labels()).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(1).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(l)).
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(l).WithSpec(corev1ac.PodSpec().WithContainers(
			corev1ac.Container().WithName("c").WithImage("i").WithArgs(arguments...).WithPorts(corev1ac.ContainerPort().WithContainerPort(80)).
				WithResources(corev1ac.ResourceRequirements().WithRequests(corev1.ResourceList{
					corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourceCPU: resource.MustParse("1000m")}))))))
}

func (k *cluster) get(name string) *corev1.ConfigMap {
	k.t.Helper()
	var cm corev1.ConfigMap
	if err := k.c.Get(k.t.Context(), types.NamespacedName{Namespace: k.namespace, Name: name}, &cm); err != nil {
		k.t.Fatal(err)
	}
	return &cm
}

// update changes an object as somebody else with another client.
func (k *cluster) update(name string, change func(*corev1.ConfigMap)) {
	k.t.Helper()
	cm := k.get(name)
	change(cm)
	if err := k.c.Update(k.t.Context(), cm, client.FieldOwner("somebody")); err != nil {
		k.t.Fatal(err)
	}
}

// state gives name and data of the ConfigMaps of the owner, and what the inventory says, UIDs checked against the cluster.
func (k *cluster) state() map[string]string {
	k.t.Helper()
	var list corev1.ConfigMapList
	if err := k.c.List(k.t.Context(), &list, client.InNamespace(k.namespace), client.MatchingLabels(k.labels())); err != nil {
		k.t.Fatal(err)
	}
	out := map[string]string{}
	for _, cm := range list.Items {
		out[cm.Name] = fmt.Sprint(cm.Data)
	}
	for _, e := range k.inventory {
		i := slices.IndexFunc(list.Items, func(cm corev1.ConfigMap) bool { return cm.Name == e.Name })
		if i < 0 || string(list.Items[i].UID) != e.UID {
			k.t.Errorf("inventory has %s with UID %q, the cluster has not", e.Name, e.UID)
		}
		out["inventory "+e.Name] = e.Kind
	}
	return out
}

func (k *cluster) expect(what string, got, want []string) {
	k.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		k.t.Errorf("%s: writes -want +got:\n%s", what, diff)
	}
}

func createAndLeaveAlone(t *testing.T, k *cluster) {
	k.expect("creation", k.fine(true, k.configMap("a", "1"), k.deployment("1024Mi", "x")), []string{"status", "apply a", "apply workload", "status"})
	if len(k.inventory) != 2 || k.inventory[0].UID == "" || k.inventory[1].UID == "" {
		t.Errorf("inventory %v", k.inventory)
	}
	for range 3 {
		k.expect("unchanged", k.fine(true, k.configMap("a", "1"), k.deployment("1024Mi", "x")), nil)
	}
	k.expect("one changed", k.fine(true, k.configMap("a", "2"), k.deployment("1024Mi", "x")), []string{"apply a"})
	k.expect("another written, of the same meaning", k.fine(true, k.configMap("a", "2"), k.deployment("1Gi", "x")), nil)
	k.expect("a list", k.fine(true, k.configMap("a", "2"), k.deployment("1Gi", "x", "y")), []string{"apply workload"})
	k.expect("a list that shrinks", k.fine(true, k.configMap("a", "2"), k.deployment("1Gi", "x")), []string{"apply workload"})
}

func drift(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"), k.configMap("b", "1"))
	k.update("a", func(cm *corev1.ConfigMap) { cm.Data["key"] = "changed by hand" })
	k.expect("changed by hand", k.fine(true, k.configMap("a", "1"), k.configMap("b", "1")), []string{"apply a"})
	k.update("a", func(cm *corev1.ConfigMap) { delete(cm.Data, "key") })
	k.expect("removed by hand", k.fine(true, k.configMap("a", "1"), k.configMap("b", "1")), []string{"apply a"})
	if got := k.get("a").Data["key"]; got != "1" {
		t.Errorf("got %q", got)
	}
	if err := k.c.Delete(t.Context(), k.get("b")); err != nil {
		t.Fatal(err)
	}
	k.expect("deleted by hand", k.fine(true, k.configMap("a", "1"), k.configMap("b", "1")), []string{"apply b", "status"})
	k.state() // the new UID is in the inventory
}

func dropped(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1").WithData(map[string]string{"more": "2"}))
	k.expect("dropped", k.fine(true, k.configMap("a", "1")), []string{"apply a"})
	if diff := cmp.Diff(map[string]string{"key": "1"}, k.get("a").Data); diff != "" {
		t.Error(diff)
	}
}

func foreign(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"))
	k.update("a", func(cm *corev1.ConfigMap) {
		cm.Data["theirs"] = "stays"
		cm.Labels["team"] = "stays"
		cm.Annotations["note"] = "stays"
	})
	k.expect("with foreign fields", k.fine(true, k.configMap("a", "1")), nil)
	k.expect("changed beside foreign fields", k.fine(true, k.configMap("a", "2")), []string{"apply a"})
	if cm := k.get("a"); cm.Data["theirs"] != "stays" || cm.Labels["team"] != "stays" || cm.Annotations["note"] != "stays" || cm.Data["key"] != "2" {
		t.Errorf("got %v %v %v", cm.Data, cm.Labels, cm.Annotations)
	}
}

func conflict(t *testing.T, k *cluster) {
	other := k.labels()
	other[render.LabelOwnerName] = "xincheng"
	for name, l := range map[string]map[string]string{"unlabelled": nil, "of-another": other} {
		if err := k.c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: k.namespace, Labels: l}, Data: map[string]string{"key": "theirs"}}); err != nil {
			t.Fatal(err)
		}
	}
	k.fine(true, k.configMap("old", "1"))
	for _, name := range []string{"unlabelled", "of-another"} {
		r := k.run(true, k.configMap("mine", "1"), k.configMap(name, "1"), k.configMap("behind-"+name, "1"))
		if len(r.Conflicts) != 1 || r.Err != nil || r.Pruned != 0 || !strings.Contains(r.Conflicts[0], "ConfigMap "+k.namespace+"/"+name) {
			t.Errorf("%s: conflicts %q, error %v, pruned %d", name, r.Conflicts, r.Err, r.Pruned)
		}
		if !k.left()["behind-"+name] {
			t.Errorf("%s: what comes behind it was not applied", name)
		}
	}
	// A namespace of another's: nothing is put into it.
	inside := corev1ac.ConfigMap("inside", "kube-public").WithLabels(k.labels())
	r := k.run(true, corev1ac.Namespace("kube-public").WithLabels(k.labels()), inside, k.configMap("beside", "1"))
	if err := k.c.Get(t.Context(), types.NamespacedName{Namespace: "kube-public", Name: "inside"}, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("something was put into the namespace of another: %v", err)
	}
	if len(r.Conflicts) != 1 || r.Err != nil || !k.left()["beside"] {
		t.Errorf("namespace of another: %v, error %v", r.Conflicts, r.Err)
	}
	for _, name := range []string{"unlabelled", "of-another"} {
		if got := k.get(name); got.Data["key"] != "theirs" {
			t.Errorf("%s was taken over: %v", name, got.Data)
		}
	}
	if k.get("mine").Data["key"] != "1" || k.get("old").Data["key"] != "1" {
		t.Error("what came before a conflict suffers")
	}
	// What is not ours is let go of, not deleted, though it stands in the inventory.
	k.fine(true)
	if k.get("unlabelled").Data["key"] != "theirs" || k.get("of-another").Data["key"] != "theirs" || len(k.inventory) != 5 {
		t.Errorf("after the prune: inventory %v", k.inventory) // the five that were deleted, until seen gone
	}
	k.fine(true)
	if len(k.inventory) != 0 {
		t.Errorf("inventory %v", k.inventory)
	}
}

// A cache that does not show an object yet must not let it be taken over.
func lagging(t *testing.T, k *cluster) {
	if err := k.c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: k.namespace}, Data: map[string]string{"key": "theirs"}}); err != nil {
		t.Fatal(err)
	}
	e := k.engine()
	e.Live = func(context.Context, schema.GroupVersionKind, types.NamespacedName) (map[string]any, error) {
		return nil, nil
	}
	r := e.Run(t.Context(), apply.Set{Owner: k.owner, Objects: []render.Object{k.configMap("a", "1")}, Persist: k.persist})
	if len(r.Conflicts) != 1 || k.get("a").Data["key"] != "theirs" {
		t.Errorf("conflicts %v, error %v, data %v", r.Conflicts, r.Err, k.get("a").Data)
	}
}

// Random values are made once. A cache that does not show them yet makes others be rendered: those must not go over them.
func createOnly(t *testing.T, k *cluster) {
	once := func(value string) render.Object {
		return k.configMap("a", value).WithAnnotations(map[string]string{render.AnnotationCreateOnly: "true"})
	}
	k.expect("creation", k.fine(true, once("first")), []string{"status", "create a", "status"})
	e := k.engine()
	e.Live = func(context.Context, schema.GroupVersionKind, types.NamespacedName) (map[string]any, error) {
		return nil, nil
	}
	r := e.Run(t.Context(), apply.Set{Owner: k.owner, Objects: []render.Object{once("second")}, Inventory: k.inventory, Persist: k.persist})
	if r.Err != nil || r.Changed != 0 || k.get("a").Data["key"] != "first" {
		t.Errorf("error %v, changed %d, data %v", r.Err, r.Changed, k.get("a").Data)
	}
	// The first apply after the creation takes the fields over; from then on nothing is written.
	k.fine(true, once("first"))
	k.expect("unchanged", k.fine(true, once("first")), nil)
}

func prune(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"), k.configMap("b", "1"))
	k.expect("one less", k.fine(true, k.configMap("a", "1")), []string{"delete b"})
	k.expect("seen gone", k.fine(true, k.configMap("a", "1")), []string{"status"})
	k.expect("settled", k.fine(true, k.configMap("a", "1")), nil)
	if diff := cmp.Diff(map[string]string{"a": "map[key:1]", "inventory a": "ConfigMap"}, k.state()); diff != "" {
		t.Error(diff)
	}
	// Gone by another's hand.
	if err := k.c.Delete(t.Context(), k.get("a")); err != nil {
		t.Fatal(err)
	}
	k.expect("already gone", k.fine(true), []string{"status"})
}

func noPrune(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"), k.configMap("b", "1"))
	k.expect("open problems", k.fine(false, k.configMap("a", "1")), nil)
	k.get("b")
	bad := k.configMap("c", "1").WithName("Not A Name")
	if r := k.run(true, k.configMap("a", "1"), bad); r.Err == nil || r.Pruned != 0 {
		t.Errorf("a failed apply: %v, pruned %d", r.Err, r.Pruned)
	}
	k.get("b")
}

// An object that another made anew under the same name is not the one that we made.
func precondition(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"))
	was := k.get("a")
	if err := k.c.Delete(t.Context(), was); err != nil {
		t.Fatal(err)
	}
	again := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: k.namespace, Labels: k.labels()}, Data: map[string]string{"key": "new"}}
	if err := k.c.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	k.expect("made anew", k.fine(true), []string{"status"})
	if k.get("a").UID != again.UID {
		t.Error("it was deleted")
	}
	// The same between the look and the delete: the precondition holds it.
	k.inventory = []v1alpha1.InventoryEntry{{Version: "v1", Kind: "ConfigMap", Namespace: k.namespace, Name: "a", UID: string(was.UID)}}
	e := k.engine()
	e.Live = func(context.Context, schema.GroupVersionKind, types.NamespacedName) (map[string]any, error) {
		return runtime.DefaultUnstructuredConverter.ToUnstructured(was)
	}
	r := e.Finalize(t.Context(), k.owner, k.inventory, nil)
	if !apierrors.IsConflict(r.Err) || len(r.Inventory) != 1 {
		t.Errorf("got %v, inventory %v", r.Err, r.Inventory)
	}
	if k.get("a").UID != again.UID {
		t.Error("it was deleted")
	}
}

// What hangs in deletion stays in the inventory, and is neither applied to nor deleted again.
func deleting(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"))
	k.update("a", func(cm *corev1.ConfigMap) { cm.Finalizers = []string{"example.com/holds"} })
	k.expect("delete", k.fine(true), []string{"delete a"})
	k.expect("still there", k.fine(true), nil)
	if len(k.inventory) != 1 {
		t.Errorf("inventory %v", k.inventory)
	}
	k.writes = nil
	if r := k.run(true, k.configMap("a", "2")); r.Err == nil || len(k.writes) != 0 {
		t.Errorf("applied to what is being deleted: %v, %v", r.Err, k.writes)
	}
	k.update("a", func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
	k.expect("made anew", k.fine(true, k.configMap("a", "2")), []string{"apply a", "status"})
	k.state()
}

// Nothing is made that the status does not know already.
func writeAhead(t *testing.T, k *cluster) {
	failing := apply.Set{Owner: k.owner, Objects: []render.Object{k.configMap("a", "1")}, Prune: true,
		Persist: func(context.Context, []v1alpha1.InventoryEntry) error { return errors.New("status not written") }}
	if r := k.engine().Run(t.Context(), failing); r.Err == nil || len(k.writes) != 0 || len(r.Inventory) != 0 {
		t.Errorf("got %v, writes %v, inventory %v", r.Err, k.writes, r.Inventory)
	}
	k.dies = 1
	_ = k.run(true, k.configMap("a", "1"), k.configMap("b", "1"))
	k.dies = 0
	if len(k.inventory) != 2 || !slices.Equal(k.writes, []string{"status"}) {
		t.Errorf("killed after the write-ahead: inventory %v, writes %v", k.inventory, k.writes)
	}
}

// Killed after every single write, the end equals the undisturbed run.
func crashes(t *testing.T, k *cluster) {
	before := func(k *cluster) []render.Object {
		return []render.Object{k.configMap("same", "1"), k.configMap("changed", "1"), k.configMap("gone-1", "1"), k.configMap("gone-2", "1")}
	}
	after := func(k *cluster) []render.Object {
		return []render.Object{k.configMap("same", "1"), k.configMap("changed", "2"), k.configMap("new-1", "1"), k.configMap("new-2", "1")}
	}
	settle := func(k *cluster) {
		for range 5 {
			if len(k.fine(true, after(k)...)) == 0 {
				return
			}
		}
		k.t.Fatalf("does not settle; the last writes are %v", k.writes)
	}
	k.fine(true, before(k)...)
	settle(k)
	want := k.state()
	if len(want) != 8 {
		t.Fatalf("the undisturbed run ends in %v", want)
	}
	kills := 0
	for dies := 1; ; dies++ {
		x := newCluster(t, k.c, fmt.Sprintf("crash-%d", dies))
		x.owner.Namespace = k.owner.Namespace
		x.fine(true, before(x)...)
		x.writes, x.dies = nil, dies
		_ = x.run(true, after(x)...)
		if !x.dead() {
			break // the run has fewer writes
		}
		kills++
		x.dies = 0
		settle(x)
		if diff := cmp.Diff(want, x.state()); diff != "" {
			t.Errorf("killed after write %d: -want +got:\n%s", dies, diff)
		}
	}
	if kills != 7 { // write-ahead, three applies, two deletes, the status at the end
		t.Errorf("%d kills, want 7", kills)
	}
}

func finalize(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"), k.configMap("b", "1"), k.configMap("kept", "1"))
	gone := v1alpha1.InventoryEntry{Group: "example.com", Version: "v1", Kind: "Nothing", Namespace: k.namespace, Name: "x"}
	e := k.engine()
	live := e.Live
	e.Live = func(ctx context.Context, gvk schema.GroupVersionKind, key types.NamespacedName) (map[string]any, error) {
		if gvk.Group == "example.com" {
			return nil, &meta.NoKindMatchError{GroupKind: gvk.GroupKind()}
		}
		return live(ctx, gvk, key)
	}
	keep := func(e v1alpha1.InventoryEntry) bool { return e.Name == "kept" }
	k.writes = nil
	r := e.Finalize(t.Context(), k.owner, append(k.inventory, gone), keep)
	slices.Sort(k.writes)
	k.expect("finalize", k.writes, []string{"delete a", "delete b"})
	if r = e.Finalize(t.Context(), k.owner, r.Inventory, keep); r.Err != nil || len(r.Inventory) != 0 {
		t.Errorf("left: %v, %v", r.Inventory, r.Err)
	}
	if got := slices.Sorted(maps.Keys(k.left())); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("in the cluster: %v", got)
	}
}

func (k *cluster) left() map[string]bool {
	k.t.Helper()
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"})
	if err := k.c.List(k.t.Context(), &list, client.InNamespace(k.namespace), client.MatchingLabels(k.labels())); err != nil {
		k.t.Fatal(err)
	}
	out := map[string]bool{}
	for _, o := range list.Items {
		out[o.GetName()] = true
	}
	return out
}

// Whatever write of the first run was the last, the inventory alone is enough to clean up.
func finalizeAfterCrash(t *testing.T, k *cluster) {
	for dies := 1; dies <= 4; dies++ {
		k.inventory, k.writes, k.dies = nil, nil, dies
		_ = k.run(true, k.configMap("a", "1"), k.configMap("b", "1"))
		if !k.dead() {
			t.Fatalf("only %v", k.writes)
		}
		k.dies = 0
		for len(k.inventory) > 0 {
			r := k.engine().Finalize(t.Context(), k.owner, k.inventory, nil)
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			k.inventory = r.Inventory
		}
		if left := k.left(); len(left) > 0 {
			t.Errorf("killed after write %d: left %v", dies, left)
		}
	}
}

// A cache that shows neither the objects nor their namespace, because it lags or lost an event, must not let them be forgotten.
func finalizeBlind(t *testing.T, k *cluster) {
	k.fine(true, k.configMap("a", "1"), k.configMap("b", "1"))
	e := k.engine()
	e.Live = func(context.Context, schema.GroupVersionKind, types.NamespacedName) (map[string]any, error) {
		return nil, nil
	}
	for _, written := range []bool{true, false} { // as far as the UIDs, and only ahead
		inventory := slices.Clone(k.inventory)
		for i := range inventory {
			if !written {
				inventory[i].UID = ""
			}
		}
		if r := e.Finalize(t.Context(), k.owner, inventory, nil); r.Err != nil {
			t.Fatal(r.Err)
		}
		if left := k.left(); len(left) > 0 {
			t.Errorf("forgotten: %v", left)
		}
		k.fine(true, k.configMap("a", "1"), k.configMap("b", "1"))
	}
}
