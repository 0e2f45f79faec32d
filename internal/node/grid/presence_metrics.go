package grid

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

var (
	descDevices = prometheus.NewDesc("dizuo_grid_devices",
		"Devices of a fleet by presence: online, offline, never_seen, unknown. From the working replica.", []string{"fleet", "presence"}, nil)
	descCommunityDevices = prometheus.NewDesc("dizuo_grid_community_devices",
		"Devices of a community by presence: online, offline, never_seen, unknown. From the working replica.", []string{"community", "presence"}, nil)
	descInvalid = prometheus.NewDesc("dizuo_grid_invalid_messages_total",
		"Messages of a fleet that did not fit its profile, over restarts. From the working replica.", []string{"fleet"}, nil)
)

// presenceCollector counts when it is scraped, so that a fleet that is gone leaves no series. Series grow with fleets and
// communities, never with devices.
type presenceCollector struct {
	presence *presence
	in       *intake.Intake
	now      func() time.Time
}

// Describe implements prometheus.Collector.
func (c presenceCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descDevices
	ch <- descCommunityDevices
	ch <- descInvalid
}

// Collect implements prometheus.Collector. A replica that does not work off the ingest log gives nothing.
func (c presenceCollector) Collect(ch chan<- prometheus.Metric) {
	out, ok := c.presence.count(c.in.Current(), c.now())
	if !ok {
		return
	}
	by := func(desc *prometheus.Desc, name string, n contract.PresenceReport) {
		for presence, count := range map[string]int64{"online": n.Online, "offline": n.Offline, "never_seen": n.NeverSeen, "unknown": n.Unknown} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(count), name, presence)
		}
	}
	for name, f := range out.fleets {
		by(descDevices, name, f.PresenceReport)
		ch <- prometheus.MustNewConstMetric(descInvalid, prometheus.CounterValue, float64(f.InvalidMessages), name)
	}
	for name, n := range out.communities {
		by(descCommunityDevices, name, n)
	}
}
