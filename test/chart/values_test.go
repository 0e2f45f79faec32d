//go:build envtest

package chart

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// values has every leaf of values.yaml, set to something else than its default.
var values = []struct {
	leaf string
	// set is what the leaf is set to, in YAML, and with what other values must be for it to have an effect.
	set, with string
	// want is rendered with the leaf set and not without, gone the other way round.
	want, gone string
}{
	{leaf: "image.repository", set: "registry.example.org:5000/dizuo", want: `image: "registry.example.org:5000/dizuo:dev"`},
	{leaf: "image.tag", set: "v1", want: `image: "dizuo/dizuo:v1"`},
	{leaf: "image.digest", set: digest, with: "image: {tag: v1}", want: `image: "dizuo/dizuo@` + digest + `"`, gone: "dizuo/dizuo:v1"},
	{leaf: "image.pullPolicy", set: "Always", want: "imagePullPolicy: Always"},
	{leaf: "nodeImage.repository", set: "example/node", want: "--node-image=example/node:dev"},
	{leaf: "nodeImage.tag", set: "v1", want: "--node-image=dizuo/dizuo:v1"},
	{leaf: "nodeImage.digest", set: digest, with: "nodeImage: {tag: v1}", want: "--node-image=dizuo/dizuo@" + digest, gone: "dizuo/dizuo:v1"},
	{leaf: "postgresImage.repository", set: "example/postgres", want: "--postgres-image=example/postgres:15"},
	{leaf: "postgresImage.tag", set: `"16"`, want: "--postgres-image=postgres:16"},
	{leaf: "postgresImage.digest", set: digest, want: "--postgres-image=postgres@" + digest, gone: "postgres:15"},
	{leaf: "imagePullSecrets", set: "[{name: registry}]", want: "imagePullSecrets:\n  - name: registry"},
	{leaf: "replicas", set: "3", want: "replicas: 3"},
	{leaf: "leaderElection", set: "false", with: "prometheusRule: {enabled: true}", want: "type: Recreate", gone: "DizuoOperatorNotOneLeader"},
	{leaf: "logLevel", set: "debug", want: "--log-level=debug"},
	{leaf: "extraArgs", set: "[--kubeconfig=/tmp/kubeconfig]", want: "- --kubeconfig=/tmp/kubeconfig"},
	{leaf: "resources.requests.cpu", set: "100m", want: "cpu: 100m"},
	{leaf: "resources.requests.memory", set: "128Mi", want: "memory: 128Mi"},
	{leaf: "resources.limits.memory", set: "1Gi", want: "memory: 1Gi"},
	{leaf: "nodeSelector", set: "{kubernetes.io/os: linux}", want: "nodeSelector:\n        kubernetes.io/os: linux"},
	{leaf: "tolerations", set: "[{key: control-plane, operator: Exists, effect: NoSchedule}]", want: "key: control-plane"},
	{leaf: "affinity", set: "{podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {}}]}}",
		want: "topologyKey: zone", gone: "topologyKey: kubernetes.io/hostname"},
	{leaf: "topologySpreadConstraints", set: "[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]",
		want: "labelSelector:\n            matchLabels:\n              app.kubernetes.io/name: dizuo-operator\n          maxSkew: 1\n          topologyKey: zone"},
	{leaf: "priorityClassName", set: "system-cluster-critical", want: "priorityClassName: system-cluster-critical"},
	{leaf: "podAnnotations", set: "{example.org/team: base}", want: "example.org/team: base"},
	{leaf: "podLabels", set: "{example.org/team: base}", want: "example.org/team: base"},
	{leaf: "podDisruptionBudget.enabled", set: "false", gone: "kind: PodDisruptionBudget"},
	{leaf: "podDisruptionBudget.maxUnavailable", set: "50%", want: "maxUnavailable: 50%"},
	{leaf: "networkPolicy.enabled", set: "false", gone: "kind: NetworkPolicy"},
	{leaf: "networkPolicy.apiServerPorts", set: "[8443]", want: "- port: 8443", gone: "- port: 6443"},
	{leaf: "networkPolicy.metricsFrom", set: "{kubernetes.io/metadata.name: monitoring}", want: "kubernetes.io/metadata.name: monitoring"},
	{leaf: "serviceMonitor.enabled", set: "true", want: "kind: ServiceMonitor"},
	{leaf: "serviceMonitor.interval", set: "1m30s", with: "serviceMonitor: {enabled: true}", want: "interval: 1m30s"},
	{leaf: "serviceMonitor.labels", set: "{release: prometheus}", with: "serviceMonitor: {enabled: true}", want: "release: prometheus"},
	{leaf: "prometheusRule.enabled", set: "true", want: "kind: PrometheusRule"},
	{leaf: "prometheusRule.labels", set: "{release: prometheus}", with: "prometheusRule: {enabled: true}", want: "release: prometheus"},
	{leaf: "peopleRoles.create", set: "false", gone: "name: dizuo-county-admin"},
	{leaf: "bundles.enabled", set: "true", want: "resources: [tokenreviews]"},
	{leaf: "bundles.from", set: "{example.org/opa: beside}", with: "bundles: {enabled: true}", want: "example.org/opa: beside"},
	{leaf: "admission.enabled", set: "true", want: "kind: ValidatingWebhookConfiguration"},
	{leaf: "admission.deny", set: "true", with: "admission: {enabled: true}", want: "--admission-deny=true", gone: "--admission-deny=false"},
	{leaf: "deletionProtection.create", set: "false", gone: "name: dizuo-deletion-protection"},
}

