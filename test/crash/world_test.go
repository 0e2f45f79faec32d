//go:build envtest

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/test/apiserver"
)

// world is a copy of a sample in namespaces of its own.
type world struct {
	t      *testing.T
	prefix string
	sample string
	// perturb disturbs what the operator sees.
	perturb func(http.RoundTripper) http.RoundTripper
}

func newWorld(t *testing.T, sample, prefix string) *world {
	t.Helper()
	return &world{t: t, prefix: prefix + "-", sample: sample, perturb: func(next http.RoundTripper) http.RoundTripper { return next }}
}

// objects reads the files of a folder of the sample, with its namespaces renamed.
func (w *world) objects(folder string) []*unstructured.Unstructured {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("%s: %v", folder, err)
	}
	var out []*unstructured.Unstructured
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &u.Object); err != nil {
				w.t.Fatalf("%s: %v", file, err)
			}
			if len(u.Object) > 0 && u.GetKind() != "Kustomization" {
				w.rename(u)
				out = append(out, u)
			}
		}
	}
	// What others stand in, or are admitted by, comes first.
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return out
}

func rank(u *unstructured.Unstructured) int {
	switch u.GetKind() {
	case "Namespace":
		return 0
	case "RoleBinding", "Role":
		return 1
	}
	return 2
}

func (w *world) rename(u *unstructured.Unstructured) {
	if u.GetKind() == "Namespace" {
		u.SetName(w.prefix + u.GetName())
	} else {
		u.SetNamespace(w.prefix + u.GetNamespace())
	}
	if home, ok := u.GetLabels()["dizuo.io/platform"]; ok {
		labels := u.GetLabels()
		labels["dizuo.io/platform"] = w.prefix + home
		u.SetLabels(labels)
	}
	members, found, _ := unstructured.NestedSlice(u.Object, "spec", "members")
	if !found {
		return
	}
	for _, m := range members {
		member := m.(map[string]any)
		member["namespace"] = w.prefix + member["namespace"].(string)
	}
	if err := unstructured.SetNestedSlice(u.Object, members, "spec", "members"); err != nil {
		w.t.Fatal(err)
	}
}

// everywhere gives the namespaces of the world, those of workspaces included, whether they are there or not.
func (w *world) everywhere() []string {
	out := map[string]bool{}
	for _, o := range append(w.before(), w.after()...) {
		switch o.GetKind() {
		case "Namespace":
			out[o.GetName()] = true
		case "Community":
			out[o.GetNamespace()+"-"+o.GetName()] = true
		}
	}
	var names []string
	for ns := range out {
		names = append(names, ns)
	}
	return names
}

// pilots is the sample of ten communities; its change is made here: a community with a workspace, a fleet, an organisation and an
// agreement go, and another community asks for a workspace.
const pilots = "henan-pilots"

func (w *world) before() []*unstructured.Unstructured {
	if w.sample == pilots {
		return w.objects(filepath.Join("..", "..", "config", "samples", pilots))
	}
	return w.objects(filepath.Join("testdata", w.sample, "before"))
}

func (w *world) after() []*unstructured.Unstructured {
	if w.sample != pilots {
		return w.objects(filepath.Join("testdata", w.sample, "after"))
	}
	var out []*unstructured.Unstructured
	for _, o := range w.before() {
		switch o.GetKind() + " " + o.GetName() {
		case "Community jinghu", "DeviceFleet doors", "Organization door-vendor", "DataSharingAgreement property-elder-visits":
			continue
		case "Community xudian":
			if err := unstructured.SetNestedMap(o.Object, map[string]any{}, "spec", "workspace"); err != nil {
				w.t.Fatal(err)
			}
		}
		out = append(out, o)
	}
	return out
}

const person = client.FieldOwner("kubectl")

// apply applies objects, and deletes of those of group dizuo.io what is not among them, as a prune does.
func (w *world) apply(objects []*unstructured.Unstructured) {
	w.t.Helper()
	wanted := map[string]bool{}
	for _, o := range objects {
		wanted[id(o)] = true
		if err := server.Client.Apply(w.t.Context(), client.ApplyConfigurationFromUnstructured(o), person, client.ForceOwnership); err != nil {
			w.t.Fatalf("%s: %v", id(o), err)
		}
	}
	for _, o := range w.list(ours...) {
		if !wanted[id(o)] {
			w.delete(o)
		}
	}
}

// remove deletes all objects of group dizuo.io, members before their platform or not, as it comes.
func (w *world) remove() {
	for _, o := range w.list(ours...) {
		w.delete(o)
	}
}

