package render_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/render"
)

// A case is testdata/<name>.in.yaml, what people write, and testdata/<name>.out.yaml, what is rendered for it, in the order
// in which it is applied. `go test -update` writes the second. Secrets of the cluster (passwords, issued certificates) are
// told apart by their values: secret-<n> must never leave a Secret.
var update = flag.Bool("update", false, "write the golden files")

func TestGolden(t *testing.T) {
	for name, p := range platforms(t) {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, o := range p.Render() {
				raw, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				out.WriteString("---\n" + string(raw))
			}
			path := filepath.Join("testdata", name+".out.yaml")
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; write it with -update", err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// platforms compiles every case.
func platforms(t *testing.T) map[string]*offline.Platform {
	t.Helper()
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	out := map[string]*offline.Platform{}
	for _, in := range inputs {
		out[strings.TrimSuffix(filepath.Base(in), ".in.yaml")] = platform(t, in, compile.GroupBarman)
	}
	return out
}

// platform compiles one case, with API groups that are not served.
func platform(t *testing.T, path string, missing ...string) *offline.Platform {
	t.Helper()
	ctx := context.Background()
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	set, err := offline.Load(ctx, offline.Source{Paths: []string{path}}, "henan")
	if err != nil {
		t.Fatal(err)
	}
	result, err := offline.Compile(ctx, set, offline.Options{
		Now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Catalog: catalog, Images: compile.Images{Node: "node:test", Postgres: "postgres:test"},
		MissingAPIs: missing,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Platforms) != 1 || len(result.Findings) > 0 {
		t.Fatalf("%s: %d platforms, findings %v", path, len(result.Platforms), result.Findings)
	}
	return result.Platforms[0]
}

// objects gives what is rendered for a platform, as JSON values.
func objects(t *testing.T, p *offline.Platform) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, o := range p.Render() {
		out = append(out, toUnstructured(t, o))
	}
	if len(out) == 0 {
		t.Fatal("nothing is rendered")
	}
	return out
}

func toUnstructured(t *testing.T, o render.Object) *unstructured.Unstructured {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return u
}

func name(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
}

// Every object says whose it is: apply refuses to touch, and prune to delete, what does not.
func TestEveryObjectNamesItsOwner(t *testing.T) {
	for caseName, p := range platforms(t) {
		seen := map[string]bool{}
		for _, u := range objects(t, p) {
			l := u.GetLabels()
			if l[render.LabelManagedBy] != render.ManagedBy || l[render.LabelPartOf] != "dizuo" ||
				l[render.LabelOwnerKind] == "" || l[render.LabelOwnerNamespace] == "" || l[render.LabelOwnerName] == "" {
				t.Errorf("%s: %s: labels %v", caseName, name(u), l)
			}
			for key, value := range l {
				if wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(wrong) > 0 {
					t.Errorf("%s: %s: label %s=%s: %v", caseName, name(u), key, value, wrong)
				}
			}
			if u.GetAPIVersion() == "" || u.GetName() == "" || (u.GetNamespace() == "") != (u.GetKind() == "Namespace") {
				t.Errorf("%s: %s: apiVersion %q", caseName, name(u), u.GetAPIVersion())
			}
			if seen[u.GroupVersionKind().Group+name(u)] {
				t.Errorf("%s: %s is rendered twice", caseName, name(u))
			}
			seen[u.GroupVersionKind().Group+name(u)] = true
		}
	}
}

// Applying an object overwrites it with the server's answer, so what one call gave must not show in what the next gives.
func TestEachCallGivesNewObjects(t *testing.T) {
	for caseName, p := range platforms(t) {
		var first, again []any
		for _, o := range p.Render() {
			first = append(first, toUnstructured(t, o).Object)
		}
		for _, o := range p.Render() {
			spoil(t, o)
		}
		for _, o := range p.Render() {
			again = append(again, toUnstructured(t, o).Object)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%s: what was done to the objects of one call shows in the next:\n%s", caseName, diff)
		}
	}
}

// spoil overwrites an object as a server's answer does: the decoder fills maps that are there in place.
func spoil(t *testing.T, o render.Object) {
	t.Helper()
	answer := toUnstructured(t, o)
	answer.SetLabels(map[string]string{render.LabelOwnerName: "spoilt", "spoilt": "yes"})
	answer.SetAnnotations(map[string]string{"spoilt": "yes"})
	for _, path := range [][]string{{"data"}, {"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}, {"spec", "template", "metadata", "labels"}, {"spec", "hard"}} {
		if _, found, _ := unstructured.NestedMap(answer.Object, path...); found {
			if err := unstructured.SetNestedField(answer.Object, "c3BvaWx0", append(path, "spoilt")...); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, err := answer.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, o); err != nil && !strings.Contains(err.Error(), "quantit") {
		t.Fatal(err)
	}
}

// No value of a Secret may stand in anything but a Secret: everybody who may read the namespace reads ConfigMaps and pods.
func TestNoSecretLeavesASecret(t *testing.T) {
	for caseName, p := range platforms(t) {
		secret := regexp.MustCompile(`secret-[0-9]+`)
		mark(p)
		kept := 0
		for _, u := range objects(t, p) {
			if u.GetKind() == "Secret" {
				raw, err := json.Marshal(typed[corev1.Secret](t, u).Data)
				if err != nil || len(raw) == 0 {
					t.Fatal(err)
				}
				kept += len(typed[corev1.Secret](t, u).Data)
				continue
			}
			raw, err := u.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if found := secret.Find(raw); found != nil {
				t.Errorf("%s: %s holds %s", caseName, name(u), found)
			}
		}
		if kept == 0 {
			t.Errorf("%s: no Secret is rendered, so nothing was checked", caseName)
		}
	}
}

// mark gives every secret value of a platform's plans a text that can be found again, and compiles anew.
func mark(p *offline.Platform) {
	n := 0
	next := func() []byte {
		n++
		return []byte("secret-" + string(rune('0'+n/100%10)) + string(rune('0'+n/10%10)) + string(rune('0'+n%10)))
	}
	for _, data := range p.Snapshot.Generated {
		for key := range data {
			if key != "public" {
				data[key] = next()
			}
		}
	}
	for _, data := range p.Snapshot.Secrets {
		for _, key := range []string{"tls.key", "secret"} {
			if data[key] != nil {
				data[key] = next()
			}
		}
	}
	trust := p.Plan.TrustPEM
	p.Plan, _ = compile.Platform(p.Snapshot)
	p.Plan.TrustPEM = trust
}

// Each node's configuration must load strictly, and every path in it must lie in a volume that the pod mounts.
func TestNodeConfigurationsLoad(t *testing.T) {
	for caseName, p := range platforms(t) {
		roles := map[contract.Role]bool{}
		list := objects(t, p)
		for _, u := range list {
			text, found, _ := unstructured.NestedString(u.Object, "data", "node.yaml")
			if u.GetKind() != "ConfigMap" || !found {
				continue
			}
			path := filepath.Join(t.TempDir(), "node.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := process.Load(path)
			if err != nil {
				t.Errorf("%s: %s: %v", caseName, name(u), err)
				continue
			}
			roles[c.Role] = true
			if want := p.Object.GetNamespace() + "/" + p.Object.GetName(); c.Platform != want || c.Scope != contract.ScopeCenter {
				t.Errorf("%s: %s: platform %q, scope %q", caseName, name(u), c.Platform, c.Scope)
			}
			pod := podOf(t, list, "dizuo-"+string(c.Role))
			for _, path := range regexp.MustCompile(`: (/\S+)`).FindAllStringSubmatch(text, -1) {
				if !mounted(pod, path[1]) {
					t.Errorf("%s: %s: %s lies in no volume of the pod", caseName, name(u), path[1])
				}
			}
		}
		for _, role := range []contract.Role{contract.RoleBroker, contract.RoleAuth, contract.RoleGrid, contract.RoleGateway} {
			if !roles[role] {
				t.Errorf("%s: no configuration of role %s", caseName, role)
			}
		}
	}
}

func podOf(t *testing.T, list []*unstructured.Unstructured, workload string) corev1.PodSpec {
	t.Helper()
	for _, u := range list {
		if u.GetName() == workload && (u.GetKind() == "Deployment" || u.GetKind() == "StatefulSet") {
			return template(t, u).Spec
		}
	}
	t.Fatalf("no workload %s", workload)
	return corev1.PodSpec{}
}

func template(t *testing.T, u *unstructured.Unstructured) corev1.PodTemplateSpec {
	t.Helper()
	return typed[struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}](t, u).Spec.Template
}

func mounted(pod corev1.PodSpec, path string) bool {
	return slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
		return path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/")
	})
}

func typed[T any](t *testing.T, u *unstructured.Unstructured) T {
	t.Helper()
	var out T
	raw, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
