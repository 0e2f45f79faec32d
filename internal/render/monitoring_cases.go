package render

import (
	monitoringac "github.com/prometheus-operator/prometheus-operator/pkg/client/applyconfiguration/monitoring/v1"
)

// caseAlerts are the rules about cases, their messages, the engine and the decision log. Bounds are ours: no norm has them.
func (p platform) caseAlerts(rule func(name, expr, lasts, severity, summary, summaryZH string) *monitoringac.RuleApplyConfiguration) []*monitoringac.RuleApplyConfiguration {
	in := `{namespace="` + p.Namespace + `"}`
	return []*monitoringac.RuleApplyConfiguration{
		// A case that is late is the business of whoever it goes up to; that many of a community are is somebody else's.
		rule("DizuoCasesOverdue", "sum by (community) (dizuo_grid_cases_overdue"+in+") > 9 and sum by (community) (dizuo_grid_cases_overdue"+in+") > 0.2 * sum by (community) (dizuo_grid_cases_open"+in+")",
			"30m", "warning", "A fifth of the open cases of community {{ $labels.community }}, {{ $value }}, missed a time.", "社区 {{ $labels.community }} 有 {{ $value }} 件未结事件超时，超过两成。"),
		rule("DizuoDeadLetters", "sum by (organization) (dizuo_grid_dead_letters"+in+") > 0", "5m", "warning",
			"{{ $value }} messages to organization {{ $labels.organization }} were tried for a day in vain. When its receiver is well: dizuo deliveries replay --all.",
			"发往组织 {{ $labels.organization }} 的 {{ $value }} 条消息一天内未送达；接收端恢复后请执行 dizuo deliveries replay --all。"),
		rule("DizuoEngineBehind", "sum(dizuo_grid_ingest_pending"+in+") > 60 * sum(rate(dizuo_grid_messages_total"+in+"[5m]))", "5m", "critical",
			"{{ $value }} messages of devices wait, more than a minute's work: alarms come late.", "有 {{ $value }} 条设备消息待处理，超过一分钟的处理量：告警将延迟。"),
		rule("DizuoDecisionLogBehind", "time() - dizuo_gateway_log_shipped_timestamp_seconds"+in+" > 600", "5m", "warning",
			"The decision log of gateway {{ $labels.pod }} has not been shipped to the platform's store for a quarter of an hour.", "网关 {{ $labels.pod }} 的决策日志已有一刻钟未能入库。"),
		rule("DizuoDecisionLogStops", "dizuo_gateway_log_unshipped_bytes"+in+" > 0.5 * dizuo_gateway_log_unshipped_limit_bytes"+in+" and dizuo_gateway_log_unshipped_limit_bytes"+in+" > 0", "1m", "critical",
			"Half of the decision log that may wait for the platform's store does, on gateway {{ $labels.pod }}. At the limit nothing is given out.", "网关 {{ $labels.pod }} 待入库的决策日志已达上限的一半；达到上限后将停止提供数据。"),
	}
}
