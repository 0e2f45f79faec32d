//go:build envtest

package schema

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// server starts etcd and kube-apiserver from the folder KUBEBUILDER_ASSETS, with the CRDs.
func server(t *testing.T) client.Client {
	t.Helper()
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return client.NewNamespacedClient(c, "default")
}

// objects reads every object of the group in the samples and the catalogue.
func objects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, root := range []string{"../../config/samples", "../../config/profiles", "../../config/scenarios"} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, doc := range strings.Split("\n"+string(raw), "\n---\n") {
				text, err := yaml.YAMLToJSON([]byte(doc))
				if err != nil {
					return err
				}
				var o map[string]any
				if err := utiljson.Unmarshal(text, &o); err != nil {
					return err
				}
				if u := (&unstructured.Unstructured{Object: o}); strings.HasPrefix(u.GetAPIVersion(), "dizuo.io/") {
					u.SetNamespace("default")
					u.SetAnnotations(nil)
					out = append(out, u)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// What Prepare and Validate say offline must be what a real API server stores and refuses: the digests of agreements, and so
// every approval, rest on it.
func TestSameAsAPIServer(t *testing.T) {
	ctx := context.Background()
	c := server(t)
	if err := c.Get(ctx, client.ObjectKey{Name: "default"}, &corev1.Namespace{}); err != nil {
		t.Fatal(err)
	}
	for i, o := range append(objects(t), wrong()...) {
		t.Run(o.GetKind()+"/"+o.GetName(), func(t *testing.T) {
			k, err := For(o.GetKind())
			if err != nil {
				t.Fatal(err)
			}
			prepared, err := k.Prepare(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			errs := k.Validate(ctx, prepared.Object)
			stored := o.DeepCopy()
			err = c.Create(ctx, stored, client.FieldValidation("Strict")) // as kubectl does
			if offline := len(errs) == 0 && len(prepared.Unknown) == 0; offline != (err == nil) {
				t.Fatalf("%d: offline %v %v, API server: %v", i, errs, prepared.Unknown, err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(stored.Object["spec"], prepared.Object["spec"]); diff != "" {
				t.Errorf("-stored +offline:\n%s", diff)
			}
			if err := c.Delete(ctx, stored); err != nil {
				t.Error(err)
			}
		})
	}
}

// wrong gives objects that must be refused by both.
func wrong() []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for kind, specs := range map[string][]map[string]any{
		"Community": {
			{}, {"division": "41"}, {"division": "410221001001", "committee": "Rural"}, {"division": "410221001001", "nope": "x"},
			{"division": "410221001001", "grids": []any{map[string]any{"name": "a"}, map[string]any{"name": "a"}}},
		},
		"GridPlatform": {
			{"divisions": []any{"41"}, "profile": "HighAvailability"}, {"divisions": []any{}}, {"divisions": []any{"41", "41"}},
			{"divisions": []any{"41"}, "broker": map[string]any{"storage": map[string]any{"size": "much"}}},
			{"divisions": []any{"41"}, "lease": map[string]any{"center": "1s"}},
		},
		"DeviceFleet": {{"profileRef": map[string]any{"name": "p"}, "inventory": map[string]any{"rows": []any{map[string]any{"device": "d", "via": "a.b"}}}}},
	} {
		for i, spec := range specs {
			o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "dizuo.io/v1alpha1", "kind": kind, "spec": spec}}
			o.SetName("wrong-" + string(rune('a'+i)))
			o.SetNamespace("default")
			out = append(out, o)
		}
	}
	return out
}
