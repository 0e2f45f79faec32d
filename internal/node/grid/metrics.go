package grid

import "github.com/prometheus/client_golang/prometheus"

// metrics of the grid service. Labels are names of objects of the platform, never what a device sent.
type metrics struct {
	messages   *prometheus.CounterVec
	fields     *prometheus.CounterVec
	alarms     *prometheus.CounterVec
	faults     *prometheus.CounterVec
	late       *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	overdue    *prometheus.CounterVec
	commands   *prometheus.CounterVec
	sent       *prometheus.CounterVec
	acks       *prometheus.CounterVec
	sessions   prometheus.Counter
	compiled   prometheus.Counter
	forgotten  prometheus.Counter

	edgeMessages *prometheus.CounterVec
	edgeLost     *prometheus.CounterVec

	batch     prometheus.Histogram
	pending   prometheus.Gauge
	working   prometheus.Gauge
	keys      prometheus.Gauge
	scenarios prometheus.Gauge
}

// newMetrics makes and registers the metrics.
func newMetrics(reg *prometheus.Registry) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_grid_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "dizuo_grid_" + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		messages:     counter("messages_total", "Device messages by result: taken, unregistered, unplaced (of a device that no row names), malformed, too_large, limited (more than the fleet allows), repeated, dropped (QoS 0 only).", "result"),
		fields:       counter("field_problems_total", "Fields that were left out of messages.", "profile", "field", "reason"),
		alarms:       counter("alarms_total", "What happened to alarms.", "scenario", "kind"),
		faults:       counter("expression_faults_total", "Expressions that failed while running.", "scenario", "part"),
		late:         counter("too_late_total", "Messages that were too old for a scenario.", "scenario"),
		deliveries:   counter("deliveries_total", "Attempts to deliver messages to organizations: delivered, failed, sent (over MQTT, not acknowledged yet), dead.", "organization", "result"),
		overdue:      counter("overdue_total", "Times that cases missed: acknowledge, on_site, resolve.", "deadline"),
		commands:     counter("commands_total", "Commands by the state that they came to, and why; Refused ones were never given.", "state", "reason"),
		sent:         counter("commands_sent_total", "Messages sent to devices, by channel.", "channel"),
		acks:         counter("acks_total", "Acks of devices by result: Received, Done, Failed, repeated, late, unmatched, unknown, malformed.", "result"),
		pending:      gauge("ingest_pending", "Messages in the ingest log that are not worked off."),
		working:      gauge("working", "1 on the replica that works off the ingest log."),
		keys:         gauge("engine_keys", "Pairs of scenario and device with state."),
		scenarios:    gauge("scenarios", "Scenarios that run."),
		edgeMessages: counter("edge_messages_total", "Messages from the outboxes of edge nodes: taken, unregistered, repeated, violation (of a device that is not the node's).", "edge", "result"),
		edgeLost:     counter("edge_lost_total", "Messages that edge nodes acknowledged to devices and lost.", "edge"),
	}
	m.sessions = prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_grid_sessions_total", Help: "Sessions begun on the ingest log."})
	m.compiled = prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_grid_mappings_compiled_total", Help: "Mappings of fleets that were compiled."})
	m.forgotten = prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_grid_commands_forgotten_total", Help: "Commands that were deleted because their time to be kept was over."})
	m.batch = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dizuo_grid_batch_seconds", Help: "Time to work off and commit a batch.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)})
	reg.MustRegister(m.sessions, m.compiled, m.forgotten, m.batch)
	return m
}
