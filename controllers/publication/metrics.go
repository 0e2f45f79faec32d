package publication

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/dizuo/dizuo/internal/contract"
)

var (
	bundleInfo = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_bundle_info",
		Help: "1 for the revision of the bundle that is out, by platform."}, []string{"platform", "revision"})
	bundleSequence = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_bundle_sequence",
		Help: "Sequence of the lease that is out, by platform."}, []string{"platform"})
	bundleIssued = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_bundle_issued_timestamp_seconds",
		Help: "When the lease that is out was issued, in Unix time; its age is the present time less this."}, []string{"platform"})
	bundleExpires = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dizuo_bundle_expires_timestamp_seconds",
		Help: "When the lease that is out ends, in Unix time: from then on gateways refuse and no device is admitted anew."}, []string{"platform"})
)

func init() { metrics.Registry.MustRegister(bundleInfo, bundleSequence, bundleIssued, bundleExpires) }

// measure shows a lease that is out.
func measure(l contract.Lease) {
	bundleInfo.DeletePartialMatch(prometheus.Labels{"platform": l.Platform})
	bundleInfo.WithLabelValues(l.Platform, l.Revision).Set(1)
	bundleSequence.WithLabelValues(l.Platform).Set(float64(l.Sequence))
	bundleIssued.WithLabelValues(l.Platform).Set(float64(l.IssuedAt.Unix()))
	bundleExpires.WithLabelValues(l.Platform).Set(float64(l.ExpiresAt.Unix()))
}

// unmeasure forgets a platform that is gone.
func unmeasure(name types.NamespacedName) {
	platform := prometheus.Labels{"platform": name.String()}
	for _, v := range []*prometheus.GaugeVec{bundleInfo, bundleSequence, bundleIssued, bundleExpires} {
		v.DeletePartialMatch(platform)
	}
}
