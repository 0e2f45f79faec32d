//go:build envtest

// Package guardrails shows a city's own guardrails and the webhook for agreements against a real kube-apiserver.
package guardrails

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/controllers/admission"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/apiserver"
	"github.com/dizuo/dizuo/test/pki"
)

const ns = "city"

// rule gives the Rego of a ConfigMap that refuses every agreement.
func rule(says string) map[string]string {
	return map[string]string{"rules.rego": "package " + policies.CityPackage("night") + "\n\n# METADATA\n# title: Refuses everything\n# custom:\n#   rule: everything\n#   origin: city\n" +
		`deny contains {"rule": "everything", "field": "spec", "message": "` + says + `"} if input.agreement` + "\n"}
}

var broken = map[string]string{"rules.rego": "package dizuo.city.night\n\ndeny contains {\n"}

// world is an API server with a platform, two organisations and a dataset; the operator runs when start says so.
type world struct {
	*testing.T
	server *apiserver.Server
}

func newWorld(t *testing.T) world {
	t.Helper()
	certManager, err := apiserver.CertManagerCRDs()
	if err != nil {
		t.Fatal(err)
	}
	server, err := apiserver.Start(t.Context(), certManager)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	w := world{t, server}
	org := func(name string, kind v1alpha1.OrganizationType) client.Object {
		return &v1alpha1.Organization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.OrganizationSpec{Type: kind, Jurisdiction: []string{"41"}}}
	}
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dizuo-namespace", Namespace: ns},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "dizuo-namespace"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "dizuo-operator", Namespace: "dizuo-system"}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "night", Namespace: ns, Labels: map[string]string{compile.LabelGuardrails: "true"}}, Data: rule("by night")},
		&v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: ns}, Spec: v1alpha1.GridPlatformSpec{Divisions: []string{"41"}, Guardrails: []v1alpha1.LocalRef{{Name: "night"}}}},
		org("health", v1alpha1.OrganizationHealth), org("fire", v1alpha1.OrganizationFire),
		&v1alpha1.Dataset{ObjectMeta: metav1.ObjectMeta{Name: "buildings", Namespace: ns}, Spec: v1alpha1.DatasetSpec{
			Provider: v1alpha1.LocalRef{Name: "health"}, DivisionColumn: "division",
			Fields: []v1alpha1.DatasetField{{Name: "division", Personal: v1alpha1.PersonalNone, Grade: v1alpha1.GradeGeneral1}},
		}}, agreement("buildings"))
	return w
}

func agreement(name string) *v1alpha1.DataSharingAgreement {
	return &v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.DataSharingAgreementSpec{
		Consumer: v1alpha1.LocalRef{Name: "fire"}, Purposes: []v1alpha1.Purpose{v1alpha1.PurposeFireResponse},
		Datasets: []v1alpha1.AgreementDataset{{Name: "buildings", Fields: []string{"division"}}},
	}}
}

func (w world) create(objects ...client.Object) {
	w.Helper()
	for _, o := range objects {
		if err := w.server.Client.Create(w.Context(), o); err != nil {
			w.Fatal(err)
		}
	}
}

