package render

import (
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringac "github.com/prometheus-operator/prometheus-operator/pkg/client/applyconfiguration/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// nameHealth is the headless Service in front of the health ports of all components: what a ServiceMonitor scrapes.
const nameHealth = "dizuo-health"

// monitoring gives what prometheus-operator reads.
func (p platform) monitoring() []Object {
	var out []Object
	if p.Monitoring.ServiceMonitors {
		out = append(out, p.healthService(), monitoringac.ServiceMonitor("dizuo", p.Namespace).WithLabels(labels(p.owner, "")).
			WithSpec(monitoringac.ServiceMonitorSpec().
				WithSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{LabelComponent: "health", LabelOwnerName: p.owner.Name})).WithEndpoints(
				monitoringac.Endpoint().WithPort("health").WithRelabelConfigs(
					monitoringac.RelabelConfig().WithSourceLabels("__meta_kubernetes_pod_label_app_kubernetes_io_component").WithTargetLabel("component")))))
	}
	if p.Monitoring.PrometheusRules {
		out = append(out, monitoringac.PrometheusRule("dizuo", p.Namespace).WithLabels(labels(p.owner, "")).
			WithSpec(monitoringac.PrometheusRuleSpec().WithGroups(p.alerts())))
	}
	return out
}

func (p platform) healthService() Object {
	return corev1ac.Service(nameHealth, p.Namespace).WithLabels(labels(p.owner, "health")).
		WithSpec(corev1ac.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithClusterIP(corev1.ClusterIPNone).WithPublishNotReadyAddresses(true).
			WithSelector(map[string]string{LabelPartOf: "dizuo", LabelOwnerKind: p.owner.Kind, LabelOwnerName: p.owner.Name}).
			WithPorts(corev1ac.ServicePort().WithName("health").WithPort(portHealth).WithTargetPort(intstr.FromString("health")).WithProtocol(corev1.ProtocolTCP)))
}

// alerts are the rules that wake a person: each names what a device, a citizen or an auditor would notice.
func (p platform) alerts() *monitoringac.RuleGroupApplyConfiguration {
	in := `{namespace="` + p.Namespace + `"}`
	silent, heard := `{namespace="`+p.Namespace+`",presence="offline"}`, `{namespace="`+p.Namespace+`",presence="online"}`
	waiting, overdue := `{namespace="`+p.Namespace+`",review="waiting"}`, `{namespace="`+p.Namespace+`",review="overdue"}`
	rule := func(name, expr, lasts, severity, summary, summaryZH string) *monitoringac.RuleApplyConfiguration {
		return monitoringac.Rule().WithAlert(name).WithExpr(intstr.FromString(expr)).WithFor(monitoringv1.Duration(lasts)).
			WithLabels(map[string]string{"severity": severity, "platform": p.Name}).
			WithAnnotations(map[string]string{"summary": summary, "summary_zh": summaryZH})
	}
	group := monitoringac.RuleGroup().WithName("dizuo").WithRules(
		rule("DizuoIngestLogNearlyFull", "dizuo_broker_ingest_bytes"+in+" / dizuo_broker_ingest_limit_bytes"+in+" > 0.8", "10m", "critical",
			"The ingest log is four fifths full. At the limit devices get no acknowledgement any more.", "接入日志已用八成；写满后设备将收不到确认。"),
		rule("DizuoComponentDown", `up{job="dizuo-health",namespace="`+p.Namespace+`"} == 0`, "5m", "warning",
			"A pod of the platform does not answer.", "平台有组件未应答。"),
		rule("DizuoNoWorkingGrid", "(sum(dizuo_grid_working"+in+") or vector(0)) < 1", "5m", "critical",
			"No grid service works the ingest log off: signals become no cases.", "没有网格服务在处理信号：信号不会转为事件。"),
		rule("DizuoFleetSilent", "sum by (fleet) (dizuo_grid_devices"+silent+") > 9 and sum by (fleet) (dizuo_grid_devices"+silent+
			") > sum by (fleet) (dizuo_grid_devices"+heard+")", "15m", "warning",
			"Most devices of fleet {{ $labels.fleet }} that were ever heard are silent beyond their heartbeats.", "设备组 {{ $labels.fleet }} 的多数设备已离线。"),
		rule("DizuoGatewayCertificateEnds", "min(dizuo_gateway_certificate_expiry_seconds"+in+" > 0) - time() < 86400 * 3", "15m", "critical",
			"The gateway's server certificate ends within three days and was not renewed: then no organisation gets an answer.", "网关的服务器证书将在三天内到期而未续期；到期后任何单位都无法读取。"),
		rule("DizuoBreakGlassUsed", "max(dizuo_gateway_break_glass_open"+waiting+") > 0", "0s", "warning",
			"Personal data was read in an emergency, and nobody reviewed it yet. The status of the agreement says when.", "有人以应急方式读取了个人信息，尚未复核；时间见协议的状态。"),
		rule("DizuoBreakGlassOverdue", "max(dizuo_gateway_break_glass_open"+overdue+") > 0", "0s", "critical",
			"A read in an emergency was not reviewed in time: its agreement lets nobody break the glass until it is.", "应急读取逾期未复核：复核之前，该协议不得再用应急访问。"),
	)
	group.WithRules(p.caseAlerts(rule)...)
	if p.EMQX != nil {
		group.WithRules(rule("DizuoIngestAway", "(sum(dizuo_ingest_session_held"+in+") or vector(0)) < 1", "5m", "critical",
			"Nothing works off what EMQX acknowledges: it is held in EMQX's memory, and no device is let in.", "EMQX 已确认的消息无人入库：暂存于 EMQX 内存，新设备无法接入。"))
	}
	if p.Clouds {
		group.WithRules(rule("DizuoCloudsShutOut", "(sum(dizuo_ingest_bundle_live"+in+") or vector(0)) < 1", "5m", "critical",
			"No cloud of a vendor or carrier can be let in: the devices that it speaks for are not heard.", "无法接纳任何厂商或运营商云平台：其代为上报的设备消息无法接入。"))
	}
	return group
}
