//go:build envtest

package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// What the cluster says of access is what the same files say: the samples are applied, and the commands read them back.
func TestAccessAgainstAPIServer(t *testing.T) {
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd"}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Stop() })
	c, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	const samples = "../../config/samples/sharing"
	files, err := filepath.Glob(samples + "/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatal(files, err)
	}
	files = append([]string{samples + "/platform.yaml"}, files...) // it has the namespace
	made := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for docs := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
			u := &unstructured.Unstructured{}
			if err := docs.Decode(&u.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if name := u.GetKind() + "/" + u.GetName(); len(u.Object) > 0 && !made[name] {
				made[name] = true
				if err := c.Create(t.Context(), u); err != nil {
					t.Fatalf("%s: %s: %v", file, name, err)
				}
			}
		}
	}
	dizuo := func(args ...string) ran { return run(t, "", args...) }
	diff := func() ran {
		return dizuo("access", "diff", "-f", samples, "--cluster", "--kubeconfig", kubeconfig)
	}
	if r := diff(); r.code != ExitOK || strings.Contains(r.out, "+") {
		t.Errorf("nothing changed: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	byFile, byCluster := dizuo("catalog", "-f", samples, "-o", "json"), dizuo("catalog", "--cluster", "-n", "sharing", "--kubeconfig", kubeconfig, "-o", "json")
	if byFile.code != ExitOK || byCluster.code != ExitOK || byFile.out != byCluster.out || !strings.Contains(byFile.out, "ZR-1001") {
		t.Errorf("sharing list: exit codes %d and %d\n%s\n%s\n%s", byFile.code, byCluster.code, byCluster.err, byFile.out, byCluster.out)
	}
	matrix := dizuo("access", "matrix", "--cluster", "-n", "sharing", "--kubeconfig", kubeconfig, "-o", "csv")
	if same := dizuo("access", "matrix", "-f", samples, "-o", "csv"); matrix.code != ExitOK || matrix.out != same.out || !strings.Contains(same.out, "addresses") {
		t.Errorf("matrix: exit code %d: %s\n%s", matrix.code, matrix.err, matrix.out)
	}
	// An agreement that the cluster lacks is what the files open.
	a10 := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "dizuo.io/v1alpha1", "kind": "DataSharingAgreement",
		"metadata": map[string]any{"namespace": "sharing", "name": "a10-addresses"}}}
	if err := c.Delete(t.Context(), a10); err != nil {
		t.Fatal(err)
	}
	if r := diff(); r.code != ExitWider || !strings.Contains(r.out, "addresses") || !strings.Contains(r.out, "town") {
		t.Errorf("an agreement more: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
}