// leaves lists the leaves of values by their paths. An empty map is a leaf: it stands for a map of the user's.
func leaves(path string, v any, out map[string]any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		out[path] = v
		return out
	}
	for k, below := range m {
		leaves(strings.TrimPrefix(path+"."+k, "."), below, out)
	}
	return out
}

func defaults(t *testing.T) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.UnmarshalStrict(raw, &v); err != nil {
		t.Fatal(err)
	}
	return leaves("", v, map[string]any{})
}

// nest gives values with one leaf, over others.
func nest(t *testing.T, over, leaf, set string) string {
	t.Helper()
	v := map[string]any{}
	if err := yaml.Unmarshal([]byte(over), &v); err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal([]byte(set), &value); err != nil {
		t.Fatal(err)
	}
	at, keys := v, strings.Split(leaf, ".")
	for _, k := range keys[:len(keys)-1] {
		next, ok := at[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[k] = next
		}
		at = next
	}
	at[keys[len(keys)-1]] = value
	raw, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestValues sets every value once: it has its effect, and the API server takes what comes of it.
func TestValues(t *testing.T) {
	missing := defaults(t)
	for _, v := range values {
		t.Run(v.leaf, func(t *testing.T) {
			was, ok := missing[v.leaf]
			if !ok {
				t.Fatal("is not a leaf of values.yaml, or stands in the table twice")
			}
			delete(missing, v.leaf)
			var set any
			if err := yaml.Unmarshal([]byte(v.set), &set); err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(was, set) {
				t.Errorf("%s is the default", v.set)
			}
			before, after := mustTemplate(t, v.with), mustTemplate(t, nest(t, v.with, v.leaf, v.set))
			if v.want == "" && v.gone == "" {
				t.Error("the table does not say what it does")
			}
			if v.want != "" && (!strings.Contains(after, v.want) || strings.Contains(before, v.want)) {
				t.Errorf("%q is there: before %v, after %v; want false, true", v.want, strings.Contains(before, v.want), strings.Contains(after, v.want))
			}
			if v.gone != "" && (strings.Contains(after, v.gone) || !strings.Contains(before, v.gone)) {
				t.Errorf("%q is there: before %v, after %v; want true, false", v.gone, strings.Contains(before, v.gone), strings.Contains(after, v.gone))
			}
			judge(t, mustParse(t, after))
		})
	}
	for leaf := range missing {
		t.Errorf("%s of values.yaml is missing in the table of this test", leaf)
	}
}

// TestRefused holds what the schema refuses, and by which words.
func TestRefused(t *testing.T) {
	for values, want := range map[string]string{
		"replica: 2":                                                   "additional properties 'replica' not allowed",
		"image: {tags: v1}":                                            "additional properties 'tags' not allowed",
		"image: {repository: \"\"}":                                    "at '/image/repository'",
		"image: {tag: \"a b\"}":                                        "at '/image/tag'",
		"image: {digest: abc}":                                         "at '/image/digest'",
		"image: {pullPolicy: Sometimes}":                               "at '/image/pullPolicy': value must be one of",
		"nodeImage: {digest: \"sha256:12\"}":                           "at '/nodeImage/digest'",
		"nodeImage: {pullPolicy: Always}":                              "additional properties 'pullPolicy' not allowed",
		"postgresImage: {tag: 15}":                                     "at '/postgresImage/tag': got number, want string",
		"imagePullSecrets: [registry]":                                 "at '/imagePullSecrets/0': got string, want object",
		"replicas: \"2\"":                                              "at '/replicas': got string, want integer",
		"{replicas: 2, leaderElection: false}":                         "at '/leaderElection': value must be true",
		"leaderElection: null":                                         "missing property 'leaderElection'",
		"logLevel: verbose":                                            "at '/logLevel': value must be one of",
		"extraArgs: [leader-elect]":                                    "at '/extraArgs/0'",
		"resources: {limit: {cpu: 1}}":                                 "additional properties 'limit' not allowed",
		"resources: {limits: {memory: 1 GB}}":                          "at '/resources/limits/memory'",
		"nodeSelector: {gpu: true}":                                    "at '/nodeSelector/gpu': got boolean, want string",
		"tolerations: [{effect: Never}]":                               "at '/tolerations/0/effect': value must be one of",
		"affinity: {antiAffinity: {}}":                                 "additional properties 'antiAffinity' not allowed",
		"topologySpreadConstraints: [{topologyKey: x}]":                "missing properties 'maxSkew', 'whenUnsatisfiable'",
		"priorityClassName: 7":                                         "at '/priorityClassName': got number, want string",
		"podAnnotations: {a: 1}":                                       "at '/podAnnotations/a': got number, want string",
		"podLabels: {app.kubernetes.io/name: mine}":                    "at '/podLabels/app.kubernetes.io~1name': false schema",
		"podDisruptionBudget: {maxUnavailable: 0}":                     "at '/podDisruptionBudget/maxUnavailable'",
		"networkPolicy: {apiServerPorts: []}":                          "at '/networkPolicy/apiServerPorts': minItems",
		"networkPolicy: {apiServerPorts: [70000]}":                     "at '/networkPolicy/apiServerPorts/0': maximum",
		"networkPolicy: {metricsFrom: [monitoring]}":                   "at '/networkPolicy/metricsFrom': got array, want object",
		"serviceMonitor: {interval: often}":                            "at '/serviceMonitor/interval'",
		"serviceMonitor: {labels: {a b: c}}":                           "at '/serviceMonitor/labels': additional properties 'a b' not allowed",
		"prometheusRule: {enabled: \"true\"}":                          "at '/prometheusRule/enabled': got string, want boolean",
		"peopleRoles: {enabled: false}":                                "additional properties 'enabled' not allowed",
		"deletionProtection: false":                                    "at '/deletionProtection': got boolean, want object",
		"networkPolicy: {platformPorts: [4222]}":                       "additional properties 'platformPorts' not allowed",
		"podAnnotations: {kubectl.kubernetes.io/default-container: x}": "at '/podAnnotations/kubectl.kubernetes.io~1default-container': false schema",
	} {
		if _, err := template(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", values, err, want)
		}
	}
}

// TestSchema finds places where the schema would let anything through.
func TestSchema(t *testing.T) {
	raw, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		AdditionalProperties *bool
		Required             []string
		Properties           map[string]any
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	if schema.AdditionalProperties == nil || *schema.AdditionalProperties {
		t.Error("takes values that it does not know")
	}
	tops := map[string]bool{"global": true}
	for leaf := range defaults(t) {
		top, _, _ := strings.Cut(leaf, ".")
		tops[top] = true
		if schema.Properties[top] == nil {
			t.Errorf("does not know %s", top)
		}
	}
	for name := range schema.Properties {
		if !tops[name] {
			t.Errorf("knows %s, which values.yaml does not have", name)
		}
	}
	if len(schema.Required) != len(tops)-1 {
		t.Errorf("requires %d values, and there are %d", len(schema.Required), len(tops)-1)
	}
}

// TestReadme holds the table in the chart's README against values.yaml.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := defaults(t)
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]*)` \\| (.+) \\|$").FindAllStringSubmatch(string(raw), -1) {
		value, ok := missing[row[1]]
		if !ok {
			t.Errorf("%s is not a leaf of values.yaml, or stands in the table twice", row[1])
			continue
		}
		delete(missing, row[1])
		want, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if row[2] != string(want) {
			t.Errorf("%s: the default is %s, and the table says %s", row[1], want, row[2])
		}
	}
	for leaf := range missing {
		t.Errorf("%s is missing in the table", leaf)
	}
}