// start runs an operator with the rights of the chart. The function ends it and waits until it has ended.
func (w world) start(o admission.Options) (stop func()) {
	w.Helper()
	catalog, err := offline.Catalog()
	if err != nil {
		w.Fatal(err)
	}
	mgr, err := ctrl.NewManager(w.server.Operator(), ctrl.Options{Scheme: controllers.Scheme(), Cache: controllers.Caches(),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	if err := controllers.Setup(ctx, mgr, controllers.Options{Catalog: catalog, Images: compile.Images{Node: "dizuo/dizuo:test", Postgres: "postgres:15"}, Admission: o}); err != nil {
		cancel()
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(stop)
	return stop
}

func (w world) eventually(what string, check func() error) {
	w.Helper()
	deadline := time.Now().Add(60 * time.Second) // other packages may have the processors
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // the interval of the poll, not a wait for an outcome
	}
}

// expect waits until a condition of an object's present generation has a status and a text; status "" is no such condition.
func (w world) expect(o interface {
	client.Object
	GetCommonStatus() *v1alpha1.CommonStatus
}, condition string, status metav1.ConditionStatus, text string) {
	w.Helper()
	w.eventually(fmt.Sprintf("%s: %s=%s %q", o.GetName(), condition, status, text), func() error {
		if err := w.server.Client.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		got := meta.FindStatusCondition(o.GetCommonStatus().Conditions, condition)
		switch {
		case o.GetCommonStatus().ObservedGeneration != o.GetGeneration():
			return fmt.Errorf("generation %d of %d", o.GetCommonStatus().ObservedGeneration, o.GetGeneration())
		case got == nil && status == "":
			return nil
		case got == nil || got.Status != status || !strings.Contains(got.Message, text):
			return fmt.Errorf("is %v in %v", got, o.GetCommonStatus().Conditions)
		}
		return nil
	})
}

func (w world) write(data map[string]string) {
	w.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "night", Namespace: ns}}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		w.Fatal(err)
	}
	if err := w.server.Client.Patch(w.Context(), m, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		w.Fatal(err)
	}
}

func (w world) patch(o client.Object, patch string) {
	w.Helper()
	if err := w.server.Client.Patch(w.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

// TestCityGuardrails: good rules bind, a typing error leaves them in force and fells nothing, also for an operator that starts anew, and
// what is put right or taken out is followed.
func TestCityGuardrails(t *testing.T) {
	w := newWorld(t)
	stop := w.start(admission.Options{})
	p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: ns}}
	a := agreement("buildings")
	w.expect(p, v1alpha1.ConditionGuardrailsCompiled, metav1.ConditionTrue, "1 ConfigMaps")
	w.expect(a, v1alpha1.ConditionGuardrailsPassed, metav1.ConditionFalse, "by night (night/everything, city)")
	if g := a.Status.Guardrails; len(g) != 1 || g[0].ID != "night/everything" || g[0].Basis != "City" {
		t.Errorf("status.guardrails %v", g)
	}
	digest := p.Status.Guardrails.Digest

	w.write(broken)
	w.expect(p, v1alpha1.ConditionGuardrailsCompiled, metav1.ConditionFalse, "night/rules.rego:4")
	w.expect(p, v1alpha1.ConditionAccepted, metav1.ConditionTrue, "")
	if g := p.Status.Guardrails; g.Digest != digest || len(g.Refused) != 1 || g.Refused[0] != "night" {
		t.Errorf("status.guardrails %+v, want digest %s and night refused", g, digest)
	}
	stop()

	w.start(admission.Options{})
	w.patch(a, `{"spec":{"displayName":"again"}}`)
	w.expect(a, v1alpha1.ConditionGuardrailsPassed, metav1.ConditionFalse, "by night (night/everything, city)")
	w.expect(p, v1alpha1.ConditionGuardrailsCompiled, metav1.ConditionFalse, "stay in force")
	w.write(rule("by morning"))
	w.expect(p, v1alpha1.ConditionGuardrailsCompiled, metav1.ConditionTrue, "")
	w.expect(a, v1alpha1.ConditionGuardrailsPassed, metav1.ConditionFalse, "by morning (night/everything, city)")
	w.patch(p, `{"spec":{"guardrails":null}}`)
	w.expect(a, v1alpha1.ConditionGuardrailsPassed, "", "")
}

// warnings gathers what the API server warns of.
type warnings struct {
	sync.Mutex
	said []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.Lock()
	defer w.Unlock()
	w.said = append(w.said, text)
}

func (w *warnings) take() string {
	w.Lock()
	defer w.Unlock()
	out := strings.Join(w.said, "\n")
	w.said = nil
	return out
}

