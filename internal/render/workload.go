package render

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

const (
	configDir  = "/etc/dizuo"
	trustDir   = "/etc/dizuo-trust"
	tlsDir     = "/tls"
	secretsDir = "/secrets"
	stateDir   = "/var/lib/dizuo"

	portHealth  = 8080
	portMQTT    = 8883
	portClient  = 4222
	portHTTPS   = 8443
	portDB      = 5432
	portPeers   = 6222
	userNode    = 65532
	userDB      = 26
	annotConfig = "dizuo.io/config-hash"
)

// tlsFiles gives the paths of a mounted certificate Secret.
func tlsFiles(secret string) contract.TLSFiles {
	dir := tlsDir + "/" + secret + "/"
	return contract.TLSFiles{CertFile: dir + "tls.crt", KeyFile: dir + "tls.key", CAFile: dir + "ca.crt"}
}

// nats gives the connection of a user of the broker.
func (p platform) nats(user string) *contract.NATSConfig {
	return &contract.NATSConfig{URL: fmt.Sprintf("tls://%s:%d", p.host("dizuo-nats"), portClient), TLS: tlsFiles(roleSecret(user))}
}

func (p platform) nodeConfig(role contract.Role) contract.NodeConfig {
	return contract.NodeConfig{
		Platform: p.Namespace + "/" + p.Name, Role: role, Scope: contract.ScopeCenter, StateDir: stateDir,
		TrustFile: trustDir + "/trust.pem", HealthAddress: fmt.Sprintf(":%d", portHealth),
	}
}

func (p platform) database(user, passwordFile, certificate string) contract.DatabaseConfig {
	d := p.Database.Serves
	return contract.DatabaseConfig{Host: d.Host, Port: int(d.Port), Name: d.Name, User: user, PasswordFile: passwordFile, CAFile: caFile(d, tlsFiles(certificate).CAFile)}
}

// configMap holds a node's configuration. Marshalling cannot fail: the type holds strings and numbers.
func (p platform) configMap(c contract.NodeConfig) (*corev1ac.ConfigMapApplyConfiguration, string) {
	raw, err := yaml.Marshal(c)
	if err != nil {
		panic(err)
	}
	return corev1ac.ConfigMap("dizuo-"+string(c.Role), p.Namespace).WithLabels(labels(p.owner, string(c.Role))).
		WithData(map[string]string{"node.yaml": string(raw)}), string(raw)
}

// container gives a container of a node role, hardened to the Pod Security level restricted.
func (p platform) container(name string, args []string, component v1alpha1.ComponentName, memory string) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().WithName(name).WithImage(p.Spec.Images.Node).WithImagePullPolicy(corev1.PullPolicy(p.Spec.Images.PullPolicy)).
		WithCommand("/node").WithArgs(args...).WithSecurityContext(hardened()).WithResources(p.resources(component, "10m", memory)).
		WithVolumeMounts(mount("config", configDir), mount("trust", trustDir))
}

func hardened() *corev1ac.SecurityContextApplyConfiguration {
	return corev1ac.SecurityContext().WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
		WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
}

// probed adds the health port and probes of a node role.
func probed(c *corev1ac.ContainerApplyConfiguration) *corev1ac.ContainerApplyConfiguration {
	get := func(path string) *corev1ac.ProbeApplyConfiguration {
		return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("health")))
	}
	return c.WithPorts(corev1ac.ContainerPort().WithName("health").WithContainerPort(portHealth)).
		WithLivenessProbe(get("/healthz").WithPeriodSeconds(10).WithFailureThreshold(6)).
		WithReadinessProbe(get("/readyz").WithPeriodSeconds(2).WithFailureThreshold(3))
}

func port(name string, number int32) *corev1ac.ContainerPortApplyConfiguration {
	return corev1ac.ContainerPort().WithName(name).WithContainerPort(number)
}

func mount(volume, path string) *corev1ac.VolumeMountApplyConfiguration {
	m := corev1ac.VolumeMount().WithName(volume).WithMountPath(path)
	if volume != "state" && volume != "data" && volume != "run" && volume != "tmp" && volume != "work" {
		m.WithReadOnly(true)
	}
	return m
}

// resources gives the requests of a component, and limits where the platform sets them. Without a setting memory is
// limited to four times the request, so that one component cannot starve its neighbours.
func (p platform) resources(name v1alpha1.ComponentName, cpu, memory string) *corev1ac.ResourceRequirementsApplyConfiguration {
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	ceiling := resource.MustParse(memory)
	ceiling.Mul(4)
	limits := corev1.ResourceList{corev1.ResourceMemory: ceiling}
	for _, r := range p.Spec.Resources {
		if r.Name == name {
			amounts(requests, r.Requests)
			amounts(limits, r.Limits)
		}
	}
	return corev1ac.ResourceRequirements().WithRequests(requests).WithLimits(limits)
}

func amounts(list corev1.ResourceList, a *v1alpha1.ResourceAmounts) {
	if a == nil {
		return
	}
	if a.CPU != nil {
		list[corev1.ResourceCPU] = *a.CPU
	}
	if a.Memory != nil {
		list[corev1.ResourceMemory] = *a.Memory
	}
}

