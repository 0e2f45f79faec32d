//go:build envtest

package controlplane

import (
	"fmt"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// child names a child of the platform or of the workspace.
func child[T any, P interface {
	*T
	client.Object
}](ns, name string) P {
	o := P(new(T))
	o.SetNamespace(ns)
	o.SetName(name)
	return o
}

// content gives what a child says, without what the server keeps of it.
func content(o client.Object) (map[string]any, error) {
	o = o.DeepCopyObject().(client.Object)
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	if spec, ok := m["spec"].(map[string]any); ok { // the server's choice
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	return map[string]any{"labels": o.GetLabels(), "annotations": o.GetAnnotations(), "spec": m["spec"], "data": m["data"], "subjects": m["subjects"], "roleRef": m["roleRef"]}, nil
}

// Whatever a hand does to what is ours is put right.
func TestHandEditsArePutRight(t *testing.T) {
	const ns, ws = "h-home", "h-home-c"
	create(t, namespace(ns, ""))
	admit(t, ns)
	p := platform(ns)
	com := community(ns, "c", "410103014006")
	com.Spec.Workspace = &v1alpha1.Workspace{Admins: []v1alpha1.WorkspaceSubject{{Kind: v1alpha1.SubjectGroup, Name: "people"}}}
	create(t, p, com)
	expect(t, p, v1alpha1.ConditionApplied, "True", v1alpha1.ReasonSucceeded, "")
	expect(t, com, v1alpha1.ConditionApplied, "True", v1alpha1.ReasonSucceeded, "")

	cm := func() *corev1.ConfigMap { return child[corev1.ConfigMap](ns, "dizuo-grid") }
	svc := func() *corev1.Service { return child[corev1.Service](ns, "dizuo-gateway") }
	dep := func() *appsv1.Deployment { return child[appsv1.Deployment](ns, "dizuo-grid") }
	set := func() *appsv1.StatefulSet { return child[appsv1.StatefulSet](ns, "dizuo-broker") }
	pol := func() *networkingv1.NetworkPolicy { return child[networkingv1.NetworkPolicy](ws, "dizuo-workspace") }
	crt := func() *cmv1.Certificate { return child[cmv1.Certificate](ns, "dizuo-grid-tls") }
	iss := func() *cmv1.Issuer { return child[cmv1.Issuer](ns, "dizuo-ca") }
	spc := func() *corev1.Namespace { return child[corev1.Namespace]("", ws) }
	quo := func() *corev1.ResourceQuota { return child[corev1.ResourceQuota](ws, "dizuo-workspace") }
	lim := func() *corev1.LimitRange { return child[corev1.LimitRange](ws, "dizuo-workspace") }
	bin := func() *rbacv1.RoleBinding { return child[rbacv1.RoleBinding](ws, "dizuo-workspace-admin") }
	c1, s1, d1, b1, n1, x1, i1, w1, q1, l1, r1 := cm(), svc(), dep(), set(), pol(), crt(), iss(), spc(), quo(), lim(), bin()
	pod := func() *corev1.PodSpec { return &d1.Spec.Template.Spec }

	// Each edit is made, seen to be undone, and leaves the object as it was. A nil edit deletes.
	for _, e := range []struct {
		what string
		o    client.Object
		edit func()
	}{
		{"ConfigMap deleted", c1, nil},
		{"ConfigMap: value changed", c1, func() { c1.Data["node.yaml"] = "role: gateway" }},
		{"ConfigMap: key removed", c1, func() { delete(c1.Data, "node.yaml") }},
		{"ConfigMap: label of the owner changed", c1, func() { c1.Labels["dizuo.io/owner-name"] = "another" }},
		{"ConfigMap: label that says whose it is removed", c1, func() { delete(c1.Labels, "app.kubernetes.io/managed-by") }},
		{"ConfigMap: hash removed", c1, func() { delete(c1.Annotations, "dizuo.io/rendered") }},
		{"Service deleted", s1, nil},
		{"Service: port renumbered", s1, func() { s1.Spec.Ports[0].Port = 9999 }},
		{"Service: target changed", s1, func() { s1.Spec.Ports[0].TargetPort.IntVal = 8080 }},
		{"Service: selector points elsewhere", s1, func() { s1.Spec.Selector = map[string]string{"app": "mine"} }},
		{"Deployment deleted", d1, nil},
		{"Deployment: image changed", d1, func() { pod().Containers[0].Image = "evil" }},
		{"Deployment: argument added", d1, func() { pod().Containers[0].Args = append(pod().Containers[0].Args, "--x") }},
		{"Deployment: root file system writable", d1, func() { pod().Containers[0].SecurityContext.ReadOnlyRootFilesystem = new(false) }},
		{"Deployment: runs as root", d1, func() { pod().SecurityContext.RunAsUser = new(int64(0)) }},
		{"Deployment: memory limit removed", d1, func() { pod().Containers[0].Resources.Limits = nil }},
		{"Deployment: token mounted", d1, func() { pod().AutomountServiceAccountToken = new(true) }},
		{"Deployment: volume of another Secret", d1, func() { pod().Volumes[2].Secret.SecretName = "other" }},
		{"StatefulSet: scaled to nothing", b1, func() { b1.Spec.Replicas = new(int32(0)) }},
		{"StatefulSet: probe removed", b1, func() { b1.Spec.Template.Spec.Containers[0].ReadinessProbe = nil }},
		{"NetworkPolicy: opened to all", n1, func() { n1.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}} }},
		{"NetworkPolicy: ports of a rule removed", n1, func() { n1.Spec.Egress[1].Ports = nil }},
		{"NetworkPolicy: type removed", n1, func() { n1.Spec.PolicyTypes = n1.Spec.PolicyTypes[:1] }},
		{"Certificate: another name added", x1, func() { x1.Spec.DNSNames = append(x1.Spec.DNSNames, "evil.example.org") }},
		{"Certificate: use widened", x1, func() { x1.Spec.Usages = append(x1.Spec.Usages, cmv1.UsageClientAuth) }},
		{"Issuer: another CA", i1, func() { i1.Spec.CA.SecretName = "evil" }},
		{"Namespace: Pod Security lowered", w1, func() { w1.Labels["pod-security.kubernetes.io/enforce"] = "privileged" }},
		{"ResourceQuota: raised", q1, func() { q1.Spec.Hard[corev1.ResourcePods] = resource.MustParse("9999") }},
		{"LimitRange: default removed", l1, func() { l1.Spec.Limits[0].Default = nil }},
		{"RoleBinding: somebody added", r1, func() {
			r1.Subjects = append(r1.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"})
		}},
	} {
		t.Run(e.what, func(t *testing.T) {
			get := func() (map[string]any, error) {
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(e.o), e.o); err != nil {
					return nil, err
				}
				return content(e.o)
			}
			want, err := get()
			if err != nil {
				t.Fatal(err)
			}
			was := e.o.GetResourceVersion()
			if e.edit == nil {
				if err := c.Delete(t.Context(), e.o); err != nil {
					t.Fatal(err)
				}
			} else {
				e.edit()
				if err := c.Update(t.Context(), e.o, client.FieldOwner("kubectl-edit")); err != nil {
					t.Fatal(err)
				}
				if e.o.GetResourceVersion() == was {
					t.Fatal("the edit changed nothing")
				}
			}
			eventually(t, "is put right", func() error {
				got, err := get()
				if err != nil {
					return err
				}
				if diff := cmp.Diff(want, got); diff != "" {
					return fmt.Errorf("-want +got:\n%s", diff)
				}
				return nil
			})
		})
	}
	for _, o := range []interface {
		client.Object
		GetCommonStatus() *v1alpha1.CommonStatus
	}{p, com} {
		expect(t, o, v1alpha1.ConditionApplied, "True", v1alpha1.ReasonSucceeded, "")
	}
}