func (w *world) delete(o *unstructured.Unstructured) {
	w.t.Helper()
	if o.GetKind() == "GridPlatform" {
		off := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"deletionProtection":false}}`))
		if err := server.Client.Patch(w.t.Context(), o, off); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := server.Client.Delete(w.t.Context(), o); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
}

// clear takes the world away, without an operator: the controllers of Kubernetes do the rest.
func (w *world) clear() {
	for _, o := range w.list(ours...) {
		if len(o.GetFinalizers()) > 0 {
			_ = server.Client.Patch(w.t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
		}
	}
	for _, ns := range w.list(kind("", "v1", "Namespace")) {
		_ = server.Client.Delete(w.t.Context(), ns)
	}
}

func kind(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

var (
	ours = []schema.GroupVersionKind{
		kind("dizuo.io", "v1alpha1", "GridPlatform"), kind("dizuo.io", "v1alpha1", "Community"), kind("dizuo.io", "v1alpha1", "Organization"),
		kind("dizuo.io", "v1alpha1", "DeviceProfile"), kind("dizuo.io", "v1alpha1", "DeviceFleet"), kind("dizuo.io", "v1alpha1", "Scenario"),
		kind("dizuo.io", "v1alpha1", "Dataset"), kind("dizuo.io", "v1alpha1", "DataSharingAgreement"),
	}
	// children are all kinds that the operator makes, and those that cert-manager makes of them.
	children = []schema.GroupVersionKind{
		kind("", "v1", "Namespace"), kind("", "v1", "ConfigMap"), kind("", "v1", "Secret"), kind("", "v1", "Service"), kind("", "v1", "ResourceQuota"),
		kind("", "v1", "LimitRange"), kind("apps", "v1", "Deployment"), kind("apps", "v1", "StatefulSet"), kind("networking.k8s.io", "v1", "NetworkPolicy"),
		kind("rbac.authorization.k8s.io", "v1", "RoleBinding"), kind("policy", "v1", "PodDisruptionBudget"), kind("batch", "v1", "Job"), kind("cert-manager.io", "v1", "Issuer"), kind("cert-manager.io", "v1", "Certificate"),
	}
)

// list gives the world's objects of some kinds, as the API server has them.
func (w *world) list(kinds ...schema.GroupVersionKind) []*unstructured.Unstructured {
	w.t.Helper()
	return w.read(server.Client, kinds)
}

func (w *world) read(from client.Reader, kinds []schema.GroupVersionKind) []*unstructured.Unstructured {
	w.t.Helper()
	var out []*unstructured.Unstructured
	for _, gvk := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk)
		if err := from.List(context.Background(), list); err != nil {
			w.t.Fatal(err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			if strings.HasPrefix(o.GetNamespace()+o.GetName(), w.prefix) {
				out = append(out, o)
			}
		}
	}
	return out
}

func id(o *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

// state gives all that the world is, without what differs between two runs that went well: times, UIDs, random values and the
// world's own prefix.
func (w *world) state() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	// From a cache of the test's own: asking the API server again and again would keep it from its work.
	for _, o := range w.read(watched, append(slices.Clone(ours), children...)) {
		if o.GetName() == "kube-root-ca.crt" {
			continue
		}
		raw, err := json.Marshal(essence(o))
		if err != nil {
			w.t.Fatal(err)
		}
		out[strings.ReplaceAll(id(o), w.prefix, "")] = strings.ReplaceAll(string(raw), w.prefix, "")
	}
	return out
}

// essence gives what of an object must be the same after every run.
func essence(o *unstructured.Unstructured) map[string]any {
	annotations := o.GetAnnotations()
	for key := range annotations {
		if key == "dizuo.io/rendered" || strings.HasPrefix(key, "cert-manager.io/") { // the hash is of names, too
			delete(annotations, key)
		}
	}
	unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "annotations", "dizuo.io/config-hash")
	out := map[string]any{"labels": o.GetLabels(), "annotations": annotations, "finalizers": o.GetFinalizers(), "deleting": o.GetDeletionTimestamp() != nil,
		"subjects": o.Object["subjects"], "roleRef": o.Object["roleRef"]}
	spec, _ := o.Object["spec"].(map[string]any)
	delete(spec, "clusterIP")
	delete(spec, "clusterIPs")
	out["spec"] = spec
	data := map[string]any{}
	values, _ := o.Object["data"].(map[string]any)
	for key, v := range values {
		if data[key] = v; o.GetKind() == "Secret" || key == "trust.pem" {
			data[key] = v != ""
		}
	}
	out["data"] = data
	if o.GroupVersionKind().Group == "dizuo.io" {
		out["status"] = said(o)
	}
	return out
}

// said gives what a status says, without times, UIDs and what is of keys that are new in every run.
func said(o *unstructured.Unstructured) map[string]any {
	status, _ := o.Object["status"].(map[string]any)
	out := map[string]any{}
	for key, v := range status {
		list, _ := v.([]any)
		for _, item := range list {
			m, ok := item.(map[string]any)
			if !ok {
				continue
			}
			delete(m, "lastTransitionTime")
			delete(m, "since")
			for _, ofTheRun := range []string{"uid", "keyFingerprint", "notAfter"} {
				if v, ok := m[ofTheRun].(string); ok {
					m[ofTheRun] = v != ""
				}
			}
		}
		switch key {
		case "lastReports":
		case "digest": // covers the platform's namespace, which every world has of its own
			out[key] = v != ""
		case "caFingerprints":
			out[key] = len(list)
		default:
			out[key] = v
		}
	}
	return out
}

// becomes waits until the world is in a state, or stop is closed; what differs last is the failure.
func (w *world) becomes(want map[string]string, stop <-chan struct{}) error {
	w.t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		got := w.state()
		if cmp.Equal(want, got) {
			return nil
		}
		select {
		case <-stop:
			return errDead
		case <-deadline:
			return fmt.Errorf("-undisturbed +got:\n%s", cmp.Diff(want, got))
		case <-poll.C:
		}
	}
}

// patience bounds how long an operator may take to bring a world to where it should be.
const patience = 120 * time.Second

// settled gives the state when nothing is being deleted and neither it nor the operator's writes changed for a while. It serves the undisturbed run alone:
// all others are held against what it gives.
func (w *world) settled(o *operator) map[string]string {
	w.t.Helper()
	last, writes, since := w.state(), o.written(), time.Now()
	for time.Since(since) < 3*time.Second {
		time.Sleep(200 * time.Millisecond)
		if now, n := w.state(), o.written(); n != writes || !cmp.Equal(last, now) || deleting(now) {
			last, writes, since = now, n, time.Now()
		}
	}
	return last
}

func deleting(state map[string]string) bool {
	for _, o := range state {
		if strings.Contains(o, `"deleting":true`) {
			return true
		}
	}
	return false
}

var (
	server  *apiserver.Server
	watched cache.Cache
)
