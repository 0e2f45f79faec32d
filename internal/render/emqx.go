package render

import (
	_ "embed"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// The module of emqx-operator cannot be imported. These are the few of its types that are rendered, checked against its CRD in
// test/controlplane. API: apps.emqx.io/v2beta1, https://docs.emqx.com/en/emqx-operator/latest/reference/v2beta1-reference.html

const (
	versionEMQX = compile.GroupEMQX + "/v2beta1"
	// AnnotationEMQXConfig is where emqx-operator notes the configuration that is in force.
	AnnotationEMQXConfig = "apps.emqx.io/last-emqx-configuration"

	portRoles          = 8884
	portDashboard      = 18084
	portDashboardPlain = 18083
	portAuth           = 8443
	portHook           = 8444
	userEMQX           = 1000
	nameDeviceCAs      = "dizuo-device-cas"
	secretAuthTLS      = "dizuo-auth-tls"
	secretIngestTLS    = "dizuo-ingest-tls"
	componentEMQX      = "emqx"
	componentIngest    = "ingest"
)

type (
	emqxObject struct {
		foreign `json:",inline"`
		Spec    emqxSpec `json:"spec"`
	}
	emqxSpec struct {
		Image                    string        `json:"image"`
		ImagePullPolicy          string        `json:"imagePullPolicy,omitempty"`
		ImagePullSecrets         []emqxName    `json:"imagePullSecrets,omitempty"`
		BootstrapAPIKeys         []emqxAPIKey  `json:"bootstrapAPIKeys"`
		Config                   emqxConfig    `json:"config"`
		CoreTemplate             emqxTemplate  `json:"coreTemplate"`
		ReplicantTemplate        *emqxTemplate `json:"replicantTemplate,omitempty"`
		DashboardServiceTemplate emqxSwitch    `json:"dashboardServiceTemplate"`
		ListenersServiceTemplate emqxSwitch    `json:"listenersServiceTemplate"`
	}
	emqxName struct {
		Name string `json:"name"`
	}
	emqxAPIKey struct {
		SecretRef emqxAPIKeyRef `json:"secretRef"`
	}
	emqxAPIKeyRef struct {
		Key    emqxKeyRef `json:"key"`
		Secret emqxKeyRef `json:"secret"`
	}
	emqxKeyRef struct {
		SecretName string `json:"secretName"`
		SecretKey  string `json:"secretKey"`
	}
	emqxConfig struct {
		Mode string `json:"mode"`
		Data string `json:"data"`
	}
	emqxSwitch struct {
		Enabled bool `json:"enabled"`
	}
	emqxTemplate struct {
		Metadata emqxMeta     `json:"metadata"`
		Spec     emqxNodeSpec `json:"spec"`
	}
	// emqxMeta: a change of it replaces every pod.
	emqxMeta struct {
		Labels map[string]string `json:"labels"`
	}
	emqxNodeSpec struct {
		Replicas                  int32                                                 `json:"replicas"`
		MaxUnavailable            *intstr.IntOrString                                   `json:"maxUnavailable,omitempty"`
		Env                       []*corev1ac.EnvVarApplyConfiguration                  `json:"env"`
		Resources                 *corev1ac.ResourceRequirementsApplyConfiguration      `json:"resources"`
		PodSecurityContext        *corev1ac.PodSecurityContextApplyConfiguration        `json:"podSecurityContext"`
		ContainerSecurityContext  *corev1ac.SecurityContextApplyConfiguration           `json:"containerSecurityContext"`
		Affinity                  *corev1ac.AffinityApplyConfiguration                  `json:"affinity,omitempty"`
		TopologySpreadConstraints []corev1ac.TopologySpreadConstraintApplyConfiguration `json:"topologySpreadConstraints,omitempty"`
		ExtraVolumes              []*corev1ac.VolumeApplyConfiguration                  `json:"extraVolumes"`
		ExtraVolumeMounts         []*corev1ac.VolumeMountApplyConfiguration             `json:"extraVolumeMounts"`
	}
)

//go:embed emqx.conf
var emqxConf string

var emqxConfTemplate = template.Must(template.New("emqx.conf").Parse(emqxConf))

// emqx gives EMQX with what it reads and the Services in front of it; the role ingest is behind it.
func (p platform) emqx() []Object {
	if p.EMQX == nil {
		return nil
	}
	inner := corev1ac.Service(compile.ObjectEMQX, p.Namespace).WithLabels(labels(p.owner, componentEMQX)).
		WithSpec(corev1ac.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithSelector(selector(componentEMQX)).WithPorts(
			servicePort("roles", portRoles), servicePort("api", portDashboard)))
	out := []Object{
		p.service("dizuo-auth", "auth", v1alpha1.ServiceClusterIP, nil, portAuth, portAuth, "https"),
		inner,
	}
	if len(p.EMQX.DeviceCAs) == 0 { // the listener for devices would not start
		return out
	}
	cas := corev1ac.ConfigMap(nameDeviceCAs, p.Namespace).WithLabels(labels(p.owner, componentEMQX)).WithData(map[string]string{"ca.crt": string(p.EMQX.DeviceCAs)})
	return append(out, cas, p.emqxObject())
}

func servicePort(name string, number int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().WithName(name).WithPort(number).WithTargetPort(intstr.FromInt32(number)).WithProtocol(corev1.ProtocolTCP)
}

// emqxObject leaves the Services to us: the address that devices know must not change with the engine, and the listener for roles
// must not be exposed beside it. Replace makes what we no longer write go.
func (p platform) emqxObject() Object {
	e := p.EMQX
	api := func(key string) emqxKeyRef { return emqxKeyRef{SecretName: compile.SecretEMQX, SecretKey: key} }
	spec := emqxSpec{
		Image: e.Image, ImagePullPolicy: string(p.Spec.Images.PullPolicy), BootstrapAPIKeys: []emqxAPIKey{{emqxAPIKeyRef{Key: api("key"), Secret: api("secret")}}},
		Config: emqxConfig{Mode: "Replace", Data: p.emqxConfig()}, CoreTemplate: p.emqxTemplate(e.Replicas),
	}
	for _, s := range p.Spec.Images.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, emqxName{s.Name})
	}
	if e.Replicants > 0 {
		replicants := p.emqxTemplate(e.Replicants)
		spec.ReplicantTemplate = &replicants
	}
	return &emqxObject{p.foreign(versionEMQX, "EMQX", compile.ObjectEMQX, componentEMQX), spec}
}

