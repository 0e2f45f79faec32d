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
	t.Run("fields of a profile", func(t *testing.T) { testProfileFields(t, c) })
	t.Run("digest", func(t *testing.T) { testDigest(t, c, samples) })
	t.Run("bundles", func(t *testing.T) { testBundlesEndpoint(t, config) })
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
		if kinds[kind] == 0 {
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

// testProfileFields: within a schemaVersion an optional field may be added and nothing else may change: devices of it are in the field.
func testProfileFields(t *testing.T, c client.Client) {
	ctx, no := context.Background(), false
	for name, tc := range map[string]struct {
		change func(*v1alpha1.DeviceProfileSpec)
		ok     bool
	}{
		"an optional field": {func(s *v1alpha1.DeviceProfileSpec) {
			s.Fields = append(s.Fields, v1alpha1.ProfileField{Name: "tilt", Type: v1alpha1.FieldBoolean, Required: &no})
		}, true},
		"what people read": {func(s *v1alpha1.DeviceProfileSpec) { s.Fields[0].DisplayName = "温度" }, true},
		"the heartbeat":    {func(s *v1alpha1.DeviceProfileSpec) { s.MissedHeartbeats = 5 }, true},
		"a required field": {func(s *v1alpha1.DeviceProfileSpec) {
			yes := true
			s.Fields = append(s.Fields, v1alpha1.ProfileField{Name: "tilt", Type: v1alpha1.FieldBoolean, Required: &yes})
		}, false},
		"a field less":   {func(s *v1alpha1.DeviceProfileSpec) { s.Fields = s.Fields[:1] }, false},
		"another type":   {func(s *v1alpha1.DeviceProfileSpec) { s.Fields[1].Type = v1alpha1.FieldString; s.Fields[1].Enum = nil }, false},
		"another unit":   {func(s *v1alpha1.DeviceProfileSpec) { s.Fields[0].Unit = "K" }, false},
		"another bound":  {func(s *v1alpha1.DeviceProfileSpec) { s.Fields[0].Max = "90" }, false},
		"one value more": {func(s *v1alpha1.DeviceProfileSpec) { s.Fields[1].Enum = append(s.Fields[1].Enum, "c") }, false},
		"a new version":  {func(s *v1alpha1.DeviceProfileSpec) { s.SchemaVersion, s.Fields = 2, s.Fields[:1] }, true},
		"a version less": {func(s *v1alpha1.DeviceProfileSpec) { s.SchemaVersion = 0 }, true}, // the default again: 1
	} {
		t.Run(name, func(t *testing.T) {
			o := &v1alpha1.DeviceProfile{}
			o.GenerateName, o.Namespace = "p-", "default"
			o.Spec = v1alpha1.DeviceProfileSpec{Category: "Own", SchemaVersion: 1, Fields: []v1alpha1.ProfileField{
				{Name: "temperature", Type: v1alpha1.FieldNumber, Unit: "Cel", Min: "-40", Max: "85"}, {Name: "mode", Type: v1alpha1.FieldEnum, Enum: []string{"a", "b"}}}}
			if err := c.Create(ctx, o); err != nil {
				t.Fatal(err)
			}
			tc.change(&o.Spec)
			err := c.Update(ctx, o)
			if tc.ok && err != nil {
				t.Error(err)
			}
			if !tc.ok && (err == nil || !strings.Contains(err.Error(), "raise schemaVersion")) {
				t.Errorf("taken, or refused in other words: %v", err)
			}
		})
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
		relied := approval.Relied{} // of the Datasets: testRelied
		want, err := approval.Digest(&stored, relied)
		if err != nil {
			t.Fatal(err)
		}
		got, err := approval.Digest(&offline, relied)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: digest from the file %s, of the stored object %s", d.file, got, want)
		}
		// The test can fail: another purpose is another digest.
		offline.Spec.Purposes = append(offline.Spec.Purposes, "Other")
		if other, err := approval.Digest(&offline, relied); err != nil || other == want {
			t.Errorf("%s: the digest does not depend on the purposes (%v)", d.file, err)
		}
	}
	if seen < 3 {
		t.Errorf("%d agreements in the samples, want 3 or more", seen)
	}
}