// podTemplate gives the pod of a component: no service account token, non-root, restricted.
func (p platform) podTemplate(component string, user int64, config string, init []*corev1ac.ContainerApplyConfiguration, c *corev1ac.ContainerApplyConfiguration, volumes ...*corev1ac.VolumeApplyConfiguration) *corev1ac.PodTemplateSpecApplyConfiguration {
	spec := corev1ac.PodSpec().WithAutomountServiceAccountToken(false).WithEnableServiceLinks(false).
		WithInitContainers(init...).WithContainers(c).WithVolumes(volumes...).
		WithSecurityContext(corev1ac.PodSecurityContext().WithRunAsNonRoot(true).WithRunAsUser(user).WithRunAsGroup(user).WithFSGroup(user).
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault)))
	for _, s := range p.Spec.Images.PullSecrets {
		spec.WithImagePullSecrets(corev1ac.LocalObjectReference().WithName(s.Name))
	}
	p.spread(component, spec)
	return corev1ac.PodTemplateSpec().WithLabels(labels(p.owner, component)).
		WithAnnotations(map[string]string{annotConfig: shortHash(config)}).WithSpec(spec)
}

// nodeVolumes gives the volumes of every node role and those of its certificates.
func nodeVolumes(role contract.Role, tlsSecrets ...string) []*corev1ac.VolumeApplyConfiguration {
	out := []*corev1ac.VolumeApplyConfiguration{
		corev1ac.Volume().WithName("config").WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName("dizuo-" + string(role))),
		corev1ac.Volume().WithName("trust").WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(nameTrust)),
	}
	for _, s := range tlsSecrets {
		out = append(out, secretVolume(s, s))
	}
	return out
}

// secretVolume mounts a Secret, or some of its keys, readable by the pod's group only.
func secretVolume(name, secret string, keys ...string) *corev1ac.VolumeApplyConfiguration {
	source := corev1ac.SecretVolumeSource().WithSecretName(secret).WithDefaultMode(0o440)
	for _, k := range keys {
		source.WithItems(corev1ac.KeyToPath().WithKey(k).WithPath(k))
	}
	return corev1ac.Volume().WithName(name).WithSecret(source)
}

func tlsMounts(secrets ...string) []*corev1ac.VolumeMountApplyConfiguration {
	var out []*corev1ac.VolumeMountApplyConfiguration
	for _, s := range secrets {
		out = append(out, mount(s, tlsDir+"/"+s))
	}
	return out
}

func emptyDir(name string) *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(name).WithEmptyDir(corev1ac.EmptyDirVolumeSource())
}

// statefulSet gives a workload whose pods have a volume each. Its pods are found under the names that service gives them.
func (p platform) statefulSet(component, service string, replicas int32, template *corev1ac.PodTemplateSpecApplyConfiguration, claim string, storage v1alpha1.StorageSpec) *appsv1ac.StatefulSetApplyConfiguration {
	pvc := corev1ac.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce).
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: storage.Size}))
	if storage.StorageClassName != nil {
		pvc.WithStorageClassName(*storage.StorageClassName)
	}
	volume := corev1ac.PersistentVolumeClaim(claim, p.Namespace).WithLabels(labels(p.owner, component)).WithSpec(pvc)
	volume.Namespace, volume.Kind, volume.APIVersion = nil, nil, nil
	return appsv1ac.StatefulSet("dizuo-"+component, p.Namespace).WithLabels(labels(p.owner, component)).
		WithSpec(appsv1ac.StatefulSetSpec().WithReplicas(replicas).WithServiceName(service).WithSelector(selecting(component)).
			WithTemplate(template).WithVolumeClaimTemplates(volume).WithPodManagementPolicy("Parallel"))
}

func (p platform) deployment(component string, replicas int32, template *corev1ac.PodTemplateSpecApplyConfiguration) Object {
	return appsv1ac.Deployment("dizuo-"+component, p.Namespace).WithLabels(labels(p.owner, component)).
		WithSpec(appsv1ac.DeploymentSpec().WithReplicas(replicas).WithSelector(selecting(component)).WithTemplate(template))
}

// service gives a Service in front of a component.
func (p platform) service(name, component string, kind v1alpha1.ServiceType, nodePort *int32, number, target int32, portName string) Object {
	sp := corev1ac.ServicePort().WithName(portName).WithPort(number).WithTargetPort(intstr.FromInt32(target)).WithProtocol(corev1.ProtocolTCP)
	if nodePort != nil && kind != v1alpha1.ServiceClusterIP && kind != "" {
		sp.WithNodePort(*nodePort)
	}
	if kind == "" {
		kind = v1alpha1.ServiceClusterIP
	}
	return corev1ac.Service(name, p.Namespace).WithLabels(labels(p.owner, component)).
		WithSpec(corev1ac.ServiceSpec().WithType(corev1.ServiceType(kind)).WithSelector(selector(component)).WithPorts(sp))
}
