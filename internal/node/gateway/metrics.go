package gateway

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// metrics of the gateway. Labels are codes and outcomes, never names of people or data.
type metrics struct {
	decisions *prometheus.CounterVec
	decide    prometheus.Histogram
	request   *prometheus.HistogramVec
	sync      prometheus.Histogram
	records   prometheus.Counter
	refused   *prometheus.CounterVec
	// breakGlass is what to alert on.
	breakGlass prometheus.Counter
	// breakGlassOpen is not there before the gateway counted once: nothing is not none.
	breakGlassOpen *prometheus.GaugeVec
	sequence       prometheus.Gauge
	// unmapped are rows of providers' own databases that were given out and whose person the vault does not know.
	unmapped prometheus.Counter

	started     time.Time
	mu          sync.Mutex
	byAgreement map[string]contract.DecisionReport
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		decisions:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_gateway_decisions_total", Help: "Decisions, by first reason; Allowed if there is none."}, []string{"reason"}),
		decide:         prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dizuo_gateway_decision_seconds", Help: "Time of one policy decision.", Buckets: prometheus.ExponentialBuckets(1e-5, 2, 12)}),
		request:        prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dizuo_gateway_request_seconds", Help: "Time of one request, by status.", Buckets: prometheus.ExponentialBuckets(1e-3, 2, 13)}, []string{"code"}),
		sync:           prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dizuo_gateway_log_sync_seconds", Help: "Time of one commit of the decision log.", Buckets: prometheus.ExponentialBuckets(1e-4, 2, 14)}),
		records:        prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_gateway_records_total", Help: "Records released."}),
		refused:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_gateway_refused_total", Help: "Requests refused before a decision, by reason."}, []string{"reason"}),
		breakGlass:     prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_gateway_break_glass_total", Help: "Reads in an emergency, which somebody must review."}),
		breakGlassOpen: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_gateway_break_glass_open", Help: "Reads in an emergency that no review has closed, of all gateways: within the time for it, and overdue."}, []string{"review"}),
		sequence:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "dizuo_gateway_lease_sequence", Help: "Sequence of the lease in force."}),
		unmapped:       prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_gateway_unmapped_rows_total", Help: "Rows from providers' own databases that were logged under the provider's key, since the vault could not say whose they are."}),

		started: time.Now().UTC().Truncate(time.Second), byAgreement: map[string]contract.DecisionReport{},
	}
	reg.MustRegister(m.decisions, m.decide, m.request, m.sync, m.records, m.refused, m.breakGlass, m.breakGlassOpen, m.sequence, m.unmapped)
	return m
}

// synced is told by the decision log.
func (m *metrics) synced(_ int, took time.Duration) { m.sync.Observe(took.Seconds()) }

// decided counts a decision. A refusal counts for the agreement that it was decided under, if there is one.
func (m *metrics) decided(known bool, d contract.Decision) {
	reason := "Allowed"
	if !d.Allow {
		reason = d.Reasons[0]
	}
	m.decisions.WithLabelValues(reason).Inc()
	if !known {
		return // a name that a caller made up is not an agreement
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byAgreement[d.Agreement]
	if d.Allow {
		r.Allowed++
	} else {
		r.Denied++
	}
	m.byAgreement[d.Agreement] = r
}

// report fills the gateway's part of a report: decisions since the process started.
func (m *metrics) report(r *contract.Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Decisions = make(map[string]contract.DecisionReport, len(m.byAgreement))
	for name, counts := range m.byAgreement {
		counts.Since = m.started
		r.Decisions[name] = counts
	}
}

// emergencies shows the uses of break-glass that no review has closed, of all agreements together.
func (m *metrics) emergencies(counts map[string]contract.BreakGlassReport) {
	var sum contract.BreakGlassReport
	for _, n := range counts {
		sum.Pending += n.Pending
		sum.Overdue += n.Overdue
	}
	m.breakGlassOpen.WithLabelValues("waiting").Set(float64(sum.Pending - sum.Overdue))
	m.breakGlassOpen.WithLabelValues("overdue").Set(float64(sum.Overdue))
}
