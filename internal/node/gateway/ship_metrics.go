package gateway

import "github.com/prometheus/client_golang/prometheus"

var (
	descUnshipped = prometheus.NewDesc("dizuo_gateway_log_unshipped_bytes", "Bytes of the decision log that are not in the platform's store yet.", nil, nil)
	descShippedAt = prometheus.NewDesc("dizuo_gateway_log_shipped_timestamp_seconds", "When all that there was of the decision log had last been shipped to the platform's store, in Unix time; 0: not since the start.", nil, nil)
	descShipLimit = prometheus.NewDesc("dizuo_gateway_log_unshipped_limit_bytes", "Bytes of the decision log that may wait for the platform's store before nothing is given out; 0 bounds nothing.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *shipper) Describe(ch chan<- *prometheus.Desc) {
	ch <- descUnshipped
	ch <- descShippedAt
	ch <- descShipLimit
}

// Collect implements prometheus.Collector.
func (s *shipper) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descUnshipped, prometheus.GaugeValue, float64(s.unshipped.Load()))
	ch <- prometheus.MustNewConstMetric(descShippedAt, prometheus.GaugeValue, float64(s.doneAt.Load()))
	ch <- prometheus.MustNewConstMetric(descShipLimit, prometheus.GaugeValue, float64(s.max))
}
