//go:build envtest

package chart

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	_ "github.com/dizuo/dizuo/controllers" // registers the operator's metrics
)

// decode reads an object into its type, and takes no field that the type does not have: the CRDs of these tests take any.
func decode(t *testing.T, objects []*unstructured.Unstructured, kind string, into any) {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind })
	if i < 0 {
		t.Fatalf("no %s", kind)
	}
	raw, err := yaml.Marshal(objects[i].Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, into); err != nil {
		t.Fatal(err)
	}
}

// TestServiceMonitor follows the labels and the port's name from the ServiceMonitor over the Service to the container.
func TestServiceMonitor(t *testing.T) {
	objects := mustParse(t, mustTemplate(t, "serviceMonitor: {enabled: true, interval: 30s}"))
	judge(t, objects)
	var monitor monitoringv1.ServiceMonitor
	decode(t, objects, "ServiceMonitor", &monitor)
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return id(o) == "Service/dizuo-operator-metrics" })
	service := objects[i]
	for k, v := range monitor.Spec.Selector.MatchLabels {
		if service.GetLabels()[k] != v {
			t.Errorf("the ServiceMonitor selects %s=%s, and the Service has %q", k, v, service.GetLabels()[k])
		}
	}
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	if name := ports[0].(map[string]any)["name"]; name != monitor.Spec.Endpoints[0].Port {
		t.Errorf("the ServiceMonitor scrapes port %s, and the Service has %s", monitor.Spec.Endpoints[0].Port, name)
	}
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	j := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	labels, _, _ := unstructured.NestedStringMap(objects[j].Object, "spec", "template", "metadata", "labels")
	for k, v := range selector {
		if labels[k] != v {
			t.Errorf("the Service selects %s=%s, and the pods have %q", k, v, labels[k])
		}
	}
	containers, _, _ := unstructured.NestedSlice(objects[j].Object, "spec", "template", "spec", "containers")
	target := ports[0].(map[string]any)["targetPort"]
	if !slices.ContainsFunc(containers[0].(map[string]any)["ports"].([]any), func(p any) bool { return p.(map[string]any)["name"] == target }) {
		t.Errorf("the container has no port %s", target)
	}
}

// TestAlerts holds the rules against the metrics that the operator has registered.
func TestAlerts(t *testing.T) {
	objects := mustParse(t, mustTemplate(t, "prometheusRule: {enabled: true}"))
	judge(t, objects)
	var rule monitoringv1.PrometheusRule
	decode(t, objects, "PrometheusRule", &rule)

	exported := map[string]string{"up": ""} // up is Prometheus' own
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		metrics.Registry.(prometheus.Collector).Describe(descriptions)
	}()
	for d := range descriptions {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		exported[name] = regexp.MustCompile(`variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())[1]
	}
	selected, grouped := regexp.MustCompile(`([a-z_]+)\{([^}]*)\}`), regexp.MustCompile(`by \(([^)]*)\)`)
	for _, r := range rule.Spec.Groups[0].Rules {
		expr := r.Expr.String()
		used := selected.FindAllStringSubmatch(expr, -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metric", r.Alert)
		}
		for _, m := range used {
			labels, ok := exported[strings.TrimSuffix(m[1], "_bucket")]
			if !ok {
				t.Errorf("%s: the operator exports no %s", r.Alert, m[1])
			}
			has := append(strings.Split(labels, ","), "job", "namespace", "le") // le is of buckets
			for _, label := range regexp.MustCompile(`([a-z]+)=`).FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(has, label[1]) {
					t.Errorf("%s: %s has no label %s", r.Alert, m[1], label[1])
				}
			}
			for _, by := range grouped.FindAllStringSubmatch(expr, -1) {
				for _, label := range strings.Split(by[1], ", ") {
					if !slices.Contains(has, label) {
						t.Errorf("%s: %s has no label %s", r.Alert, m[1], label)
					}
				}
			}
			if !strings.Contains(m[2], `job="dizuo-operator-metrics",namespace="`+namespace+`"`) {
				t.Errorf("%s: %s is not limited to the operator", r.Alert, m[1])
			}
		}
		if reasons := regexp.MustCompile(`reason=~"([^"]+)"`).FindStringSubmatch(expr); reasons != nil && reasons[1] != v1alpha1.ReasonApplyFailed+"|"+v1alpha1.ReasonConflict {
			t.Errorf("%s: reasons %s", r.Alert, reasons[1])
		}
		if r.Annotations["summary"] == "" || r.Annotations["summary_zh"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s: write summary, summary_zh and severity", r.Alert)
		}
	}
}
