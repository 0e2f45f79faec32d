package render_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
)

// restricted gives what the Pod Security Standard "restricted" (and with it "baseline") has against a pod.
// https://kubernetes.io/docs/concepts/security/pod-security-standards/
func restricted(template corev1.PodTemplateSpec) []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	pod := template.Spec
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		bad("shares a namespace of the host")
	}
	for _, v := range pod.Volumes {
		s := v.VolumeSource
		if s.ConfigMap == nil && s.CSI == nil && s.DownwardAPI == nil && s.EmptyDir == nil && s.Ephemeral == nil &&
			s.PersistentVolumeClaim == nil && s.Projected == nil && s.Secret == nil {
			bad("volume %s is of a kind that is not allowed", v.Name)
		}
	}
	if c := pod.SecurityContext; c != nil && (c.SELinuxOptions != nil || c.AppArmorProfile != nil || len(c.Sysctls) > 0 || c.WindowsOptions != nil) {
		bad("pod sets SELinux, AppArmor, sysctls or Windows options; the test knows no allowed value")
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, w := range restrictedContainer(c, pod.SecurityContext) {
			bad("container %s: %s", c.Name, w)
		}
	}
	if len(pod.EphemeralContainers) > 0 {
		bad("has ephemeral containers")
	}
	return wrong
}

func restrictedContainer(c corev1.Container, pod *corev1.PodSecurityContext) []string {
	var wrong []string
	check := func(ok bool, text string) {
		if !ok {
			wrong = append(wrong, text)
		}
	}
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	s := c.SecurityContext
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	seccomp := s.SeccompProfile
	if seccomp == nil {
		seccomp = pod.SeccompProfile
	}
	user := s.RunAsUser
	if user == nil {
		user = pod.RunAsUser
	}
	check(!ptr.Deref(s.Privileged, false), "is privileged")
	check(s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation, "allowPrivilegeEscalation is not false")
	check(s.Capabilities != nil && slices.Contains(s.Capabilities.Drop, "ALL"), "does not drop ALL capabilities")
	check(s.Capabilities == nil || !slices.ContainsFunc(s.Capabilities.Add, func(c corev1.Capability) bool { return c != "NET_BIND_SERVICE" }), "adds capabilities")
	check(ptr.Deref(s.RunAsNonRoot, ptr.Deref(pod.RunAsNonRoot, false)), "runAsNonRoot is not true")
	check(user != nil && *user != 0, "runAsUser is 0 or left to the image")
	check(seccomp != nil && (seccomp.Type == corev1.SeccompProfileTypeRuntimeDefault || seccomp.Type == corev1.SeccompProfileTypeLocalhost), "seccompProfile is not RuntimeDefault")
	check(s.ProcMount == nil || *s.ProcMount == corev1.DefaultProcMount, "procMount is not Default")
	check(s.SELinuxOptions == nil && s.AppArmorProfile == nil && s.WindowsOptions == nil, "sets SELinux, AppArmor or Windows options")
	check(!slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 }), "takes a port of the host")
	return wrong
}

// Everything that a platform runs passes Pod Security "restricted"; beyond it the root file system is read-only, no service
// account token is mounted and memory is bounded.
func TestPodSecurity(t *testing.T) {
	for caseName, p := range platforms(t) {
		pods := 0
		for _, u := range objects(t, p) {
			template, runs := podsOf(t, u)
			if !runs {
				continue
			}
			pods++
			for _, w := range restricted(template) {
				t.Errorf("%s: %s: %s", caseName, name(u), w)
			}
			if u.GetKind() == "EMQX" { // its operator makes the pod: its token and its root file system are not ours to set
				continue
			}
			if ptr.Deref(template.Spec.AutomountServiceAccountToken, true) {
				t.Errorf("%s: %s mounts a service account token", caseName, name(u))
			}
			for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
				if c.SecurityContext == nil || !ptr.Deref(c.SecurityContext.ReadOnlyRootFilesystem, false) {
					t.Errorf("%s: %s: container %s can write its root file system", caseName, name(u), c.Name)
				}
				if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
					t.Errorf("%s: %s: container %s has no memory limit, or no requests", caseName, name(u), c.Name)
				}
			}
			references(t, caseName, u, template)
		}
		if pods < 4 { // the database is another's with some engines
			t.Errorf("%s: %d workloads, want four or more", caseName, pods)
		}
	}
}

