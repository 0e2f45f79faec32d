package gateway

import "github.com/prometheus/client_golang/prometheus"

var (
	descUnshipped = prometheus.NewDesc("dizuo_gateway_log_unshipped_bytes", "Bytes of the decision log that are not in the platform's store yet.", nil, nil)
	descShipLimit = prometheus.NewDesc("dizuo_gateway_log_unshipped_limit_bytes", "Bytes of the decision log that may wait for the platform's store before nothing is given out; 0 bounds nothing.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *shipper) Describe(ch chan<- *prometheus.Desc) {
	ch <- descUnshipped
	ch <- descShipLimit
}

// Collect implements prometheus.Collector.
func (s *shipper) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descUnshipped, prometheus.GaugeValue, float64(s.unshipped.Load()))
	ch <- prometheus.MustNewConstMetric(descShipLimit, prometheus.GaugeValue, float64(s.max))
}
