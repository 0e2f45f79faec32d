package local

import "github.com/prometheus/client_golang/prometheus"

// metrics of the scenarios of an edge node. Labels are names of objects of the platform, never what a device sent.
type metrics struct {
	messages, alarms, faults, late, commands *prometheus.CounterVec
	sent                                     prometheus.Counter
	scenarios                                prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_edge_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		messages:  counter("scenario_messages_total", "Messages that scenarios looked at, by result: taken, unregistered, unplaced, malformed, too_large, limited.", "result"),
		alarms:    counter("alarms_total", "What happened to alarms.", "scenario", "kind"),
		faults:    counter("expression_faults_total", "Expressions that failed while running.", "scenario", "part"),
		late:      counter("too_late_total", "Messages that were too old for a scenario.", "scenario"),
		commands:  counter("commands_total", "Commands of alarms by the state that they came to, and why; Refused ones were never given.", "state", "reason"),
		sent:      prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_edge_commands_sent_total", Help: "Messages that this node sent to devices by itself."}),
		scenarios: prometheus.NewGauge(prometheus.GaugeOpts{Name: "dizuo_edge_scenarios", Help: "Scenarios that run."}),
	}
	reg.MustRegister(m.sent, m.scenarios)
	return m
}