// TestAdmission: a webhook that nobody answers, or that does not answer, stops nothing; one that answers warns, and with deny refuses.
func TestAdmission(t *testing.T) {
	w := newWorld(t)
	certs := t.TempDir()
	port := freePort(t)
	stop := w.start(admission.Options{CertDir: certs, Host: "127.0.0.1", Port: port}) // the certificate comes later
	w.expect(agreement("buildings"), v1alpha1.ConditionGuardrailsPassed, metav1.ConditionFalse, "by night")
	ca := pki.New(t, "admission")
	config := webhookOfTheChart(t)
	said := &warnings{}
	c := watched(t, w.server.Config, said)
	n := 0
	try := func() (time.Duration, string, error) {
		n++
		begun := time.Now()
		err := c.Create(t.Context(), agreement(fmt.Sprintf("try-%d", n)), client.DryRunAll)
		return time.Since(begun), said.take(), err
	}
	point := func(port int) {
		t.Helper()
		url := fmt.Sprintf("https://127.0.0.1:%d%s", port, admission.Path)
		config.Webhooks[0].ClientConfig = admissionv1.WebhookClientConfig{URL: &url, CABundle: []byte(ca.PEM)}
		if err := w.server.Client.Update(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	url := fmt.Sprintf("https://127.0.0.1:%d%s", port, admission.Path)
	config.Webhooks[0].ClientConfig = admissionv1.WebhookClientConfig{URL: &url, CABundle: []byte(ca.PEM)}
	w.create(config)
	took, _, err := try()
	if err != nil {
		t.Fatalf("a webhook that is away stops a write: %v", err)
	}
	t.Logf("written after %s with nobody at the webhook", took)

	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	point(silent.Addr().(*net.TCPAddr).Port)
	w.eventually("a webhook that is silent", func() error {
		took, _, err = try()
		if err != nil {
			t.Fatalf("a webhook that is silent stops a write: %v", err)
		}
		if took < 500*time.Millisecond {
			return fmt.Errorf("answered after %s: the API server does not ask it yet", took)
		}
		return nil
	})
	t.Logf("written after %s with a webhook that is silent", took)
	if took > 3*time.Second {
		t.Errorf("a webhook that is silent holds a write up for %s", took)
	}

	files := ca.Files(t, ca.Server(t))
	for _, file := range []string{files.CertFile, files.KeyFile} { // the key last, for which the operator waits
		if err := os.Rename(file, filepath.Join(certs, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	point(port)
	w.eventually("the warning", func() error {
		_, text, err := try()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "guardrail spec: by night (night/everything, city)") {
			return fmt.Errorf("warnings %q", text)
		}
		return nil
	})
	stop()

	w.start(admission.Options{CertDir: certs, Host: "127.0.0.1", Port: port, Deny: true})
	w.eventually("the refusal", func() error {
		_, _, err := try()
		if err == nil {
			return fmt.Errorf("is taken")
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "by night") {
			t.Fatalf("refused with %v", err)
		}
		return nil
	})
	a := agreement("buildings")
	revoke := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"revoked":true}}`))
	if err := c.Patch(t.Context(), a, revoke); err != nil {
		t.Errorf("an agreement that a guardrail refuses cannot be revoked: %v", err)
	}
}

// webhookOfTheChart renders the webhook as the chart has it.
func webhookOfTheChart(t *testing.T) *admissionv1.ValidatingWebhookConfiguration {
	t.Helper()
	helm := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm")
	out, err := exec.CommandContext(t.Context(), helm, "template", "dizuo", "../../charts/dizuo", "--namespace", "dizuo-system", "--set", "admission.enabled=true").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(out), "\n---\n") {
		if strings.Contains(doc, "kind: ValidatingWebhookConfiguration") {
			config := &admissionv1.ValidatingWebhookConfiguration{}
			if err := yaml.Unmarshal([]byte(doc), config); err != nil {
				t.Fatal(err)
			}
			if path := config.Webhooks[0].ClientConfig.Service.Path; path == nil || *path != admission.Path {
				t.Errorf("the chart asks %v, the operator answers at %s", path, admission.Path)
			}
			return config
		}
	}
	t.Fatal("the chart has no ValidatingWebhookConfiguration")
	return nil
}

func watched(t *testing.T, config *rest.Config, said *warnings) client.Client {
	t.Helper()
	config = rest.CopyConfig(config)
	config.WarningHandler = said
	c, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
