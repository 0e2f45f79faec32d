//go:build envtest

// Package envtest holds what the API says against a real kube-apiserver: the CRDs install, the samples are taken, what is
// wrong is refused with words that help, and a digest made from a file is the digest of what the server stores.
package envtest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/schema"
)

// root of the checkout.
const root = "../.."

// TestAPI starts one server for all that follows.
func TestAPI(t *testing.T) {
	env := &envtest.Environment{CRDDirectoryPaths: []string{root + "/config/crd"}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	samples := documents(t, root+"/config/samples", root+"/config/profiles", root+"/config/scenarios")
	namespaces(t, c, samples)
	t.Run("samples", func(t *testing.T) { testSamples(t, c, samples) })
	t.Run("invalid", func(t *testing.T) { testInvalid(t, c) })
	t.Run("immutable", func(t *testing.T) { testImmutable(t, c) })
	t.Run("digest", func(t *testing.T) { testDigest(t, c, samples) })
}

// document is an object in a file.
type document struct {
	*unstructured.Unstructured
	file, text string
}

// documents reads all objects of the YAML files below some folders. Objects without a namespace get "default".
func documents(t *testing.T, dirs ...string) []document {
	t.Helper()
	var out []document
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".yaml" || e.Name() == "kustomization.yaml" {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, text := range strings.Split("\n"+string(raw), "\n---\n") {
				json, err := yaml.YAMLToJSON([]byte(text))
				if err != nil {
					return err
				}
				var o map[string]any
				if err := utiljson.Unmarshal(json, &o); err != nil {
					return err
				}
				if len(o) == 0 {
					continue
				}
				u := &unstructured.Unstructured{Object: o}
				if u.GetNamespace() == "" && u.GetKind() != "Namespace" {
					u.SetNamespace("default")
				}
				out = append(out, document{u, path, text})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// namespaces makes every namespace that a sample uses.
func namespaces(t *testing.T, c client.Client, samples []document) {
	t.Helper()
	for _, d := range samples {
		ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
		ns.SetName(d.GetNamespace())
		if d.GetKind() == "Namespace" {
			ns.SetName(d.GetName())
		}
		if err := c.Create(context.Background(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// testSamples: a server-side dry run takes every object of every sample, as `kubectl apply --server-side --dry-run=server`.
func testSamples(t *testing.T, c client.Client, samples []document) {
	kinds := map[string]int{}
	for _, d := range samples {
		o := d.DeepCopy()
		err := c.Apply(context.Background(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership, client.DryRunAll)
		if err != nil {
			t.Errorf("%s: %s/%s: %v", d.file, d.GetKind(), d.GetName(), err)
		}
		kinds[d.GetKind()]++
	}
	for _, kind := range schema.Kinds() {
		if kinds[kind] == 0 && kind != "EdgeNode" {
			t.Errorf("no sample holds a %s", kind)
		}
	}
}

var (
	wantField = regexp.MustCompile(`(?m)^# field: (.*)$`)
	wantSays  = regexp.MustCompile(`(?m)^# says: (.*)$`)
)

// testInvalid: each file of testdata/invalid is refused, in words that name the field and what to write instead. Its first
// lines hold both: "# field:" (several that would do, divided by |) and "# says:".
func testInvalid(t *testing.T, c client.Client) {
	docs := documents(t, "testdata/invalid")
	if len(docs) < 10 {
		t.Fatalf("%d objects in testdata/invalid, want 10 or more", len(docs))
	}
	for _, d := range docs {
		t.Run(filepath.Base(d.file), func(t *testing.T) {
			field, says := wantField.FindStringSubmatch(d.text), wantSays.FindStringSubmatch(d.text)
			if field == nil || says == nil {
				t.Fatal("the file does not say `# field:` and `# says:`")
			}
			err := c.Create(context.Background(), d.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict"))
			if err == nil {
				t.Fatal("the API server takes it")
			}
			named := false
			for _, f := range strings.Split(field[1], "|") {
				named = named || strings.Contains(err.Error(), f)
			}
			if !named || !strings.Contains(err.Error(), says[1]) {
				t.Errorf("want field %s and %q in: %v", field[1], says[1], err)
			}
		})
	}
}

// testImmutable: what rights depend on cannot change under them.
func testImmutable(t *testing.T, c client.Client) {
	ctx := context.Background()
	o := &v1alpha1.Organization{}
	o.Name, o.Namespace = "becomes-police", "default"
	o.Spec.Type, o.Spec.Jurisdiction = "Company", nil
	if err := c.Create(ctx, o); err != nil {
		t.Fatal(err)
	}
	o.Spec.Type = "Police"
	if err := c.Update(ctx, o); err == nil || !strings.Contains(err.Error(), "make a new Organization with the other type") {
		t.Errorf("type of an Organization changed, or was refused in other words: %v", err)
	}
}

// testDigest: the digest of an agreement in a file, with the defaults of internal/schema, is the digest of what the API
// server stores. Every approval rests on that.
func testDigest(t *testing.T, c client.Client, samples []document) {
	k, err := schema.For("DataSharingAgreement")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, d := range samples {
		if d.GetKind() != "DataSharingAgreement" {
			continue
		}
		seen++
		prepared, err := k.Prepare(d.DeepCopy().Object)
		if err != nil {
			t.Fatal(err)
		}
		var offline, stored v1alpha1.DataSharingAgreement
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(prepared.Object, &offline); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(context.Background(), d.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(d), &stored); err != nil {
			t.Fatal(err)
		}
		want, err := approval.Digest(&stored)
		if err != nil {
			t.Fatal(err)
		}
		got, err := approval.Digest(&offline)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: digest from the file %s, of the stored object %s", d.file, got, want)
		}
		// The test can fail: another purpose is another digest.
		offline.Spec.Purposes = append(offline.Spec.Purposes, "Other")
		if other, err := approval.Digest(&offline); err != nil || other == want {
			t.Errorf("%s: the digest does not depend on the purposes (%v)", d.file, err)
		}
	}
	if seen < 3 {
		t.Errorf("%d agreements in the samples, want 3 or more", seen)
	}
}
