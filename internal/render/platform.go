package render

import (
	"maps"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/internal/compile"
)

// platform is what the files of this package share while they render one platform.
type platform struct {
	compile.PlatformPlan
	owner compile.Owner
}

// Platform gives the objects of a platform of the profile Standalone, in the order in which they are applied: what others
// wait for comes first.
func Platform(plan compile.PlatformPlan) []Object {
	p := platform{plan, compile.Owner{Kind: "GridPlatform", Namespace: plan.Namespace, Name: plan.Name}}
	var out []Object
	out = append(out, p.certificates()...)
	out = append(out, p.secrets()...)
	out = append(out, p.networkPolicies()...)
	out = append(out, p.postgres()...)
	out = append(out, p.broker()...)
	out = append(out, p.auth()...)
	out = append(out, p.grid()...)
	out = append(out, p.gateway()...)
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
	return append(out, corev1ac.ConfigMap(nameTrust, p.Namespace).WithLabels(labels(p.owner, "")).WithData(map[string]string{"trust.pem": string(p.TrustPEM)}))
}

const nameTrust = "dizuo-bundle-trust"

// Components gives the workloads of a platform by name, for status: kind and name of each.
func Components(plan compile.PlatformPlan) []Component {
	return []Component{
		{"Postgres", "StatefulSet", "dizuo-postgres"}, {"Broker", "StatefulSet", "dizuo-broker"}, {"Auth", "Deployment", "dizuo-auth"},
		{"Grid", "Deployment", "dizuo-grid"}, {"Gateway", "StatefulSet", "dizuo-gateway"},
	}
}

// Component is a workload of a platform.
type Component struct{ Name, Kind, Object string }