// What others add beside our fields is theirs: it stays, also when we write.
func TestForeignFieldsStay(t *testing.T) {
	const ns = "k-home"
	create(t, namespace(ns, ""))
	admit(t, ns)
	p := platform(ns)
	create(t, p)
	expect(t, p, v1alpha1.ConditionApplied, "True", v1alpha1.ReasonSucceeded, "")
	d := child[appsv1.Deployment](ns, "dizuo-auth")
	patch(t, d, func() {
		d.Labels["team"] = "city"
		d.Annotations["note"] = "keep"
		d.Spec.Template.Annotations["sidecar.example.org/inject"] = "true"
		pod := &d.Spec.Template.Spec
		pod.Containers[0].Env = append(pod.Containers[0].Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy"})
		pod.NodeSelector = map[string]string{"disk": "ssd"}
		pod.Tolerations = []corev1.Toleration{{Key: "edge", Operator: corev1.TolerationOpExists}}
	})
	generation := d.Generation
	// A change of ours goes through the same object.
	patch(t, p, func() { p.Spec.Images.Node = "dizuo/dizuo:other" })
	eventually(t, "the image changes and the rest stays", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
			return err
		}
		pod := d.Spec.Template.Spec
		if pod.Containers[0].Image != "dizuo/dizuo:other" {
			return fmt.Errorf("image %s", pod.Containers[0].Image)
		}
		if d.Labels["team"] != "city" || d.Annotations["note"] != "keep" || d.Spec.Template.Annotations["sidecar.example.org/inject"] != "true" ||
			len(pod.Containers[0].Env) != 1 || pod.NodeSelector["disk"] != "ssd" || len(pod.Tolerations) != 1 {
			t.Fatalf("lost: %v %v %+v", d.Labels, d.Annotations, pod)
		}
		return nil
	})
	if d.Generation != generation+1 {
		t.Errorf("%d writes for one change", d.Generation-generation)
	}
}

// A version that needs one password more meets a Secret that stands: the key is made up, once, and the others stay.
func TestMissingKeysOfGeneratedSecretsAreFilled(t *testing.T) {
	create(t, namespace("filled", ""))
	admit(t, "filled")
	p := platform("filled")
	create(t, p)
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "filled", Name: compile.SecretDatabase}}
	var owner []byte
	patch(t, secret, func() {
		owner = secret.Data["owner"]
		delete(secret.Data, "gateway")
	})
	eventually(t, "the key is filled", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
			return err
		}
		if len(secret.Data["gateway"]) < 43 {
			return fmt.Errorf("key gateway holds %d bytes", len(secret.Data["gateway"]))
		}
		return nil
	})
	if string(secret.Data["owner"]) != string(owner) {
		t.Error("a password that stood has changed")
	}
	filled := secret.ResourceVersion
	patch(t, p, func() { p.Spec.DisplayName = "again" })
	expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil || secret.ResourceVersion != filled {
		t.Errorf("the Secret was written again: %v", err)
	}
}
