package auth

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// stats counts decisions for metrics and for the report.
type stats struct {
	decisions *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	seconds   prometheus.Histogram
	cuts      prometheus.Counter
	sweeps    prometheus.Histogram
	edges     *prometheus.CounterVec

	mu     sync.Mutex
	fleets map[string]int64
}

func newStats(reg prometheus.Registerer) *stats {
	s := &stats{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_auth_decisions_total",
			Help: "Connections decided, by result: admitted, refused, or expired (the broker had given up)."}, []string{"result"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_auth_rejected_total",
			Help: "Connections refused, by the fleet they claimed (empty if unknown) and reason."}, []string{"fleet", "reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dizuo_auth_decision_seconds",
			Help: "Time to decide a connection.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8)}),
		cuts: prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_auth_connections_cut_total",
			Help: "Connections cut because a newer bundle does not admit them."}),
		sweeps: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dizuo_auth_sweep_seconds",
			Help: "Time from the switch to a newer bundle until no revoked connection was left.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 10)}),
		edges: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_auth_edge_requests_total",
			Help: "Requests of edge nodes, by verb and result: answered or refused."}, []string{"verb", "result"}),
		fleets: map[string]int64{},
	}
	reg.MustRegister(s.edges, s.decisions, s.rejected, s.seconds, s.cuts, s.sweeps)
	return s
}

func (s *stats) decided(result string, began, now time.Time) {
	s.decisions.WithLabelValues(result).Inc()
	s.seconds.Observe(now.Sub(began).Seconds())
}

func (s *stats) refused(no *Refusal) {
	s.rejected.WithLabelValues(no.Fleet, string(no.Reason)).Inc()
	if no.Fleet == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fleets[no.Fleet]++
}

func (s *stats) cut(n int, took time.Duration) {
	s.cuts.Add(float64(n))
	s.sweeps.Observe(took.Seconds())
}

// report adds the refused connections of each fleet to a report.
func (s *stats) report(r *contract.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for fleet, n := range s.fleets {
		if r.Fleets == nil {
			r.Fleets = map[string]contract.FleetReport{}
		}
		f := r.Fleets[fleet]
		f.Rejected += n
		r.Fleets[fleet] = f
	}
}