func (p platform) emqxConfig() string {
	var out strings.Builder
	err := emqxConfTemplate.Execute(&out, map[string]any{
		"Devices": portMQTT, "Roles": portRoles, "ServerTLS": compile.SecretBrokerTLS, "RoleTLS": roleSecret(contract.UserEMQX),
		"AuthHost": p.host("dizuo-auth"), "AuthPort": portAuth, "AuthPath": contract.EMQXPath,
		"IngestHost": p.host("dizuo-ingest"), "IngestPort": portHook, "Dashboard": portDashboard, "DashboardPlain": portDashboardPlain,
	})
	if err != nil { // the template and its values are fixed
		panic(err)
	}
	return out.String()
}

// emqxTemplate gives the pods of EMQX, hardened to the Pod Security level restricted. EMQX writes below its own folder, so its root
// file system is not read-only.
func (p platform) emqxTemplate(replicas int32) emqxTemplate {
	spread := corev1ac.PodSpec()
	p.spread(componentEMQX, spread)
	certs := []string{compile.SecretBrokerTLS, roleSecret(contract.UserEMQX)}
	volumes := []*corev1ac.VolumeApplyConfiguration{corev1ac.Volume().WithName("cas").WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(nameDeviceCAs))}
	for _, s := range certs {
		volumes = append(volumes, secretVolume(s, s))
	}
	env := []*corev1ac.EnvVarApplyConfiguration{secretEnv("EMQX_DASHBOARD__DEFAULT_PASSWORD", compile.SecretEMQX, "dashboard")}
	if l := p.EMQX.LicenseSecretRef; l != nil {
		env = append(env, secretEnv("EMQX_LICENSE__KEY", l.Name, l.Key))
	}
	one := intstr.FromInt32(1)
	spec := emqxNodeSpec{
		Replicas: replicas, Env: env, Resources: p.resources(v1alpha1.ComponentEMQX, "100m", "512Mi"),
		PodSecurityContext: corev1ac.PodSecurityContext().WithRunAsNonRoot(true).WithRunAsUser(userEMQX).WithRunAsGroup(userEMQX).WithFSGroup(userEMQX).
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault)),
		ContainerSecurityContext: corev1ac.SecurityContext().WithRunAsNonRoot(true).WithAllowPrivilegeEscalation(false).WithCapabilities(corev1ac.Capabilities().WithDrop("ALL")),
		Affinity:                 spread.Affinity, TopologySpreadConstraints: spread.TopologySpreadConstraints,
		ExtraVolumes: volumes, ExtraVolumeMounts: append([]*corev1ac.VolumeMountApplyConfiguration{mount("cas", "/cas")}, tlsMounts(certs...)...),
	}
	if replicas > 1 {
		spec.MaxUnavailable = &one
	}
	return emqxTemplate{emqxMeta{selector(componentEMQX)}, spec}
}

func secretEnv(name, secret, key string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).WithValueFrom(corev1ac.EnvVarSource().WithSecretKeyRef(corev1ac.SecretKeySelector().WithName(secret).WithKey(key)))
}