// podsOf gives the pods that an object stands for.
func podsOf(t *testing.T, u *unstructured.Unstructured) (corev1.PodTemplateSpec, bool) {
	t.Helper()
	switch u.GetKind() {
	case "Deployment", "StatefulSet":
		return template(t, u), true
	case "EMQX":
		core := typed[struct {
			Spec struct {
				CoreTemplate struct {
					Metadata metav1.ObjectMeta
					Spec     struct {
						PodSecurityContext       *corev1.PodSecurityContext
						ContainerSecurityContext *corev1.SecurityContext
						ExtraVolumes             []corev1.Volume
						ExtraVolumeMounts        []corev1.VolumeMount
					}
				}
			}
		}](t, u).Spec.CoreTemplate
		return corev1.PodTemplateSpec{ObjectMeta: core.Metadata, Spec: corev1.PodSpec{SecurityContext: core.Spec.PodSecurityContext, Volumes: core.Spec.ExtraVolumes,
			Containers: []corev1.Container{{Name: "emqx", SecurityContext: core.Spec.ContainerSecurityContext, VolumeMounts: core.Spec.ExtraVolumeMounts}}}}, true
	}
	return corev1.PodTemplateSpec{}, false
}

// references checks that every volume is mounted and every mount has its volume, and that the selector finds the pod.
func references(t *testing.T, caseName string, u *unstructured.Unstructured, template corev1.PodTemplateSpec) {
	t.Helper()
	volumes := map[string]int{}
	for _, v := range template.Spec.Volumes {
		volumes[v.Name] = 0
	}
	claims, _, _ := unstructured.NestedSlice(u.Object, "spec", "volumeClaimTemplates")
	for _, c := range claims {
		n, _, _ := unstructured.NestedString(c.(map[string]any), "metadata", "name")
		volumes[n] = 0
	}
	for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			if _, ok := volumes[m.Name]; !ok {
				t.Errorf("%s: %s: container %s mounts %s, which is no volume", caseName, name(u), c.Name, m.Name)
			}
			volumes[m.Name]++
		}
	}
	for v, n := range volumes {
		if n == 0 {
			t.Errorf("%s: %s: volume %s is mounted nowhere", caseName, name(u), v)
		}
	}
	selector, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
	if !selects(selector, template.Labels) {
		t.Errorf("%s: %s: selector %v does not find labels %v", caseName, name(u), selector, template.Labels)
	}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// The check itself must be able to fail.
func TestRestrictedFindsWhatIsWrong(t *testing.T) {
	good := func() corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(1)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}}},
		}}
	}
	if wrong := restricted(good()); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for what, spoil := range map[string]func(*corev1.PodSpec){
		"host network": func(p *corev1.PodSpec) { p.HostNetwork = true },
		"host path": func(p *corev1.PodSpec) {
			p.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}
		},
		"root":         func(p *corev1.PodSpec) { p.SecurityContext.RunAsUser = ptr.To(int64(0)) },
		"may be root":  func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = nil },
		"seccomp":      func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined },
		"no seccomp":   func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil },
		"escalation":   func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"capabilities": func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities.Drop = nil },
		"more of them": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_TIME"}
		},
		"privileged":      func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Privileged = ptr.To(true) },
		"host port":       func(p *corev1.PodSpec) { p.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}} },
		"init container":  func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "i"}} },
		"container's own": func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.RunAsNonRoot = ptr.To(false) },
	} {
		pod := good()
		spoil(&pod.Spec)
		if len(restricted(pod)) == 0 {
			t.Errorf("%s: nothing found", what)
		}
	}
}

// Each component has a network policy of its own that names directions, so nothing is open by being forgotten, and only
// devices and the two APIs are reached from anywhere.
func TestNetworkPolicies(t *testing.T) {
	for caseName, p := range platforms(t) {
		open := map[string][]int{}
		policies := map[string]networkingv1.NetworkPolicySpec{}
		list := objects(t, p)
		for _, u := range list {
			if u.GetKind() == "NetworkPolicy" {
				policies[u.GetName()] = typed[networkingv1.NetworkPolicy](t, u).Spec
			}
		}
		for _, u := range list {
			pods, runs := podsOf(t, u)
			if !runs {
				continue
			}
			policy, ok := policies[u.GetName()]
			if !ok || len(policy.PolicyTypes) != 2 || !selects(policy.PodSelector.MatchLabels, pods.Labels) {
				t.Errorf("%s: %s has no network policy of its own for both directions", caseName, name(u))
			}
			for _, rule := range policy.Ingress {
				if len(rule.Ports) == 0 {
					t.Errorf("%s: %s: a rule opens every port", caseName, name(u))
				}
				for _, port := range rule.Ports {
					if len(rule.From) == 0 {
						open[u.GetName()] = append(open[u.GetName()], port.Port.IntValue())
					}
				}
			}
		}
		wants := map[string][]int{"dizuo-broker": {8883}, "dizuo-grid": {8443}, "dizuo-gateway": {8443}, "dizuo-auth": nil, "dizuo-postgres": nil}
		if p.Plan.EMQX != nil {
			wants["dizuo-emqx"], wants["dizuo-ingest"] = []int{8883}, nil // and the broker, for those who were there before
		}
		if p.Plan.Edges { // a door that is shut where nobody comes by it
			wants["dizuo-broker"] = []int{8883, 7422}
		}
		for workload, want := range wants {
			if !slices.Equal(open[workload], want) {
				t.Errorf("%s: %s is open to anyone on %v, want %v", caseName, workload, open[workload], want)
			}
		}
	}
}
