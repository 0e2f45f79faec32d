//go:build envtest

package guardrails

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/admission"
	"github.com/dizuo/dizuo/test/pki"
)

// TestScenarioAdmission: the API server passes on where the mistake is; what hangs on a profile is a warning; without an operator all is written.
func TestScenarioAdmission(t *testing.T) {
	w := newWorld(t)
	certs, port, ca := t.TempDir(), freePort(t), pki.New(t, "admission")
	files := ca.Files(t, ca.Server(t))
	for _, file := range []string{files.CertFile, files.KeyFile} {
		if err := os.Rename(file, filepath.Join(certs, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	config := webhookOfTheChart(t)
	config.Webhooks = config.Webhooks[1:]
	if path := config.Webhooks[0].ClientConfig.Service.Path; path == nil || *path != admission.ScenarioPath {
		t.Errorf("the chart asks %v, the operator answers at %s", path, admission.ScenarioPath)
	}
	url := fmt.Sprintf("https://127.0.0.1:%d%s", port, admission.ScenarioPath)
	config.Webhooks[0].ClientConfig = admissionv1.WebhookClientConfig{URL: &url, CABundle: []byte(ca.PEM)}
	w.create(config)

	said := &warnings{}
	c := watched(t, w.server.Config, said)
	scenario := func(name, when string) *v1alpha1.Scenario {
		return &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.ScenarioSpec{
			ProfileRef: &v1alpha1.ProfileRef{Name: "smoke-detector"}, DataClass: v1alpha1.DataClassC0, Trigger: v1alpha1.Trigger{When: when},
			Case: &v1alpha1.ScenarioCase{Class: "fire-alarm", Severity: v1alpha1.SeverityHigh, Title: "烟雾"},
		}}
	}
	if err := c.Create(t.Context(), scenario("early", "msg.smoke ==")); err != nil {
		t.Fatalf("a webhook that is away stops a write: %v", err)
	}
	w.start(admission.Options{CertDir: certs, Host: "127.0.0.1", Port: port})
	want := "spec.trigger.when: no valid CEL: column 1: undeclared reference to 'mgs'"
	w.eventually("the refusal", func() error {
		err := c.Create(t.Context(), scenario("bad", "mgs.smoke == true"), client.DryRunAll)
		if err == nil {
			return fmt.Errorf("is taken")
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) || !strings.HasSuffix(err.Error(), "\n | mgs.smoke == true\n | ^") {
			t.Fatalf("refused with %v", err)
		}
		return nil
	})
	said.take()
	if err := c.Create(t.Context(), scenario("field", "msg.smok == true"), client.DryRunAll); err != nil {
		t.Errorf("a field that the profile may yet get is refused: %v", err)
	}
	if text := said.take(); !strings.Contains(text, "field msg.smok is not in the profile") {
		t.Errorf("warns %q of a field that the profile does not have", text)
	}
	if err := c.Create(t.Context(), scenario("good", "msg.smoke == true"), client.DryRunAll); err != nil || said.take() != "" {
		t.Errorf("a good scenario: %v, warnings %q", err, said.take())
	}
	early := scenario("early", "")
	for patch, right := range map[string]bool{
		`{"spec":{"enabled":false}}`:                         true, // what was wrong before need not be mended to switch it off
		`{"spec":{"trigger":{"clear":"msg.smoke = false"}}}`: false,
		`{"spec":{"trigger":{"when":"msg.smoke == true"}}}`:  true,
	} {
		if err := c.Patch(t.Context(), early, client.RawPatch("application/merge-patch+json", []byte(patch)), client.DryRunAll); (err == nil) != right {
			t.Errorf("%s: %v", patch, err)
		}
	}
	if err := c.Delete(t.Context(), early); err != nil {
		t.Errorf("a scenario with a mistake cannot be deleted: %v", err)
	}
}
