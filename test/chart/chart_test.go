//go:build envtest

// Package chart tests the installation against a real kube-apiserver: what charts/dizuo renders, for its defaults and for every
// value, and what config/default holds for those without Helm. The defaults are installed; every other apply is a dry run over them,
// as an upgrade would be.
package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/test/apiserver"
)

const (
	chart     = "../../charts/dizuo"
	overlay   = "../../config/default"
	namespace = "dizuo-system"
)

var (
	server *apiserver.Server
	// version of the API server, such as v1.36.3.
	version string
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
	ctx := context.Background()
	certManager, err := apiserver.CertManagerCRDs()
	if err != nil {
		return 1, err
	}
	if server, err = apiserver.Start(ctx, "../controlplane/testdata/monitoring", certManager); err != nil {
		return 1, err
	}
	defer func() { _ = server.Stop() }()
	if version, err = apiVersion(); err != nil {
		return 1, err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := server.Client.Create(ctx, ns); err != nil {
		return 1, err
	}
	rendered, err := template("")
	if err != nil {
		return 1, err
	}
	objects, err := parse(rendered)
	if err != nil {
		return 1, err
	}
	for _, o := range objects {
		if err := apply(ctx, o); err != nil {
			return 1, fmt.Errorf("install %s: %w", id(o), err)
		}
	}
	return m.Run(), nil
}

// apply does what Helm does: it owns what it wrote, and takes away what it no longer writes.
func apply(ctx context.Context, o *unstructured.Unstructured, options ...client.ApplyOption) error {
	return server.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), append(options, client.FieldOwner("helm"), client.ForceOwnership)...)
}

func apiVersion() (string, error) {
	out, err := tool("kube-apiserver", "--version").Output()
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "Kubernetes "), err
}

// tool is a program of the local cluster's kit, without any cluster.
func tool(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), name), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null")
	return cmd
}

// template renders the chart with values, for the API server's version where no other is given.
func template(values string, args ...string) (string, error) {
	cmd := tool("helm", append([]string{"template", "dizuo", chart, "--namespace", namespace, "--values", "-", "--kube-version", version}, args...)...)
	cmd.Stdin = strings.NewReader(values)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s", stderr.String())
	}
	return string(out), nil
}

func mustTemplate(t *testing.T, values string) string {
	t.Helper()
	out, err := template(values)
	if err != nil {
		t.Fatalf("values %s: %v", values, err)
	}
	return out
}

// parse reads the objects of a stream of YAML documents.
func parse(text string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(doc), &u.Object); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there are no objects")
	}
	return out, nil
}

func mustParse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	out, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func id(o *unstructured.Unstructured) string {
	return o.GetKind() + "/" + o.GetName()
}

// judge lets the API server judge objects, and the pods that they would make.
func judge(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if err := apply(t.Context(), o, client.DryRunAll); err != nil {
			t.Errorf("%s: %v", id(o), err)
		}
		if o.GetKind() == "Deployment" {
			judgePod(t, o)
		}
	}
}

// judgePod creates a pod of a Deployment's template: Pod Security judges pods, and of a Deployment it only warns.
func judgePod(t *testing.T, deployment *unstructured.Unstructured) {
	t.Helper()
	template, _, err := unstructured.NestedMap(deployment.Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	pod := &unstructured.Unstructured{Object: template}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetName(deployment.GetName())
	pod.SetNamespace(deployment.GetNamespace())
	if err := server.Client.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Errorf("a pod of %s: %v", id(deployment), err)
	}
}

func TestDefaults(t *testing.T) {
	objects := mustParse(t, mustTemplate(t, ""))
	judge(t, objects)
	for _, want := range []string{"Deployment/dizuo-operator", "Service/dizuo-operator-metrics", "PodDisruptionBudget/dizuo-operator", "NetworkPolicy/dizuo-operator",
		"ClusterRole/dizuo-operator", "ClusterRole/dizuo-namespace", "ClusterRole/dizuo-workspace-admin", "ValidatingAdmissionPolicy/dizuo-deletion-protection", "ValidatingAdmissionPolicy/dizuo-edge-approval"} {
		if !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return id(o) == want }) {
			t.Errorf("%s is missing", want)
		}
	}
}

// TestPodSecurity shows that the namespace of these tests refuses what is not restricted.
func TestPodSecurity(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lax", Namespace: namespace}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "lax", Image: "lax"}}}}
	if err := server.Client.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a lax pod: %v", err)
	}
}

// TestKubeVersion asks Helm what the range in Chart.yaml holds.
func TestKubeVersion(t *testing.T) {
	if _, err := template(""); err != nil {
		t.Errorf("the API server is %s: %v", version, err)
	}
	for other, good := range map[string]bool{"v1.30.0": true, "v1.32.5-provider.7": true, "v1.29.14": false} {
		_, err := template("", "--kube-version", other)
		if good && err != nil {
			t.Errorf("%s: %v", other, err)
		}
		if !good && (err == nil || !strings.Contains(err.Error(), "requires kubeVersion")) {
			t.Errorf("%s is taken: %v", other, err)
		}
	}
}

// TestOverlay holds config/default against the chart: the same objects, but for labels that tell of Helm.
func TestOverlay(t *testing.T) {
	out, err := tool("kubectl", "kustomize", overlay).Output()
	if err != nil {
		t.Fatal(err)
	}
	built := mustParse(t, string(out))
	judge(t, built)

	want := map[string]*unstructured.Unstructured{}
	for _, o := range mustParse(t, mustTemplate(t, "")) {
		want[id(o)] = o
	}
	files, err := filepath.Glob(chart + "/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d CRDs", err, len(files))
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range mustParse(t, string(raw)) {
			want[id(o)] = o
		}
	}
	for _, o := range built {
		if o.GetKind() == "Namespace" && o.GetName() == namespace {
			if o.GetLabels()["pod-security.kubernetes.io/enforce"] != "restricted" {
				t.Errorf("the namespace's labels are %v", o.GetLabels())
			}
			delete(want, id(o))
			continue
		}
		w := want[id(o)]
		delete(want, id(o))
		if w == nil {
			t.Errorf("%s is not in the chart", id(o))
			continue
		}
		if a, b := withoutHelm(t, o), withoutHelm(t, w); a != b {
			t.Errorf("%s differs from the chart's: run `make manifests`\n%s\n%s", id(o), a, b)
		}
	}
	for _, missing := range slices.Sorted(maps.Keys(want)) {
		t.Errorf("%s is in the chart and not in %s: run `make manifests`, and list CRDs in config/crd", missing, overlay)
	}
}

// withoutHelm prints an object without the labels by which Helm and kubectl differ.
func withoutHelm(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	o = o.DeepCopy()
	for _, fields := range [][]string{{"metadata", "labels"}, {"spec", "template", "metadata", "labels"}} {
		unstructured.RemoveNestedField(o.Object, append(fields, "helm.sh/chart")...)
		unstructured.RemoveNestedField(o.Object, append(fields, "app.kubernetes.io/managed-by")...)
	}
	raw, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestNotes reads what Helm says after an installation.
func TestNotes(t *testing.T) {
	for ns, want := range map[string]string{namespace: "dizuo admit NAMESPACE | kubectl", "elsewhere": "dizuo admit NAMESPACE --system-namespace elsewhere | kubectl"} {
		cmd := tool("helm", "install", "dizuo", chart, "--namespace", ns, "--dry-run=client")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, notes, _ := strings.Cut(string(out), "NOTES:")
		if !strings.Contains(notes, want) {
			t.Errorf("namespace %s: the notes do not say %q:\n%s", ns, want, notes)
		}
	}
}
