package render

import (
	"maps"
	"strings"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// platform is what the files of this package share while they render one platform.
type platform struct {
	compile.PlatformPlan
	owner compile.Owner
}

// Platform gives the objects of a platform, in the order in which they are applied: what others wait for comes first.
func Platform(plan compile.PlatformPlan) []Object {
	p := platform{plan, compile.Owner{Kind: "GridPlatform", Namespace: plan.Namespace, Name: plan.Name}}
	var out []Object
	out = append(out, p.certificates()...)
	out = append(out, p.edges()...)
	out = append(out, p.secrets()...)
	out = append(out, p.guardrails()...)
	out = append(out, p.networkPolicies()...)
	out = append(out, p.disruptionBudgets()...)
	out = append(out, p.databases()...)
	out = append(out, p.broker()...)
	out = append(out, p.ingest()...)
	out = append(out, p.emqx()...)
	out = append(out, p.auth()...)
	out = append(out, p.grid()...)
	out = append(out, p.gateway()...)
	out = append(out, p.vault()...)
	out = append(out, p.monitoring()...)
	return out
}

// secrets gives the Secrets that are made once, the webhook secrets of organisations, and the keys that nodes trust.
func (p platform) secrets() []Object {
	var out []Object
	for _, s := range p.Secrets {
		out = append(out, corev1ac.Secret(s.Name, p.Namespace).WithLabels(labels(p.owner, "")).
			WithAnnotations(map[string]string{AnnotationCreateOnly: "true"}).WithData(maps.Clone(s.Data)))
	}
	out = append(out, corev1ac.Secret(compile.SecretWebhooks, p.Namespace).WithLabels(labels(p.owner, "grid")).WithData(maps.Clone(p.WebhookSecrets)))
	if len(p.SourceDSNs) > 0 {
		out = append(out, corev1ac.Secret(compile.SecretSources, p.Namespace).WithLabels(labels(p.owner, "gateway")).WithData(maps.Clone(p.SourceDSNs)))
	}
	if len(p.TrustPEM) == 0 {
		return out // pods wait for it: one that mounted it empty would see the key with the kubelet's next round only, a minute later
	}
	trust := map[string]string{"trust.pem": string(p.TrustPEM)}
	if p.Edges && len(p.Successions) > 0 {
		trust[contract.SuccessionsFile] = strings.Join(p.Successions, "\n") + "\n"
	}
	return append(out, corev1ac.ConfigMap(nameTrust, p.Namespace).WithLabels(labels(p.owner, "")).WithData(trust))
}

const nameTrust = "dizuo-bundle-trust"

// Components gives the workloads of a platform by name, for status: kind, name and wanted pods of each.
func Components(plan compile.PlatformPlan) []Component {
	out := []Component{}
	if plan.Database.Serves.Engine == v1alpha1.DatabaseManaged {
		out = append(out, Component{v1alpha1.ComponentPostgres, "StatefulSet", compile.ServicePostgres, 1})
	}
	if plan.EMQX != nil {
		out = append(out, Component{v1alpha1.ComponentEMQX, "EMQX", compile.ObjectEMQX, plan.EMQX.Replicas})
	}
	if plan.Ingests() {
		out = append(out, Component{v1alpha1.ComponentIngest, "StatefulSet", "dizuo-ingest", plan.Replicas[v1alpha1.ComponentIngest]})
	}
	return append(out,
		Component{v1alpha1.ComponentBroker, "StatefulSet", "dizuo-broker", plan.Brokers.Pods},
		Component{v1alpha1.ComponentAuth, "Deployment", "dizuo-auth", plan.Replicas[v1alpha1.ComponentAuth]},
		Component{v1alpha1.ComponentGrid, "Deployment", "dizuo-grid", plan.Replicas[v1alpha1.ComponentGrid]},
		Component{v1alpha1.ComponentGateway, "StatefulSet", "dizuo-gateway", plan.Replicas[v1alpha1.ComponentGateway]},
		Component{v1alpha1.ComponentVault, "Deployment", "dizuo-vault", vaults(plan)})
}

// Component is a workload of a platform.
type Component struct {
	Name   v1alpha1.ComponentName
	Kind   string
	Object string
	// Pods that are wanted.
	Pods int32
}
