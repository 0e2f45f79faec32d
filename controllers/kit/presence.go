package kit

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// DeviceCounts gives the counts of total devices. What the nodes do not tell of is unknown, and that is all of them while no report
// is fresh: what was last told is not what is.
func DeviceCounts(total int32, told contract.PresenceReport, fresh bool) v1alpha1.DeviceCounts {
	if !fresh {
		return v1alpha1.DeviceCounts{Total: total, Unknown: total}
	}
	out := v1alpha1.DeviceCounts{Total: total, Online: int32(told.Online), Offline: int32(told.Offline), NeverSeen: int32(told.NeverSeen)}
	out.Unknown = max(0, total-out.Online-out.Offline-out.NeverSeen)
	return out
}
