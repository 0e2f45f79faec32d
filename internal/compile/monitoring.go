package compile

import "slices"

// MonitoringPlan says what is made for prometheus-operator.
type MonitoringPlan struct{ ServiceMonitors, PrometheusRules bool }

// monitoring makes what the platform asks for, and what it leaves open where prometheus-operator is installed.
func monitoring(c *problems, s *Snapshot) MonitoringPlan {
	installed := !slices.Contains(s.MissingAPIs, GroupPrometheus)
	asked := func(field string, on *bool) bool {
		if on == nil {
			return installed
		}
		if *on && !installed {
			c.missing(GroupPrometheus, "spec.monitoring."+field, "which scrapes, or leave the field out", true)
		}
		return *on && installed
	}
	m := s.Platform.Spec.Monitoring
	return MonitoringPlan{ServiceMonitors: asked("serviceMonitors", m.ServiceMonitors), PrometheusRules: asked("prometheusRules", m.PrometheusRules)}
}
